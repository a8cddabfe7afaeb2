//! Who is not who they should be is refused, with the cause.

use super::fixture::SecurityFixture;
use super::hall::{Guest, Hall, demanding, name, serving, showing, trusting};
use crate::error::HandshakeError;
use crate::expectation::Expectation;
use crate::options::TransportOptions;
use crate::testing::backends::{ALPN, options};
use crate::testing::pki::{Authority, Issued, Leaf};
use crate::tls::{self, Material};

/// Both say that they found no protocol, and name theirs.
pub async fn a_client_of_another_protocol_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let stranger = TransportOptions { alpn: b"another/1".to_vec(), ..options() };
    let error = Guest::with(fixture, &trusting(&authority), stranger).refuses(hall.addr).await;
    assert!(matches!(error, HandshakeError::Alpn { .. }), "{error:?}");
    assert!(error.to_string().contains("another/1"), "{error}");
    assert_alpn(&hall.refusal().await);
    hall.serves(&Guest::new(fixture, &trusting(&authority))).await;
}

/// rustls alone would let it pass.
pub async fn a_client_that_offers_no_protocol_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let refusal = fixture.foreign_client(hall.addr, foreign_client(&authority, &[])).await;
    refusal.expect_err("no word is heard");
    assert_alpn(&hall.refusal().await);
    // The same stranger is welcome once it asks for the protocol.
    let polite = foreign_client(&authority, &[ALPN]);
    fixture.foreign_client(hall.addr, polite).await.expect("the protocol was the only fault");
    hall.visitor().await;
    hall.serves(&Guest::new(fixture, &trusting(&authority))).await;
}

/// Nor does a client of ours speak to whoever does not say what it speaks.
pub async fn a_server_that_picks_no_protocol_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let guest = Guest::new(fixture, &trusting(&authority));
    let server = fixture.foreign_server(foreign_server(&authority, &[])).await;
    assert_alpn(&guest.refuses(server.addr).await);
    let server = fixture.foreign_server(foreign_server(&authority, &[b"another/1"])).await;
    assert_alpn(&guest.refuses(server.addr).await);
}

fn assert_alpn(error: &HandshakeError) {
    assert!(matches!(error, HandshakeError::Alpn { .. }), "{error:?}");
    assert!(error.to_string().contains("sealstream-test/1"), "{error} does not name the protocol");
}

/// A client configuration that is not made by this crate.
pub(super) fn foreign_client(authority: &Authority, alpn: &[&[u8]]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).expect("a root");
    let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// A server configuration that is not made by this crate.
pub(super) fn foreign_server(authority: &Authority, alpn: &[&[u8]]) -> rustls::ServerConfig {
    let issued = authority.issue(&Leaf::localhost());
    let mut config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(issued.chain(), issued.key_der())
        .expect("a pair");
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// The server of `serving` is refused by a client with `expectation` and the authority's trust, for this reason; and it
/// serves on: `welcome` is what it can be expected to be.
async fn is_refused(
    fixture: &dyn SecurityFixture,
    serving: &Material,
    client: &Guest<'_>,
    welcome: Option<&Guest<'_>>,
) -> HandshakeError {
    let mut hall = Hall::new(fixture, serving).await;
    let error = client.refuses(hall.addr).await;
    let told = hall.refusal().await;
    assert!(matches!(told, HandshakeError::RefusedByPeer { .. }), "the server is told: {told:?}");
    if let Some(guest) = welcome {
        hall.serves(guest).await;
    }
    error
}

/// Neither by DNS name nor by address.
pub async fn a_server_of_another_name_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let right = Guest::new(fixture, &trusting(&authority));
    for wrong in ["elsewhere.example", "192.0.2.7"] {
        let guest = Guest::new(fixture, &trusting(&authority)).expecting(name(wrong));
        let error = is_refused(fixture, &serving(&authority), &guest, Some(&right)).await;
        assert!(matches!(error, HandshakeError::Unexpected { .. }), "{error:?}");
        assert!(error.to_string().contains(wrong), "{error} does not name {wrong}");
    }
}

