//! What is special about QUIC: how many streams a client may open, what a resumption is, and which knobs hold.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use sealstream_transport::quic::{FIRST_STREAMS, MAX_STREAMS, QuicOptions, QuicTransport};
use sealstream_transport::tls::{IdentitySource, Material, Store, TrustSource};
use sealstream_transport::{
    Endpoint, Expectation, Handshake, Inbound, Listener, Outbound, Scheme, Server, Stream, Transport,
    TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const ALPN: &str = "test/1";

/// A server and a client that trusts it.
struct World {
    listener: Box<dyn Listener>,
    client: QuicTransport,
    server: Server,
}

impl World {
    async fn new(options: QuicOptions) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .unwrap();
        let identity =
            IdentitySource::der(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        let serving = Store::new(&Material::new().with_server_identity(identity)).unwrap();
        let trusting =
            Store::new(&Material::new().with_roots([TrustSource::Der(vec![root.der().clone()])])).unwrap();
        let options = TransportOptions { quic: options, ..TransportOptions::new(ALPN, 1) };
        let listener = QuicTransport::new(serving.receiver(), options.clone())
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
        Self { listener, client: QuicTransport::new(trusting.receiver(), options), server }
    }

    async fn connect(&self) -> (Box<dyn Outbound>, Box<dyn Inbound>) {
        let accept = async { self.listener.accept().await.unwrap().handshake().await.unwrap() };
        let (outbound, inbound) = tokio::join!(self.client.connect(&self.server), accept);
        (outbound.unwrap(), inbound)
    }
}

/// One byte there and back: the stream is known to both ends.
async fn greet(here: &mut Stream, there: &mut Stream) {
    here.send.write_all(b"?").await.unwrap();
    assert_eq!(there.recv.read_u8().await.unwrap(), b'?');
    there.send.write_all(b"!").await.unwrap();
    assert_eq!(here.recv.read_u8().await.unwrap(), b'!');
}

#[tokio::test]
async fn a_second_connection_is_resumed_and_both_ends_say_so() {
    let world = World::new(QuicOptions::default()).await;
    let (outbound, inbound) = world.connect().await;
    assert_eq!(outbound.peer().handshake, Handshake::Full);
    assert_eq!(inbound.peer().handshake, Handshake::Full);
    let mut here = outbound.open().await.unwrap();
    here.send.write_all(b"?").await.unwrap();
    let mut there = inbound.accept().await.unwrap();
    there.send.write_all(b"!").await.unwrap();
    assert_eq!(here.recv.read_u8().await.unwrap(), b'!');
    assert!(outbound.peer().identity.is_some());

    let (outbound, inbound) = world.connect().await;
    assert_eq!(outbound.peer().handshake, Handshake::Resumed);
    assert_eq!(inbound.peer().handshake, Handshake::Resumed);
    assert!(outbound.peer().identity.is_some(), "a ticket vouches for the identity");
    let negotiated = inbound.peer().negotiated.clone().unwrap();
    assert_eq!(negotiated.alpn, ALPN.as_bytes());
    assert!(negotiated.suite.starts_with("TLS_"));
    assert!(negotiated.group.is_some());
}

#[tokio::test]
async fn both_ends_export_the_same_keying_material_while_the_connection_lives() {
    let world = World::new(QuicOptions::default()).await;
    let (outbound, inbound) = world.connect().await;
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
    let world = World::new(QuicOptions::default()).await;
    let (outbound, inbound) = world.connect().await;
    let outbound: Arc<dyn Outbound> = outbound.into();
    let mut open = Vec::new();
    for _ in 0..FIRST_STREAMS {
        let mut stream = outbound.open().await.unwrap();
        stream.send.write_all(b"?").await.unwrap();
        open.push(stream);
    }
    // Nobody has accepted one, so that there is no credit for another.
    let mut waiting = JoinSet::new();
    for _ in FIRST_STREAMS..=MAX_STREAMS {
        let outbound = Arc::clone(&outbound);
        waiting.spawn(async move {
            let mut stream = outbound.open().await.unwrap();
            stream.send.write_all(b"?").await.unwrap();
            stream
        });
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
    let mut last = waiting.join_next().await.unwrap().unwrap();
    let mut there = inbound.accept().await.unwrap();
    assert_eq!(there.recv.read_u8().await.unwrap(), b'?');
    greet(&mut last, &mut there).await;
}

async fn megabyte_arrives(options: QuicOptions) {
    let world = World::new(options).await;
    let (outbound, inbound) = world.connect().await;
    let sent: Vec<u8> = (0..1 << 20_u32).map(|i: u32| i.to_le_bytes()[i as usize % 3]).collect();
    let copy = sent.clone();
    let writer = async move {
        let mut stream = outbound.open().await.unwrap();
        stream.send.write_all(&copy).await.unwrap();
        stream.send.shutdown().await.unwrap();
        drop((stream, outbound));
    };
    let reader = async {
        let mut stream = inbound.accept().await.unwrap();
        let mut received = Vec::new();
        stream.recv.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = tokio::join!(writer, reader);
    assert!(sent == received, "{} bytes arrived", received.len());
}

#[tokio::test]
async fn bytes_arrive_without_segmentation_offload() {
    megabyte_arrives(QuicOptions { gso: false, ..QuicOptions::default() }).await;
}

#[tokio::test]
async fn bytes_arrive_with_an_mtu_out_of_all_bounds() {
    megabyte_arrives(QuicOptions { initial_mtu: u16::MAX, max_mtu: u16::MAX, ..QuicOptions::default() })
        .await;
}

#[tokio::test]
async fn bytes_arrive_with_the_smallest_mtu() {
    megabyte_arrives(QuicOptions { initial_mtu: 0, max_mtu: 0, ..QuicOptions::default() }).await;
}

#[tokio::test]
async fn a_closed_listener_leaves_its_address_once_nobody_is_connected() {
    let world = World::new(QuicOptions::default()).await;
    let (outbound, inbound) = world.connect().await;
    let addr = world.listener.local_addr();
    world.listener.close().await;
    assert!(world.listener.accept().await.is_none());
    assert!(std::net::UdpSocket::bind(addr).is_err(), "the connection needs the socket");
    assert!(world.client.connect(&world.server).await.is_err(), "newcomers are turned away");
    let mut here = outbound.open().await.unwrap();
    here.send.write_all(b"?").await.unwrap();
    let mut there = inbound.accept().await.unwrap();
    assert_eq!(there.recv.read_u8().await.unwrap(), b'?');
    drop((here, there, inbound));
    outbound.close(0).await;
    let freed = async {
        while std::net::UdpSocket::bind(addr).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), freed).await.expect("the socket is released");
}
