//! The handle of an open shard.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sealstream_transport::BoxFuture;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::mailbox::{Reply, Request, Stopped};
use super::reader;
use super::shared::{ShardShared, locked};
use crate::log::engine::{
    CommitError, Committed, Op, Partition, PartitionId, PartitionOptions, ReadError, ReadOutcome, Shard,
    Versioned, Within,
};
use crate::log::status::CacheUse;

/// An open shard: what it is asked for goes to its writer, or is read from what the writer shows.
#[derive(Debug)]
pub(super) struct SegmentedShard {
    shared: Arc<ShardShared>,
    owner: u64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SegmentedShard {
    pub(super) fn new(shared: Arc<ShardShared>, owner: u64, writer: JoinHandle<()>) -> Self {
        Self { shared, owner, writer: Mutex::new(Some(writer)) }
    }

    pub(super) fn owner(&self) -> u64 {
        self.owner
    }

    /// Ends the shard in order: what was asked for before is done, everything becomes durable, and the writer's thread has ended. What is
    /// asked for afterwards is refused as `why` says.
    pub(super) async fn stop(&self, why: Stopped) -> io::Result<()> {
        let (reply, done) = oneshot::channel();
        self.shared.mailbox.stop(why, reply);
        // Dropped without an answer if somebody else stopped it: the thread ends all the same.
        let result = done.await.unwrap_or(Ok(()));
        let writer = locked(&self.writer).take();
        if let Some(writer) = writer {
            let joined = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(io::Error::other("the shard's writer panicked"));
            }
        }
        result
    }

    /// Ends the writer as if the process had been killed.
    pub(super) fn abandon(&self) {
        self.shared.mailbox.abandon();
        if let Some(writer) = locked(&self.writer).take() {
            // Its panic was reported on stderr; there is nobody else to tell.
            let _ = writer.join();
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> BoxFuture<'static, Result<T, CommitError>> {
        let (reply, answer) = oneshot::channel();
        self.shared.mailbox.ask(request(reply));
        Box::pin(async move {
            let gone = |_| Err(CommitError::Storage("the shard's writer has ended".to_owned()));
            answer.await.unwrap_or_else(gone)
        })
    }
}

impl Shard for SegmentedShard {
    fn name_topic(&self, topic: Uuid, name: &str) {
        self.shared.name_topic(topic, name);
    }

    fn open_partition(
        &self,
        id: PartitionId,
        options: PartitionOptions,
    ) -> BoxFuture<'_, Result<Partition, CommitError>> {
        self.ask(|reply| Request::Open { id, options, reply })
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.ask(|reply| Request::Commit { ops, reply })
    }

    fn read(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<ReadOutcome, ReadError>> {
        Box::pin(reader::read(Arc::clone(&self.shared), id, from, max_bytes))
    }

    fn read_within(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Within, ReadError>> {
        Box::pin(reader::read_within(Arc::clone(&self.shared), id, from, max_bytes))
    }

    fn watch(&self, id: PartitionId) -> Option<watch::Receiver<u64>> {
        let mut durable = self.shared.partition(id)?.durable.clone();
        durable.mark_unchanged();
        Some(durable)
    }

    fn partition(&self, id: PartitionId) -> Option<Partition> {
        Some(self.shared.partition(id)?.describe())
    }

    fn offset_at(&self, id: PartitionId, time: i64) -> BoxFuture<'_, Result<u64, ReadError>> {
        Box::pin(reader::offset_at(Arc::clone(&self.shared), id, time))
    }

    fn check_epoch(&self, id: PartitionId, offset: u64, epoch: u32) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(std::future::ready(reader::check_epoch(&self.shared, id, offset, epoch)))
    }

    fn trim(
        &self,
        id: PartitionId,
        before: u64,
        max_bytes: Option<u64>,
    ) -> BoxFuture<'_, Result<u64, CommitError>> {
        self.ask(|reply| Request::Trim { id, before, max_bytes, reply })
    }

    fn delete(&self, id: PartitionId) -> BoxFuture<'_, Result<(), CommitError>> {
        self.ask(|reply| Request::Delete { id, reply })
    }

    fn meta(&self, key: &str) -> Option<Versioned> {
        self.shared.look(|state| state.value(key).cloned())?
    }

    fn meta_with_prefix(&self, prefix: &str) -> Vec<(String, Versioned)> {
        self.shared.look(|state| state.values_with_prefix(prefix)).unwrap_or_default()
    }

    fn committed_offsets(&self, group: &str) -> Vec<(PartitionId, (u64, u32))> {
        self.shared.look(|state| state.offsets(group)).unwrap_or_default()
    }

    fn committed_offset(&self, group: &str, partition: PartitionId) -> Option<(u64, u32)> {
        self.shared.look(|state| state.offset(group, partition))?
    }

    fn cache(&self) -> CacheUse {
        self.shared.cache.in_use()
    }

    fn segments(&self) -> u64 {
        self.shared.segments()
    }
}
