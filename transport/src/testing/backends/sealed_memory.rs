//! TLS in memory under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustls::{ClientConfig, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::memory::MemoryPath;
use super::strangers;
use super::world::{World, localhost, options};
use crate::endpoint::Scheme;
use crate::expectation::Expectation;
use crate::memory::{MemoryNetwork, PIPE_BYTES, SealedMemoryNetwork, Wire};
use crate::options::TransportOptions;
use crate::stream::Stream;
use crate::testing::security_suite::{Anything, ForeignServer, SecurityFixture, Sockets};
use crate::testing::stream_suite::{BreakablePath, Capabilities, StreamFixture};
use crate::tls::Receiver;
use crate::transport::{BoxFuture, Inbound, Listener, Outbound, Server, Transport};

/// A pipe, and what TLS holds on either side of it: up to 64 KiB that wait to be sent, and a record to be read.
const STALLED_BYTES: u64 = PIPE_BYTES as u64 + 128 * 1024;

/// rustls over the in-memory backend.
#[derive(Debug)]
pub struct SealedMemoryFixture {
    network: MemoryNetwork,
    world: World,
    client: Arc<dyn Transport>,
    server: Arc<dyn Transport>,
}

impl SealedMemoryFixture {
    /// On a network and with certificates of its own.
    pub fn new() -> Self {
        let (network, world) = (MemoryNetwork::new(), World::new());
        let sealed = |tls| Arc::new(SealedMemoryNetwork::new(network.clone(), tls, options()));
        Self { client: sealed(world.client()), server: sealed(world.server()), world, network }
    }

    /// Its certificates.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// A bare stream to `addr`, as strangers see it.
    async fn bare_stream(&self, addr: SocketAddr) -> (Stream, Box<dyn Outbound>) {
        let target = localhost(Scheme::Tls, addr);
        let outbound = self.network.connect(&target).await.expect("a server that listens is reached");
        (outbound.open().await.expect("a stream"), outbound)
    }

    async fn bare_listener(&self) -> Box<dyn Listener> {
        self.network.listen((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port")
    }
}

impl Default for SealedMemoryFixture {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamFixture for SealedMemoryFixture {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            carries_codes: true,
            tells_crash_from_abort: true,
            stops_writers: true,
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
        let path = MemoryPath::new(self.network.clone(), addr);
        Box::pin(async { Box::new(path) as Box<dyn BreakablePath> })
    }
}

impl SecurityFixture for SealedMemoryFixture {
    fn transport(&self, tls: Receiver, options: TransportOptions) -> Arc<dyn Transport> {
        Arc::new(SealedMemoryNetwork::new(self.network.clone(), tls, options))
    }

    fn target(&self, addr: SocketAddr, expectation: Expectation) -> Server {
        Server { expectation, ..localhost(Scheme::Tls, addr) }
    }

    fn sockets(&self) -> Sockets {
        Sockets::None
    }

    fn foreign_client(&self, addr: SocketAddr, config: ClientConfig) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            let (stream, _connection) = self.bare_stream(addr).await;
            strangers::tls_client(Wire::new(stream), config).await.map_err(|error| error.to_string())
        })
    }

    fn foreign_server(&self, config: ServerConfig) -> BoxFuture<'_, ForeignServer> {
        Box::pin(async move {
            let listener = self.bare_listener().await;
            let addr = listener.local_addr();
            let (config, early_data) = (Arc::new(config), Arc::new(AtomicBool::new(false)));
            let (mut serving, early) = (JoinSet::new(), early_data.clone());
            serving.spawn(async move {
                let mut clients = JoinSet::new();
                while let Some(incoming) = listener.accept().await {
                    let (config, early) = (config.clone(), early.clone());
                    clients.spawn(async move {
                        let inbound: Box<dyn Inbound> = incoming.handshake().await.ok()?;
                        let stream = inbound.accept().await?;
                        // How it ends is seen by the client.
                        strangers::tls_server(Wire::new(stream), config, early).await.ok()
                    });
                }
            });
            ForeignServer { addr, early_data, serving: Box::new(serving) }
        })
    }

    fn silent_peer(&self, addr: SocketAddr) -> BoxFuture<'_, Anything> {
        Box::pin(async move {
            let (network, target) = (self.network.clone(), localhost(Scheme::Tls, addr));
            let mut connecting = JoinSet::new();
            connecting.spawn(async move {
                let outbound = network.connect(&target).await.ok()?;
                let stream = outbound.open().await.ok()?;
                std::future::pending::<()>().await;
                Some((outbound, stream))
            });
            Box::new(connecting) as Anything
        })
    }

    fn silent_server(&self) -> BoxFuture<'_, (SocketAddr, Anything)> {
        Box::pin(async {
            let listener = self.bare_listener().await;
            (listener.local_addr(), Box::new(listener) as Anything)
        })
    }

    fn noise(&self, addr: SocketAddr, bytes: Vec<u8>) -> BoxFuture<'_, Anything> {
        Box::pin(async move {
            let (mut stream, connection) = self.bare_stream(addr).await;
            // The server may have heard enough before the end.
            let _ = stream.send.write_all(&bytes).await;
            Box::new((stream, connection)) as Anything
        })
    }
}
