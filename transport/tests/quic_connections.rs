//! What is special about connections of QUIC: how many streams a client may open, what a resumption is, and how one ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sealstream_transport::quic::{FIRST_STREAMS, MAX_STREAMS, QuicTransport};
use sealstream_transport::testing::backends::{ALPN, World};
use sealstream_transport::testing::eventually;
use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{ClientAuth, Material, Receiver, Store};
use sealstream_transport::{
    Endpoint, Expectation, Handshake, HandshakeError, Inbound, Listener, OpenError, Outbound, Scheme, Server,
    Stream, StreamError, Transport, TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// A server and a client that trusts it.
struct Pair {
    listener: Box<dyn Listener>,
    client: QuicTransport,
    server: Server,
}

impl Pair {
    async fn new() -> Self {
        let world = World::new();
        Self::between(world.server(), world.client()).await
    }

    async fn between(serving: Receiver, dialling: Receiver) -> Self {
        let options = TransportOptions::new(ALPN, 9);
        let listener = QuicTransport::new(serving, options.clone())
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .unwrap();
        let server = Server {
            endpoint: Endpoint {
                scheme: Scheme::Quic,
                host: "127.0.0.1".to_owned(),
                port: listener.local_addr().port(),
            },
            expectation: Expectation::Name("localhost".to_owned()),
        };
        Self { listener, client: QuicTransport::new(dialling, options), server }
    }

    async fn connect(&self) -> (Box<dyn Outbound>, Box<dyn Inbound>) {
        let accept = async { self.listener.accept().await.unwrap().handshake().await.unwrap() };
        let (outbound, inbound) = tokio::join!(self.client.connect(&self.server), accept);
        (outbound.unwrap(), inbound)
    }
}

/// Both sides of a new stream, on which each has read what the other wrote.
async fn open(outbound: &dyn Outbound, inbound: &dyn Inbound) -> (Stream, Stream) {
    let mut here = outbound.open().await.unwrap();
    here.send.write_all(b"?").await.unwrap();
    let mut there = inbound.accept().await.unwrap();
    assert_eq!(there.recv.read_u8().await.unwrap(), b'?');
    there.send.write_all(b"!").await.unwrap();
    assert_eq!(here.recv.read_u8().await.unwrap(), b'!');
    (here, there)
}

#[tokio::test]
async fn a_second_connection_is_resumed_and_both_ends_say_so() {
    let pair = Pair::new().await;
    let (outbound, inbound) = pair.connect().await;
    assert_eq!(outbound.peer().handshake, Handshake::Full);
    assert_eq!(inbound.peer().handshake, Handshake::Full);
    assert!(outbound.peer().identity.is_some());
    open(&*outbound, &*inbound).await;

    let (outbound, inbound) = pair.connect().await;
    assert_eq!(outbound.peer().handshake, Handshake::Resumed);
    assert_eq!(inbound.peer().handshake, Handshake::Resumed);
    assert!(outbound.peer().identity.is_some(), "a ticket vouches for the identity");
    let negotiated = inbound.peer().negotiated.clone().unwrap();
    assert_eq!(negotiated.alpn, ALPN);
    assert!(negotiated.suite.starts_with("TLS_"));
    assert!(negotiated.group.is_some());
}

#[tokio::test]
async fn both_ends_export_the_same_keying_material_while_the_connection_lives() {
    let pair = Pair::new().await;
    let (outbound, inbound) = pair.connect().await;
    let (mut here, mut there, mut other) = ([0; 32], [0; 32], [0; 32]);
    outbound.peer().export_keying_material(&mut here, b"label", b"context").unwrap();
    inbound.peer().export_keying_material(&mut there, b"label", b"context").unwrap();
    inbound.peer().export_keying_material(&mut other, b"label", b"").unwrap();
    assert_eq!(here, there);
    assert_ne!(here, other);
    let peer = outbound.peer().clone();
    drop(outbound);
    assert!(peer.export_keying_material(&mut here, b"label", b"context").is_err());
}

#[tokio::test]
async fn a_client_may_open_more_streams_as_it_uses_them_and_never_more_than_the_most() {
    let pair = Pair::new().await;
    let (outbound, inbound) = pair.connect().await;
    let outbound: Arc<dyn Outbound> = outbound.into();
    let opened = |outbound: Arc<dyn Outbound>| async move {
        let mut stream = outbound.open().await.unwrap();
        stream.send.write_all(b"?").await.unwrap();
        stream
    };
    let mut open = Vec::new();
    for _ in 0..FIRST_STREAMS {
        open.push(opened(Arc::clone(&outbound)).await);
    }
    // Nobody has accepted one, so that there is no credit for another.
    let mut waiting = JoinSet::new();
    for _ in FIRST_STREAMS..=MAX_STREAMS {
        waiting.spawn(opened(Arc::clone(&outbound)));
    }
    let mut accepted = Vec::new();
    for _ in 0..MAX_STREAMS {
        accepted.push(inbound.accept().await.unwrap());
    }
    for _ in FIRST_STREAMS..MAX_STREAMS {
        open.push(waiting.join_next().await.unwrap().unwrap());
    }
    assert_eq!(waiting.len(), 1, "one more than the most");
    assert!(waiting.try_join_next().is_none());
    // It gets its turn when both ends are done with others: quinn announces credit by eighths of the bound.
    accepted.clear();
    open.clear();
    let _last = waiting.join_next().await.unwrap().unwrap();
    let mut there = inbound.accept().await.unwrap();
    assert_eq!(there.recv.read_u8().await.unwrap(), b'?');
}

#[tokio::test]
async fn the_code_of_an_abort_arrives_though_it_was_the_last_act_on_its_connection() {
    let pair = Pair::new().await;
    let (outbound, inbound) = pair.connect().await;
    let (here, mut there) = open(&*outbound, &*inbound).await;
    here.send.abort(7);
    drop((here.recv, outbound));
    for _ in 0..2 {
        let error = there.recv.read_u8().await.unwrap_err();
        assert_eq!(StreamError::of(&error), Some(&StreamError::Aborted { code: Some(7) }));
    }
}

#[tokio::test]
async fn a_client_whose_certificate_is_missing_is_told_so_for_good_although_its_handshake_succeeded() {
    let authority = Authority::new("CA");
    let serving = Material::new()
        .with_server_identity(authority.issue(&Leaf::localhost()).identity())
        .with_client_auth(ClientAuth::Required, [authority.trust()]);
    let serving = Store::new(&serving).unwrap();
    let dialling = Store::new(&Material::new().with_roots([authority.trust()])).unwrap();
    let pair = Pair::between(serving.receiver(), dialling.receiver()).await;
    let accept = async { pair.listener.accept().await.unwrap().handshake().await };
    let (outbound, inbound) = tokio::join!(pair.client.connect(&pair.server), accept);
    assert_eq!(inbound.unwrap_err(), HandshakeError::ClientCertificateRequired);
    // The client is done before the server has judged it.
    let outbound = outbound.unwrap();
    if let Ok(mut stream) = outbound.open().await {
        let error = stream.recv.read_u8().await.unwrap_err();
        assert!(matches!(StreamError::of(&error), Some(StreamError::Refused { .. })), "{error:?}");
    }
    match outbound.open().await.unwrap_err() {
        OpenError::Connect(error) => assert!(error.is_permanent(), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn closing_tells_the_peer_the_code_and_its_open_fails_at_once() {
    let pair = Pair::new().await;
    let (outbound, inbound) = pair.connect().await;
    let (mut here, _there) = open(&*outbound, &*inbound).await;
    inbound.close(42).await;
    let error = here.recv.read_u8().await.unwrap_err();
    let Some(StreamError::ConnectionLost { reason }) = StreamError::of(&error) else {
        panic!("{error:?}");
    };
    assert!(reason.contains("42"), "{reason}");
    assert!(outbound.open().await.unwrap_err().to_string().contains("42"));
}

#[tokio::test]
async fn a_closed_listener_turns_newcomers_away_and_releases_its_socket_with_the_last_connection() {
    let pair = Pair::new().await;
    let (outbound, inbound) = pair.connect().await;
    let addr = pair.listener.local_addr();
    pair.listener.close().await;
    assert!(pair.listener.accept().await.is_none());
    assert!(std::net::UdpSocket::bind(addr).is_err(), "the connection needs the socket");
    let refused = pair.client.connect(&pair.server).await.unwrap_err();
    assert!(!refused.is_permanent(), "{refused}");
    let streams = open(&*outbound, &*inbound).await;
    drop((streams, inbound));
    outbound.close(0).await;
    eventually("the socket is released", || std::net::UdpSocket::bind(addr).is_ok()).await;
}

#[tokio::test]
async fn a_dropped_listener_releases_its_socket() {
    let pair = Pair::new().await;
    let addr = pair.listener.local_addr();
    drop(pair.listener);
    eventually("the socket is released", || std::net::UdpSocket::bind(addr).is_ok()).await;
}

#[tokio::test]
async fn the_sockets_of_a_drained_client_are_released_and_a_later_connect_binds_anew() {
    let pair = Pair::new().await;
    let (outbound, inbound) = pair.connect().await;
    outbound.close(0).await;
    drop((outbound, inbound));
    pair.client.drained().await;
    let (outbound, inbound) = pair.connect().await;
    open(&*outbound, &*inbound).await;
}
