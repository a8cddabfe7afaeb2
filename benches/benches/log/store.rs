//! A log of one partition in a directory of its own, for the benchmarks.

use std::sync::Arc;

use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::log::{
    At, CommitError, Committed, Durability, LogEngine, Op, PartitionId, PartitionOptions, Shard, ShardId,
    Source,
};
use sealstream_protocol::batch::{Batch, BatchBuilder, Codec};
use sealstream_transport::BoxFuture;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// The log, and the threads that its clients run on.
pub(crate) struct Log {
    pub(crate) runtime: Runtime,
    pub(crate) engine: SegmentedEngine,
    pub(crate) shard: Arc<dyn Shard>,
    pub(crate) id: PartitionId,
    _dir: TempDir,
}

impl Log {
    pub(crate) fn open(durability: Durability) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = SegmentedOptions { shards: 1, ..SegmentedOptions::default() };
        let engine = SegmentedEngine::open(dir.path().join("data"), options).expect("the engine opens");
        let id = PartitionId { topic: Uuid::from_u128(1), index: 0 };
        let shard = runtime.block_on(async {
            let shard = engine.open_shard(ShardId(0), 1).await.expect("the shard opens");
            shard.open_partition(id, PartitionOptions::new(durability)).await.expect("the partition opens");
            shard
        });
        Self { runtime, engine, shard, id, _dir: dir }
    }

    pub(crate) fn close(self) {
        self.runtime.block_on(self.engine.close()).expect("the engine closes");
    }
}

/// A commit that was called.
pub(crate) type Commit = BoxFuture<'static, Result<Committed, CommitError>>;

/// Appends a batch as nobody's: no sequence is checked.
pub(crate) fn append(shard: &dyn Shard, partition: PartitionId, batch: &Batch) -> Commit {
    shard.commit(vec![Op::Append { partition, at: At::Next, batch: batch.clone(), source: Source::Internal }])
}

/// Waits until it is durable.
pub(crate) async fn settle(commit: Commit) {
    commit.await.expect("the commit is taken").durable.await.expect("it becomes durable");
}

/// A batch of records of 1 KiB, of so many bytes at least.
pub(crate) fn batch(bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = vec![7; 1024];
    while builder.encoded_len() < bytes {
        builder.push(0, None, &value, &[]).expect("it fits");
    }
    builder.build(Uuid::from_u128(9), 0)
}