/// The whole ID counts: same trust domain, other path; and a prefix is another ID.
pub async fn a_server_with_another_spiffe_id_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let shown = "spiffe://example.org/broker/1";
    let server = showing(&authority, &Leaf::localhost().uri(shown));
    let spiffe = |id: &str| Expectation::SpiffeId(id.to_owned());
    let right = Guest::new(fixture, &trusting(&authority)).expecting(spiffe(shown));
    for wrong in
        ["spiffe://example.org/broker/2", "spiffe://example.org/broker", "spiffe://example.com/broker/1"]
    {
        let guest = Guest::new(fixture, &trusting(&authority)).expecting(spiffe(wrong));
        let error = is_refused(fixture, &server, &guest, Some(&right)).await;
        assert!(matches!(error, HandshakeError::Unexpected { .. }), "{error:?}");
        assert!(error.to_string().contains(wrong), "{error} does not name what was expected");
        assert!(error.to_string().contains(shown), "{error} does not name what was shown");
    }
}

/// A DNS name does not make up for it.
pub async fn a_server_without_a_spiffe_id_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let right = Guest::new(fixture, &trusting(&authority));
    let guest = Guest::new(fixture, &trusting(&authority))
        .expecting(Expectation::SpiffeId("spiffe://example.org/broker".into()));
    let error = is_refused(fixture, &serving(&authority), &guest, Some(&right)).await;
    assert!(matches!(error, HandshakeError::Unexpected { .. }), "{error:?}");
}

fn pin(name: &str, spki_sha256: [u8; 32]) -> Expectation {
    Expectation::Pin { name: name.to_owned(), spki_sha256 }
}

/// Same authority, same name, another key.
pub async fn a_server_with_another_key_than_the_pinned_one_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let pinned = authority.issue(&Leaf::localhost()).pin();
    let right = Guest::new(fixture, &trusting(&authority));
    let guest = Guest::new(fixture, &trusting(&authority)).expecting(pin("localhost", pinned));
    let error = is_refused(fixture, &serving(&authority), &guest, Some(&right)).await;
    assert!(matches!(error, HandshakeError::Unexpected { .. }), "{error:?}");
    assert!(error.to_string().contains("pin"), "{error} does not speak of the pin");
}

/// The right key under another name.
pub async fn a_pin_does_not_replace_the_name(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let issued = authority.issue(&Leaf::localhost());
    let server = Material::new().with_server_identity(issued.identity());
    let guest = Guest::new(fixture, &trusting(&authority)).expecting(pin("elsewhere.example", issued.pin()));
    let error = is_refused(fixture, &server, &guest, None).await;
    assert!(matches!(error, HandshakeError::Unexpected { .. }), "{error:?}");
    assert!(error.to_string().contains("elsewhere.example"), "{error} does not name what was expected");
}

/// The right key, vouched for by nobody who is trusted.
pub async fn a_pin_does_not_replace_the_chain(fixture: &dyn SecurityFixture) {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Another CA"));
    let issued = other.issue(&Leaf::localhost());
    let server = Material::new().with_server_identity(issued.identity());
    let guest = Guest::new(fixture, &trusting(&authority)).expecting(pin("localhost", issued.pin()));
    let error = is_refused(fixture, &server, &guest, None).await;
    assert!(matches!(error, HandshakeError::UntrustedIssuer { .. }), "{error:?}");
}

/// Even if that authority has the same name.
pub async fn a_server_of_an_untrusted_authority_is_refused(fixture: &dyn SecurityFixture) {
    for name in ["Another CA", "Test CA"] {
        let (authority, other) = (Authority::new("Test CA"), Authority::new(name));
        let mut hall = Hall::new(fixture, &serving(&other)).await;
        let error = Guest::new(fixture, &trusting(&authority)).refuses(hall.addr).await;
        assert!(
            matches!(error, HandshakeError::UntrustedIssuer { .. } | HandshakeError::BadCertificate { .. }),
            "{error:?}"
        );
        let told = hall.refusal().await;
        assert!(matches!(told, HandshakeError::RefusedByPeer { .. }), "the server is told: {told:?}");
        hall.serves(&Guest::new(fixture, &trusting(&other))).await;
    }
}

/// Self-signed.
pub async fn a_server_that_vouches_for_itself_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let server = Material::new().with_server_identity(Issued::by_itself(&Leaf::localhost()).identity());
    let guest = Guest::new(fixture, &trusting(&authority));
    let error = is_refused(fixture, &server, &guest, None).await;
    assert!(matches!(error, HandshakeError::UntrustedIssuer { .. }), "{error:?}");
}

