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

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::OwnedSemaphorePermit;

pub use error::{ConsumeError, SeekError};
pub use options::{ConsumerBuilder, DEFAULT_BUFFER_BYTES, OnDiverged, OnOutOfRange};
pub use record::{BatchRecords, BorrowedRecord, ConsumedBatch, ConsumerRecord};
pub use sealstream_protocol::batch::{BatchError, Header, HeaderRefs, Headers};
pub use sealstream_protocol::message::consume::Position;

use cursor::Cursor;
use reading::{Reading, Terms};
use shared::{After, Chunk, Chunks, Shared};

/// Reads a topic: a [`Stream`] of records, or of the batches that hold them.
///
/// Records of one partition come in the order of their offsets, each once; partitions are mixed as they arrive. A lost
/// session is resumed at the next offset. What cannot be resumed is an error, after which the stream is at its end.
///
/// At most [`buffer_bytes`](ConsumerBuilder::buffer_bytes) and a frame are read ahead of the program.
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
    chunks: Chunks,
    /// What is read of each partition now.
    readings: BTreeMap<u32, Arc<Reading>>,
    /// The number of the next one.
    next_reading: u64,
    /// Partitions that were read to the end at which they stop.
    done: BTreeSet<u32>,
    /// The rest of the chunk at hand.
    chunk: Option<Rest>,
    /// The rest of the batch at hand, which is of that chunk.
    records: Option<BatchRecords>,
    failed: bool,
}

/// What is left of a chunk, and the room that it takes.
#[derive(Debug)]
struct Rest {
    reading: Arc<Reading>,
    batches: std::vec::IntoIter<ConsumedBatch>,
    after: After,
    _permit: OwnedSemaphorePermit,
}

impl Consumer {
    fn new(
        shared: Arc<Shared>,
        terms: Arc<Terms>,
        readings: BTreeMap<u32, Arc<Reading>>,
        chunks: Chunks,
    ) -> Self {
        // The first readings have the numbers of their partitions.
        let next_reading = readings.keys().last().map_or(0, |last| u64::from(*last) + 1);
        Self {
            shared,
            terms,
            chunks,
            readings,
            next_reading,
            done: BTreeSet::new(),
            chunk: None,
            records: None,
            failed: false,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.terms.topic
    }

    /// The partitions that are read, in order.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.readings.keys().copied()
    }

    /// The next record; `None` after an error, and at the end if the consumer stops there.
    ///
    /// Cancellation safe: a record is given or stays where it was.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        std::future::poll_fn(|cx| self.poll_record(cx)).await
    }

    /// The next batch, for programs that count in batches; what [`next`](Self::next) has left of one is skipped.
    ///
    /// Cancellation safe: a batch is given or stays where it was.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumedBatch, ConsumeError>> {
        std::future::poll_fn(|cx| self.poll_batch(cx)).await
    }

    /// Reads a partition on from `position`, whatever was read of it before: the next record of it is the one there. What
    /// was read ahead is thrown away. One that was read to the end at which the consumer stops is read to its end of now.
    ///
    /// ```no_run
    /// # async fn example(mut consumer: sealstream_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
    /// use sealstream_client::Position;
    ///
    /// consumer.seek(0, Position::Offset(1_000))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn seek(&mut self, partition: u32, position: Position) -> Result<(), SeekError> {
        let topic = || self.terms.topic.to_string();
        if self.failed {
            return Err(SeekError::Ended { topic: topic() });
        }
        let Some(reading) = self.readings.get_mut(&partition) else {
            return Err(SeekError::NotRead { topic: topic(), partition });
        };
        let next = Arc::new(Reading::new(self.next_reading, self.terms.clone(), partition, None));
        self.next_reading += 1;
        let before = std::mem::replace(reading, next.clone());
        before.take_back();
        self.done.remove(&partition);
        if self.chunk.as_ref().is_some_and(|chunk| chunk.reading.is_taken_back()) {
            self.chunk = None;
            self.records = None;
        }
        self.shared.begin(Cursor::new(next, position, None, self.shared.policy()), &self.chunks.sender);
        self.shared.announce_taken_back();
        Ok(())
    }

    /// Ends the session cleanly. Dropping the consumer, or this, ends it too, without waiting.
    pub async fn close(mut self) {
        self.chunks.receiver.close();
        self.shared.stop.cancel();
        self.shared.routes.join().await;
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumedBatch, ConsumeError>>> {
        self.records = None;
        loop {
            if self.failed {
                return Poll::Ready(None);
            }
            if let Some(batch) = self.chunk.as_mut().and_then(|chunk| chunk.batches.next()) {
                return Poll::Ready(Some(Ok(batch)));
            }
            // Done with the chunk: its room is for others.
            if let Some(Rest { reading, after: After::End, .. }) = self.chunk.take() {
                self.done.insert(reading.partition);
            }
            if self.terms.until_end && self.done.len() == self.readings.len() {
                return Poll::Ready(None);
            }
            match ready!(self.chunks.receiver.poll_recv(cx)) {
                // Of a partition that is read elsewhere by now.
                Some(Ok(chunk)) if chunk.reading.is_taken_back() => {}
                Some(Ok(Chunk { reading, batches, permit, after })) => {
                    // What ends one reading ends this consumer, by way of its driver.
                    debug_assert!(!matches!(after, After::Failed(_)), "a failure of its own");
                    let batches = batches.into_iter();
                    self.chunk = Some(Rest { reading, batches, after, _permit: permit });
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
        self.chunk = None;
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
