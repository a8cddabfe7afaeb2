//! The streams that are compared: three of ours, three bare ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::options::TransportOptions;
use sealstream_transport::quic::QuicTransport;
use sealstream_transport::tcp::TcpTransport;
use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{self, Material, Store};
use sealstream_transport::{Endpoint, Expectation, Scheme, Server, Transport};
use tokio::io::{AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::subject::{Client, Subject, serve};

pub(crate) const MEMORY: &str = "sealstream in memory";
pub(crate) const TLS: &str = "sealstream TLS over TCP";
pub(crate) const QUIC: &str = "sealstream QUIC";
pub(crate) const BARE_TCP: &str = "tokio TCP";
pub(crate) const BARE_TLS: &str = "tokio-rustls";
pub(crate) const BARE_QUIC: &str = "quinn";

const ALPN: &[u8] = b"sealstream-bench/1";

/// One stream over each, connected and used.
pub(crate) async fn all() -> Vec<Box<dyn Subject>> {
    let authority = Authority::new("Bench CA");
    let identity = authority.issue(&Leaf::localhost());
    let (serving, dialling) = (
        Store::new(&Material::new().with_server_identity(identity.identity())).expect("good material"),
        Store::new(&Material::new().with_roots([authority.trust()])).expect("good material"),
    );
    let options = || TransportOptions::new(ALPN, 9);
    let network = MemoryNetwork::new();
    let tcp =
        (TcpTransport::new(serving.receiver(), options()), TcpTransport::new(dialling.receiver(), options()));
    let quic = (
        QuicTransport::new(serving.receiver(), options()),
        QuicTransport::new(dialling.receiver(), options()),
    );
    let (server, client) = bare_configs(&authority, &identity);
    vec![
        ours(MEMORY, network.clone(), network, Scheme::Tls).await,
        ours(TLS, tcp.0, tcp.1, Scheme::Tls).await,
        ours(QUIC, quic.0, quic.1, Scheme::Quic).await,
        bare_tcp().await,
        bare_tls(server.clone(), client.clone()).await,
        bare_quic(server, client).await,
    ]
}

async fn ours(
    name: &'static str,
    server: impl Transport,
    client: impl Transport + 'static,
    scheme: Scheme,
) -> Box<dyn Subject> {
    let listener = server.listen(anywhere()).await.expect("a free port");
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

async fn bare_tcp() -> Box<dyn Subject> {
    let (client, server) = sockets().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (recv, send) = server.into_split();
        serve(recv, send).await
    });
    let (recv, send) = client.into_split();
    Box::new(Client::new(BARE_TCP, recv, send, tasks))
}

async fn bare_tls(server_config: ServerConfig, client_config: ClientConfig) -> Box<dyn Subject> {
    let (client, server) = sockets().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let stream = TlsAcceptor::from(Arc::new(server_config)).accept(server).await?;
        let (recv, send) = split(stream);
        serve(recv, send).await
    });
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(client_config));
    let stream = connector.connect(name, client).await.expect("a handshake");
    let (recv, send) = split(stream);
    Box::new(Client::new(BARE_TLS, recv, send, tasks))
}

/// quinn as it comes: its default transport configuration on both ends.
async fn bare_quic(server_config: ServerConfig, client_config: ClientConfig) -> Box<dyn Subject> {
    let crypto = QuicServerConfig::try_from(server_config).expect("TLS 1.3");
    let server = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(crypto)), anywhere())
        .expect("a free port");
    let addr = server.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let connection = server.accept().await.expect("a client").await.expect("a handshake");
        let (send, recv) = connection.accept_bi().await.expect("a stream");
        serve(recv, send).await
    });
    let crypto = QuicClientConfig::try_from(client_config).expect("TLS 1.3");
    let mut endpoint = quinn::Endpoint::client(anywhere()).expect("a free port");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let connection = endpoint.connect(addr, "localhost").expect("an address").await.expect("a handshake");
    let (mut send, recv) = connection.open_bi().await.expect("a stream");
    send.flush().await.expect("a stream");
    Box::new(Client::new(BARE_QUIC, recv, send, (tasks, connection, endpoint)))
}

/// The same suites and the same certificate as ours.
fn bare_configs(
    authority: &Authority,
    identity: &sealstream_transport::testing::pki::Issued,
) -> (ServerConfig, ClientConfig) {
    let mut server = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key_der())
        .expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).expect("a root");
    let mut client = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.alpn_protocols = vec![ALPN.to_vec()];
    client.alpn_protocols = vec![ALPN.to_vec()];
    (server, client)
}

/// Both ends of a TCP connection, without delay, as ours are.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(anywhere()).await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let (client, server) = tokio::join!(TcpStream::connect(addr), listener.accept());
    let (client, (server, _)) = (client.expect("a connection"), server.expect("a connection"));
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("an option of TCP");
    }
    (client, server)
}

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
