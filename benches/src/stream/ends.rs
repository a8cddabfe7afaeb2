//! The two ends of a stream: tokio TCP, tokio-rustls and quinn, as anybody would write them.
//!
//! ```text
//! Listening::run ──► accept ──► serve (swallow, echo), for each connection
//! dial ────────────► connect ──► Client, a Subject
//! ```
//!
//! Both may be in one process, or each in its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use sealstream_transport::{Expectation, Listener, Scheme, Server, Transport};
use tokio::io::{AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::subject::{Client, Subject, serve};
use crate::handshake::world::NAME;

/// What carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Nothing is sealed.
    Tcp,
    /// TLS 1.3 over TCP.
    Tls,
    /// quinn as it comes: its default transport configuration on both ends.
    Quic,
    /// quinn at its best over loopback: datagrams of 6,500 bytes, and windows that are never full.
    QuicTuned,
    /// Our transport, as it comes.
    Ours(Scheme),
}

/// The datagrams of a tuned quinn: ten of them fill the 64 KiB that the kernel takes in one call.
const LARGE_MTU: u16 = 6_500;

/// The windows of a tuned quinn: larger ones gained nothing.
const LARGE_WINDOW: u32 = 8 << 20;

impl Carrier {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Tcp,
        Self::Tls,
        Self::Quic,
        Self::QuicTuned,
        Self::Ours(Scheme::Tls),
        Self::Ours(Scheme::Quic),
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tokio TCP",
            Self::Tls => "tokio-rustls",
            Self::Quic => "quinn",
            Self::QuicTuned => "quinn, tuned",
            Self::Ours(Scheme::Quic) => "Sealstream's transport, quic",
            Self::Ours(_) => "Sealstream's transport, tls",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|carrier| carrier.name() == name)
    }

    /// What its certificates and tickets are for.
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Tcp | Self::Tls => Scheme::Tls,
            Self::Quic | Self::QuicTuned => Scheme::Quic,
            Self::Ours(scheme) => scheme,
        }
    }

    fn transport(self) -> Arc<TransportConfig> {
        let mut config = TransportConfig::default();
        // A stream waits for its turn among a hundred others, which is longer than quinn's 30 s.
        config.max_idle_timeout(None);
        if self == Self::QuicTuned {
            let mut discovery = MtuDiscoveryConfig::default();
            discovery.upper_bound(LARGE_MTU);
            config
                .initial_mtu(LARGE_MTU)
                .mtu_discovery_config(Some(discovery))
                .stream_receive_window(VarInt::from_u32(LARGE_WINDOW))
                .receive_window(VarInt::from_u32(LARGE_WINDOW))
                .send_window(LARGE_WINDOW.into());
        }
        Arc::new(config)
    }

    /// Says to the peer how large a datagram may be.
    fn endpoint(self) -> quinn::EndpointConfig {
        let mut config = quinn::EndpointConfig::default();
        if self == Self::QuicTuned {
            config.max_udp_payload_size(LARGE_MTU).expect("a size in bounds");
        }
        config
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Listening {
    port: u16,
    acceptor: Acceptor,
}

enum Acceptor {
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
    Quic(Endpoint),
    Ours(Box<dyn Listener>),
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Listening {
    /// Listens on loopback, for one of the bare ones.
    pub async fn new(bare: Carrier, config: ServerConfig) -> Self {
        let acceptor = match bare {
            Carrier::Tcp => Acceptor::Tcp(TcpListener::bind(anywhere()).await.expect("a free port")),
            Carrier::Tls => {
                let listener = TcpListener::bind(anywhere()).await.expect("a free port");
                Acceptor::Tls(listener, TlsAcceptor::from(Arc::new(config)))
            }
            _ => {
                let crypto = QuicServerConfig::try_from(config).expect("TLS 1.3");
                let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
                config.transport_config(bare.transport());
                Acceptor::Quic(endpoint(bare, Some(config)))
            }
        };
        let addr = match &acceptor {
            Acceptor::Tcp(listener) | Acceptor::Tls(listener, _) => listener.local_addr(),
            Acceptor::Quic(endpoint) => endpoint.local_addr(),
            Acceptor::Ours(listener) => Ok(listener.local_addr()),
        };
        Self { port: addr.expect("an address").port(), acceptor }
    }

    /// The same for a transport of ours.
    pub async fn ours(transport: &dyn Transport) -> Self {
        let listener = transport.listen(anywhere()).await.expect("a free port");
        Self { port: listener.local_addr().port(), acceptor: Acceptor::Ours(listener) }
    }

    /// Where.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Serves whoever comes, until it is dropped.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        match self.acceptor {
            Acceptor::Tcp(listener) => loop {
                let (recv, send) = accept(&listener).await.into_split();
                // It ends with its client.
                tasks.spawn(async move { drop(serve(recv, send).await) });
            },
            Acceptor::Tls(listener, tls) => loop {
                let handshake = tls.accept(accept(&listener).await);
                tasks.spawn(async move {
                    let (recv, send) = split(handshake.await.expect("a handshake"));
                    drop(serve(recv, send).await);
                });
            },
            Acceptor::Quic(endpoint) => loop {
                let incoming = endpoint.accept().await.expect("the endpoint is open");
                tasks.spawn(async move {
                    let connection = incoming.await.expect("a handshake");
                    let (send, recv) = connection.accept_bi().await.expect("a stream");
                    drop(serve(recv, send).await);
                });
            },
            Acceptor::Ours(listener) => loop {
                let incoming = listener.accept().await.expect("the listener is open");
                tasks.spawn(async move {
                    let inbound = incoming.handshake().await.expect("a handshake");
                    let stream = inbound.accept().await.expect("a stream");
                    drop(serve(stream.recv, stream.send).await);
                });
            },
        }
    }
}

