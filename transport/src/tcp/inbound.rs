//! The accepting side: a handshake in the task that will own the connection, then its one stream.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use super::connection::Connection;
use super::wire::Wire;
use super::{Shared, plaintext, socket};
use crate::admission::ConnectionPlace;
use crate::error::HandshakeError;
use crate::observe::{ClientHelloSeen, HandshakeStart, Probe};
use crate::peer::{Peer, TransportKind};
use crate::stream::Stream;
use crate::tls::{self, Fallen, Side, Standing, Verified};
use crate::transport::{BoxFuture, Inbound, Incoming};

/// A fatal alert "no application protocol" in a record of its own (RFC 8446, sections 5.1 and 6; RFC 7301, section 3.2):
/// content type 21, legacy version 3.3, length 2, level 2, description 120. Before the `ServerHello` nothing is encrypted.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// 5 ms: nobody has given up before that, and the look at the socket is saved.
const PATIENCE: Duration = Duration::from_millis(5);

/// A TCP connection on which nothing was said yet.
pub(super) struct TcpIncoming {
    socket: TcpStream,
    remote_addr: SocketAddr,
    place: ConnectionPlace,
    shared: Arc<Shared>,
}

impl TcpIncoming {
    pub(super) fn new(
        socket: TcpStream,
        remote_addr: SocketAddr,
        place: ConnectionPlace,
        shared: Arc<Shared>,
    ) -> Self {
        Self { socket, remote_addr, place, shared }
    }

    async fn complete(self, probe: &mut Probe) -> Result<(TcpInbound, Verified), HandshakeError> {
        let Self { socket, remote_addr, place, shared } = self;
        if !socket::ACCEPTED_AS_PREPARED {
            socket::prepare(&socket, &shared.options).map_err(|error| broken(&error))?;
        }
        // Costs no memory, and no place among the handshakes, until the peer has said something. `readable` would not wait for
        // that: tokio takes a socket that was just accepted for readable until it has been tried.
        let mut begun = [0; plaintext::LOOK];
        let seen = socket.peek(&mut begun).await.map_err(|error| broken(&error))?;
        if let Some(answer) =
            shared.options.http_answer.as_deref().filter(|_| plaintext::is_http(&begun[..seen]))
        {
            return Err(plaintext::refuse(socket, answer, &shared));
        }
        let in_flight = place.handshake_place().await;
        // A box for what a silent peer does not need: most of this future.
        let (tls, verified) = Box::pin(establish(Wire::new(socket, probe.meter()), &shared, probe)).await?;
        drop(in_flight);
        let connection = Connection::new(
            TlsStream::Server(tls),
            shared.lingering.clone(),
            &shared.tls,
            verified.grounds.clone(),
            Some(place),
        );
        let peer = Peer {
            transport: TransportKind::Tls,
            remote_addr,
            negotiated: Some(Arc::clone(&verified.negotiated)),
            handshake: verified.handshake,
            identity: verified.identity.clone(),
            exporter: Some(connection.exporter()),
        };
        let (standing, stream) = (connection.standing(), Arc::downgrade(&connection));
        let inbound = TcpInbound {
            unclaimed: Mutex::new(Some(connection)),
            connection: stream,
            peer,
            standing,
            shared,
        };
        Ok((inbound, verified))
    }
}

