//! The bare in-memory backend under test.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::endpoint::{Endpoint, Scheme};
use crate::expectation::Expectation;
use crate::memory::{MemoryNetwork, PIPE_BYTES};
use crate::testing::stream_suite::{BreakablePath, Capabilities, StreamFixture};
use crate::transport::{BoxFuture, Server, Transport};

/// The bare in-memory backend.
#[derive(Debug, Default)]
pub struct MemoryFixture {
    network: MemoryNetwork,
}

impl MemoryFixture {
    /// On a network of its own.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StreamFixture for MemoryFixture {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            carries_codes: true,
            tells_crash_from_abort: true,
            stops_writers: true,
            shares_connection: true,
            // Nothing buffers but the pipe.
            stalled_bytes: PIPE_BYTES as u64,
        }
    }

    fn server(&self) -> Arc<dyn Transport> {
        Arc::new(self.network.clone())
    }

    fn client(&self) -> Arc<dyn Transport> {
        Arc::new(self.network.clone())
    }

    fn target(&self, addr: SocketAddr) -> Server {
        // There is no scheme for what never leaves the process, and nobody looks at it.
        let endpoint = Endpoint { scheme: Scheme::Tls, host: addr.ip().to_string(), port: addr.port() };
        Server { endpoint, expectation: Expectation::Name(addr.ip().to_string()) }
    }

    fn breakable_path(&self, addr: SocketAddr) -> BoxFuture<'_, Box<dyn BreakablePath>> {
        let path = MemoryPath::new(self.network.clone(), addr);
        Box::pin(async { Box::new(path) as Box<dyn BreakablePath> })
    }
}

/// A crash of everybody on a network.
pub(super) struct MemoryPath {
    network: MemoryNetwork,
    addr: SocketAddr,
}

impl MemoryPath {
    pub(super) fn new(network: MemoryNetwork, addr: SocketAddr) -> Self {
        Self { network, addr }
    }
}

impl BreakablePath for MemoryPath {
    fn entrance(&self) -> SocketAddr {
        self.addr
    }

    fn cut(&self) {
        self.network.crash();
    }
}
