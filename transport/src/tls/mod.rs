//! TLS for every backend: where certificates and trust come from, and the one place that configures rustls.
//!
//! ```text
//! Material ── load ──► Snapshot ── published by ──► Store ── read by ──► Receiver
//! (files, DER)         (checked, immutable)                              at each handshake
//!                                                                           │
//!                              ServerHandshake or ClientHandshake ◄─────────┘
//!                              one per handshake: configuration, verdict, named causes of failure
//! ```
//!
//! No listener and no outgoing connection keeps a copy of the material: each handshake asks its [`Receiver`] for the
//! current [`Snapshot`] and gets a context of its own, a `ServerHandshake` or a `ClientHandshake`.

mod chain;
mod classify;
#[cfg(any(fuzzing, feature = "test-util"))]
mod fuzzing;
mod handshake;
mod identity;
#[cfg(test)]
mod loading_tests;
mod material;
mod peer_chain;
mod pem;
mod registry;
mod reload;
mod resolver;
#[cfg(test)]
mod resumption_tests;
mod revocation;
#[cfg(test)]
mod revocation_tests;
mod sessions;
mod snapshot;
pub mod spiffe;
mod staple;
mod store;
mod tickets;
mod trust;
mod verifier;
#[cfg(test)]
mod verifier_tests;

use std::sync::{Arc, OnceLock};

use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, ring};

use crate::peer::TransportKind;

pub use classify::Side;
pub(crate) use classify::{classify, classify_io, stream_error, tls_error};
#[cfg(any(fuzzing, feature = "test-util"))]
#[doc(hidden)]
pub use fuzzing::{fuzz_crl, fuzz_pem, fuzz_staple};
pub(crate) use handshake::{ClientHandshake, ServerHandshake, Verified};
#[cfg(feature = "test-util")]
pub(crate) use identity::identity_of;
pub use identity::spki_sha256;
pub use material::{
    ClientAuth, ExpiredClients, IdentitySource, Material, ServerResumption, TrustMaterial, TrustSource,
};
pub use pem::MaterialError;
pub use registry::{FALLEN_GRACE, Fallen};
pub(crate) use registry::{Grounds, Judged, Registration, Standing};
pub use reload::{Along, MaterialSource, Reload, ReloadCounts, Reloader, Sourced, Trigger};
pub use resolver::ServedIdentity;
pub use revocation::{CrlExpiry, CrlPolicy, CrlSource, CrlSummary, Revocations, UnknownStatus};
#[cfg(feature = "metrics")]
pub(crate) use sessions::unix_now;
pub use snapshot::Snapshot;
pub use staple::{Staple, StapleSource};
pub use store::{Published, Receiver, Store};
#[cfg(any(fuzzing, feature = "test-util"))]
#[doc(hidden)]
pub use tickets::fuzz_ticket;
pub use tickets::{
    MAX_AUTHENTICATION_AGE_SECS, SLOT_SECS, SecretSource, TICKET_LIFETIME_SECS, TicketFault, TicketSecret,
    TicketUse, create_secret_file,
};
pub use trust::Epoch;

/// The one place that names the cryptography: rustls over ring, with the suites of TLS 1.3 in our order.
///
/// AES-128-GCM, which RFC 8446 (9.1) wants everybody to have, comes first: it takes 10 rounds of AES where AES-256 takes 14, and 128
/// bits are margin enough. A server takes what the client likes best of these.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        let cipher_suites =
            vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
        Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() })
    }))
}

/// What a backend asks of the TLS configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Profile {
    /// Which backend the handshake runs on.
    pub(crate) kind: TransportKind,
    /// The application protocol that both ends must agree on.
    pub(crate) alpn: Vec<u8>,
    /// Whether session secrets go to the file named by `SSLKEYLOGFILE`.
    pub(crate) key_log: bool,
}
