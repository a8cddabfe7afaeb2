//! What continues an earlier session, and what must not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::server::ServerSessionMemoryCache;

use super::fixture::SecurityFixture;
use super::hall::{Guest, Hall, demanding, serving, showing, trusting};
use super::refusals::{foreign_client, foreign_server};
use crate::expectation::Expectation;
use crate::peer::Handshake;
use crate::testing::backends::ALPN;
use crate::testing::pki::{Authority, Leaf};
use crate::tls::ClientAuth;

/// How both ends see the next visit.
async fn next_visit(hall: &mut Hall, guest: &Guest<'_>) -> Handshake {
    let server = guest.visit(hall.addr).await.expect("a good visitor");
    let client = hall.visitor().await;
    assert_eq!(server.handshake, client.handshake, "the ends disagree");
    server.handshake
}

/// And the one after it too: tickets are used once, and renewed.
pub async fn a_further_connection_is_resumed_on_both_ends(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let guest = Guest::new(fixture, &trusting(&authority));
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full);
    for _ in 0..5 {
        assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Resumed);
    }
    // Another client has tickets of its own, or none.
    let other = Guest::new(fixture, &trusting(&authority));
    assert_eq!(next_visit(&mut hall, &other).await, Handshake::Full);
}

/// Nobody shows a certificate the second time; both are known all the same.
pub async fn a_resumed_client_keeps_its_identity(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &demanding(&authority)).await;
    let shown = authority.issue(&Leaf::new().uri("spiffe://example.org/client"));
    let guest = Guest::new(fixture, &trusting(&authority).with_client_identity(shown.identity()));
    let server = guest.visit(hall.addr).await.expect("a good visitor");
    let client = hall.visitor().await;
    for _ in 0..3 {
        let (server_again, client_again) =
            (guest.visit(hall.addr).await.expect("a good visitor"), hall.visitor().await);
        assert_eq!(client_again.handshake, Handshake::Resumed);
        assert_eq!(client_again.identity, client.identity);
        assert_eq!(server_again.identity, server.identity);
    }
    assert_eq!(client.identity.expect("it was shown").spki_sha256, shown.pin());
}

/// What was proven by one standard says nothing by another.
pub async fn another_expectation_never_resumes(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let id = "spiffe://example.org/broker";
    let issued = authority.issue(&Leaf::localhost().uri(id));
    let server = crate::tls::Material::new().with_server_identity(issued.identity());
    let mut hall = Hall::new(fixture, &server).await;
    let mut guest = Guest::new(fixture, &trusting(&authority));
    let expectations = [
        guest.expectation.clone(),
        Expectation::Name("127.0.0.1".into()),
        Expectation::SpiffeId(id.into()),
        Expectation::Pin { name: "localhost".into(), spki_sha256: issued.pin() },
    ];
    for expectation in &expectations {
        guest.expectation = expectation.clone();
        assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full, "{expectation}");
    }
    // Each of them has tickets of its own now.
    for expectation in &expectations {
        guest.expectation = expectation.clone();
        assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Resumed, "{expectation}");
    }
}

/// Publishing what trusts more, or less, or the same.
pub async fn another_trust_in_servers_never_resumes(fixture: &dyn SecurityFixture) {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Another CA"));
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let guest = Guest::new(fixture, &trusting(&authority));
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full);
    guest.store.publish(&trusting(&authority)).expect("good material");
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Resumed, "the same trust again");
    let more = trusting(&authority).with_roots([authority.trust(), other.trust()]);
    guest.store.publish(&more).expect("good material");
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full, "one more authority");
    guest.store.publish(&trusting(&other)).expect("good material");
    guest.refuses(hall.addr).await;
    hall.refusal().await;
}

