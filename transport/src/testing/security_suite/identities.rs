//! Who is who they should be is let in, and known by everything that was proven.

use super::fixture::SecurityFixture;
use super::hall::{Guest, Hall, demanding, name, serving, showing, trusting};
use crate::expectation::Expectation;
use crate::peer::Handshake;
use crate::testing::backends::ALPN;
use crate::testing::pki::{Authority, Leaf};
use crate::tls::{ClientAuth, Material};

/// By DNS name, by IPv4 and IPv6 address, and by a wildcard.
pub async fn a_server_is_known_by_its_name_or_its_address(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let server = showing(&authority, &Leaf::localhost().dns("*.example.org"));
    let mut hall = Hall::new(fixture, &server).await;
    for known in ["localhost", "LOCALHOST", "127.0.0.1", "::1", "broker.example.org"] {
        let guest = Guest::new(fixture, &trusting(&authority)).expecting(name(known));
        let peer = guest.visit(hall.addr).await.expect(known);
        let identity = peer.identity.expect("a server shows who it is");
        assert_eq!(identity.dns_names, ["localhost", "*.example.org"]);
        assert!(hall.visitor().await.identity.is_none(), "nobody asked for a certificate");
    }
}

/// No DNS name is needed, and none is looked at.
pub async fn a_server_is_known_by_its_spiffe_id_alone(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let id = "spiffe://example.org/broker/1";
    let mut hall = Hall::new(fixture, &showing(&authority, &Leaf::new().uri(id))).await;
    let guest = Guest::new(fixture, &trusting(&authority)).expecting(Expectation::SpiffeId(id.to_owned()));
    let peer = guest.visit(hall.addr).await.expect("the right ID");
    assert_eq!(peer.identity.expect("it showed one").spiffe_id.as_deref(), Some(id));
    hall.visitor().await;
}

/// On top of chain and name.
pub async fn a_server_is_known_by_its_pinned_key(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let issued = authority.issue(&Leaf::localhost());
    let server = Material::new().with_server_identity(issued.identity());
    let mut hall = Hall::new(fixture, &server).await;
    let expectation = Expectation::Pin { name: "localhost".into(), spki_sha256: issued.pin() };
    let guest = Guest::new(fixture, &trusting(&authority)).expecting(expectation);
    let peer = guest.visit(hall.addr).await.expect("the right key");
    assert_eq!(peer.identity.expect("it showed one").spki_sha256, issued.pin());
    hall.visitor().await;
}

/// Every name of every kind, the key, and the date.
pub async fn a_client_is_known_by_everything_in_its_certificate(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &demanding(&authority)).await;
    let leaf = Leaf::new()
        .uri("spiffe://example.org/ingest/7")
        .dns("ingest-7.example.org")
        .dns("ingest.example.org")
        .email("ops@example.org")
        .common_name("ingest 7");
    let issued = authority.issue(&leaf);
    let guest = Guest::new(fixture, &trusting(&authority).with_client_identity(issued.identity()));
    guest.visit(hall.addr).await.expect("a good certificate");
    let identity = hall.visitor().await.identity.expect("a client that shows who it is");
    assert_eq!(identity.spiffe_id.as_deref(), Some("spiffe://example.org/ingest/7"));
    assert_eq!(identity.dns_names, ["ingest-7.example.org", "ingest.example.org"]);
    assert_eq!(identity.emails, ["ops@example.org"]);
    assert_eq!(identity.common_name.as_deref(), Some("ingest 7"));
    assert_eq!(identity.spki_sha256, issued.pin());
    assert!(!identity.serial.is_empty());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert!(identity.not_after > i64::try_from(now.as_secs()).expect("before the year 292 billion"));
}

