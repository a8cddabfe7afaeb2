//! rustls over the in-memory backend: one connection a stream, as on TCP, with the pipe's way of ending.
//!
//! A clean end is a `close_notify`, as on TCP. Whatever ends otherwise ends as the pipe beneath does: aborts and stops
//! carry their codes, and a crash is told apart.

mod connection;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream as ServerStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use super::MemoryNetwork;
use crate::error::{ConnectError, HandshakeError, ListenError, OpenError};
use crate::options::TransportOptions;
use crate::peer::{Peer, TransportKind};
use crate::stream::Stream;
use crate::tls::{Fallen, Profile, Receiver, Side, Verified, classify_io};
use crate::transport::{BoxFuture, Inbound, Incoming, Listener, Outbound, Server, Transport};
use connection::Connection;

pub(crate) use connection::Wire;

/// TLS 1.3 over a [`MemoryNetwork`], with material from a [`Receiver`]. Clones share everything.
#[derive(Clone, Debug)]
pub struct SealedMemoryNetwork {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    network: MemoryNetwork,
    tls: Receiver,
    profile: Profile,
    options: TransportOptions,
}

impl SealedMemoryNetwork {
    /// Seals what goes over `network`. Servers and clients meet if they use clones of the same one.
    pub fn new(network: MemoryNetwork, tls: Receiver, options: TransportOptions) -> Self {
        let profile =
            Profile { kind: TransportKind::Memory, alpn: options.alpn.clone(), key_log: options.key_log };
        Self { shared: Arc::new(Shared { network, tls, profile, options }) }
    }
}

