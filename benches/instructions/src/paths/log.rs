//! The log by itself, in files, with durability `memory`: no disk is waited for.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::log::{
    At, Durability, LogEngine as _, Op, PartitionId, PartitionOptions, Shard, ShardId, Source, Within,
};
use sealstream_protocol::batch::{Batch, Codec};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{RECORDS, Work, batches};

/// Batches of 1 MiB: all of them less than from one checkpoint to the next, 32 MiB.
pub(super) const APPENDS: u32 = 20;

/// Readers of the one batch.
pub(super) const READERS: u32 = 16;

const PARTITION: PartitionId = PartitionId { topic: Uuid::from_u128(1), index: 0 };

/// An engine whose first shard is open. It ends with this.
struct Log {
    runtime: Runtime,
    shard: Arc<dyn Shard>,
    // Last: its threads are waited for.
    _engine: SegmentedEngine,
}

/// An engine as the broker has it, but for the number of its shards: one thread is enough.
pub(super) fn engine(dir: &Path) -> SegmentedEngine {
    let options = SegmentedOptions { shards: 1, ..SegmentedOptions::default() };
    SegmentedEngine::open(dir.join("data"), options).expect("the engine opens")
}

/// A runtime of this thread alone.
pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts")
}

impl Log {
    fn open(dir: &Path) -> Self {
        let (runtime, engine) = (runtime(), engine(dir));
        let shard = runtime.block_on(async {
            let shard = engine.open_shard(ShardId(0), 1).await.expect("the shard opens");
            let options = PartitionOptions::new(Durability::Memory);
            shard.open_partition(PARTITION, options).await.expect("the partition opens");
            shard
        });
        Self { runtime, shard, _engine: engine }
    }

    /// Appends a batch, and waits until it is durable.
    fn append(&self, batch: &Batch) {
        let (at, source) = (At::Next, Source::Internal);
        let op = Op::Append { partition: PARTITION, at, batch: batch.clone(), source };
        self.runtime.block_on(async {
            let committed = self.shard.commit(vec![op]).await.expect("the commit is taken");
            committed.durable.await.expect("it becomes durable");
        });
    }

    /// Reads from the start, one batch at least.
    fn read(&self) -> Within {
        let read = self.shard.read_within(PARTITION, 0, 2 << 20);
        self.runtime.block_on(read).expect("the log is read")
    }
}

pub(super) fn append(dir: &Path, records: u32) -> Work {
    let (log, batch) = (Log::open(dir), batches::batch(Codec::None, records, 1024));
    Box::new(move || log.append(black_box(&batch)))
}

/// One batch, the latest, is read as many times as there are readers.
pub(super) fn fan_out(dir: &Path) -> Work {
    let (log, batch) = (Log::open(dir), batches::batch(Codec::None, RECORDS, 1024));
    log.append(&batch);
    Box::new(move || {
        for _ in 0..READERS {
            black_box(log.read());
        }
    })
}
