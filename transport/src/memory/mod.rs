//! The in-memory backend: the semantics of a [`Stream`](crate::Stream) without sockets, certificates or a kernel.
//!
//! A [`MemoryNetwork`] is a private address space: whoever listens and whoever connects meet by address in the same
//! object. Streams share their connection as on QUIC, carry codes, and are bounded by [`PIPE_BYTES`] exactly. It is as
//! strict as the strictest backend: an abort discards what is in flight, and a stream is unknown to the peer until its
//! first byte. [`SealedMemoryNetwork`] puts rustls over the same pipes, one connection a stream, as on TCP.
//!
//! ```text
//! connect ──► Switchboard (by address) ──► accept ──► handshake ──┬── Inbound  ◄── streams, at their first byte
//!    └────────────── oneshot ◄────────────────────────────────────┘      │
//!    Outbound ── open ──► Stream ═══ two pipes of PIPE_BYTES each ═══ Stream
//! ```

mod connection;
mod listener;
mod pipe;
mod sealed;
mod switchboard;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{ConnectError, HandshakeError, ListenError};
use crate::peer::TransportKind;
use crate::transport::{BoxFuture, Listener, Outbound, Server, Transport};
use connection::Connection;
use listener::{MemoryIncoming, MemoryListener};
use switchboard::Switchboard;

pub use sealed::SealedMemoryNetwork;
pub(crate) use sealed::Wire;

/// The bytes that a direction of a stream holds before its writer waits: the most that a reader who stops can owe.
pub const PIPE_BYTES: usize = 64 * 1024;

/// The streams of one connection that may live at once, as on QUIC after authentication. With both pipes full they
/// hold 256 x 2 x 64 KiB = 32 MiB.
pub const MAX_STREAMS: usize = 256;

/// How long [`Transport::connect`] and [`Outbound::open`] wait for the other side, unless told otherwise. Nothing
/// crosses a wire here: a second is a thousand times what a busy machine needs, and ten leave room for a debugger's
/// worth of load.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// An address space of its own, in which listeners and clients of this process meet. Cheap to clone; clones share it.
///
/// ```
/// use sealstream_transport::memory::MemoryNetwork;
/// use sealstream_transport::{Transport, TransportKind};
///
/// assert_eq!(MemoryNetwork::new().kind(), TransportKind::Memory);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryNetwork {
    switchboard: Arc<Switchboard<MemoryIncoming>>,
    connections: Arc<Mutex<Vec<Weak<Connection>>>>,
    deadline: Duration,
}

impl MemoryNetwork {
    /// An empty network.
    pub fn new() -> Self {
        Self::with_deadline(DEADLINE)
    }

    /// An empty network whose connects and opens give up after `deadline`.
    pub fn with_deadline(deadline: Duration) -> Self {
        Self { switchboard: Arc::default(), connections: Arc::default(), deadline }
    }

    /// Lets every connection vanish as if a process had died: no goodbye, bytes in flight are lost, and both sides get
    /// [`StreamError::ConnectionLost`](crate::StreamError::ConnectionLost). Listeners live on.
    pub fn crash(&self) {
        let connections =
            std::mem::take(&mut *self.connections.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in connections.iter().filter_map(Weak::upgrade) {
            connection.sever("the peer vanished");
        }
    }

    fn remember(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|known| known.strong_count() > 0);
        connections.push(Arc::downgrade(connection));
    }

    async fn dial(&self, server: &Server) -> Result<Box<dyn Outbound>, ConnectError> {
        let addr = switchboard::resolve(&server.endpoint)?;
        let (reply, outcome) = oneshot::channel();
        let incoming = MemoryIncoming::new(self.clone(), self.switchboard.ephemeral(addr), addr, reply);
        self.switchboard.dial(addr, incoming).await?;
        // The listener was there, and is gone without a word: so is a socket whose process died in the handshake.
        let unanswered = || ConnectError::Handshake {
            target: addr.to_string(),
            source: HandshakeError::Disconnected { detail: "the listener hung up".into() },
        };
        outcome.await.unwrap_or_else(|_| Err(unanswered()))
    }
}

impl Default for MemoryNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for MemoryNetwork {
    fn kind(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async move {
            let bound = Switchboard::bind(&self.switchboard, addr)?;
            Ok(Box::new(MemoryListener::new(bound)) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, Result<Box<dyn Outbound>, ConnectError>> {
        Box::pin(async move {
            tokio::time::timeout(self.deadline, self.dial(server)).await.unwrap_or_else(|_| {
                Err(ConnectError::TimedOut { target: server.endpoint.host.clone(), after: self.deadline })
            })
        })
    }
}
