//! What a consumer and its drivers share, and the bounded way between them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::cursor::Cursor;
use super::driver::Driver;
use super::error::ConsumeError;
use super::reading::Reading;
use super::record::ConsumedBatch;
use crate::backoff::RetryPolicy;
use crate::connection::{Connections, Place};
use crate::routes::Routes;

/// Chunks read ahead at most, whatever their size: at 100 bytes each for the way, nothing next to the bytes in them.
const CHUNKS: usize = 256;

/// What came of one reading at once, and the room that it takes.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) reading: Arc<Reading>,
    /// The batches of one Data frame.
    pub(crate) batches: Vec<ConsumedBatch>,
    /// Given back when the program is done with the chunk.
    pub(crate) permit: OwnedSemaphorePermit,
    /// What is behind them.
    pub(crate) after: After,
}

/// What is behind the batches of a chunk.
#[derive(Debug)]
pub(crate) enum After {
    /// More, in time.
    More,
    /// The end at which the reading stops.
    End,
    /// Nothing more of this reading, and why.
    Failed(ConsumeError),
}

/// What a reading's failure ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// The consumer.
    EndAll,
    /// That reading.
    EndOne,
}

/// What travels from the drivers to the program: an error is the end of all.
pub(crate) type Item = Result<Chunk, ConsumeError>;

/// Both ends of the way.
#[derive(Debug)]
pub(crate) struct Chunks {
    pub(crate) sender: mpsc::Sender<Item>,
    pub(crate) receiver: mpsc::Receiver<Item>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connections: Arc<Connections>,
    /// Ends the drivers.
    pub(crate) stop: CancellationToken,
    pub(crate) routes: Routes<Cursor>,
    pub(super) on_failure: OnFailure,
    /// Tells the drivers that readings were taken back.
    taken_back: watch::Sender<()>,
    budget: Arc<Semaphore>,
    buffer_bytes: u32,
}

impl Shared {
    /// For at most so many readings at a time.
    pub(crate) fn new(
        connections: Arc<Connections>,
        readings: u32,
        buffer_bytes: usize,
        on_failure: OnFailure,
    ) -> (Self, Chunks) {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let buffer_bytes = u32::try_from(buffer_bytes.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let shared = Self {
            connections,
            stop: CancellationToken::new(),
            routes: Routes::new(readings),
            on_failure,
            taken_back: watch::Sender::new(()),
            budget: Arc::new(Semaphore::new(buffer_bytes as usize)),
            buffer_bytes,
        };
        (shared, Chunks { sender, receiver })
    }

    pub(crate) fn policy(&self) -> RetryPolicy {
        self.connections.settings.retry
    }

    /// Has a partition read: by the task at home, or by one that is made for it.
    pub(crate) fn begin(self: &Arc<Self>, cursor: Cursor, sender: &mpsc::Sender<Item>) {
        self.routes.hand_over(Place::Home, cursor, |inbox, cursor| {
            Driver::new(self.clone(), Place::Home, inbox, [cursor], sender.clone()).run()
        });
    }

    /// Has the drivers look for readings that were taken back.
    pub(crate) fn announce_taken_back(&self) {
        self.taken_back.send_replace(());
    }

    /// Hears of readings that are taken back from now on.
    pub(super) fn watch_taken_back(&self) -> watch::Receiver<()> {
        self.taken_back.subscribe()
    }

    /// Waits for room for a chunk of so many bytes; one that is larger than all the room there is takes all of it.
    ///
    /// Cancellation safe. `None` if the program reads no more.
    pub(super) async fn room<'s>(
        &self,
        bytes: usize,
        sender: &'s mpsc::Sender<Item>,
    ) -> Option<(OwnedSemaphorePermit, mpsc::Permit<'s, Item>)> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.buffer_bytes);
        let permit = self.budget.clone().acquire_many_owned(bytes).await.ok()?;
        Some((permit, sender.reserve().await.ok()?))
    }
}
