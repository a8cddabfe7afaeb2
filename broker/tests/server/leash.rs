//! A way between a client and a broker that a test can cut, hold still, or end for good: a network of the client's own,
//! and whoever listens in it passes everything on.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sealstream_client::{Client, RetryPolicy};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{Inbound, RecvHalf, SendHalf, Stream, Transport as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::server;

/// What is passed on at once.
const PIECE: usize = 64 * 1024;

/// What the way is like.
#[derive(Clone, Debug)]
struct Way {
    /// Where it leads.
    network: MemoryNetwork,
    addr: SocketAddr,
    still: bool,
    ended: bool,
}

/// See the module.
pub(crate) struct Leash {
    network: MemoryNetwork,
    addr: SocketAddr,
    way: watch::Sender<Way>,
    _tasks: JoinSet<()>,
}

impl Leash {
    /// A way to the broker at `addr` in `network`.
    pub(crate) async fn to(network: &MemoryNetwork, addr: SocketAddr) -> Self {
        let own = MemoryNetwork::new();
        let listener = own.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let way = Way { network: network.clone(), addr, still: false, ended: false };
        let (sender, way) = watch::channel(way);
        let addr = listener.local_addr();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(incoming) = listener.accept().await {
                let way = way.clone();
                connections.spawn(async move {
                    let Ok(inbound) = incoming.handshake().await else { return };
                    // Whichever side ends first takes the other with it.
                    let _ = pass(inbound, way).await;
                });
            }
        });
        Self { network: own, addr, way: sender, _tasks: tasks }
    }

    /// A client at the end of it, which does not wait long before it tries again.
    pub(crate) fn client(&self) -> Client {
        let retry = RetryPolicy::default()
            .min_backoff(Duration::from_millis(10))
            .max_backoff(Duration::from_millis(200))
            .retry_for(Duration::from_mins(1));
        Client::builder()
            .url(format!("tls://{}", self.addr))
            .transport(Arc::new(self.network.clone()))
            .hello_timeout(Duration::from_secs(2))
            .retry(retry)
            .build()
            .unwrap()
    }

    /// Every connection vanishes; the next ones are passed on again.
    pub(crate) fn cut(&self) {
        self.network.crash();
    }

    /// Nothing passes, in either direction, until it is let go.
    pub(crate) fn hold_still(&self, still: bool) {
        self.way.send_modify(|way| way.still = still);
    }

    /// Nothing passes ever again.
    pub(crate) fn end(&self) {
        self.way.send_modify(|way| way.ended = true);
        self.network.crash();
    }

    /// From now on it leads to another broker, or to the same one after a restart.
    pub(crate) fn lead_to(&self, network: &MemoryNetwork, addr: SocketAddr) {
        self.way.send_modify(|way| (way.network, way.addr) = (network.clone(), addr));
        self.network.crash();
    }
}

/// Passes the streams of a connection on; `None` once either side is gone.
async fn pass(inbound: Box<dyn Inbound>, way: watch::Receiver<Way>) -> Option<()> {
    let Way { network, addr, ended, .. } = way.borrow().clone();
    let outbound = if ended { None } else { network.connect(&server(addr)).await.ok() }?;
    let mut streams = JoinSet::new();
    while let Some(Stream { recv, send, .. }) = inbound.accept().await {
        let far = outbound.open().await.ok()?;
        streams.spawn(copy(recv, far.send, way.clone()));
        streams.spawn(copy(far.recv, send, way.clone()));
    }
    Some(())
}

/// Passes one direction on, to its clean end; whatever breaks it breaks the other side too.
async fn copy(mut from: RecvHalf, mut to: SendHalf, mut way: watch::Receiver<Way>) {
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(read) = from.read(&mut piece).await else { return };
        if way.wait_for(|way| !way.still).await.is_err() || way.borrow().ended {
            return;
        }
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&piece[..read]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}