/// A ticket vouches for a client as it was judged then.
pub async fn another_trust_in_clients_never_resumes(fixture: &dyn SecurityFixture) {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Another CA"));
    let identity = authority.issue(&Leaf::localhost()).identity();
    let policy = |auth, roots: &[&Authority]| {
        let roots: Vec<_> = roots.iter().map(|authority| authority.trust()).collect();
        crate::tls::Material::new().with_server_identity(identity.clone()).with_client_auth(auth, roots)
    };
    let mut hall = Hall::new(fixture, &policy(ClientAuth::Optional, &[&authority])).await;
    let shown = authority.issue(&Leaf::new().uri("spiffe://example.org/client"));
    let guest = Guest::new(fixture, &trusting(&authority).with_client_identity(shown.identity()));
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full);
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Resumed);
    hall.store.publish(&policy(ClientAuth::Optional, &[&authority, &other])).expect("good material");
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full, "one more authority");
    hall.store.publish(&policy(ClientAuth::Required, &[&authority, &other])).expect("good material");
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full, "a stricter policy");
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Resumed);
    // Whoever was let in by an authority that is no longer trusted stays out, ticket or not.
    hall.store.publish(&policy(ClientAuth::Required, &[&other])).expect("good material");
    guest.is_refused(hall.addr).await;
    hall.refusal().await;
}

/// Whoever shows another certificate is another client.
pub async fn another_client_identity_never_resumes(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &demanding(&authority)).await;
    let material = |path: &str| {
        let shown = authority.issue(&Leaf::new().uri(&format!("spiffe://example.org/{path}")));
        trusting(&authority).with_client_identity(shown.identity())
    };
    let guest = Guest::new(fixture, &material("one"));
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full);
    guest.store.publish(&material("two")).expect("good material");
    guest.visit(hall.addr).await.expect("a good visitor");
    let client = hall.visitor().await;
    assert_eq!(client.handshake, Handshake::Full);
    let identity = client.identity.expect("it was shown");
    assert_eq!(identity.spiffe_id.as_deref(), Some("spiffe://example.org/two"));
}

/// A renewal changes nobody's trust.
pub async fn a_renewed_certificate_keeps_resumption_alive(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let guest = Guest::new(fixture, &trusting(&authority));
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full);
    hall.store.publish(&serving(&authority)).expect("good material");
    assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Resumed);
}

/// rustls would resume with a server whose certificate ends meanwhile.
pub async fn a_server_about_to_expire_is_asked_afresh(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let leaf = Leaf::localhost().lasting(Duration::from_secs(50));
    let mut hall = Hall::new(fixture, &showing(&authority, &leaf)).await;
    let guest = Guest::new(fixture, &trusting(&authority));
    for _ in 0..2 {
        assert_eq!(next_visit(&mut hall, &guest).await, Handshake::Full);
    }
}

/// A foreign client that would send early data resumes, and is not allowed to.
pub async fn early_data_is_not_allowed_by_the_server(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let mut config = foreign_client(&authority, &[ALPN]);
    config.enable_early_data = true;
    for handshake in [Handshake::Full, Handshake::Resumed] {
        let allowed = fixture.foreign_client(hall.addr, config.clone()).await.expect("a good visitor");
        assert!(!allowed, "early data is allowed");
        assert_eq!(hall.visitor().await.handshake, handshake);
    }
}

/// A foreign server would take early data, and does from a foreign client; ours resumes and sends none.
pub async fn early_data_is_not_sent_by_the_client(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut config = foreign_server(&authority, &[ALPN]);
    // rustls takes early data only where it remembers sessions itself.
    config.session_storage = ServerSessionMemoryCache::new(64);
    // QUIC knows this value and zero (RFC 9001, section 4.6.1).
    config.max_early_data_size = u32::MAX;
    let server = fixture.foreign_server(config).await;

    let mut eager = foreign_client(&authority, &[ALPN]);
    eager.enable_early_data = true;
    // Not at its first visit, which brings the ticket, and perhaps not at the second, if the handshake is quicker than
    // its word.
    while !server.early_data.load(Ordering::SeqCst) {
        fixture.foreign_client(server.addr, eager.clone()).await.expect("a good server");
    }
    server.early_data.store(false, Ordering::SeqCst);

    let guest = Guest::new(fixture, &trusting(&authority));
    for handshake in [Handshake::Full, Handshake::Resumed, Handshake::Resumed] {
        assert_eq!(guest.visit(server.addr).await.expect("a good server").handshake, handshake);
    }
    assert!(!server.early_data.load(Ordering::SeqCst), "early data was sent");
}
