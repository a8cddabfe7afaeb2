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
mod record;
mod shared;

use std::sync::Arc;

pub use delivery::{BatchDelivery, Delivery};
pub use error::{DeliveryError, OpenProducerError, SendError, TrySendError};
pub use lane::MAX_UNANSWERED;
pub use link::REFRESH;
pub use options::{
    DEFAULT_BATCH_BYTES, DEFAULT_DELIVERY_TIMEOUT, DEFAULT_LINGER, DEFAULT_WINDOW_BATCHES,
    DEFAULT_WINDOW_BYTES, MAX_BATCH_RECORDS, ProducerBuilder,
};
pub use record::{Record, RecordMetadata, StoredRange};

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

    /// Sends what is waiting to be sent and waits until everything sent before is stored or has failed. Returns the
    /// first failure since the last call, also of records whose [`Delivery`] was dropped.
    ///
    /// Cancellation safe.
    pub async fn flush(&self) -> Result<(), DeliveryError> {
        let shared = &self.handle.shared;
        let receipts = {
            let mut accumulator = shared.accumulator();
            accumulator.seal_all();
            accumulator.receipts()
        };
        shared.announce();
        for receipt in receipts {
            // Its failure, if it fails, is the first or not; the accumulator knows.
            let _ = delivery::delivery(&receipt, 0).await;
        }
        match shared.accumulator().take_failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Flushes, ends the session cleanly and takes no record any more, from this clone or any other.
    pub async fn close(self) -> Result<(), DeliveryError> {
        let flushed = self.flush().await;
        let shared = &self.handle.shared;
        shared.close(DeliveryError::Closed { maybe_stored: false });
        shared.stop.cancel();
        shared.routes.join().await;
        flushed
    }
}
