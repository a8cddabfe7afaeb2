//! The memory engine keeps the promises of every engine, and lets a test hold durability back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::log::conformance::life::{append, batch, put};
use sealstream_broker::log::conformance::model::{self, Rig};
use sealstream_broker::log::conformance::{Fixture, Life};
use sealstream_broker::log::disk::Disk;
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::log::{
    CommitError, LogEngine, Outcome, PartitionOptions, ReadError, Refusal, ShardId,
};
use sealstream_broker::log::{Durability, Shard};
use sealstream_transport::BoxFuture;
use tokio::task::JoinSet;

struct Memory {
    store: MemoryStore,
    clock: Arc<ManualClock>,
}

impl Memory {
    fn new() -> Self {
        Self { store: MemoryStore::new(4), clock: Arc::default() }
    }

    /// An engine of which more is known than that it is one, and its first shard with the partitions of `life` open.
    async fn engine(&self, life: &Life) -> (MemoryEngine, Arc<dyn Shard>) {
        let engine = MemoryEngine::over(&self.store, self.clock());
        let shard = engine.open_shard(ShardId(0), 1).await.expect("the shard opens");
        for id in life.ids {
            let options = PartitionOptions::new(Durability::Disk);
            shard.open_partition(id, options).await.expect("the partition opens");
        }
        (engine, shard)
    }
}

impl Fixture for Memory {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    fn start(&self) -> BoxFuture<'_, Arc<dyn LogEngine>> {
        let engine: Arc<dyn LogEngine> = Arc::new(MemoryEngine::over(&self.store, self.clock()));
        Box::pin(std::future::ready(engine))
    }
}

sealstream_broker::log_conformance!(memory, Memory::new);

/// Keeps the model company: the disk has nothing to do, and a crash takes nothing.
struct Forgetless {
    store: MemoryStore,
    starts: AtomicU64,
    /// From this start on the store is another one each time.
    forgets_from: u64,
}

impl Forgetless {
    fn until(forgets_from: u64) -> Self {
        Self { store: MemoryStore::new(4), starts: AtomicU64::new(0), forgets_from }
    }
}

