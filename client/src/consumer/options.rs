//! How a consumer is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealstream_protocol::limits::MAX_PARTITIONS;
use sealstream_protocol::message::consume::Position;

use super::Consumer;
use super::cursor::{Cursor, Terms};
use super::driver::Driver;
use super::error::ConsumeError;
use super::shared::Shared;
use crate::admin::Admin;
use crate::connection::{Connections, Place};

/// Bytes read ahead of the program: three frames of 1 MiB on the way while one is worked on.
pub const DEFAULT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What to do when the log does not hold what comes next: retention was faster, or the log was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Ends with an error that names the offset.
    #[default]
    Fail,
    /// Goes on at the nearest offset that is there, and logs a warning. After a cut, records that were delivered
    /// already may be followed by others of the same offsets.
    Resume,
}

/// Opens a [`Consumer`].
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
    on_gap: OnGap,
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
            on_gap: OnGap::Fail,
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

    /// What to do when the log does not hold what comes next; by default it is an error.
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.on_gap = on_gap;
        self
    }

    /// How many bytes are read ahead of the program; one frame always is. [`DEFAULT_BUFFER_BYTES`] by default.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Looks the topic up and begins to read, trying again within the client's retry policy. What no retry can cure,
    /// such as an unknown topic, is returned at once; what concerns one partition comes out of the stream.
    pub async fn open(self) -> Result<Consumer, ConsumeError> {
        let policy = self.connections.settings.retry;
        let admin = Admin::new(self.connections.clone());
        let topic = admin.describe_topic(&self.topic).await?.topic;
        admin.close().await;
        // What the broker claims allocates no more than what can be.
        let partitions = topic.partitions.min(MAX_PARTITIONS);
        let mut chosen = self.partitions.unwrap_or_else(|| (0..partitions).collect());
        chosen.sort_unstable();
        chosen.dedup();
        if let Some(&partition) = chosen.last().filter(|last| **last >= partitions) {
            return Err(ConsumeError::UnknownPartition { topic: self.topic, partition, partitions });
        }
        let cursors: Vec<_> = chosen
            .iter()
            .map(|partition| {
                let position = self.starts.get(partition).copied().unwrap_or(self.start);
                Cursor::new(*partition, position, policy)
            })
            .collect();
        let terms =
            Terms { topic: self.topic, topic_id: topic.id, until_end: self.until_end, on_gap: self.on_gap };
        let (shared, chunks) = Shared::new(self.connections, terms, partitions, self.buffer_bytes);
        let shared = Arc::new(shared);
        shared.routes.start(Place::Home, |inbox| {
            Driver::new(shared.clone(), Place::Home, inbox, cursors, chunks.sender).run()
        });
        Ok(Consumer::new(shared, chunks.receiver))
    }
}
