//! QUIC under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::strangers;
use super::world::{World, localhost, options};
use crate::endpoint::Scheme;
use crate::expectation::Expectation;
use crate::options::TransportOptions;
use crate::quic::{MIN_MTU, QuicOptions, QuicTransport, WIDE_STREAM_WINDOW};
use crate::testing::proxy::UdpProxy;
use crate::testing::security_suite::{Anything, ForeignServer, SecurityFixture, Sockets};
use crate::testing::stream_suite::{BreakablePath, Capabilities, StreamFixture};
use crate::tls::Receiver;
use crate::transport::{BoxFuture, Server, Transport};

/// Silence after which a connection is lost: what the members about crashes have to wait for, and long enough for a
/// machine that is busy with everything else.
const IDLE: Duration = Duration::from_secs(8);

/// A probe each second: seven may be late before the connection is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// QUIC on loopback.
#[derive(Debug)]
pub struct QuicFixture {
    world: World,
    client: Arc<dyn Transport>,
    server: Arc<dyn Transport>,
}

impl QuicFixture {
    /// With certificates of its own.
    pub fn new() -> Self {
        let world = World::new();
        let quic = QuicOptions { idle_timeout: IDLE, ..QuicOptions::default() };
        let options = TransportOptions { keep_alive: Some(KEEP_ALIVE), quic, ..options() };
        let client = Arc::new(QuicTransport::new(world.client(), options.clone()));
        let server = Arc::new(QuicTransport::new(world.server(), options));
        Self { world, client, server }
    }

    /// Its certificates.
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl Default for QuicFixture {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamFixture for QuicFixture {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            carries_codes: true,
            tells_crash_from_abort: true,
            stops_writers: true,
            shares_connection: true,
            // A writer is rid of what the reader has granted, and of nothing else.
            stalled_bytes: WIDE_STREAM_WINDOW.into(),
        }
    }

    fn server(&self) -> Arc<dyn Transport> {
        self.server.clone()
    }

    fn client(&self) -> Arc<dyn Transport> {
        self.client.clone()
    }

    fn target(&self, addr: SocketAddr) -> Server {
        localhost(Scheme::Quic, addr)
    }

    fn breakable_path(&self, addr: SocketAddr) -> BoxFuture<'_, Box<dyn BreakablePath>> {
        Box::pin(async move {
            Box::new(UdpProxy::new(addr).await.expect("a free port")) as Box<dyn BreakablePath>
        })
    }
}

impl SecurityFixture for QuicFixture {
    fn transport(&self, tls: Receiver, options: TransportOptions) -> Arc<dyn Transport> {
        Arc::new(QuicTransport::new(tls, options))
    }

    fn target(&self, addr: SocketAddr, expectation: Expectation) -> Server {
        Server { expectation, ..localhost(Scheme::Quic, addr) }
    }

    fn sockets(&self) -> Sockets {
        Sockets::Shared
    }

    fn foreign_client(&self, addr: SocketAddr, config: ClientConfig) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move { strangers::quic_client(addr, config).await.map_err(|error| error.to_string()) })
    }

    fn foreign_server(&self, config: ServerConfig) -> BoxFuture<'_, ForeignServer> {
        Box::pin(async move {
            let (target, serving) = strangers::quic_server(config).expect("a free port");
            let early_data = Arc::new(AtomicBool::new(false));
            let early = early_data.clone();
            let notice = move |datagram: &[u8]| {
                if strangers::holds_early_data(datagram) {
                    early.store(true, Ordering::SeqCst);
                }
            };
            let path = UdpProxy::noticing(target, notice).await.expect("a free port");
            ForeignServer { addr: path.entrance(), early_data, serving: Box::new((path, serving)) }
        })
    }

    /// A good client behind a path that carries its first datagram, and nothing else.
    fn silent_peer(&self, addr: SocketAddr) -> BoxFuture<'_, Anything> {
        Box::pin(async move {
            let path = UdpProxy::for_one_datagram(addr).await.expect("a free port");
            let (client, target) = (self.client.clone(), StreamFixture::target(self, path.entrance()));
            let mut connecting = JoinSet::new();
            connecting.spawn(async move { client.connect(&target).await.map(drop) });
            Box::new((connecting, path)) as Anything
        })
    }

    fn silent_server(&self) -> BoxFuture<'_, (SocketAddr, Anything)> {
        Box::pin(async {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let addr = socket.local_addr().expect("an address");
            (addr, Box::new(socket) as Anything)
        })
    }

    fn noise(&self, addr: SocketAddr, bytes: Vec<u8>) -> BoxFuture<'_, Anything> {
        Box::pin(async move {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            for datagram in bytes.chunks(MIN_MTU.into()) {
                socket.send_to(datagram, addr).await.expect("there is room");
            }
            Box::new(socket) as Anything
        })
    }
}

impl BreakablePath for UdpProxy {
    fn entrance(&self) -> SocketAddr {
        self.entrance()
    }

    fn cut(&self) {
        self.cut();
    }
}
