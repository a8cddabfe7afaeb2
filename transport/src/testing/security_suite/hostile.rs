//! Peers that mean no good, and machines that say no.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::fixture::{SecurityFixture, Sockets};
use super::hall::{Guest, Hall, name, serving, trusting};
use crate::error::{ConnectError, HandshakeError, ListenError};
use crate::options::{Deadlines, TransportOptions};
use crate::testing::backends::options;
use crate::testing::pki::Authority;
use crate::tls::{Material, Store};

/// Long enough for a good handshake on a busy machine, short enough to wait for.
const HASTY: Duration = Duration::from_secs(5);

/// Peers that say nothing at once: more than handshakes that may run in parallel anywhere.
const SILENT: usize = 40;

fn hasty() -> TransportOptions {
    let deadlines = Deadlines { handshake: HASTY, connect: HASTY, ..Deadlines::default() };
    TransportOptions { deadlines, ..options() }
}

/// They connect first, and a good client is served before any of them is given up.
pub async fn silent_peers_delay_nobody_and_are_dropped_at_the_deadline(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::with(fixture, &serving(&authority), hasty()).await;
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(fixture.silent_peer(hall.addr).await);
    }
    let guest = Guest::new(fixture, &trusting(&authority));
    guest.visit(hall.addr).await.expect("nobody stands in the way");
    // The good one may be met anywhere among them, but each silent one is met, and at the deadline.
    let (mut served, mut dropped) = (0, 0);
    while served + dropped < SILENT + 1 {
        match hall.outcome().await {
            Ok(_) => served += 1,
            Err(HandshakeError::TimedOut { after }) => {
                assert_eq!(after, HASTY);
                dropped += 1;
            }
            Err(other) => panic!("not a deadline: {other:?}"),
        }
    }
    assert_eq!((served, dropped), (1, SILENT));
    hall.serves(&guest).await;
}

/// And the error tells how long it was.
pub async fn a_silent_server_holds_a_client_until_the_deadline_only(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let (addr, _server) = fixture.silent_server().await;
    let guest = Guest::with(fixture, &trusting(&authority), hasty());
    let error = match guest.visit(addr).await {
        Err(super::hall::Rebuff::Connect(error)) => error,
        other => panic!("nobody answered, and yet {other:?}"),
    };
    assert!(!error.is_permanent(), "it may be back: {error}");
    match error {
        ConnectError::Handshake { source: HandshakeError::TimedOut { after }, .. }
        | ConnectError::TimedOut { after, .. } => assert_eq!(after, HASTY),
        other => panic!("not a deadline: {other:?}"),
    }
}

/// Text, zeros, a TLS record that lies about its length, a handshake message that does.
pub async fn noise_instead_of_a_handshake_harms_nobody(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::with(fixture, &serving(&authority), hasty()).await;
    let guest = Guest::new(fixture, &trusting(&authority));
    let noises: [Vec<u8>; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        [&[22, 3, 1, 0xff, 0xff][..], &[1; 2000]].concat(),
        [&[22, 3, 1, 0x3e, 0x84, 1, 0xff, 0xff, 0xff][..], &[3; 16_000]].concat(),
        (0..=255).cycle().take(1200).collect(),
    ];
    let mut peers = Vec::new();
    for noise in noises {
        peers.push(fixture.noise(hall.addr, noise).await);
    }
    guest.visit(hall.addr).await.expect("the next one is served");
    // What is no handshake at all may not even be reported; what is reported is a failure.
    while hall.outcome().await.is_err() {}
    drop(peers);
    guest.visit(hall.addr).await.expect("the next one is served");
}

/// Before anybody can connect in vain.
pub async fn a_listener_without_a_certificate_says_so(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let store = Store::new(&trusting(&authority)).expect("good material");
    let transport = fixture.transport(store.receiver(), options());
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let error = transport.listen(addr).await.expect_err("nothing to show");
    assert!(matches!(error, ListenError::NoIdentity { .. }), "{error:?}");
    // Nor is there anybody to trust in for a client without roots: it says so before it dials.
    let store = Store::new(&Material::new()).expect("good material");
    let transport = fixture.transport(store.receiver(), options());
    let target = fixture.target((Ipv4Addr::LOCALHOST, 9).into(), name("localhost"));
    let error = transport.connect(&target).await.expect_err("nobody to trust");
    assert!(matches!(error, ConnectError::Configuration(_)), "{error:?}");
    assert!(error.is_permanent());
}

/// Where a process without privileges may not bind a low port; elsewhere there is nothing to be denied.
pub async fn a_privileged_address_says_so(fixture: &dyn SecurityFixture) {
    let low = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let denied =
        TcpListener::bind(low).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    let authority = Authority::new("Test CA");
    let store = Store::new(&serving(&authority)).expect("good material");
    let transport = fixture.transport(store.receiver(), options());
    let outcome = transport.listen(low).await;
    if denied && fixture.sockets() != Sockets::None {
        let error = outcome.expect_err("denied");
        assert!(matches!(error, ListenError::PermissionDenied { addr } if addr == low), "{error:?}");
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
