//! QUIC under test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::{World, localhost, options};
use crate::endpoint::Scheme;
use crate::options::TransportOptions;
use crate::quic::{QuicOptions, QuicTransport, STREAM_WINDOW};
use crate::testing::proxy::UdpProxy;
use crate::testing::stream_suite::{BreakablePath, Capabilities, StreamFixture};
use crate::transport::{BoxFuture, Server, Transport};

/// Silence after which a connection is lost: what the members about crashes have to wait for, and long enough for a
/// machine that is busy with everything else.
const IDLE: Duration = Duration::from_secs(4);

/// A probe each second: three may be late before the connection is lost.
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
            stalled_bytes: STREAM_WINDOW.into(),
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

impl BreakablePath for UdpProxy {
    fn entrance(&self) -> SocketAddr {
        self.entrance()
    }

    fn cut(&self) {
        self.cut();
    }
}