/// Runs the handshake, each of its steps in its turn. A refusal lingers until the peer has read it.
async fn establish(
    wire: Wire,
    shared: &Shared,
    probe: &mut Probe,
) -> Result<(tokio_rustls::server::TlsStream<Wire>, Verified), HandshakeError> {
    let (alpn, admission) = (&shared.options.alpn, &shared.options.admission);
    let meter = probe.meter();
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), wire);
    let start = match (&mut acceptor).await {
        Ok(start) => start,
        Err(error) => {
            linger_over(&error, acceptor.take_io(), shared);
            return Err(tls::classify_io(&error, Side::Server, alpn));
        }
    };
    let context = shared.tls.current().server_handshake(&shared.profile).ok_or_else(no_identity)?;
    let hello = start.client_hello();
    let offers_alpn = context.offers_alpn(hello.alpn().into_iter().flatten());
    probe.client_hello(&ClientHelloSeen::new(hello.server_name(), offers_alpn));
    probe.served_by(&context);
    if !offers_alpn {
        let refusal = context.alpn_refusal(hello.alpn().into_iter().flatten());
        refuse_alpn(start.io.into_socket(), shared);
        return Err(refusal);
    }
    // The largest step of all, key exchange and signature, is computed when the future is made and not when it is polled. In a
    // storm many have given up before their turn comes: nothing is computed for them.
    let in_line_since = Instant::now();
    let begin = || {
        if in_line_since.elapsed() > PATIENCE
            && let Some(error) = socket::gone(&start.io)
        {
            return Err(broken(&error));
        }
        Ok(meter.timed(meter.step(|| start.into_stream(context.config()).into_fallible())))
    };
    let tls = match admission.paced_unless(begin).await? {
        Ok(tls) => tls,
        Err((error, wire)) => {
            linger_over(&error, Some(wire), shared);
            return Err(tls::classify_io(&error, Side::Server, alpn));
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

/// rustls agrees to a client that offers no protocol, so it is refused before rustls answers.
fn refuse_alpn(socket: TcpStream, shared: &Shared) {
    // Seven bytes always fit into the buffer of a socket that nothing was written to.
    let _ = socket.try_write(&NO_APPLICATION_PROTOCOL);
    drop(shared.lingering.close(socket));
}

/// A TLS failure was answered with an alert, which must not be lost; a broken connection was not.
pub(super) fn linger_over(error: &io::Error, wire: Option<Wire>, shared: &Shared) {
    if let Some(wire) = wire.filter(|_| tls::tls_error(error).is_some()) {
        drop(shared.lingering.close(wire.into_socket()));
    }
}

fn broken(error: &io::Error) -> HandshakeError {
    HandshakeError::Disconnected { detail: error.to_string() }
}

fn no_identity() -> HandshakeError {
    HandshakeError::Protocol { detail: "this server has lost its certificate: publish one".to_owned() }
}

impl Incoming for TcpIncoming {
    fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    fn handshake(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Inbound>, HandshakeError>> {
        Box::pin(async move {
            let options = &self.shared.options;
            let (after, addr) = (options.deadlines.handshake, self.remote_addr);
            let mut probe = Probe::begin(&options.observers, || {
                HandshakeStart::new(Side::Server, TransportKind::Tls, addr)
            });
            let completed = time::timeout(after, self.complete(&mut probe)).await;
            match completed.unwrap_or(Err(HandshakeError::TimedOut { after })) {
                Ok((inbound, verified)) => {
                    probe.finish(Ok(&verified));
                    Ok(Box::new(inbound) as Box<dyn Inbound>)
                }
                Err(error) => {
                    probe.finish(Err(&error));
                    Err(error)
                }
            }
        })
    }

    fn refuse(self: Box<Self>) {}
}

impl fmt::Debug for TcpIncoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpIncoming").field("remote_addr", &self.remote_addr).finish_non_exhaustive()
    }
}

/// An accepted connection with its one stream.
#[derive(Debug)]
struct TcpInbound {
    /// The connection until it has become a stream. The lock is held while waiting for that.
    unclaimed: Mutex<Option<Arc<Connection>>>,
    /// The connection belongs to its stream; here it is held only to be closed.
    connection: Weak<Connection>,
    peer: Peer,
    standing: Arc<Standing>,
    shared: Arc<Shared>,
}

impl TcpInbound {
    async fn claim(&self) -> Option<Stream> {
        let mut unclaimed = self.unclaimed.lock().await;
        let begun = unclaimed.as_ref()?.begun().await;
        let connection = unclaimed.take()?;
        begun.then(|| connection.into_stream(self.peer.clone()))
    }
}

impl Inbound for TcpInbound {
    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(self.claim())
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn standing(&self) -> BoxFuture<'_, Fallen> {
        Box::pin(self.standing.lost())
    }

    fn close(&self, _code: u32) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let lingering = self.connection.upgrade().and_then(|connection| connection.close());
            if let Some(lingering) = lingering {
                let _ = time::timeout(self.shared.options.deadlines.close, lingering).await;
            }
        })
    }
}
