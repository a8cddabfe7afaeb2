//! What a consumer and its drivers share, and the bounded way between them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::cursor::{Cursor, Terms};
use super::error::ConsumeError;
use super::record::ConsumedBatch;
use crate::connection::Connections;
use crate::routes::Routes;

/// Chunks read ahead at most, whatever their size: at 100 bytes each for the way, nothing next to the bytes in them.
const CHUNKS: usize = 256;

/// The batches of one Data frame, and the room that they take.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) batches: Vec<ConsumedBatch>,
    /// Given back when the program is done with the chunk.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What travels from the drivers to the program.
pub(super) type Item = Result<Chunk, ConsumeError>;

/// Both ends of the way.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) sender: mpsc::Sender<Item>,
    pub(super) receiver: mpsc::Receiver<Item>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connections: Arc<Connections>,
    pub(super) terms: Terms,
    /// Ends the drivers.
    pub(super) stop: CancellationToken,
    pub(super) routes: Routes<Cursor>,
    budget: Arc<Semaphore>,
    buffer_bytes: u32,
}

impl Shared {
    pub(super) fn new(
        connections: Arc<Connections>,
        terms: Terms,
        partitions: u32,
        buffer_bytes: usize,
    ) -> (Self, Chunks) {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let buffer_bytes = u32::try_from(buffer_bytes.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let shared = Self {
            connections,
            terms,
            stop: CancellationToken::new(),
            routes: Routes::new(partitions),
            budget: Arc::new(Semaphore::new(buffer_bytes as usize)),
            buffer_bytes,
        };
        (shared, Chunks { sender, receiver })
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