/// But what it shows must be good.
pub async fn a_client_may_stay_unknown_where_certificates_are_optional(fixture: &dyn SecurityFixture) {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Another CA"));
    let server = serving(&authority).with_client_auth(ClientAuth::Optional, [authority.trust()]);
    let mut hall = Hall::new(fixture, &server).await;
    Guest::new(fixture, &trusting(&authority)).visit(hall.addr).await.expect("nothing is demanded");
    assert!(hall.visitor().await.identity.is_none());
    let known = authority.issue(&Leaf::new().uri("spiffe://example.org/client"));
    let guest = Guest::new(fixture, &trusting(&authority).with_client_identity(known.identity()));
    guest.visit(hall.addr).await.expect("a good certificate");
    assert!(hall.visitor().await.identity.is_some());
    let stranger = other.issue(&Leaf::new().uri("spiffe://example.org/client"));
    let guest = Guest::new(fixture, &trusting(&authority).with_client_identity(stranger.identity()));
    guest.is_refused(hall.addr).await;
    hall.refusal().await;
}

/// On both sides, when it is sent along.
pub async fn an_intermediate_authority_is_followed_to_its_root(fixture: &dyn SecurityFixture) {
    let root = Authority::new("Test CA");
    let issuing = root.intermediate("Issuing CA").intermediate("Issuing CA of a department");
    let server = showing(&issuing, &Leaf::localhost()).with_client_auth(ClientAuth::Required, [root.trust()]);
    let mut hall = Hall::new(fixture, &server).await;
    let client = issuing.issue(&Leaf::new().uri("spiffe://example.org/client"));
    let guest = Guest::new(fixture, &trusting(&root).with_client_identity(client.identity()));
    guest.visit(hall.addr).await.expect("both chains end in the root");
    assert!(hall.visitor().await.identity.is_some());
}

/// Suite, group and protocol, by their names.
pub async fn both_ends_know_what_was_negotiated(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let server = Guest::new(fixture, &trusting(&authority)).visit(hall.addr).await.expect("a visit");
    let client = hall.visitor().await;
    assert_eq!((server.handshake, client.handshake), (Handshake::Full, Handshake::Full));
    let (ours, theirs) = (server.negotiated.expect("TLS"), client.negotiated.expect("TLS"));
    assert_eq!(ours, theirs);
    assert_eq!(ours.alpn, ALPN);
    assert!(ours.suite.starts_with("TLS_"), "{}", ours.suite);
    assert!(ours.group.is_some());
}

/// For the same label and context, and for nothing else.
pub async fn both_ends_export_the_same_keying_material(fixture: &dyn SecurityFixture) {
    use tokio::io::AsyncWriteExt;

    let authority = Authority::new("Test CA");
    let server_store = crate::tls::Store::new(&serving(&authority)).expect("good material");
    let client_store = crate::tls::Store::new(&trusting(&authority)).expect("good material");
    let options = crate::testing::backends::options;
    let server = fixture.transport(server_store.receiver(), options());
    let client = fixture.transport(client_store.receiver(), options());
    let listener = server.listen(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let target = fixture.target(listener.local_addr(), name("localhost"));
    let (outbound, inbound) = tokio::join!(client.connect(&target), async {
        listener.accept().await.expect("the listener is open").handshake().await
    });
    let (outbound, inbound) = (outbound.expect("a visit"), inbound.expect("a visit"));
    let mut ours = outbound.open().await.expect("a stream");
    ours.send.write_all(b"x").await.expect("there is room");
    ours.send.flush().await.expect("there is room");
    let theirs = inbound.accept().await.expect("the stream");
    let export = |peer: &crate::peer::Peer, label: &[u8], context: &[u8]| {
        let mut bytes = [0; 32];
        peer.export_keying_material(&mut bytes, label, context).expect("a session");
        bytes
    };
    let bound = export(&ours.peer, b"EXPERIMENTAL test", b"context");
    assert_eq!(bound, export(&theirs.peer, b"EXPERIMENTAL test", b"context"));
    assert_ne!(bound, export(&theirs.peer, b"EXPERIMENTAL other", b"context"));
    assert_ne!(bound, export(&theirs.peer, b"EXPERIMENTAL test", b"other"));
    assert_ne!(bound, [0; 32]);
}