impl Transport for SealedMemoryNetwork {
    fn kind(&self) -> TransportKind {
        TransportKind::Memory
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async move {
            if self.shared.tls.current().identities().is_empty() {
                return Err(ListenError::NoIdentity { addr });
            }
            let bare = self.shared.network.listen(addr).await?;
            Ok(Box::new(SealedListener { bare, shared: self.shared.clone() }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, Result<Box<dyn Outbound>, ConnectError>> {
        Box::pin(async move {
            let (connection, peer) = self.shared.dial(server).await?;
            let open = vec![Arc::downgrade(&connection)];
            let dialled = Dialled { first: Some(connection), open, closed: false };
            Ok(Box::new(SealedOutbound {
                shared: self.shared.clone(),
                server: server.clone(),
                peer,
                dialled: Mutex::new(dialled),
            }) as Box<dyn Outbound>)
        })
    }
}

impl Shared {
    async fn dial(&self, server: &Server) -> Result<(Arc<Connection>, Peer), ConnectError> {
        let context = self
            .tls
            .current()
            .client_handshake(&self.profile, server)
            .map_err(ConnectError::Configuration)?;
        let target = || server.endpoint.to_string();
        let after = self.options.deadlines.connect;
        let bare = time::timeout(after, self.network.connect(server))
            .await
            .map_err(|_| ConnectError::TimedOut { target: target(), after })??;
        let remote_addr = bare.peer().remote_addr;
        let failed = |source| ConnectError::Handshake {
            target: format!("{} ({remote_addr})", server.endpoint),
            source,
        };
        let stream = bare
            .open()
            .await
            .map_err(|error| failed(HandshakeError::Disconnected { detail: error.to_string() }))?;
        let handshake = async {
            let connector = TlsConnector::from(context.config());
            let connecting = connector.connect(context.server_name(), Wire::new(stream));
            let tls = connecting.into_fallible().await.map_err(|(error, wire)| {
                wire.finish();
                classify_io(&error, Side::Client, &self.profile.alpn)
            })?;
            context.verify(tls.get_ref().1).map(|verified| (tls, verified))
        };
        let after = self.options.deadlines.handshake;
        let (tls, verified) = time::timeout(after, handshake)
            .await
            .unwrap_or(Err(HandshakeError::TimedOut { after }))
            .map_err(failed)?;
        let connection = Connection::new(TlsStream::Client(tls));
        let peer = peer(remote_addr, verified, &connection);
        Ok((connection, peer))
    }
}

fn peer(remote_addr: SocketAddr, verified: Verified, connection: &Arc<Connection>) -> Peer {
    Peer {
        transport: TransportKind::Memory,
        remote_addr,
        negotiated: Some(verified.negotiated),
        handshake: verified.handshake,
        identity: verified.identity,
        exporter: Some(connection.exporter()),
    }
}

#[derive(Debug)]
struct SealedListener {
    bare: Box<dyn Listener>,
    shared: Arc<Shared>,
}

impl Listener for SealedListener {
    fn accept(&self) -> BoxFuture<'_, Option<Box<dyn Incoming>>> {
        Box::pin(async {
            let bare = self.bare.accept().await?;
            Some(Box::new(SealedIncoming { bare, shared: self.shared.clone() }) as Box<dyn Incoming>)
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.bare.local_addr()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.bare.close()
    }
}

#[derive(Debug)]
struct SealedIncoming {
    bare: Box<dyn Incoming>,
    shared: Arc<Shared>,
}

impl SealedIncoming {
    async fn complete(self) -> Result<SealedInbound, HandshakeError> {
        let Self { bare, shared } = self;
        let bare = bare.handshake().await?;
        let remote_addr = bare.peer().remote_addr;
        let left = || HandshakeError::Disconnected { detail: "the peer left".to_owned() };
        let stream = bare.accept().await.ok_or_else(left)?;
        let (tls, verified) = establish(Wire::new(stream), &shared).await?;
        let connection = Connection::new(TlsStream::Server(tls));
        let peer = peer(remote_addr, verified, &connection);
        let open = Arc::downgrade(&connection);
        Ok(SealedInbound { unclaimed: tokio::sync::Mutex::new(Some(connection)), open, peer })
    }
}

async fn establish(wire: Wire, shared: &Shared) -> Result<(ServerStream<Wire>, Verified), HandshakeError> {
    let explain = |error: &io::Error| classify_io(error, Side::Server, &shared.profile.alpn);
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), wire);
    let start = match (&mut acceptor).await {
        Ok(start) => start,
        Err(error) => {
            if let Some(wire) = acceptor.take_io() {
                wire.finish();
            }
            return Err(explain(&error));
        }
    };
    let lost = || HandshakeError::Protocol { detail: "this server has lost its certificate".to_owned() };
    let context = shared.tls.current().server_handshake(&shared.profile).ok_or_else(lost)?;
    // rustls lets a client pass that offers no protocol; one that offers others it refuses with an alert.
    if start.client_hello().alpn().is_none() {
        return Err(context.alpn_refusal(std::iter::empty()));
    }
    let tls = start.into_stream(context.config()).into_fallible().await.map_err(|(error, wire)| {
        wire.finish();
        explain(&error)
    })?;
    let verified = context.verify(tls.get_ref().1)?;
    Ok((tls, verified))
}

impl Incoming for SealedIncoming {
    fn remote_addr(&self) -> SocketAddr {
        self.bare.remote_addr()
    }

    fn handshake(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Inbound>, HandshakeError>> {
        Box::pin(async move {
            let after = self.shared.options.deadlines.handshake;
            match time::timeout(after, self.complete()).await {
                Ok(completed) => completed.map(|inbound| Box::new(inbound) as Box<dyn Inbound>),
                Err(_) => Err(HandshakeError::TimedOut { after }),
            }
        })
    }

    fn refuse(self: Box<Self>) {
        self.bare.refuse();
    }
}

/// The server's side, with its one stream.
struct SealedInbound {
    unclaimed: tokio::sync::Mutex<Option<Arc<Connection>>>,
    open: Weak<Connection>,
    peer: Peer,
}

impl Inbound for SealedInbound {
    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(async {
            let mut unclaimed = self.unclaimed.lock().await;
            let begun = unclaimed.as_ref()?.begun().await;
            let connection = unclaimed.take()?;
            begun.then(|| connection.into_stream(self.peer.clone()))
        })
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Connections in memory are not judged again: what they are for ends before trust changes.
    fn standing(&self) -> BoxFuture<'_, Fallen> {
        Box::pin(std::future::pending())
    }

    fn close(&self, code: u32) -> BoxFuture<'_, ()> {
        if let Some(connection) = self.open.upgrade() {
            connection.close(code);
        }
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for SealedInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedInbound").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The client's side: the first stream is the one that was dialled, each further one is dialled anew.
struct SealedOutbound {
    shared: Arc<Shared>,
    server: Server,
    peer: Peer,
    dialled: Mutex<Dialled>,
}

struct Dialled {
    first: Option<Arc<Connection>>,
    /// What may still live, to be closed with this.
    open: Vec<Weak<Connection>>,
    closed: bool,
}

impl SealedOutbound {
    fn dialled(&self) -> MutexGuard<'_, Dialled> {
        self.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open_stream(&self) -> Result<Stream, OpenError> {
        let closed = || OpenError::Closed { reason: "it was closed on this side".to_owned() };
        {
            let mut dialled = self.dialled();
            if dialled.closed {
                return Err(closed());
            }
            if let Some(connection) = dialled.first.take() {
                return Ok(connection.into_stream(self.peer.clone()));
            }
        }
        let after = self.shared.options.deadlines.open;
        let (connection, peer) = time::timeout(after, self.shared.dial(&self.server))
            .await
            .map_err(|_| OpenError::TimedOut { after })??;
        let mut dialled = self.dialled();
        if dialled.closed {
            return Err(closed());
        }
        dialled.open.retain(|connection| connection.strong_count() > 0);
        dialled.open.push(Arc::downgrade(&connection));
        Ok(connection.into_stream(peer))
    }
}

impl Outbound for SealedOutbound {
    fn open(&self) -> BoxFuture<'_, Result<Stream, OpenError>> {
        Box::pin(self.open_stream())
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn close(&self, code: u32) -> BoxFuture<'_, ()> {
        let (first, open) = {
            let mut dialled = self.dialled();
            dialled.closed = true;
            (dialled.first.take(), std::mem::take(&mut dialled.open))
        };
        for connection in open.iter().filter_map(Weak::upgrade) {
            connection.close(code);
        }
        drop(first);
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for SealedOutbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedOutbound").field("peer", &self.peer).finish_non_exhaustive()
    }
}
