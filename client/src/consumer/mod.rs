//! Consuming: what is durable is pushed, verified, buffered within bounds, and given out record by record.
//!
//! ```text
//! session ──► Driver ──► Cursor (one a partition: in order, without a gap) ──► Chunks, bounded in bytes ──► Consumer
//! ```
//!
//! When the program stops taking records the buffer fills, the driver stops reading, and the transport's flow control
//! stops the broker; pings go on, so that the session lives.

pub(crate) mod cursor;
pub(crate) mod driver;
mod error;
mod exchange;
mod link;
mod options;
pub(crate) mod reading;
mod record;
pub(crate) mod shared;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub use error::ConsumeError;
pub use options::{ConsumerBuilder, DEFAULT_BUFFER_BYTES, OnDiverged, OnOutOfRange};
pub use record::{BatchRecords, ConsumedBatch, ConsumerRecord};
pub use sealstream_protocol::message::consume::Position;

use reading::Terms;
use shared::{After, Item, Shared};

/// Reads a topic: a [`Stream`] of records, or of the batches that hold them.
///
/// Records of one partition come in the order of their offsets, each once; partitions are mixed as they arrive. A lost
/// session is resumed at the next offset. What cannot be resumed is an error, after which the stream is at its end.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::consumer::Position;
///
/// let mut consumer = client.consumer("measurements").start(Position::End).open().await?;
/// while let Some(record) = consumer.next().await {
///     let record = record?;
///     println!("{}/{}: {:?}", record.partition, record.offset, record.value);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    terms: Arc<Terms>,
    chunks: mpsc::Receiver<Item>,
    /// The rest of the chunk at hand.
    batches: std::vec::IntoIter<ConsumedBatch>,
    /// The room that it takes.
    permit: Option<OwnedSemaphorePermit>,
    /// The rest of the batch at hand.
    records: Option<BatchRecords>,
    failed: bool,
}

impl Consumer {
    fn new(shared: Arc<Shared>, terms: Arc<Terms>, chunks: mpsc::Receiver<Item>) -> Self {
        Self {
            shared,
            terms,
            chunks,
            batches: Vec::new().into_iter(),
            permit: None,
            records: None,
            failed: false,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.terms.topic
    }

    /// The next record; `None` after an error, and at the end if the consumer stops there.
    ///
    /// Cancellation safe.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        std::future::poll_fn(|cx| self.poll_record(cx)).await
    }

    /// The next batch, for programs that count in batches; what [`next`](Self::next) has left of one is skipped.
    ///
    /// Cancellation safe.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumedBatch, ConsumeError>> {
        std::future::poll_fn(|cx| self.poll_batch(cx)).await
    }

    /// Ends the session cleanly. Dropping the consumer ends it too, without waiting.
    pub async fn close(mut self) {
        self.chunks.close();
        self.shared.stop.cancel();
        self.shared.routes.join().await;
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumedBatch, ConsumeError>>> {
        self.records = None;
        loop {
            if self.failed {
                return Poll::Ready(None);
            }
            if let Some(batch) = self.batches.next() {
                return Poll::Ready(Some(Ok(batch)));
            }
            // Done with the chunk: its room is for others.
            self.permit = None;
            match ready!(self.chunks.poll_recv(cx)) {
                Some(Ok(chunk)) => {
                    self.batches = chunk.batches.into_iter();
                    self.permit = Some(chunk.permit);
                    // What ends one reading ends this consumer, by way of its driver.
                    debug_assert!(!matches!(chunk.after, After::Failed(_)), "a failure of its own");
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.fail(error)))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumerRecord, ConsumeError>>> {
        loop {
            if let Some(records) = &mut self.records {
                match records.next() {
                    Some(Ok(record)) => return Poll::Ready(Some(Ok(record))),
                    Some(Err(error)) => {
                        let (partition, offset) = records.place();
                        let topic = self.topic().to_owned();
                        let reason = error.to_string();
                        let error = ConsumeError::Corrupt { topic, partition, offset, reason };
                        return Poll::Ready(Some(Err(self.fail(error))));
                    }
                    None => self.records = None,
                }
            }
            match ready!(self.poll_batch(cx)) {
                Some(Ok(batch)) => self.records = Some(batch.records()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn fail(&mut self, error: ConsumeError) -> ConsumeError {
        self.failed = true;
        self.records = None;
        self.permit = None;
        self.shared.stop.cancel();
        error
    }
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
