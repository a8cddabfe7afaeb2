//! The security suite: whom a backend lets in, whom it refuses and what it says then, and what it survives.
//!
//! For every backend with TLS, in one line:
//!
//! ```
//! # #[cfg(test)]
//! mod tcp {
//!     sealstream_transport::security_suite!(sealstream_transport::testing::backends::TcpFixture::new());
//! }
//! ```
//!
//! Each refusal is asserted three times: the client's error names the cause, the server's outcome names it as far as the
//! server can know, and the server serves the next one.

mod exhaustion;
mod fixture;
mod hall;
mod hostile;
mod identities;
mod refusals;
mod resumption;

pub use exhaustion::*;
pub use fixture::{Anything, ForeignServer, SecurityFixture, Sockets};
pub use hostile::*;
pub use identities::*;
pub use refusals::*;
pub use resumption::*;

/// Runs the security suite against the backend that an expression makes: one test for each property.
#[macro_export]
macro_rules! security_suite {
    ($fixture:expr) => {
        $crate::security_suite! { @run $fixture;
            a_client_of_another_protocol_is_refused
            a_client_that_offers_no_protocol_is_refused
            a_server_that_picks_no_protocol_is_refused
            a_server_of_another_name_is_refused
            a_server_with_another_spiffe_id_is_refused
            a_server_without_a_spiffe_id_is_refused
            a_server_with_another_key_than_the_pinned_one_is_refused
            a_pin_does_not_replace_the_name
            a_pin_does_not_replace_the_chain
            a_server_of_an_untrusted_authority_is_refused
            a_server_of_a_namesake_of_the_trusted_authority_is_untrusted
            a_server_that_vouches_for_itself_is_refused
            an_expired_server_is_refused
            a_server_from_the_future_is_refused
            a_certificate_for_clients_does_not_serve
            a_client_without_a_certificate_is_refused_where_one_is_required
            a_client_of_an_untrusted_authority_is_refused
            an_expired_client_is_refused
            a_certificate_for_servers_does_not_dial
            a_server_is_known_by_its_name_or_its_address
            a_server_is_known_by_its_spiffe_id_alone
            a_server_is_known_by_its_pinned_key
            a_client_is_known_by_everything_in_its_certificate
            a_client_may_stay_unknown_where_certificates_are_optional
            an_intermediate_authority_is_followed_to_its_root
            both_ends_know_what_was_negotiated
            both_ends_export_the_same_keying_material
            a_further_connection_is_resumed_on_both_ends
            a_resumed_client_keeps_its_identity
            another_expectation_never_resumes
            another_trust_in_servers_never_resumes
            another_trust_in_clients_never_resumes
            another_client_identity_never_resumes
            a_renewed_certificate_keeps_resumption_alive
            a_server_about_to_expire_is_asked_afresh
            early_data_is_not_allowed_by_the_server
            early_data_is_not_sent_by_the_client
            silent_peers_delay_nobody_and_are_dropped_at_the_deadline
            a_silent_server_holds_a_client_until_the_deadline_only
            noise_instead_of_a_handshake_harms_nobody
            a_listener_without_a_certificate_says_so
        }
        $crate::security_suite! { @alone $fixture;
            running_out_of_descriptors_is_survived
        }
        #[test]
        fn a_privileged_address_says_so() {
            let path = concat!(module_path!(), "::a_privileged_address_says_so");
            $crate::testing::unprivileged(path, async || {
                $crate::testing::security_suite::a_privileged_address_says_so(&$fixture).await;
            });
        }
    };
    (@run $fixture:expr; $($property:ident)+) => {$(
        #[test]
        fn $property() {
            $crate::testing::run(stringify!($property), async {
                $crate::testing::security_suite::$property(&$fixture).await;
            });
        }
    )+};
    (@alone $fixture:expr; $($property:ident)+) => {$(
        #[test]
        fn $property() {
            $crate::testing::alone(concat!(module_path!(), "::", stringify!($property)), async || {
                $crate::testing::security_suite::$property(&$fixture).await;
            });
        }
    )+};
}
