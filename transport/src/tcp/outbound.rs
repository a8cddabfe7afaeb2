//! The dialling side: the first stream is the connection that was dialled, each further one dials and resumes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::{TlsConnector, TlsStream};

use super::connection::Connection;
use super::inbound::linger_over;
use super::wire::Wire;
use super::{Shared, socket};
use crate::connect::reach;
use crate::error::{ConnectError, HandshakeError, OpenError};
use crate::observe::{HandshakeStart, Meter, Probe};
use crate::peer::{Peer, TransportKind};
use crate::stream::Stream;
use crate::tls::{self, ClientHandshake, Side, Verified};
use crate::transport::{BoxFuture, Outbound, Server};

/// A server that was reached once, and how to reach it again.
#[derive(Debug)]
pub(super) struct TcpOutbound {
    shared: Arc<Shared>,
    server: Server,
    peer: Peer,
    streams: Mutex<Streams>,
}

#[derive(Debug)]
struct Streams {
    /// The dialled connection, until it is opened.
    first: Option<Arc<Connection>>,
    /// Every connection that may still live, to be closed with this. Pruned when it has doubled.
    open: Vec<Weak<Connection>>,
    prune_at: usize,
    closed: bool,
}

/// Connections remembered before the first look for dead ones.
const FIRST_PRUNE: usize = 16;

impl TcpOutbound {
    pub(super) async fn connect(shared: Arc<Shared>, server: Server) -> Result<Self, ConnectError> {
        let (connection, peer) = dial(&shared, &server).await?;
        let open = vec![Arc::downgrade(&connection)];
        let streams = Streams { first: Some(connection), open, prune_at: FIRST_PRUNE, closed: false };
        Ok(Self { shared, server, peer, streams: Mutex::new(streams) })
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open_stream(&self) -> Result<Stream, OpenError> {
        {
            let mut streams = self.streams();
            if streams.closed {
                return Err(closed());
            }
            if let Some(connection) = streams.first.take() {
                return Ok(connection.into_stream(self.peer.clone()));
            }
        }
        let after = self.shared.options.deadlines.open;
        let (connection, peer) = time::timeout(after, dial(&self.shared, &self.server))
            .await
            .map_err(|_| OpenError::TimedOut { after })??;
        let mut streams = self.streams();
        if streams.closed {
            return Err(closed());
        }
        streams.remember(&connection);
        Ok(connection.into_stream(peer))
    }
}

impl Streams {
    fn remember(&mut self, connection: &Arc<Connection>) {
        if self.open.len() >= self.prune_at {
            self.open.retain(|connection| connection.strong_count() > 0);
            self.prune_at = (self.open.len() * 2).max(FIRST_PRUNE);
        }
        self.open.push(Arc::downgrade(connection));
    }
}

fn closed() -> OpenError {
    OpenError::Closed { reason: "it was closed on this side".to_owned() }
}

/// Reaches the server, completes a handshake and judges it.
async fn dial(shared: &Shared, server: &Server) -> Result<(Arc<Connection>, Peer), ConnectError> {
    // What cannot be used is said before anything is dialled.
    shared.tls.current().greeting(server).map_err(ConnectError::Configuration)?;
    let (socket, remote_addr) = reach(&server.endpoint, shared.options.deadlines.connect, |address| {
        connect_socket(shared, server, address)
    })
    .await?;
    let context = shared.tls.current().client_handshake(&shared.profile, server);
    let context = context.map_err(ConnectError::Configuration)?;
    let after = shared.options.deadlines.handshake;
    let probe = Probe::begin(&shared.options.observers, || {
        HandshakeStart::new(Side::Client, TransportKind::Tls, remote_addr)
    });
    let wire = Wire::new(socket, probe.meter());
    let established = time::timeout(after, establish(shared, &context, wire, &probe.meter())).await;
    let established = established.unwrap_or(Err(HandshakeError::TimedOut { after }));
    probe.finish(established.as_ref().map(|(_, verified)| verified));
    let (tls, verified) = established.map_err(|source| ConnectError::Handshake {
        target: format!("{} ({remote_addr})", server.endpoint),
        source,
    })?;
    let (tls, lingering) = (TlsStream::Client(tls), shared.lingering.clone());
    let connection = Connection::new(tls, lingering, &shared.tls, verified.grounds, None);
    let peer = Peer {
        transport: TransportKind::Tls,
        remote_addr,
        negotiated: Some(verified.negotiated),
        handshake: verified.handshake,
        identity: verified.identity,
        exporter: Some(connection.exporter()),
    };
    Ok((connection, peer))
}

async fn connect_socket(
    shared: &Shared,
    server: &Server,
    address: SocketAddr,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let connected = async {
        let socket = socket::connect(address, &shared.options).await?;
        // A port of our own range that nobody listens on can connect to itself.
        if socket.local_addr()? == address {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        socket::prepare(&socket, &shared.options)?;
        Ok(socket)
    };
    match connected.await {
        Ok(socket) => Ok((socket, address)),
        Err(source) => {
            Err(ConnectError::Unreachable { target: format!("{} ({address})", server.endpoint), source })
        }
    }
}

async fn establish(
    shared: &Shared,
    context: &ClientHandshake,
    wire: Wire,
    meter: &Meter,
) -> Result<(tokio_rustls::client::TlsStream<Wire>, Verified), HandshakeError> {
    let connector = TlsConnector::from(context.config());
    let connecting = connector.connect(context.server_name(), wire).into_fallible();
    let tls = match meter.timed(connecting).await {
        Ok(tls) => tls,
        Err((error, wire)) => {
            linger_over(&error, Some(wire), shared);
            return Err(tls::classify_io(&error, Side::Client, &shared.options.alpn));
        }
    };
    match meter.step(|| context.verify(tls.get_ref().1)) {
        Ok(verified) => Ok((tls, verified)),
        Err(refusal) => {
            drop(shared.lingering.close(tls.into_inner().0.into_socket()));
            Err(refusal)
        }
    }
}

impl Outbound for TcpOutbound {
    fn open(&self) -> BoxFuture<'_, Result<Stream, OpenError>> {
        Box::pin(self.open_stream())
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn close(&self, _code: u32) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let (first, open) = {
                let mut streams = self.streams();
                streams.closed = true;
                (streams.first.take(), std::mem::take(&mut streams.open))
            };
            drop(first);
            let lingering: Vec<_> =
                open.iter().filter_map(|connection| connection.upgrade()?.close()).collect();
            let all_closed = async {
                for connection in lingering {
                    let _ = connection.await;
                }
            };
            let deadline = self.shared.options.deadlines.close;
            let _ = time::timeout(deadline, all_closed).await;
        })
    }
}
