//! The listening side of an in-memory network, and what bare connections are before their handshake.

use std::fmt;
use std::net::SocketAddr;

use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::CancellationToken;

use super::MemoryNetwork;
use super::connection;
use super::switchboard::Bound;
use crate::error::{ConnectError, HandshakeError};
use crate::peer::{Handshake, Peer, TransportKind};
use crate::transport::{BoxFuture, Inbound, Incoming, Listener, Outbound};

/// An address of the network, and the connections that arrive there, as `C`.
pub(super) struct MemoryListener<C> {
    addr: SocketAddr,
    closed: CancellationToken,
    /// Gone once the listener is closed, and with it the address.
    bound: Mutex<Option<Bound<C>>>,
}

impl<C> MemoryListener<C> {
    pub(super) fn new(bound: Bound<C>) -> Self {
        Self { addr: bound.addr, closed: CancellationToken::new(), bound: Mutex::new(Some(bound)) }
    }
}

impl<C: Incoming + 'static> Listener for MemoryListener<C> {
    fn accept(&self) -> BoxFuture<'_, Option<Box<dyn Incoming>>> {
        Box::pin(async move {
            let mut bound = self.bound.lock().await;
            let incoming = tokio::select! {
                biased;
                () = self.closed.cancelled() => None,
                incoming = bound.as_mut()?.receiver.recv() => incoming,
            };
            Some(Box::new(incoming?) as Box<dyn Incoming>)
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.cancel();
        // Every accept that holds the lock lets go of it now.
        Box::pin(async { drop(self.bound.lock().await.take()) })
    }
}

impl<C> fmt::Debug for MemoryListener<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryListener").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// What a client that dials waits for.
type Reply = oneshot::Sender<Result<Box<dyn Outbound>, ConnectError>>;

/// A bare connection before its handshake, in which each side only learns the other's address.
pub(super) struct MemoryIncoming {
    network: MemoryNetwork,
    client: SocketAddr,
    server: SocketAddr,
    reply: Reply,
}

impl MemoryIncoming {
    pub(super) fn new(network: MemoryNetwork, client: SocketAddr, server: SocketAddr, reply: Reply) -> Self {
        Self { network, client, server, reply }
    }
}

impl Incoming for MemoryIncoming {
    fn remote_addr(&self) -> SocketAddr {
        self.client
    }

    fn handshake(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Inbound>, HandshakeError>> {
        Box::pin(async move {
            let (connection, outbound, inbound) =
                connection::establish(peer(self.client), peer(self.server), self.network.deadline);
            self.network.remember(&connection);
            match self.reply.send(Ok(Box::new(outbound))) {
                Ok(()) => Ok(Box::new(inbound) as Box<dyn Inbound>),
                Err(_) => Err(HandshakeError::Disconnected { detail: "the client gave up".into() }),
            }
        })
    }

    fn refuse(self: Box<Self>) {
        let refusal = ConnectError::Handshake {
            target: self.server.to_string(),
            source: HandshakeError::Disconnected { detail: "the server turned the connection away".into() },
        };
        // A client that gave up meanwhile needs no answer.
        let _ = self.reply.send(Err(refusal));
    }
}

impl fmt::Debug for MemoryIncoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryIncoming").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Nobody proves anything here.
fn peer(remote_addr: SocketAddr) -> Peer {
    Peer {
        transport: TransportKind::Memory,
        remote_addr,
        negotiated: None,
        handshake: Handshake::Full,
        identity: None,
        exporter: None,
    }
}