impl Rig for Forgetless {
    fn start(
        &self,
        _seed: u64,
        _disk: Arc<dyn Disk>,
        clock: Arc<ManualClock>,
    ) -> BoxFuture<'_, Result<Arc<dyn LogEngine>, String>> {
        let forgets = self.starts.fetch_add(1, Ordering::Relaxed) >= self.forgets_from;
        let store = if forgets { MemoryStore::new(4) } else { self.store.clone() };
        let engine: Arc<dyn LogEngine> = Arc::new(MemoryEngine::over(&store, clock));
        Box::pin(std::future::ready(Ok(engine)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_keeps_everything_agrees_with_the_model() {
    for seed in 0..10 {
        model::round(&Forgetless::until(u64::MAX), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_forgets_is_found_out() {
    for seed in 0..5 {
        let mut rounds = JoinSet::new();
        rounds.spawn(async move { model::round(&Forgetless::until(2), seed).await });
        let error = rounds.join_next().await.unwrap().expect_err("the model believed it");
        assert!(error.is_panic());
    }
}

#[tokio::test]
async fn while_durability_is_held_nothing_is_acknowledged_or_seen() {
    let memory = Memory::new();
    let life = Life::begin(&memory).await;
    let id = life.ids[0];
    let (engine, shard) = memory.engine(&life).await;
    let held = engine.hold_durability();
    let also_held = engine.hold_durability();
    let mut first = shard.commit(vec![append(id, &batch(1, 0, 2))]).await.unwrap();
    let mut repeat = shard.commit(vec![append(id, &batch(1, 0, 2))]).await.unwrap();
    let epoch = shard.partition(id).unwrap().epoch;
    assert_eq!(first.outcomes, [Outcome::Appended { base_offset: 0, epoch }]);
    assert_eq!(repeat.outcomes, [Outcome::Duplicate { base_offset: 0, epoch }]);
    held.release();
    for durable in [&mut first.durable, &mut repeat.durable] {
        assert!(durable.now_or_never().is_none(), "acknowledged before it was durable");
    }
    assert_eq!(shard.read(id, 0, 1_000).await.unwrap().durable_end, 0);
    assert_eq!(shard.read(id, 1, 1_000).await.unwrap_err(), ReadError::OutOfRange { start: 0, end: 0 });
    also_held.release();
    first.durable.await.unwrap();
    repeat.durable.await.unwrap();
    assert_eq!(shard.read(id, 0, 1_000).await.unwrap().next, 2);
}

#[tokio::test]
async fn what_fails_to_become_durable_is_cut_and_its_sequence_awaited_again() {
    let memory = Memory::new();
    let life = Life::begin(&memory).await;
    let [id, other, _] = life.ids;
    let (engine, shard) = memory.engine(&life).await;
    shard.commit(vec![append(id, &batch(1, 0, 1)), put("key", 0, Some("old"))]).await.unwrap();
    let version = shard.meta("key").unwrap().version;
    let epochs = (shard.partition(id).unwrap().epoch, shard.partition(other).unwrap().epoch);
    let held = engine.hold_durability();
    let ops = vec![append(id, &batch(1, 1, 5)), put("key", version, Some("new"))];
    let committed = shard.commit(ops).await.unwrap();
    held.fail("the disk is on fire");
    assert_eq!(committed.durable.await.unwrap_err().reason, "the disk is on fire");
    assert_eq!(shard.meta("key").unwrap().value, "old");
    assert_eq!(shard.partition(id).unwrap().epoch, epochs.0 + 1);
    assert_eq!(shard.partition(other).unwrap().epoch, epochs.1, "nothing of it was cut");
    let again = shard.commit(vec![append(id, &batch(1, 1, 5))]).await.unwrap();
    assert_eq!(again.outcomes, [Outcome::Appended { base_offset: 1, epoch: epochs.0 + 1 }]);
    again.durable.await.unwrap();
}

#[tokio::test]
async fn a_crash_takes_what_was_held_back_and_nothing_else() {
    let memory = Memory::new();
    let life = Life::begin(&memory).await;
    let id = life.ids[0];
    let (engine, shard) = memory.engine(&life).await;
    shard.commit(vec![append(id, &batch(1, 0, 1))]).await.unwrap();
    let held = engine.hold_durability();
    let lost = shard.commit(vec![append(id, &batch(1, 1, 1)), put("key", 0, Some("value"))]).await.unwrap();
    drop((engine, shard));
    let life = Life::begin(&memory).await;
    lost.durable.await.unwrap_err();
    drop(held);
    assert_eq!(life.read_all(id, 0).await.len(), 1);
    assert_eq!(life.shard.meta("key"), None);
    assert_eq!(life.append(id, &batch(1, 1, 1)).await, 1);
}

#[tokio::test]
async fn a_commit_can_be_made_to_fail_once() {
    let memory = Memory::new();
    let life = Life::begin(&memory).await;
    let id = life.ids[0];
    let (engine, shard) = memory.engine(&life).await;
    engine.fail_next_commit(CommitError::DiskFull);
    let error = shard.commit(vec![append(id, &batch(1, 0, 1))]).await.unwrap_err();
    assert!(matches!(error, CommitError::DiskFull));
    let committed = shard.commit(vec![append(id, &batch(1, 0, 1))]).await.unwrap();
    assert!(matches!(committed.outcomes[..], [Outcome::Appended { base_offset: 0, .. }]));
}

#[tokio::test]
async fn a_read_only_partition_is_read_but_not_written() {
    let memory = Memory::new();
    let life = Life::begin(&memory).await;
    let id = life.ids[0];
    life.append(id, &batch(1, 0, 1)).await;
    assert!(memory.store.make_read_only(id));
    assert!(life.partition(id).read_only);
    assert_eq!(life.refusal(vec![append(id, &batch(1, 1, 1))]).await, (0, Refusal::ReadOnly(id)));
    assert_eq!(life.read_all(id, 0).await.len(), 1);
}
