//! The two sides of an in-memory connection, and the streams between them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::MAX_STREAMS;
use super::pipe::{Pipe, PipeReader, PipeWriter};
use crate::error::OpenError;
use crate::peer::Peer;
use crate::stream::{RecvHalf, SendHalf, Stream};
use crate::tls::Fallen;
use crate::transport::{BoxFuture, Inbound, Outbound};

/// The right of one stream to exist, shared by its four halves: the last one gives it back.
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    /// A stream that has outlived the handles it came from still ends with its connection.
    _connection: Arc<Connection>,
}

/// A stream as the peer will see it, once it is told. Never accepted, it aborts and stops like any other.
struct Announced {
    recv: RecvHalf,
    send: SendHalf,
}

/// The means to tell the peer of a stream.
pub(super) struct Announcement {
    stream: Announced,
    to: mpsc::Sender<Announced>,
}

impl Announcement {
    /// Puts the stream into the peer's queue, which has room for every stream that may exist.
    pub(super) fn make(self) -> Result<(), &'static str> {
        self.to.try_send(self.stream).map_err(|_| "the peer accepts no stream any more")
    }
}

/// What both sides share.
pub(super) struct Connection {
    slots: Arc<Semaphore>,
    severed: CancellationToken,
    pipes: Mutex<Vec<Weak<Pipe>>>,
}

impl Connection {
    /// Ends the connection and every stream on it that has not finished.
    pub(super) fn sever(&self, reason: &'static str) {
        self.slots.close();
        self.severed.cancel();
        let pipes = std::mem::take(&mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner));
        for pipe in pipes.iter().filter_map(Weak::upgrade) {
            pipe.lose(reason);
        }
    }

    /// A pipe that [`sever`](Self::sever) finds.
    fn pipe(&self) -> Arc<Pipe> {
        let pipe = Pipe::new();
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.retain(|known| known.strong_count() > 0);
        pipes.push(Arc::downgrade(&pipe));
        drop(pipes);
        if self.severed.is_cancelled() {
            // Severed meanwhile, perhaps before the pipe was on the list.
            pipe.lose("the connection was closed");
        }
        pipe
    }
}

/// Both sides of a new connection. `client` is who the client is to the server, `server` the reverse.
pub(super) fn establish(
    client: Peer,
    server: Peer,
    open_deadline: Duration,
) -> (Arc<Connection>, MemoryOutbound, MemoryInbound) {
    let connection = Arc::new(Connection {
        slots: Arc::new(Semaphore::new(MAX_STREAMS)),
        severed: CancellationToken::new(),
        pipes: Mutex::default(),
    });
    // Every stream in the queue holds a slot: it cannot overflow.
    let (announce, announced) = mpsc::channel(MAX_STREAMS);
    let outbound =
        MemoryOutbound { connection: connection.clone(), announce, peer: server, deadline: open_deadline };
    let inbound = MemoryInbound {
        connection: connection.clone(),
        announced: tokio::sync::Mutex::new(announced),
        peer: client,
    };
    (connection, outbound, inbound)
}

/// The client's side.
pub(super) struct MemoryOutbound {
    connection: Arc<Connection>,
    announce: mpsc::Sender<Announced>,
    peer: Peer,
    deadline: Duration,
}

impl MemoryOutbound {
    async fn slot(&self) -> Result<Arc<Slot>, OpenError> {
        let closed = || OpenError::Closed { reason: "the connection was closed or lost".into() };
        let permit = tokio::time::timeout(self.deadline, self.connection.slots.clone().acquire_owned())
            .await
            .map_err(|_| OpenError::TimedOut { after: self.deadline })?
            .map_err(|_| closed())?;
        if self.announce.is_closed() {
            return Err(closed());
        }
        Ok(Arc::new(Slot { _permit: permit, _connection: self.connection.clone() }))
    }
}

impl Outbound for MemoryOutbound {
    fn open(&self) -> BoxFuture<'_, Result<Stream, OpenError>> {
        Box::pin(async move {
            let slot = self.slot().await?;
            let (there, back) = (self.connection.pipe(), self.connection.pipe());
            let announcement = Announcement {
                stream: Announced {
                    recv: RecvHalf::new(PipeReader::new(there.clone(), slot.clone())),
                    send: SendHalf::new(PipeWriter::new(back.clone(), None, slot.clone())),
                },
                to: self.announce.clone(),
            };
            Ok(Stream {
                recv: RecvHalf::new(PipeReader::new(back, slot.clone())),
                send: SendHalf::new(PipeWriter::new(there, Some(announcement), slot)),
                peer: self.peer.clone(),
            })
        })
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn close(&self, _code: u32) -> BoxFuture<'_, ()> {
        self.connection.sever("the client closed the connection");
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for MemoryOutbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOutbound").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The server's side.
pub(super) struct MemoryInbound {
    connection: Arc<Connection>,
    announced: tokio::sync::Mutex<mpsc::Receiver<Announced>>,
    peer: Peer,
}

impl Inbound for MemoryInbound {
    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(async move {
            let mut announced = self.announced.lock().await;
            let Announced { recv, send } = tokio::select! {
                biased;
                stream = announced.recv() => stream?,
                () = self.connection.severed.cancelled() => announced.try_recv().ok()?,
            };
            Some(Stream { recv, send, peer: self.peer.clone() })
        })
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Nobody is judged here: there is no trust to change.
    fn standing(&self) -> BoxFuture<'_, Fallen> {
        Box::pin(std::future::pending())
    }

    fn close(&self, _code: u32) -> BoxFuture<'_, ()> {
        self.connection.sever("the server closed the connection");
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for MemoryInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryInbound").field("peer", &self.peer).finish_non_exhaustive()
    }
}
