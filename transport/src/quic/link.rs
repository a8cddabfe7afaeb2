//! One established connection, shared by whoever holds it: `Inbound` or `Outbound`, and every stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::budget::{Budget, Lent};
use super::credit::StreamPermit;
use super::failure;
use super::send_room::SendRoom;
use super::socket;
use super::stream::{QuicRecv, QuicSend};
use crate::admission::ConnectionPlace;
use crate::peer::{ExportError, Exporter, ExportsKeyingMaterial, Peer, TransportKind};
use crate::stream::{RecvHalf, SendHalf, Stream, StreamError};
use crate::tls::{FALLEN_GRACE, Fallen, Judged, Receiver, Registration, Side, Standing, Verified};

/// Between two looks at whether the peer has answered or the last frame has left: first, and at most. A round trip on
/// one machine takes 0.1 ms, between continents 200 ms.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(20);

/// The delay of an acknowledgement that RFC 9000 allows by default, which a peer may add to each round trip.
const MAX_ACK_DELAY: Duration = Duration::from_millis(25);

/// How long the reset of a stream may take to leave, when it is the last act on its connection.
const LAST_RESET: Duration = Duration::from_millis(500);

/// The code that a peer is given with whom we are through: it means what 0 means, for the reason is nobody's business but
/// ours.
const DISTRUSTED: VarInt = VarInt::from_u32(0);

/// One established connection. The last holder's drop closes it, with code 0.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    peer: Peer,
    side: Side,
    surroundings: Surroundings,
    /// Of a listener's connection: what may be written to it.
    send_room: Option<SendRoom>,
    /// Streams that were reset here.
    resets: AtomicU64,
    /// Whether trust still covers the peer.
    standing: Arc<Standing>,
    /// Its place among the connections that are judged again when trust changes.
    registration: OnceLock<Registration>,
    runtime: Handle,
    /// Its place among the connections that were let in.
    _place: Option<ConnectionPlace>,
}

/// What a connection needs of the listener or dialler that it came from.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) close_deadline: Duration,
    /// Owns what is left to do when the last holder is gone.
    pub(super) tasks: TaskTracker,
    /// Held as long as the connection is.
    pub(super) presence: Arc<()>,
    /// Of a listener: what its connections share. A client has few, and each may have all.
    pub(super) send_budget: Option<Budget>,
}

impl Link {
    pub(super) fn new(
        connection: Connection,
        verified: Verified,
        side: Side,
        surroundings: Surroundings,
        receiver: &Receiver,
        place: Option<ConnectionPlace>,
    ) -> Arc<Self> {
        let grounds = verified.grounds;
        let link = Arc::new_cyclic(|link| {
            let peer = Peer {
                transport: TransportKind::Quic,
                remote_addr: socket::canonical(connection.remote_address()),
                negotiated: Some(verified.negotiated),
                handshake: verified.handshake,
                identity: verified.identity,
                exporter: Some(Exporter::new(LinkExporter(Weak::clone(link)))),
            };
            Self {
                connection,
                peer,
                side,
                send_room: surroundings.send_budget.clone().map(SendRoom::new),
                surroundings,
                resets: AtomicU64::new(0),
                standing: receiver.standing(&grounds),
                registration: OnceLock::new(),
                runtime: Handle::current(),
                _place: place,
            }
        });
        let judged: Weak<dyn Judged> = Arc::<Self>::downgrade(&link);
        link.registration.set(receiver.register(grounds, &judged)).expect("set once");
        link
    }

    /// Whether trust still covers the peer.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// A stream of this connection in the transport's terms. It keeps the connection, and its permit, as long as one
    /// half of it lives.
    pub(super) fn stream(
        self: &Arc<Self>,
        send: SendStream,
        recv: RecvStream,
        permit: Option<StreamPermit>,
    ) -> Stream {
        let permit = permit.map(Arc::new);
        Stream {
            recv: RecvHalf::new(QuicRecv::new(recv, Arc::clone(self), permit.clone())),
            send: SendHalf::new(QuicSend::new(send, Arc::clone(self), permit)),
            peer: self.peer.clone(),
        }
    }

    /// A step more to write, for a stream that waits.
    pub(super) fn take_send_step(&self) -> Option<Lent> {
        self.send_room.as_ref()?.take(&self.connection)
    }

    /// Takes back the steps of a stream that has ended, or that were of no use to it.
    pub(super) fn give_back(&self, lent: Lent) {
        if let Some(room) = &self.send_room {
            room.give_back(&self.connection, lent);
        }
    }

    /// What a half reports when the connection is gone.
    pub(super) fn lost(&self, error: &ConnectionError) -> StreamError {
        match (error, self.standing.fallen()) {
            (ConnectionError::LocallyClosed, Some(fallen)) => StreamError::Distrusted(fallen.clone()),
            _ => failure::stream(error, self.side),
        }
    }

    /// Counts a stream reset here: [`Drop`] lets it leave before the connection closes.
    pub(super) fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes with `code`; returns once the peer has answered, or when it cannot be expected to any more.
    pub(super) async fn close(&self, code: u32) {
        if self.connection.close_reason().is_some() {
            return;
        }
        self.connection.close(VarInt::from_u32(code), b"");
        let answered = || self.connection.stats().frame_rx.connection_close > 0;
        // The connection stops listening after three probe timeouts (RFC 9000, section 10.2), each of a round trip, its
        // variation and a late acknowledgement.
        let probe = self.connection.rtt() * 3 + MAX_ACK_DELAY;
        wait_until(answered, self.surroundings.close_deadline.min(probe * 3)).await;
    }
}

impl Judged for Link {
    /// A server is given up at once; a client is left to whoever serves it for a moment, to be told.
    fn fall(self: Arc<Self>, fallen: Fallen) {
        if !self.standing.fall(fallen) {
            return;
        }
        let connection = self.connection.clone();
        match self.side {
            Side::Client => connection.close(DISTRUSTED, b""),
            Side::Server => {
                let cut_off = async move {
                    sleep(FALLEN_GRACE).await;
                    connection.close(DISTRUSTED, b"");
                };
                self.surroundings.tasks.spawn_on(cut_off, &self.runtime);
            }
        }
    }
}

/// Exports keying material as long as the connection has a holder.
struct LinkExporter(Weak<Link>);

impl ExportsKeyingMaterial for LinkExporter {
    fn export(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ExportError> {
        let link = self.0.upgrade().ok_or(ExportError::Closed)?;
        link.connection.export_keying_material(output, label, context).map_err(|_| ExportError::Length)
    }
}

impl Drop for Link {
    /// Closing at once would overtake a reset that waits to be sent, and the reader would learn of a lost connection
    /// instead of the code.
    fn drop(&mut self) {
        let resets = self.resets.load(Ordering::Relaxed);
        let connection = self.connection.clone();
        let done =
            move || connection.close_reason().is_some() || connection.stats().frame_tx.reset_stream >= resets;
        if !done()
            && let Ok(runtime) = Handle::try_current()
        {
            self.surroundings.tasks.spawn_on(wait_until(done, LAST_RESET), &runtime);
        }
    }
}

/// Looks at `done`, at growing intervals, until it holds or `patience` is over: quinn announces neither a frame sent
/// nor a frame received.
async fn wait_until(done: impl Fn() -> bool, patience: Duration) {
    let looking = async {
        let mut pause = FIRST_LOOK;
        while !done() {
            sleep(pause).await;
            pause = LAST_LOOK.min(pause * 2);
        }
    };
    // Whichever comes first: there is nothing left to do in either case.
    drop(timeout(patience, looking).await);
}
