//! What QUIC puts on the wire: how large its datagrams are, that nothing goes before the handshake, and how much either end may
//! be ahead of the other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::RootCertStore;
use sealstream_transport::quic::{
    DEFAULT_IDLE_TIMEOUT, FIRST_STREAMS, MAX_MTU, MIN_MTU, QuicOptions, QuicTransport, STREAM_WINDOW,
    WIDE_STREAM_WINDOW,
};
use sealstream_transport::testing::backends::{ALPN, World};
use sealstream_transport::testing::proxy::UdpProxy;
use sealstream_transport::testing::{Pattern, eventually};
use sealstream_transport::tls::provider;
use sealstream_transport::{
    Endpoint, Expectation, Handshake, Inbound, Listener, Outbound, Scheme, Server, Stream, Transport,
    TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

const MEGABYTE: u64 = 1 << 20;

/// The defaults but for this change.
fn quic(change: impl FnOnce(&mut QuicOptions)) -> QuicOptions {
    let mut options = QuicOptions::default();
    change(&mut options);
    options
}

fn transport_options(quic: QuicOptions) -> TransportOptions {
    let mut options = TransportOptions::new(ALPN, 9);
    options.quic = quic;
    options
}

/// The server that is reached through this port.
fn behind(port: u16) -> Server {
    let endpoint = Endpoint { scheme: Scheme::Quic, host: "127.0.0.1".to_owned(), port };
    Server { endpoint, expectation: Expectation::Name("localhost".to_owned()) }
}

async fn listen(world: &World, options: QuicOptions) -> Box<dyn Listener> {
    let options = transport_options(options);
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    QuicTransport::new(world.server(), options).listen(anywhere).await.unwrap()
}

/// Sends a megabyte each way over a path that measures, and returns the largest datagram.
async fn largest_datagram(options: QuicOptions) -> usize {
    largest_datagram_over(options, |_| {}).await
}

async fn largest_datagram_over(options: QuicOptions, prepare: impl FnOnce(&UdpProxy)) -> usize {
    let world = World::new();
    let listener = listen(&world, options).await;
    let path = UdpProxy::new(listener.local_addr()).await.unwrap();
    prepare(&path);
    let options = transport_options(options);
    let client = QuicTransport::new(world.client(), options);
    let server = behind(path.entrance().port());
    let serve = async {
        let inbound = listener.accept().await.unwrap().handshake().await.unwrap();
        let mut stream = inbound.accept().await.unwrap();
        Pattern::new(1).read_to_end(&mut stream.recv).await.unwrap();
        Pattern::new(2).write(&mut stream.send, MEGABYTE).await.unwrap();
        stream.send.shutdown().await.unwrap();
    };
    let ask = async {
        let outbound = client.connect(&server).await.unwrap();
        let mut stream = outbound.open().await.unwrap();
        Pattern::new(1).write(&mut stream.send, MEGABYTE).await.unwrap();
        stream.send.shutdown().await.unwrap();
        Pattern::new(2).read_to_end(&mut stream.recv).await.unwrap();
    };
    tokio::join!(serve, ask);
    path.largest()
}

#[tokio::test]
async fn loopback_is_used_to_the_full() {
    assert_eq!(largest_datagram(QuicOptions::default()).await, usize::from(MAX_MTU));
}

/// As behind a container's port that is published on loopback.
#[tokio::test]
async fn a_path_that_is_narrower_than_its_first_link_is_survived() {
    let carry = largest_datagram_over(QuicOptions::default(), |path| path.narrow(1_400));
    let largest = timeout(DEFAULT_IDLE_TIMEOUT / 2, carry).await.expect("the path is found out in time");
    assert!(largest <= 1_400, "{largest}");
}

#[tokio::test]
async fn no_datagram_exceeds_what_segmentation_can_carry_whatever_is_asked_for() {
    let wild = quic(|options| (options.initial_mtu, options.max_mtu) = (u16::MAX, u16::MAX));
    assert_eq!(largest_datagram(wild).await, usize::from(MAX_MTU));
}

#[tokio::test]
async fn no_datagram_exceeds_the_mtu_allowed() {
    let narrow = quic(|options| options.max_mtu = 1_300);
    let largest = largest_datagram(narrow).await;
    assert!(largest > usize::from(MIN_MTU) && largest <= 1_300, "{largest}");
    let least = quic(|options| (options.initial_mtu, options.max_mtu) = (0, 0));
    assert_eq!(largest_datagram(least).await, usize::from(MIN_MTU));
}

#[tokio::test]
async fn bytes_arrive_without_segmentation_offload() {
    let largest = largest_datagram(quic(|options| options.gso = false)).await;
    assert!(largest <= usize::from(MAX_MTU), "{largest}");
}

/// A foreign client that would send early data if any ticket allowed it, and lets a stream have 8 MiB unread.
fn eager_client(world: &World) -> quinn::Endpoint {
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.certificate().clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_early_data = true;
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let mut client = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window((8_u32 << 20).into());
    config.transport_config(Arc::new(transport));
    client.set_default_client_config(config);
    client
}

#[tokio::test]
async fn no_ticket_of_ours_allows_early_data_though_it_resumes() {
    let world = World::new();
    let listener = listen(&world, QuicOptions::default()).await;
    let client = eager_client(&world);
    let dial = || client.connect(listener.local_addr(), "localhost").unwrap();
    let accept = async || listener.accept().await.unwrap().handshake().await.unwrap();
    let (connection, _inbound) = tokio::join!(dial(), accept());
    let connection = connection.unwrap();
    eventually("the tickets arrive", || connection.stats().frame_rx.crypto >= 3).await;

    let Err(connecting) = dial().into_0rtt() else { panic!("the client would send early data") };
    let (connection, inbound) = tokio::join!(connecting, accept());
    connection.unwrap();
    assert_eq!(inbound.peer().handshake, Handshake::Resumed);
}

#[tokio::test]
async fn a_restarted_server_resets_the_connections_of_the_one_before() {
    let world = World::new();
    let first = listen(&world, QuicOptions::default()).await;
    let path = UdpProxy::new(first.local_addr()).await.unwrap();
    let client = QuicTransport::new(world.client(), TransportOptions::new(ALPN, 9));
    let server = behind(path.entrance().port());
    let accept = async { first.accept().await.unwrap().handshake().await.unwrap() };
    let (_inbound, outbound) = tokio::join!(accept, client.connect(&server));
    let mut stream = outbound.unwrap().open().await.unwrap();
    stream.send.write_all(b"before").await.unwrap();
    // Of the same secret; the first says nothing more, as if its process had been killed.
    let second = listen(&world, QuicOptions::default()).await;
    path.redirect(second.local_addr());
    let noticed = async {
        while stream.send.write_all(b"after").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEFAULT_IDLE_TIMEOUT / 2, noticed)
        .await
        .expect("the connection is reset long before its idle timeout");
}

/// Writes until there is no more room, and returns how much that was.
async fn fill(stream: &mut Stream) -> usize {
    let mut written = 0;
    let chunk = vec![7; 64 * 1024];
    while let Ok(taken) = timeout(Duration::from_millis(200), stream.send.write(&chunk)).await {
        written += taken.unwrap();
    }
    written
}

/// A connection of a client of ours, and the server's end of it.
async fn connection(world: &World, listener: &dyn Listener) -> (Box<dyn Outbound>, Box<dyn Inbound>) {
    let client = QuicTransport::new(world.client(), TransportOptions::new(ALPN, 9));
    let server = behind(listener.local_addr().port());
    let accept = async { listener.accept().await.unwrap().handshake().await.unwrap() };
    let (inbound, outbound) = tokio::join!(accept, client.connect(&server));
    (outbound.unwrap(), inbound)
}

/// A stream that the client has said hello on, and the server's end of it, which has read that.
async fn greeted(outbound: &dyn Outbound, inbound: &dyn Inbound) -> (Stream, Stream) {
    let mut ours = outbound.open().await.unwrap();
    ours.send.write_all(b"hello").await.unwrap();
    let mut theirs = inbound.accept().await.unwrap();
    theirs.recv.read_exact(&mut [0; 5]).await.unwrap();
    (ours, theirs)
}

#[tokio::test]
async fn what_clients_do_not_acknowledge_is_bounded_for_each_and_in_all() {
    const FIRST: usize = 512 * 1024;
    let world = World::new();
    let options = quic(|options| options.send_budget = 3 * FIRST as u64);
    let listener = listen(&world, options).await;
    let path = UdpProxy::new(listener.local_addr()).await.unwrap();
    // Foreign clients: ours would let a stream have 1 MiB unread.
    let client = eager_client(&world);
    let (mut served, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let dial = client.connect(path.entrance(), "localhost").unwrap();
        let accept = async { listener.accept().await.unwrap().handshake().await.unwrap() };
        let (connection, inbound) = tokio::join!(dial, accept);
        let connection = connection.unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(b"hello").await.unwrap();
        let stream = inbound.accept().await.unwrap();
        served.push((inbound, stream));
        clients.push((connection, send, recv));
    }
    path.cut();

    assert_eq!(fill(&mut served[0].1).await, 4 * FIRST, "its own, and the whole budget");
    assert_eq!(fill(&mut served[1].1).await, FIRST, "its own: the budget is spent");
    let (_inbound, first) = served.remove(0);
    first.send.abort(1);
    assert_eq!(fill(&mut served[0].1).await, 3 * FIRST, "what the first had is free again");
}

#[tokio::test]
async fn a_client_that_does_not_read_takes_no_more_of_what_clients_share_than_it_could_fill() {
    const FIRST: usize = 512 * 1024;
    let world = World::new();
    let options = quic(|options| options.send_budget = 2 * FIRST as u64);
    let listener = listen(&world, options).await;
    let (outbound, inbound) = connection(&world, &*listener).await;
    let (_unread, mut stuck) = greeted(&*outbound, &*inbound).await;
    let written = fill(&mut stuck).await;
    assert!(is_all_of(WIDE_STREAM_WINDOW, written), "{written}: what a client of ours has unread");

    let path = UdpProxy::new(listener.local_addr()).await.unwrap();
    let foreign = eager_client(&world);
    let dial = foreign.connect(path.entrance(), "localhost").unwrap();
    let accept = async { listener.accept().await.unwrap().handshake().await.unwrap() };
    let (connection, inbound) = tokio::join!(dial, accept);
    let (mut send, _recv) = connection.unwrap().open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    let mut stream = inbound.accept().await.unwrap();
    path.cut();
    let written = fill(&mut stream).await;
    assert!(written >= 2 * FIRST, "{written}: a part of the budget is there for it");
}

/// A reader grants anew what it has read once that is an eighth of the window.
fn is_all_of(window: u32, written: usize) -> bool {
    let window = window as usize;
    (window / 8 * 7..=window).contains(&written)
}

#[tokio::test]
async fn windows_are_wide_for_as_many_connections_as_the_budget_has_room_for() {
    let world = World::new();
    let room = u64::from(FIRST_STREAMS * (WIDE_STREAM_WINDOW - STREAM_WINDOW));
    let listener = listen(&world, quic(|options| options.receive_budget = 2 * room - 1)).await;
    let (outbound, inbound) = connection(&world, &*listener).await;
    let (mut ours, theirs) = greeted(&*outbound, &*inbound).await;
    let written = fill(&mut ours).await;
    assert!(is_all_of(WIDE_STREAM_WINDOW, written), "{written}: the first is wide");
    let (other_outbound, other_inbound) = connection(&world, &*listener).await;
    let (mut narrow, _unread) = greeted(&*other_outbound, &*other_inbound).await;
    let written = fill(&mut narrow).await;
    assert!(is_all_of(STREAM_WINDOW, written), "{written}: the budget is spent");

    drop((ours, theirs, outbound, inbound));
    let (outbound, inbound) = connection(&world, &*listener).await;
    let (mut ours, _unread) = greeted(&*outbound, &*inbound).await;
    let written = fill(&mut ours).await;
    assert!(is_all_of(WIDE_STREAM_WINDOW, written), "{written}: what the first had is free again");
}

/// Of a narrow connection, of one that may have more streams than it has room for, and of one with room for all.
#[tokio::test]
async fn streams_that_are_not_read_do_not_stall_another_of_their_connection() {
    let room = u64::from(FIRST_STREAMS * (WIDE_STREAM_WINDOW - STREAM_WINDOW));
    for budget in [0, room, 2 * room] {
        let world = World::new();
        let listener = listen(&world, quic(|options| options.receive_budget = budget)).await;
        let (outbound, inbound) = connection(&world, &*listener).await;
        let mut streams = Vec::new();
        for _ in 0..FIRST_STREAMS - 1 {
            streams.push(greeted(&*outbound, &*inbound).await);
        }
        // The first has carried much before nobody reads it any more.
        let (ours, theirs) = &mut streams[0];
        let carried = vec![1; 3 * WIDE_STREAM_WINDOW as usize];
        let mut arrived = vec![0; carried.len()];
        let (sent, read) = tokio::join!(ours.send.write_all(&carried), theirs.recv.read_exact(&mut arrived));
        sent.unwrap();
        read.unwrap();

        let window = if budget == 0 { STREAM_WINDOW } else { WIDE_STREAM_WINDOW };
        let filled: JoinSet<_> = streams
            .into_iter()
            .map(async |(mut ours, theirs)| (fill(&mut ours).await, ours, theirs))
            .collect();
        let stalled = filled.join_all().await;
        for (written, ..) in &stalled {
            assert!(is_all_of(window, *written), "{written} with a budget of {budget}");
        }
        let greeted = timeout(Duration::from_secs(5), greeted(&*outbound, &*inbound)).await;
        greeted.unwrap_or_else(|_| panic!("with a budget of {budget} the last stream is stalled"));
    }
}