/// Connects to a server on this machine, as one of the bare ones.
pub async fn dial(bare: Carrier, port: u16, config: ClientConfig) -> Box<dyn Subject> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match bare {
        Carrier::Tcp => {
            let (recv, send) = connect(addr).await.into_split();
            Box::new(Client::new(bare.name(), recv, send, ()))
        }
        Carrier::Tls => {
            let name = ServerName::try_from(NAME).expect("a name");
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(name, connect(addr).await).await.expect("a handshake");
            let (recv, send) = split(stream);
            Box::new(Client::new(bare.name(), recv, send, ()))
        }
        _ => {
            let crypto = QuicClientConfig::try_from(config).expect("TLS 1.3");
            let mut config = quinn::ClientConfig::new(Arc::new(crypto));
            config.transport_config(bare.transport());
            let endpoint = endpoint(bare, None);
            let connecting = endpoint.connect_with(config, addr, NAME).expect("an address");
            let connection = connecting.await.expect("a handshake");
            let (mut send, recv) = connection.open_bi().await.expect("a stream");
            send.flush().await.expect("a stream");
            Box::new(Client::new(bare.name(), recv, send, (connection, endpoint)))
        }
    }
}

/// Connects to a server on this machine by a transport of ours.
pub async fn dial_ours(
    name: &'static str,
    transport: impl Transport + 'static,
    scheme: Scheme,
    port: u16,
) -> Box<dyn Subject> {
    let endpoint = sealstream_transport::Endpoint { scheme, host: Ipv4Addr::LOCALHOST.to_string(), port };
    let server = Server { endpoint, expectation: Expectation::Name(NAME.to_owned()) };
    let outbound = transport.connect(&server).await.expect("a connection");
    let stream = outbound.open().await.expect("a stream");
    Box::new(Client::new(name, stream.recv, stream.send, (outbound, transport)))
}

fn endpoint(bare: Carrier, server: Option<quinn::ServerConfig>) -> Endpoint {
    let socket = std::net::UdpSocket::bind(anywhere()).expect("a free port");
    let runtime = quinn::default_runtime().expect("tokio");
    Endpoint::new(bare.endpoint(), server, socket, runtime).expect("an endpoint")
}

/// The next connection, without delay, as ours are.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().await.expect("a connection");
    socket.set_nodelay(true).expect("an option of TCP");
    socket
}

async fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).await.expect("a connection");
    socket.set_nodelay(true).expect("an option of TCP");
    socket
}

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
