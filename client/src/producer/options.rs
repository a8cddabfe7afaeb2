//! How a producer is opened.

use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::batch::Codec;

use super::Producer;
use super::accumulator::{Accumulator, Plan};
use super::driver::Driver;
use super::error::OpenProducerError;
use super::lane::Lane;
use super::link::Link;
use super::shared::Shared;
use crate::backoff::{FOR_EVER, Retries};
use crate::connection::{Connections, Place};

/// How long a batch waits for more records: a disk makes an acknowledgement wait 3 to 5 ms anyway.
pub const DEFAULT_LINGER: Duration = Duration::from_millis(5);

/// How large a batch grows: 256 KiB takes 0.3 ms at 1 GB/s, against some 20 µs that a frame, a commit and an
/// acknowledgement cost.
pub const DEFAULT_BATCH_BYTES: usize = 256 * 1024;

/// Bytes that may be on the way: sixteen unanswered batches of the default size in each of eight partitions.
pub const DEFAULT_WINDOW_BYTES: usize = 16 * 8 * DEFAULT_BATCH_BYTES;

/// Batches that may be on the way: sixteen in each of 64 partitions. Bounds what many small ones cost.
pub const DEFAULT_WINDOW_BATCHES: usize = 16 * 64;

/// How long a record may take from its batch's beginning to its acknowledgement: as long as operations are tried again.
pub const DEFAULT_DELIVERY_TIMEOUT: Duration = crate::backoff::DEFAULT_RETRY_FOR;

/// Records in a batch at most: with the shortest record, of six bytes, more would not fit into a frame anyway.
pub const MAX_BATCH_RECORDS: u32 = 2_000_000;

/// Opens a [`Producer`].
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

    /// How large a batch grows, in bytes before compression, within the broker's limits; a larger record makes a
    /// batch of its own. [`DEFAULT_BATCH_BYTES`] by default.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How many records a batch takes, at least 1 and at most, and by default, [`MAX_BATCH_RECORDS`].
    pub fn batch_records(mut self, records: u32) -> Self {
        self.batch_records = records.clamp(1, MAX_BATCH_RECORDS);
        self
    }

    /// How long a record may take before it has failed; [`DEFAULT_DELIVERY_TIMEOUT`] by default.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout.min(FOR_EVER);
        self
    }

    /// How many bytes may be on the way, encoded, before `send` waits; a single larger record still goes, alone.
    /// [`DEFAULT_WINDOW_BYTES`] by default.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// How many batches may be on the way before `send` waits, at least 1; [`DEFAULT_WINDOW_BATCHES`] by default.
    pub fn window_batches(mut self, batches: usize) -> Self {
        self.window_batches = batches.max(1);
        self
    }

    /// Opens a session and the topic in it, trying again within the client's retry policy. What no retry can cure,
    /// such as an unknown topic or a missing permission, is returned at once.
    pub async fn open(self) -> Result<Producer, OpenProducerError> {
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
        Ok(Producer::new(shared))
    }
}
