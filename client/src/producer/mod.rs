//! Producing: records become batches, batches become durable, and every record learns where it is.
//!
//! ```text
//! send ──► Accumulator (one open batch a partition, a window over all) ──► Lane (numbers, order, repeats)
//!   │                                                                        │
//!   └─ Delivery ◄────────── Receipt (one a batch) ◄── answers ◄── Driver ────┘──► session
//! ```

mod accumulator;
mod delivery;
mod driver;
mod error;
mod exchange;
mod lane;
mod link;
mod options;
mod permit;
mod plan;
mod record;
mod reports;
mod shared;
mod sink;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

pub use delivery::{BatchDelivery, Delivery};
pub use error::{DeliveryError, NotAcknowledged, OpenProducerError, Retry, SendError, TrySendError};
pub use lane::MAX_UNANSWERED;
pub use link::REFRESH;
pub use options::{
    DEFAULT_BATCH_BYTES, DEFAULT_DELIVERY_TIMEOUT, DEFAULT_LINGER, DEFAULT_WINDOW_BATCHES,
    DEFAULT_WINDOW_BYTES, MAX_BATCH_RECORDS, MAX_WINDOW_BATCHES, ProducerBuilder,
};
pub use permit::SendPermit;
pub use record::{OwnedRecord, Record, RecordMetadata, StoredRange};
pub use reports::{DeliveryReport, DeliveryReports};
pub use sink::{RecordSink, SinkError};

use shared::Shared;

/// Sends records to one topic. Cheap to clone; clones share batches, window and session.
///
/// Records of one partition are stored in the order in which they were sent, each once: what a lost session left
/// unanswered is sent again under the same number, and the broker recognises what it has. A record whose delivery
/// fails may be followed by others that succeed; a program that cannot have this awaits each delivery.
///
/// Dropping the last clone gives up what is not delivered yet: [`close`](Self::close) it.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::Record;
///
/// let producer = client.producer("measurements").open().await?;
/// let delivery = producer.send(Record::new("18.4").key("sensor-7")).await?;
/// let stored = delivery.await?;
/// println!("partition {} offset {}", stored.partition, stored.offset);
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// Ends the tasks when the last clone is gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Producer {
    fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.handle.shared.topic
    }

    /// How many partitions it has, as far as is known: that it got more is noticed within [`REFRESH`], and with every new session. From then
    /// on keys map to partitions among all of them.
    pub fn partitions(&self) -> u32 {
        self.handle.shared.partitions()
    }

    /// Adds a record to its batch, waiting for room in the window if there is none; the [`Delivery`] resolves when it
    /// is stored.
    ///
    /// Those who wait are served in turn. Cancellation safe: a record whose `send` was dropped was not sent.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, SendError> {
        self.handle.shared.send(&record).await
    }

    /// Adds a record to its batch if there is room now.
    pub fn try_send(&self, record: Record<'_>) -> Result<Delivery, TrySendError> {
        self.handle.shared.try_send(&record)
    }

    /// Adds many records, in order, at the cost of few: one look at the clock and one lock for as many as there is
    /// room for. Nothing is sent if one of them can never be.
    ///
    /// If it is dropped while it waits for room, the first of them may have been sent.
    pub async fn send_batch(&self, records: &[Record<'_>]) -> Result<BatchDelivery, SendError> {
        self.handle.shared.send_all(records).await
    }

    /// Waits for room for a record of so many bytes, as [`Record::size`] counts them, and keeps it: back-pressure before
    /// there is a record.
    ///
    /// Those who wait are served in turn. Cancellation safe: if it is dropped, nothing is kept.
    pub async fn reserve(&self, size: usize) -> Result<SendPermit, SendError> {
        self.handle.shared.reserve(size).await?;
        Ok(SendPermit::new(self.handle.clone(), size))
    }

    /// Keeps room for a record of so many bytes if there is some now.
    pub fn try_reserve(&self, size: usize) -> Result<SendPermit, TrySendError> {
        self.handle.shared.try_reserve(size)?;
        Ok(SendPermit::new(self.handle.clone(), size))
    }

    /// Every record with a smaller [number](Delivery::number) is settled: stored, or failed. It never falls; with
    /// [reports](ProducerBuilder::open_with_reports) a program hears when it rises.
    pub fn low_watermark(&self) -> u64 {
        self.handle.shared.accumulator().low_watermark()
    }

    /// The producer as a [`Sink`](futures_sink::Sink) of records that own what they are made of.
    pub fn sink(&self) -> RecordSink {
        RecordSink::new(self.clone())
    }

    /// Sends what is waiting to be sent and waits until everything sent before is stored or has failed. The error says
    /// what failed since the last call, also of records whose [`Delivery`] was dropped.
    ///
    /// Cancellation safe.
    pub async fn flush(&self) -> Result<(), NotAcknowledged> {
        self.settle().await;
        self.failures()
    }

    /// Takes no record any more, from this clone or any other, waits until everything is stored or has failed, and ends
    /// the session cleanly. The error says what was not acknowledged and not reported by [`flush`](Self::flush).
    ///
    /// Takes as long as the delivery timeout at most: see [`close_within`](Self::close_within). If it is dropped, the
    /// producer takes no record any more and goes on with those that it has for as long as there is a clone.
    pub async fn close(self) -> Result<(), NotAcknowledged> {
        self.handle.shared.close(DeliveryError::Closed { maybe_stored: false });
        self.settle().await;
        self.end().await
    }

    /// The same, but gives up what is not acknowledged after so long, and reports it. If it is dropped, as [`close`](Self::close).
    pub async fn close_within(self, patience: Duration) -> Result<(), NotAcknowledged> {
        self.handle.shared.close(DeliveryError::Closed { maybe_stored: false });
        if tokio::time::timeout(patience, self.settle()).await.is_err() {
            tracing::warn!(topic = self.topic(), ?patience, "closed before everything was acknowledged");
        }
        self.end().await
    }

    /// Waits until everything that was sent before is settled.
    async fn settle(&self) {
        let shared = &self.handle.shared;
        let receipts = {
            let mut accumulator = shared.accumulator();
            accumulator.seal_all();
            accumulator.receipts()
        };
        shared.announce();
        for receipt in receipts {
            // Its failure, if it fails, is the first or not; the accumulator knows.
            let first = delivery::Position { receipt: &receipt, index: 0, number: 0 };
            let _ = delivery::delivery(first).await;
        }
    }

    /// Ends the tasks, which give up what they still have.
    async fn end(&self) -> Result<(), NotAcknowledged> {
        let shared = &self.handle.shared;
        shared.stop.cancel();
        shared.routes.join().await;
        self.failures()
    }

    fn failures(&self) -> Result<(), NotAcknowledged> {
        self.handle.shared.accumulator().take_failures().map_or(Ok(()), Err)
    }
}
