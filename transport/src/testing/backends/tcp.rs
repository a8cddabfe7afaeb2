//! TLS over TCP under test.

use std::net::SocketAddr;
use std::sync::Arc;

use super::world::{World, localhost, options};
use crate::endpoint::Scheme;
use crate::tcp::TcpTransport;
use crate::testing::proxy::TcpProxy;
use crate::testing::stream_suite::{BreakablePath, Capabilities, StreamFixture};
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

impl BreakablePath for TcpProxy {
    fn entrance(&self) -> SocketAddr {
        self.entrance()
    }

    fn cut(&self) {
        self.cut();
    }
}
