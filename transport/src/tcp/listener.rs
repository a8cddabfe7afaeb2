//! Accepts TCP connections, and nothing else: no handshake ever runs here.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::inbound::TcpIncoming;
use super::{Shared, socket};
use crate::admission::Shed;
use crate::error::ListenError;
use crate::observe::ShedConnection;
use crate::peer::TransportKind;
use crate::transport::{BoxFuture, Incoming, Listener};

/// How long accepting pauses when the machine has nothing to accept with (no file descriptor, no memory). The peers wait
/// in the kernel's backlog meanwhile; ten tries a second find a freed descriptor soon and cost nothing.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Pauses between two log lines about the same shortage: one line a second.
const PAUSES_PER_LINE: u32 = 10;

/// Connections accepted in a row, before all else that is ready goes first. Accepting one and beginning its task takes 40 µs:
/// those who are connected wait for 0.2 ms, and not for as many peers as a storm has brought into the backlog.
const ACCEPTS_IN_A_ROW: u32 = 4;

/// A listening socket.
#[derive(Debug)]
pub(super) struct TcpListener {
    socket: Mutex<Option<Arc<tokio::net::TcpListener>>>,
    local_addr: SocketAddr,
    /// Since the last rest.
    accepted: AtomicU32,
    closed: CancellationToken,
    shared: Arc<Shared>,
}

impl TcpListener {
    pub(super) fn bind(addr: SocketAddr, shared: Arc<Shared>) -> Result<Self, ListenError> {
        if shared.tls.current().identities().is_empty() {
            return Err(ListenError::NoIdentity { addr });
        }
        let listen = || {
            let socket = socket::listen(addr, &shared.options)?;
            let local_addr = socket.local_addr()?;
            Ok((socket, local_addr))
        };
        let (socket, local_addr) = listen().map_err(|error| ListenError::of(addr, error))?;
        Ok(Self {
            socket: Mutex::new(Some(Arc::new(socket))),
            local_addr,
            accepted: AtomicU32::new(0),
            closed: CancellationToken::new(),
            shared,
        })
    }

    fn socket(&self) -> Option<Arc<tokio::net::TcpListener>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn next(&self) -> Option<Box<dyn Incoming>> {
        let socket = self.socket()?;
        let mut pauses = 0;
        loop {
            if self.accepted.load(Relaxed) >= ACCEPTS_IN_A_ROW {
                // tokio goes on with a task that yields when it has polled its driver and emptied its queue.
                yield_now().await;
                self.accepted.store(0, Relaxed);
            }
            let accepted = socket.accept().await;
            self.accepted.fetch_add(1, Relaxed);
            match accepted {
                Ok((stream, remote_addr)) => match self.shared.options.admission.admit(remote_addr) {
                    Ok(place) => {
                        let shared = Arc::clone(&self.shared);
                        return Some(Box::new(TcpIncoming::new(stream, remote_addr, place, shared)));
                    }
                    Err(cause) => self.turned_away(remote_addr, cause),
                },
                // The peer gave up while it waited: the next one's turn.
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    if pauses % PAUSES_PER_LINE == 0 {
                        tracing::warn!(addr = %self.local_addr, %error, "cannot accept, trying again every {ACCEPT_PAUSE:?}");
                    }
                    pauses += 1;
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl TcpListener {
    /// Its socket is closed already: a plain close is all that it gets.
    fn turned_away(&self, remote_addr: SocketAddr, cause: Shed) {
        let shed = ShedConnection::new(TransportKind::Tls, remote_addr, cause);
        self.shared.options.observers.each(|observer| observer.shed(&shed));
    }
}

/// Errors of one connection, which accept(2) reports though the listener is well.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, Option<Box<dyn Incoming>>> {
        Box::pin(async {
            tokio::select! {
                biased;
                () = self.closed.cancelled() => None,
                incoming = self.next() => incoming,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.closed.cancel();
            let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(socket) = socket {
                socket::stop_listening(&socket);
            }
        })
    }
}
