//! An engine some of whose partitions become durable only when a test says so.

use std::io;
use std::sync::Arc;

use sealstream_broker::log::{
    CacheUse, CommitError, Committed, LogCounters, LogEngine, Op, OpenShardError, Partition, PartitionId,
    PartitionOptions, ReadError, ReadOutcome, Shard, ShardId, Versioned,
};
use sealstream_transport::BoxFuture;
use tokio::sync::watch;

/// Delays the durability of what is appended to partitions of this number until the gate is open.
#[derive(Debug)]
pub(crate) struct Gated<E> {
    inner: E,
    slow: u32,
    open: watch::Sender<bool>,
}

impl<E: LogEngine> Gated<E> {
    pub(crate) fn new(inner: E, slow: u32) -> Self {
        Self { inner, slow, open: watch::Sender::new(false) }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

impl<E: LogEngine> LogEngine for Gated<E> {
    fn shards(&self) -> u32 {
        self.inner.shards()
    }

    fn open_shard(
        &self,
        id: ShardId,
        owner_epoch: u64,
    ) -> BoxFuture<'_, Result<Arc<dyn Shard>, OpenShardError>> {
        Box::pin(async move {
            let inner = self.inner.open_shard(id, owner_epoch).await?;
            let shard: Arc<dyn Shard> =
                Arc::new(GatedShard { inner, slow: self.slow, open: self.open.subscribe() });
            Ok(shard)
        })
    }

    fn counters(&self) -> Option<LogCounters> {
        self.inner.counters()
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        self.inner.close()
    }
}

#[derive(Debug)]
struct GatedShard {
    inner: Arc<dyn Shard>,
    slow: u32,
    open: watch::Receiver<bool>,
}

impl Shard for GatedShard {
    fn open_partition(
        &self,
        id: PartitionId,
        options: PartitionOptions,
    ) -> BoxFuture<'_, Result<Partition, CommitError>> {
        self.inner.open_partition(id, options)
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let slow =
            ops.iter().any(|op| matches!(op, Op::Append { partition, .. } if partition.index == self.slow));
        let commit = self.inner.commit(ops);
        let mut open = self.open.clone();
        Box::pin(async move {
            let Committed { outcomes, durable, write } = commit.await?;
            let gated = Box::pin(async move {
                if slow {
                    let _ = open.wait_for(|open| *open).await;
                }
                durable.await
            });
            Ok(Committed { outcomes, durable: gated, write })
        })
    }

    fn read(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<ReadOutcome, ReadError>> {
        self.inner.read(id, from, max_bytes)
    }

    fn watch(&self, id: PartitionId) -> Option<watch::Receiver<u64>> {
        self.inner.watch(id)
    }

    fn partition(&self, id: PartitionId) -> Option<Partition> {
        self.inner.partition(id)
    }

    fn offset_at(&self, id: PartitionId, time: i64) -> BoxFuture<'_, Result<u64, ReadError>> {
        self.inner.offset_at(id, time)
    }

    fn check_epoch(&self, id: PartitionId, offset: u64, epoch: u32) -> BoxFuture<'_, Result<(), ReadError>> {
        self.inner.check_epoch(id, offset, epoch)
    }

    fn trim(
        &self,
        id: PartitionId,
        before: u64,
        max_bytes: Option<u64>,
    ) -> BoxFuture<'_, Result<u64, CommitError>> {
        self.inner.trim(id, before, max_bytes)
    }

    fn delete(&self, id: PartitionId) -> BoxFuture<'_, Result<(), CommitError>> {
        self.inner.delete(id)
    }

    fn meta(&self, key: &str) -> Option<Versioned> {
        self.inner.meta(key)
    }

    fn meta_with_prefix(&self, prefix: &str) -> Vec<(String, Versioned)> {
        self.inner.meta_with_prefix(prefix)
    }

    fn committed_offsets(&self, group: &str) -> Vec<(PartitionId, (u64, u32))> {
        self.inner.committed_offsets(group)
    }

    fn committed_offset(&self, group: &str, partition: PartitionId) -> Option<(u64, u32)> {
        self.inner.committed_offset(group, partition)
    }

    fn cache(&self) -> CacheUse {
        self.inner.cache()
    }
}
