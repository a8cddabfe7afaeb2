//! TLS over TCP under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustls::{ClientConfig, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::strangers;
use super::world::{World, localhost, options};
use crate::endpoint::Scheme;
use crate::expectation::Expectation;
use crate::options::TransportOptions;
use crate::tcp::TcpTransport;
use crate::testing::proxy::TcpProxy;
use crate::testing::security_suite::{Anything, ForeignServer, SecurityFixture, Sockets};
use crate::testing::stream_suite::{BreakablePath, Capabilities, StreamFixture};
use crate::tls::Receiver;
use crate::transport::{BoxFuture, Server, Transport};

/// What loopback holds for a reader that has stopped: the kernel's largest send buffer (4 MiB) and receive buffer (6 MiB
/// by default, 32 MiB where an administrator has raised it), and a few TLS records of ours.
const STALLED_BYTES: u64 = 40 * 1024 * 1024;

/// TLS over TCP on loopback.
#[derive(Debug)]
pub struct TcpFixture {
    world: World,
    client: Arc<dyn Transport>,
    server: Arc<dyn Transport>,
}

impl TcpFixture {
    /// With certificates of its own.
    pub fn new() -> Self {
        let world = World::new();
        let client = Arc::new(TcpTransport::new(world.client(), options()));
        let server = Arc::new(TcpTransport::new(world.server(), options()));
        Self { world, client, server }
    }

    /// Its certificates.
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl Default for TcpFixture {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamFixture for TcpFixture {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            carries_codes: false,
            tells_crash_from_abort: false,
            stops_writers: false,
            shares_connection: false,
            stalled_bytes: STALLED_BYTES,
        }
    }

    fn server(&self) -> Arc<dyn Transport> {
        self.server.clone()
    }

    fn client(&self) -> Arc<dyn Transport> {
        self.client.clone()
    }

    fn target(&self, addr: SocketAddr) -> Server {
        localhost(Scheme::Tls, addr)
    }

    fn breakable_path(&self, addr: SocketAddr) -> BoxFuture<'_, Box<dyn BreakablePath>> {
        Box::pin(async move {
            Box::new(TcpProxy::new(addr).await.expect("a free port")) as Box<dyn BreakablePath>
        })
    }
}

impl SecurityFixture for TcpFixture {
    fn transport(&self, tls: Receiver, options: TransportOptions) -> Arc<dyn Transport> {
        Arc::new(TcpTransport::new(tls, options))
    }

    fn target(&self, addr: SocketAddr, expectation: Expectation) -> Server {
        Server { expectation, ..localhost(Scheme::Tls, addr) }
    }

    fn sockets(&self) -> Sockets {
        Sockets::OneEach
    }

    fn foreign_client(&self, addr: SocketAddr, config: ClientConfig) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            let socket = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
            strangers::tls_client(socket, config).await.map_err(|error| error.to_string())
        })
    }

    fn foreign_server(&self, config: ServerConfig) -> BoxFuture<'_, ForeignServer> {
        Box::pin(async move {
            let (listener, addr) = listen().await;
            let (config, early_data) = (Arc::new(config), Arc::new(AtomicBool::new(false)));
            let (mut serving, early) = (JoinSet::new(), early_data.clone());
            serving.spawn(async move {
                let mut clients = JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    // How it ends is seen by the client.
                    clients.spawn(strangers::tls_server(socket, config.clone(), early.clone()));
                }
            });
            ForeignServer { addr, early_data, serving: Box::new(serving) }
        })
    }

    fn silent_peer(&self, addr: SocketAddr) -> BoxFuture<'_, Anything> {
        self.noise(addr, Vec::new())
    }

    fn silent_server(&self) -> BoxFuture<'_, (SocketAddr, Anything)> {
        Box::pin(async {
            let (listener, addr) = listen().await;
            (addr, Box::new(listener) as Anything)
        })
    }

    fn noise(&self, addr: SocketAddr, bytes: Vec<u8>) -> BoxFuture<'_, Anything> {
        Box::pin(async move {
            let mut socket = TcpStream::connect(addr).await.expect("a server that listens is reached");
            socket.write_all(&bytes).await.expect("there is room");
            Box::new(socket) as Anything
        })
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    (listener, addr)
}

impl BreakablePath for TcpProxy {
    fn entrance(&self) -> SocketAddr {
        self.entrance()
    }

    fn cut(&self) {
        self.cut();
    }
}
