//! How a consumer is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealstream_protocol::limits::MAX_PARTITIONS;
use sealstream_protocol::message::consume::Position;

use super::Consumer;
use super::cursor::Cursor;
use super::driver::Driver;
use super::error::ConsumeError;
use super::reading::{Reading, Terms};
use super::shared::{OnFailure, Shared};
use crate::admin::Admin;
use crate::bounds::at_least;
use crate::connection::{Connections, Place};

/// Bytes read ahead of the program: three frames of 1 MiB on the way while one is worked on.
pub const DEFAULT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What to do when the log does not hold the offset that comes next: retention was faster, or it was never there.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::consumer::OnOutOfRange;
///
/// let choice = OnOutOfRange::Earliest;
/// let consumer = client.consumer("measurements").on_out_of_range(choice).open().await?;
/// # drop(consumer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnOutOfRange {
    /// Ends with an error that names the offset and the nearest that is there.
    #[default]
    Error,
    /// Goes on at the earliest record that follows: below the log's start that is its start, above its end its end.
    /// Logs a warning.
    Earliest,
    /// Goes on at the durable end, with what is stored from then on. Logs a warning.
    Latest,
}

/// What to do when the log was cut below what was read of it, as a crash can do to what was not yet durable.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::consumer::OnDiverged;
///
/// let consumer = client.consumer("measurements").on_diverged(OnDiverged::Resume).open().await?;
/// # drop(consumer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDiverged {
    /// Ends with an error that names the offset at which what was read and the log part.
    #[default]
    Error,
    /// Goes on where they part, and logs a warning: records that were delivered are followed by others of the same
    /// offsets.
    Resume,
}

/// Opens a [`Consumer`].
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::Position;
/// use sealstream_client::consumer::OnOutOfRange;
///
/// let consumer = client
///     .consumer("measurements")
///     .partitions([0, 3])
///     .start(Position::Time(1_767_225_600_000))
///     .on_out_of_range(OnOutOfRange::Earliest)
///     .buffer_bytes(1 << 20)
///     .open()
///     .await?;
/// # drop(consumer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct ConsumerBuilder {
    connections: Arc<Connections>,
    topic: String,
    start: Position,
    /// Partitions that start elsewhere.
    starts: BTreeMap<u32, Position>,
    partitions: Option<Vec<u32>>,
    until_end: bool,
    on_out_of_range: OnOutOfRange,
    on_diverged: OnDiverged,
    buffer_bytes: usize,
}

impl ConsumerBuilder {
    pub(crate) fn new(connections: Arc<Connections>, topic: String) -> Self {
        Self {
            connections,
            topic,
            start: Position::Beginning,
            starts: BTreeMap::new(),
            partitions: None,
            until_end: false,
            on_out_of_range: OnOutOfRange::Error,
            on_diverged: OnDiverged::Error,
            buffer_bytes: DEFAULT_BUFFER_BYTES,
        }
    }

    /// Where every partition starts; by default at its beginning.
    pub fn start(mut self, position: Position) -> Self {
        self.start = position;
        self
    }

    /// Where this partition starts.
    pub fn start_partition(mut self, partition: u32, position: Position) -> Self {
        self.starts.insert(partition, position);
        self
    }

    /// Reads these partitions only; by default all.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = u32>) -> Self {
        self.partitions = Some(partitions.into_iter().collect());
        self
    }

    /// Stops at the end that each partition has when it is first subscribed to, instead of waiting for more.
    pub fn until_end(mut self) -> Self {
        self.until_end = true;
        self
    }

    /// What to do when the log does not hold the offset that comes next; by default it is an error.
    pub fn on_out_of_range(mut self, choice: OnOutOfRange) -> Self {
        self.on_out_of_range = choice;
        self
    }

    /// What to do when the log was cut below what was read of it; by default it is an error.
    pub fn on_diverged(mut self, choice: OnDiverged) -> Self {
        self.on_diverged = choice;
        self
    }

    /// How many bytes are read ahead of the program, at least 1; one frame always is. [`DEFAULT_BUFFER_BYTES`] by default.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Looks the topic up and begins to read, trying again within the client's retry policy. What no retry can cure,
    /// such as an unknown topic, is returned at once; what concerns one partition comes out of the stream.
    ///
    /// Cancellation safe: nothing is left behind.
    pub async fn open(self) -> Result<Consumer, ConsumeError> {
        at_least("buffer_bytes", self.buffer_bytes, 1)?;
        let policy = self.connections.settings.retry;
        let admin = Admin::new(self.connections.clone());
        let topic = admin.describe_topic(&self.topic).await;
        // What is asked for is to consume: that the topic is looked up for it is our matter.
        let topic = topic.map_err(|error| error.of(format!("consume topic {}", self.topic)))?.topic;
        admin.close().await;
        // What the broker claims allocates no more than what can be.
        let partitions = topic.partitions.min(MAX_PARTITIONS);
        let mut chosen = self.partitions.unwrap_or_else(|| (0..partitions).collect());
        chosen.sort_unstable();
        chosen.dedup();
        if let Some(&partition) = chosen.last().filter(|last| **last >= partitions) {
            return Err(ConsumeError::UnknownPartition { topic: self.topic, partition, partitions });
        }
        let terms = Arc::new(Terms {
            topic: self.topic.into(),
            topic_id: topic.id,
            until_end: self.until_end,
            on_out_of_range: self.on_out_of_range,
            on_diverged: self.on_diverged,
        });
        let readings: BTreeMap<_, _> = chosen
            .into_iter()
            .map(|partition| {
                let reading = Reading::new(u64::from(partition), terms.clone(), partition, None);
                (partition, Arc::new(reading))
            })
            .collect();
        let start = |partition| self.starts.get(&partition).copied().unwrap_or(self.start);
        let cursors: Vec<_> = readings
            .values()
            .map(|reading| Cursor::new(reading.clone(), start(reading.partition), None, policy))
            .collect();
        let (shared, chunks) =
            Shared::new(self.connections, partitions, self.buffer_bytes, OnFailure::EndAll);
        let shared = Arc::new(shared);
        shared.routes.start(Place::Home, |inbox| {
            Driver::new(shared.clone(), Place::Home, inbox, cursors, chunks.sender.clone()).run()
        });
        Ok(Consumer::new(shared, terms, readings, chunks))
    }
}
