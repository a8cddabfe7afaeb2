//! The streams that are compared: three of ours, three bare ones.

use std::net::{Ipv4Addr, SocketAddr};

use sealstream_benches::handshake::world::{ALPN, Case, World};
use sealstream_benches::stream::ends::{Bare, Listening, dial};
use sealstream_benches::stream::subject::{Client, Subject, serve};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::options::TransportOptions;
use sealstream_transport::quic::QuicTransport;
use sealstream_transport::tcp::TcpTransport;
use sealstream_transport::tls::Store;
use sealstream_transport::{Endpoint, Expectation, Scheme, Server, Transport};
use tokio::task::JoinSet;

pub(crate) const MEMORY: &str = "sealstream in memory";
pub(crate) const TLS: &str = "sealstream TLS over TCP";
pub(crate) const QUIC: &str = "sealstream QUIC";

/// The bare ones, in the order of the columns.
pub(crate) const BARE: [Bare; 3] = [Bare::Tcp, Bare::Tls, Bare::Quic];

/// One stream over each, connected and used, and what serves the bare ones.
pub(crate) async fn all() -> (Vec<Box<dyn Subject>>, JoinSet<()>) {
    let world = World::new(Case::usual(Scheme::Tls, true));
    let (serving, dialling) = (
        Store::new(&world.serving()).expect("good material"),
        Store::new(&world.dialling()).expect("good material"),
    );
    let options = || TransportOptions::new(ALPN, 9);
    let network = MemoryNetwork::new();
    let tcp =
        (TcpTransport::new(serving.receiver(), options()), TcpTransport::new(dialling.receiver(), options()));
    let quic = (
        QuicTransport::new(serving.receiver(), options()),
        QuicTransport::new(dialling.receiver(), options()),
    );
    let mut subjects = vec![
        ours(MEMORY, network.clone(), network, Scheme::Tls).await,
        ours(TLS, tcp.0, tcp.1, Scheme::Tls).await,
        ours(QUIC, quic.0, quic.1, Scheme::Quic).await,
    ];
    let mut servers = JoinSet::new();
    for bare in BARE {
        let listening = Listening::new(bare, world.bare_server().0).await;
        let port = listening.port();
        servers.spawn(listening.run());
        subjects.push(dial(bare, port, world.bare_client()).await);
    }
    (subjects, servers)
}

async fn ours(
    name: &'static str,
    server: impl Transport,
    client: impl Transport + 'static,
    scheme: Scheme,
) -> Box<dyn Subject> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = server.listen(anywhere).await.expect("a free port");
    let addr = listener.local_addr();
    let endpoint = Endpoint { scheme, host: addr.ip().to_string(), port: addr.port() };
    let target = Server { endpoint, expectation: Expectation::Name("localhost".into()) };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let incoming = listener.accept().await.expect("the listener is open");
        let inbound = incoming.handshake().await.expect("a handshake");
        let stream = inbound.accept().await.expect("a stream");
        // It ends with the client.
        let _ = serve(stream.recv, stream.send).await;
    });
    let outbound = client.connect(&target).await.expect("a connection");
    let stream = outbound.open().await.expect("a stream");
    Box::new(Client::new(name, stream.recv, stream.send, (tasks, outbound, client)))
}
