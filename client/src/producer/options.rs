//! How a producer is opened.

use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::batch::Codec;

use super::Producer;
use super::accumulator::Accumulator;
use super::driver::Driver;
use super::error::OpenProducerError;
use super::lane::Lane;
use super::link::Link;
use super::plan::Plan;
use super::reports::{self, DeliveryReports};
use super::shared::Shared;
use crate::backoff::{FOR_EVER, Retries};
use crate::bounds::{OptionError, at_least, some_time, within};
use crate::connection::{Connections, Place};

/// How long a batch waits for more records: a disk makes an acknowledgement wait 3 to 5 ms anyway.
pub const DEFAULT_LINGER: Duration = Duration::from_millis(5);

/// How large a batch grows: 256 KiB takes 0.3 ms at 1 GB/s, against some 20 µs that a frame, a commit and an
/// acknowledgement cost.
pub const DEFAULT_BATCH_BYTES: usize = 256 * 1024;

/// Bytes that may be on the way, 16 MiB: twice what a broker takes of a session before it has answered, so that as much is
/// filled while that is under way. More would only be memory that no cache holds.
pub const DEFAULT_WINDOW_BYTES: usize = 64 * DEFAULT_BATCH_BYTES;

/// Batches that may be on the way: sixty-four in each of 16 partitions. Bounds what many small ones cost.
pub const DEFAULT_WINDOW_BATCHES: usize = 16 * super::MAX_UNANSWERED;

/// Batches that may be asked to be on the way: a million of them take some 300 MB beside their records.
pub const MAX_WINDOW_BATCHES: usize = 1_000_000;

/// How long a record may take from its batch's beginning to its acknowledgement: as long as operations are tried again.
pub const DEFAULT_DELIVERY_TIMEOUT: Duration = crate::backoff::DEFAULT_RETRY_FOR;

/// Records in a batch at most: with the shortest record, of six bytes, more would not fit into a frame anyway.
pub const MAX_BATCH_RECORDS: u32 = 2_000_000;

/// Opens a [`Producer`].
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sealstream_client::Codec;
///
/// let producer = client
///     .producer("measurements")
///     .codec(Codec::Lz4)
///     .linger(Duration::from_millis(20))
///     .window_bytes(8 << 20)
///     .open()
///     .await?;
/// # drop(producer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct ProducerBuilder {
    connections: Arc<Connections>,
    topic: String,
    codec: Codec,
    batch_bytes: usize,
    batch_records: u32,
    linger: Duration,
    delivery_timeout: Duration,
    window_bytes: usize,
    window_batches: usize,
}

impl ProducerBuilder {
    pub(crate) fn new(connections: Arc<Connections>, topic: String) -> Self {
        Self {
            connections,
            topic,
            codec: Codec::None,
            batch_bytes: DEFAULT_BATCH_BYTES,
            batch_records: MAX_BATCH_RECORDS,
            linger: DEFAULT_LINGER,
            delivery_timeout: DEFAULT_DELIVERY_TIMEOUT,
            window_bytes: DEFAULT_WINDOW_BYTES,
            window_batches: DEFAULT_WINDOW_BATCHES,
        }
    }

    /// Compresses batches; by default it does not.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// How long a batch waits for more records, unless it is full; zero sends it as soon as the session has room.
    /// [`DEFAULT_LINGER`] by default.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger.min(FOR_EVER);
        self
    }

    /// How large a batch grows, at least 1 byte, before compression and within the broker's limits; a larger record makes
    /// a batch of its own. [`DEFAULT_BATCH_BYTES`] by default.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How many records a batch takes, at least 1 and at most, and by default, [`MAX_BATCH_RECORDS`].
    pub fn batch_records(mut self, records: u32) -> Self {
        self.batch_records = records;
        self
    }

    /// How long a record may take before it has failed, longer than zero; [`DEFAULT_DELIVERY_TIMEOUT`] by default.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout.min(FOR_EVER);
        self
    }

    /// How many bytes may be on the way, encoded, at least 1, before `send` waits; a single larger record still goes, alone.
    /// [`DEFAULT_WINDOW_BYTES`] by default.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// How many batches may be on the way before `send` waits, 1 to [`MAX_WINDOW_BATCHES`]; [`DEFAULT_WINDOW_BATCHES`] by
    /// default.
    pub fn window_batches(mut self, batches: usize) -> Self {
        self.window_batches = batches;
        self
    }

    /// Opens a session and the topic in it, trying again within the client's retry policy. What no retry can cure,
    /// such as an option out of bounds, an unknown topic or a missing permission, is returned at once.
    ///
    /// Cancellation safe: nothing is left behind.
    pub async fn open(self) -> Result<Producer, OpenProducerError> {
        Ok(Producer::new(self.begin().await?))
    }

    /// The same, with a report of each batch that is stored or has failed: see [`DeliveryReports`]. They must be read, or
    /// dropped: a batch whose report was not read yet counts as being on the way, so that `send` waits once
    /// [`window_batches`](Self::window_batches) are unread.
    pub async fn open_with_reports(self) -> Result<(Producer, DeliveryReports), OpenProducerError> {
        let window = self.window_batches;
        let shared = self.begin().await?;
        let (sender, reports) = reports::channel(window, shared.clone());
        shared.accumulator().report_to(sender);
        Ok((Producer::new(shared), reports))
    }

    fn check(&self) -> Result<(), OptionError> {
        within("batch_records", self.batch_records, 1..=MAX_BATCH_RECORDS)?;
        at_least("batch_bytes", self.batch_bytes, 1)?;
        some_time("delivery_timeout", self.delivery_timeout)?;
        at_least("window_bytes", self.window_bytes, 1)?;
        within("window_batches", self.window_batches, 1..=MAX_WINDOW_BATCHES)
    }

    async fn begin(self) -> Result<Arc<Shared>, OpenProducerError> {
        self.check()?;
        let policy = self.connections.settings.retry;
        let mut retries = Retries::new(policy);
        let (link, opened) =
            Link::open(&self.connections, &self.topic, None, &Place::Home, &mut retries).await?;
        let mut plan = Plan {
            partitions: opened.partitions,
            codec: self.codec,
            limits: link.limits,
            batch_bytes: self.batch_bytes,
            batch_records: self.batch_records,
            linger: self.linger,
            delivery_timeout: self.delivery_timeout,
            window_bytes: self.window_bytes,
            window_batches: self.window_batches,
        };
        plan.batch_bytes = plan.batch_bytes.min(plan.record_limit());
        // Many producers that start together begin at different partitions.
        let accumulator = Accumulator::new(plan, rand::random());
        let shared = Arc::new(Shared::new(self.connections, self.topic, opened.id, accumulator));
        let lanes = (0..opened.partitions).map(move |partition| Lane::new(partition, policy));
        shared.routes.start(Place::Home, |inbox| {
            Driver::new(shared.clone(), Place::Home, inbox, lanes).run(Some(link))
        });
        Ok(shared)
    }
}
