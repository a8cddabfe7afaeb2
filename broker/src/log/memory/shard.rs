//! The handle of a shard in memory.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use sealstream_transport::BoxFuture;
use tokio::sync::watch;

use super::log::Log;
use super::state::ShardState;
use super::{Control, MemoryStore};
use crate::log::engine::{
    CommitError, Committed, DurabilityError, Op, Partition, PartitionId, PartitionOptions, ReadError,
    ReadOutcome, Refusal, Shard, ShardId, Versioned,
};

#[derive(Debug)]
pub(super) struct MemoryShard {
    store: MemoryStore,
    control: Arc<Control>,
    id: ShardId,
    owner: u64,
}

impl MemoryShard {
    pub(super) fn new(store: MemoryStore, control: Arc<Control>, id: ShardId, owner: u64) -> Self {
        Self { store, control, id, owner }
    }

    /// The shard, if it is still this handle's.
    fn state(&self) -> Result<MutexGuard<'_, ShardState>, CommitError> {
        if self.control.closed.load(Ordering::SeqCst) {
            return Err(CommitError::Closed);
        }
        let state = self.store.shard(self.id).ok_or(CommitError::Closed)?;
        state.admit(self.owner, self.control.instance)?;
        Ok(state)
    }

    fn look<T>(
        &self,
        id: PartitionId,
        look: impl FnOnce(&Log) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let state = self.state().map_err(|_| ReadError::NotOpen(id))?;
        look(state.log(id).ok_or(ReadError::NotOpen(id))?)
    }

    fn commit_now(&self, ops: Vec<Op>) -> Result<Committed, CommitError> {
        if let Some(error) = self.control.take_failure() {
            return Err(error);
        }
        let mut state = self.state()?;
        let (outcomes, durable) = state.commit(ops, self.control.clock.now(), self.control.holds())?;
        let durable = Box::pin(async move {
            durable.await.unwrap_or_else(|_| Err(DurabilityError { reason: "the process ended".into() }))
        });
        Ok(Committed { outcomes, durable, write: None })
    }
}

impl Shard for MemoryShard {
    fn open_partition(
        &self,
        id: PartitionId,
        _options: PartitionOptions,
    ) -> BoxFuture<'_, Result<Partition, CommitError>> {
        Box::pin(async move {
            let mut state = self.state()?;
            let log = state.partitions.entry(id).or_insert_with(Log::new);
            log.open();
            Ok(log.describe())
        })
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let result = self.commit_now(ops);
        Box::pin(std::future::ready(result))
    }

    fn read(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<ReadOutcome, ReadError>> {
        Box::pin(async move { self.look(id, |log| log.read(from, max_bytes)) })
    }

    fn watch(&self, id: PartitionId) -> Option<watch::Receiver<u64>> {
        self.state().ok()?.log(id)?.watch()
    }

    fn partition(&self, id: PartitionId) -> Option<Partition> {
        Some(self.state().ok()?.log(id)?.describe())
    }

    fn offset_at(&self, id: PartitionId, time: i64) -> BoxFuture<'_, Result<u64, ReadError>> {
        Box::pin(async move { self.look(id, |log| Ok(log.offset_at(time))) })
    }

    fn check_epoch(&self, id: PartitionId, offset: u64, epoch: u32) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move { self.look(id, |log| log.check_epoch(offset, epoch)) })
    }

    fn trim(
        &self,
        id: PartitionId,
        before: u64,
        max_bytes: Option<u64>,
    ) -> BoxFuture<'_, Result<u64, CommitError>> {
        Box::pin(async move {
            let mut state = self.state()?;
            let open = state.partitions.get_mut(&id).filter(|log| log.is_open());
            let refused = CommitError::Refused { index: 0, refusal: Refusal::NotOpen(id) };
            open.map(|log| log.trim(before, max_bytes)).ok_or(refused)
        })
    }

    fn delete(&self, id: PartitionId) -> BoxFuture<'_, Result<(), CommitError>> {
        Box::pin(async move {
            self.state()?.delete(id);
            Ok(())
        })
    }

    fn meta(&self, key: &str) -> Option<Versioned> {
        self.state().ok()?.shown().meta.get(key).cloned()
    }

    fn meta_with_prefix(&self, prefix: &str) -> Vec<(String, Versioned)> {
        let Ok(state) = self.state() else { return Vec::new() };
        let range = state.shown().meta.range(prefix.to_owned()..);
        range
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn committed_offsets(&self, group: &str) -> Vec<(PartitionId, (u64, u32))> {
        let Ok(state) = self.state() else { return Vec::new() };
        let of_group = state.shown().offsets.iter().filter(|((of, _), _)| of == group);
        let mut offsets: Vec<_> = of_group.map(|((_, id), progress)| (*id, *progress)).collect();
        offsets.sort_unstable_by_key(|(id, _)| *id);
        offsets
    }

    fn committed_offset(&self, group: &str, partition: PartitionId) -> Option<(u64, u32)> {
        self.state().ok()?.shown().offsets.get(&(group.to_owned(), partition)).copied()
    }
}