/// Another authority of the same name, whose key is another: to the client it is as unknown as any.
pub async fn a_server_of_a_namesake_of_the_trusted_authority_is_untrusted(fixture: &dyn SecurityFixture) {
    let (authority, namesake) = (Authority::new("Test CA"), Authority::new("Test CA"));
    let server = showing(&namesake, &Leaf::localhost());
    let guest = Guest::new(fixture, &trusting(&authority));
    let error = is_refused(fixture, &server, &guest, None).await;
    assert!(matches!(error, HandshakeError::UntrustedIssuer { .. }), "{error:?}");
}

/// With the date.
pub async fn an_expired_server_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let server = showing(&authority, &Leaf::localhost().expired());
    let guest = Guest::new(fixture, &trusting(&authority));
    let error = is_refused(fixture, &server, &guest, None).await;
    assert!(matches!(error, HandshakeError::Expired { .. }), "{error:?}");
    assert!(error.to_string().contains("expired"), "{error}");
}

/// Its time will come.
pub async fn a_server_from_the_future_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let server = showing(&authority, &Leaf::localhost().not_yet_valid());
    let guest = Guest::new(fixture, &trusting(&authority));
    let error = is_refused(fixture, &server, &guest, None).await;
    assert!(matches!(error, HandshakeError::Expired { .. }), "{error:?}");
}

/// Its purpose is another.
pub async fn a_certificate_for_clients_does_not_serve(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let identity = authority.issue(&Leaf::localhost().for_clients()).identity().for_any_purpose();
    let server = Material::new().with_server_identity(identity);
    let guest = Guest::new(fixture, &trusting(&authority));
    let error = is_refused(fixture, &server, &guest, None).await;
    assert!(matches!(error, HandshakeError::BadCertificate { .. }), "{error:?}");
    assert!(error.to_string().contains("not for servers (extended key usage)"), "{error}");
}

/// A client that trusts this authority and shows this.
fn showing_to(authority: &Authority, shown: &Issued) -> Material {
    trusting(authority).with_client_identity(shown.identity())
}

/// A client of `material` is refused by a server that demands certificates; returns what the server says.
async fn is_turned_away(
    fixture: &dyn SecurityFixture,
    authority: &Authority,
    material: &Material,
) -> HandshakeError {
    let mut hall = Hall::new(fixture, &demanding(authority)).await;
    let told = Guest::new(fixture, material).is_refused(hall.addr).await;
    assert!(told.contains("certificate"), "\"{told}\" does not say that it is about the certificate");
    let cause = hall.refusal().await;
    assert!(cause.is_permanent(), "{cause:?}");
    let welcome = authority.issue(&Leaf::new().uri("spiffe://example.org/client"));
    hall.serves(&Guest::new(fixture, &showing_to(authority, &welcome))).await;
    cause
}

/// Both are told.
pub async fn a_client_without_a_certificate_is_refused_where_one_is_required(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let cause = is_turned_away(fixture, &authority, &trusting(&authority)).await;
    assert_eq!(cause, HandshakeError::ClientCertificateRequired);
}

/// Both are told.
pub async fn a_client_of_an_untrusted_authority_is_refused(fixture: &dyn SecurityFixture) {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Another CA"));
    let stranger = other.issue(&Leaf::new().uri("spiffe://example.org/client"));
    let cause = is_turned_away(fixture, &authority, &showing_to(&authority, &stranger)).await;
    assert!(matches!(cause, HandshakeError::UntrustedIssuer { .. }), "{cause:?}");
}

/// Both are told.
pub async fn an_expired_client_is_refused(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let leaf = Leaf::new().uri("spiffe://example.org/client").expired();
    let shown = showing_to(&authority, &authority.issue(&leaf)).as_of(leaf.midlife());
    let cause = is_turned_away(fixture, &authority, &shown).await;
    assert!(matches!(cause, HandshakeError::Expired { .. }), "{cause:?}");
}

/// Its purpose is another.
pub async fn a_certificate_for_servers_does_not_dial(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let server = authority.issue(&Leaf::localhost().for_servers());
    let shown = trusting(&authority).with_client_identity(server.identity().for_any_purpose());
    let cause = is_turned_away(fixture, &authority, &shown).await;
    assert!(matches!(cause, HandshakeError::BadCertificate { .. }), "{cause:?}");
    assert!(cause.to_string().contains("not for clients (extended key usage)"), "{cause}");
}
