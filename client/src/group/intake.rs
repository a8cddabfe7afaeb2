//! What was read, as it comes out of the channel: batches of readings that still count, and what is behind them.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;

use crate::consumer::reading::Reading;
use crate::consumer::shared::{After, Chunk, Item};
use crate::consumer::{ConsumeError, ConsumedBatch};

/// What comes next.
#[derive(Debug)]
pub(super) enum Taken {
    Batch(Arc<Reading>, ConsumedBatch),
    /// The reading came to the end at which it stops.
    End(Arc<Reading>),
    /// The reading is over.
    Failed(Arc<Reading>, ConsumeError),
    /// Nothing can be read any more.
    Over(ConsumeError),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Intake {
    chunks: mpsc::Receiver<Item>,
    /// The rest of the chunk at hand, and the room that it takes.
    chunk: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    reading: Arc<Reading>,
    batches: std::vec::IntoIter<ConsumedBatch>,
    after: After,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Intake {
    pub(super) fn new(chunks: mpsc::Receiver<Item>) -> Self {
        Self { chunks, chunk: None }
    }

    /// The next of it; what was read by readings that were taken back is thrown away.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Taken> {
        loop {
            if let Some(taken) = self.rest() {
                return Poll::Ready(taken);
            }
            match ready!(self.chunks.poll_recv(cx)) {
                Some(Ok(Chunk { reading, batches, permit, after })) => {
                    let batches = batches.into_iter();
                    self.chunk = Some(Rest { reading, batches, after, _permit: permit });
                }
                Some(Err(error)) => return Poll::Ready(Taken::Over(error)),
                // Its sender is held by whoever holds this.
                None => return Poll::Pending,
            }
        }
    }

    /// The next of the chunk at hand. One that is done with gives its room back.
    fn rest(&mut self) -> Option<Taken> {
        let chunk = self.chunk.as_mut()?;
        if !chunk.reading.is_taken_back()
            && let Some(batch) = chunk.batches.next()
        {
            return Some(Taken::Batch(chunk.reading.clone(), batch));
        }
        let Rest { reading, after, .. } = self.chunk.take()?;
        match after {
            _ if reading.is_taken_back() => None,
            After::More => None,
            After::End => Some(Taken::End(reading)),
            After::Failed(error) => Some(Taken::Failed(reading, error)),
        }
    }

    /// Takes nothing any more.
    pub(super) fn close(&mut self) {
        self.chunks.close();
        self.chunk = None;
    }
}
