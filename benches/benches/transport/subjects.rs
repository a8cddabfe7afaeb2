//! The streams that are compared: three of ours, three bare ones.

use sealstream_benches::handshake::world::{ALPN, Case, World};
use sealstream_benches::stream::ends::{Carrier, Listening, dial, dial_ours};
use sealstream_benches::stream::subject::Subject;
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::options::TransportOptions;
use sealstream_transport::quic::QuicTransport;
use sealstream_transport::tcp::TcpTransport;
use sealstream_transport::tls::Store;
use sealstream_transport::{Scheme, Transport};
use tokio::task::JoinSet;

pub(crate) const MEMORY: &str = "sealstream in memory";
pub(crate) const TLS: &str = "sealstream TLS over TCP";
pub(crate) const QUIC: &str = "sealstream QUIC";

/// The bare ones, in the order of the columns.
pub(crate) const BARE: [Carrier; 3] = [Carrier::Tcp, Carrier::Tls, Carrier::Quic];

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
    let mut servers = JoinSet::new();
    let mut serve = async |transport: &dyn Transport| {
        let listening = Listening::ours(transport).await;
        let port = listening.port();
        servers.spawn(listening.run());
        port
    };
    let ports = [serve(&network).await, serve(&tcp.0).await, serve(&quic.0).await];
    let mut subjects = vec![
        dial_ours(MEMORY, network, Scheme::Tls, ports[0]).await,
        dial_ours(TLS, tcp.1, Scheme::Tls, ports[1]).await,
        dial_ours(QUIC, quic.1, Scheme::Quic, ports[2]).await,
    ];
    for bare in BARE {
        let listening = Listening::new(bare, world.bare_server().0).await;
        let port = listening.port();
        servers.spawn(listening.run());
        subjects.push(dial(bare, port, world.bare_client()).await);
    }
    (subjects, servers)
}
