//! What each expectation accepts, and how each refusal names its cause.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{ServerName, UnixTime};

use super::classify::{Side, classify};
use super::material::TrustMaterial;
use super::trust::Trust;
use super::verifier::ExpectationVerifier;
use crate::error::HandshakeError;
use crate::expectation::Expectation;
use crate::testing::pki::{Authority, Issued, Leaf};

const ID: &str = "spiffe://example.org/broker";

/// What a client that trusts `trusted` and expects this says of that server.
fn judge(trusted: &Authority, expectation: Expectation, shown: &Issued) -> Result<(), HandshakeError> {
    let trust = Trust::load(&TrustMaterial::roots([trusted.trust()]), UnixTime::now()).unwrap();
    let name = match &expectation {
        Expectation::Name(name) | Expectation::Pin { name, .. } => name.clone(),
        Expectation::SpiffeId(_) => "somewhere.example".to_owned(),
    };
    let chain = shown.chain();
    ExpectationVerifier::new(Arc::new(trust), expectation)
        .verify_server_cert(
            &chain[0],
            &chain[1..],
            &ServerName::try_from(name).unwrap(),
            &[],
            UnixTime::now(),
        )
        .map(drop)
        .map_err(|error| classify(&error, Side::Client, b"test/1"))
}

fn name(name: &str) -> Expectation {
    Expectation::Name(name.into())
}

fn spiffe(id: &str) -> Expectation {
    Expectation::SpiffeId(id.into())
}

/// Asserts that a refusal is of someone else's certificate, and that it tells both names.
fn unexpected(outcome: Result<(), HandshakeError>, told: &[&str]) {
    let Err(HandshakeError::Unexpected { detail }) = outcome else { panic!("{outcome:?}") };
    for part in told {
        assert!(detail.contains(part), "{detail}");
    }
}

#[test]
fn a_name_is_a_dns_name_or_an_address_among_the_alternative_names() {
    let ca = Authority::new("CA");
    let shown = ca.issue(&Leaf::new().dns("broker.example.org").dns("*.wild.example.org").ip([10, 0, 0, 1]));
    for good in ["broker.example.org", "BROKER.example.org", "a.wild.example.org", "10.0.0.1"] {
        assert_eq!(judge(&ca, name(good), &shown), Ok(()), "{good}");
    }
    for bad in ["example.org", "a.b.wild.example.org", "wild.example.org", "10.0.0.2"] {
        unexpected(judge(&ca, name(bad), &shown), &[bad, "broker.example.org"]);
    }
    // A common name is no name.
    let old = ca.issue(&Leaf::new().common_name("broker.example.org"));
    unexpected(judge(&ca, name("broker.example.org"), &old), &["broker.example.org"]);
}

#[test]
fn a_spiffe_id_is_compared_exactly_and_needs_no_dns_name() {
    let ca = Authority::new("CA");
    assert_eq!(judge(&ca, spiffe(ID), &ca.issue(&Leaf::new().uri(ID))), Ok(()));
    for other in
        ["spiffe://example.org/broker2", "spiffe://example.com/broker", "spiffe://example.org/Broker"]
    {
        unexpected(judge(&ca, spiffe(ID), &ca.issue(&Leaf::new().uri(other))), &[ID, other]);
    }
    let two = Leaf::new().uri(ID).uri("spiffe://example.org/other");
    unexpected(judge(&ca, spiffe(ID), &ca.issue(&two)), &[ID, "2 URI names"]);
    let none = Leaf::new().dns("somewhere.example");
    unexpected(judge(&ca, spiffe(ID), &ca.issue(&none)), &[ID, "0 URI names"]);
}

#[test]
fn a_pin_adds_to_name_and_chain_and_replaces_neither() {
    let (ca, other) = (Authority::new("CA"), Authority::new("Other CA"));
    let shown = ca.issue(&Leaf::new().dns("localhost"));
    let pin = |name: &str, of: &Issued| Expectation::Pin { name: name.into(), spki_sha256: of.pin() };
    assert_eq!(judge(&ca, pin("localhost", &shown), &shown), Ok(()));
    let renewed = ca.issue(&Leaf::new().dns("localhost"));
    unexpected(judge(&ca, pin("localhost", &renewed), &shown), &["localhost", "pinned key"]);
    unexpected(judge(&ca, pin("elsewhere", &shown), &shown), &["elsewhere", "localhost"]);
    let outcome = judge(&other, pin("localhost", &shown), &shown);
    assert!(matches!(outcome, Err(HandshakeError::UntrustedIssuer { .. })), "{outcome:?}");
}

#[test]
fn no_expectation_is_met_without_a_chain_to_a_trusted_root() {
    let (ca, other) = (Authority::new("CA"), Authority::new("CA"));
    let leaf = Leaf::new().dns("localhost").uri(ID);
    for expectation in [name("localhost"), spiffe(ID)] {
        for shown in [other.issue(&leaf), other.intermediate("Middle").issue(&leaf), Issued::by_itself(&leaf)]
        {
            let outcome = judge(&ca, expectation.clone(), &shown);
            // An authority of the same name with another key is an issuer whose signature does not verify.
            let refused = matches!(
                outcome,
                Err(HandshakeError::UntrustedIssuer { .. } | HandshakeError::BadCertificate { .. })
            );
            assert!(refused, "{outcome:?}");
        }
        let through = ca.intermediate("Middle").issue(&leaf);
        assert_eq!(judge(&ca, expectation, &through), Ok(()));
    }
}

#[test]
fn an_expired_certificate_tells_the_dates() {
    let ca = Authority::new("CA");
    for expectation in [name("localhost"), spiffe(ID)] {
        let leaf = Leaf::new().dns("localhost").uri(ID);
        let outcome = judge(&ca, expectation.clone(), &ca.issue(&leaf.clone().expired()));
        let Err(HandshakeError::Expired { detail }) = outcome else { panic!("{outcome:?}") };
        assert!(detail.contains("expired on") && detail.contains("the clock here says"), "{detail}");
        let outcome = judge(&ca, expectation, &ca.issue(&leaf.not_yet_valid()));
        let Err(HandshakeError::Expired { detail }) = outcome else { panic!("{outcome:?}") };
        assert!(detail.contains("becomes valid on"), "{detail}");
    }
}

#[test]
fn a_certificate_for_clients_is_no_server_s() {
    let ca = Authority::new("CA");
    let shown = ca.issue(&Leaf::new().dns("localhost").for_clients());
    let outcome = judge(&ca, name("localhost"), &shown);
    assert!(matches!(outcome, Err(HandshakeError::BadCertificate { .. })), "{outcome:?}");
}
