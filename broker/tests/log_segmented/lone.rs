//! Who syncs: a thread of the pool, or the writer itself where one partition alone is written to and its disk is quick.

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::conformance::life::{OWNER, append, batch, soon};
use sealstream_broker::log::disk::SimulatedDisk;
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::log::{Durability, LogEngine, Op, PartitionId, PartitionOptions, Shard, ShardId};

use super::gate::{Gate, GatedDisk};

/// Longer than any sync that counts as quick.
const SLOW: Duration = Duration::from_millis(5);

/// How many quick syncs in a row it takes.
const LONE_SYNCS: u64 = 16;

/// One shard on a disk whose syncs take no time unless they are held.
struct Bench {
    engine: SegmentedEngine,
    shard: Arc<dyn Shard>,
    gate: Arc<Gate>,
    ids: [PartitionId; 2],
    sequences: [u64; 2],
}

impl Bench {
    async fn begin() -> Self {
        let gate = Arc::<Gate>::default();
        let disk = Arc::new(GatedDisk { disk: SimulatedDisk::new(1).mount(), gate: Arc::clone(&gate) });
        let options = SegmentedOptions { shards: 1, ..SegmentedOptions::default() };
        let engine = SegmentedEngine::open_on(disk, Arc::new(SystemClock), "data".into(), options).unwrap();
        let shard = engine.open_shard(ShardId(0), OWNER).await.unwrap();
        let ids = [0, 1].map(|index| PartitionId { topic: uuid::Uuid::from_u128(1), index });
        for id in ids {
            soon(shard.open_partition(id, PartitionOptions::new(Durability::Disk))).await.unwrap();
        }
        Self { engine, shard, gate, ids, sequences: [0; 2] }
    }

    fn next(&mut self, partition: usize) -> Op {
        let sequence = self.sequences[partition];
        self.sequences[partition] += 1;
        append(self.ids[partition], &batch(1 + partition as u128, sequence, 1))
    }

    /// Appends a batch and waits until it is durable; whether the writer synced it itself.
    async fn append(&mut self, partition: usize) -> bool {
        let op = self.next(partition);
        let committed = soon(self.shard.commit(vec![op])).await.unwrap();
        soon(committed.durable).await.unwrap();
        self.gate.last().starts_with("sealstream-shard")
    }

    /// Appends until the writer syncs itself. On a machine that has other things to do syncs may seem slow for a while.
    async fn until_lone(&mut self) {
        while !self.append(0).await {}
    }

    async fn next_are_by_the_pool(&mut self) {
        for number in 0..LONE_SYNCS - 1 {
            assert!(!self.append(0).await, "append {number} was synced by the writer");
        }
    }

    async fn end(self) {
        soon(self.engine.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_slow_holds_the_writer_once() {
    let mut bench = Bench::begin().await;
    bench.next_are_by_the_pool().await;
    bench.until_lone().await;
    bench.gate.slow_down(SLOW);
    bench.append(0).await;
    bench.gate.slow_down(Duration::ZERO);
    bench.next_are_by_the_pool().await;
    bench.until_lone().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_meets_a_sync_is_the_last_that_the_writer_has_wait() {
    let mut bench = Bench::begin().await;
    bench.until_lone().await;
    bench.gate.hold(".log");
    // Its answer may come behind the sync, if it is the writer that is held.
    let op = bench.next(0);
    let appended = bench.shard.commit(vec![op]);
    let gate = Arc::clone(&bench.gate);
    soon(tokio::task::spawn_blocking(move || gate.reached())).await.unwrap();
    let (key, value) = ("a".to_owned(), Some(b"b".to_vec().into()));
    let put = bench.shard.commit(vec![Op::PutMeta { key, expected: 0, value }]);
    bench.gate.release();
    soon(put).await.unwrap();
    soon(soon(appended).await.unwrap().durable).await.unwrap();
    bench.next_are_by_the_pool().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_another_partition_sends_syncs_back_to_the_pool() {
    let mut bench = Bench::begin().await;
    bench.append(1).await;
    bench.until_lone().await;
    assert!(!bench.append(1).await);
    bench.next_are_by_the_pool().await;
    for _ in 0..3 * LONE_SYNCS {
        assert!(!bench.append(0).await && !bench.append(1).await, "two take turns");
    }
    bench.end().await;
}
