//! When durability is promised, and that nobody waits for what was not promised.

use std::sync::Arc;

use futures_util::FutureExt as _;
use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::log::conformance::life::{append, batch, entries, soon};
use sealstream_broker::log::conformance::{Fixture, Life};
use sealstream_broker::log::disk::RealDisk;
use sealstream_broker::log::{Durability, LogEngine, ReadError};
use sealstream_transport::BoxFuture;
use tempfile::TempDir;

use super::gate::{Gate, GatedDisk};
use super::{small, start};

struct Gated {
    dir: TempDir,
    clock: Arc<ManualClock>,
    gate: Arc<Gate>,
}

impl Gated {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: Arc::default(), gate: Arc::default() }
    }

    /// Holds the syncs of a partition's segments back, and waits until one waits for the batch just appended.
    async fn reached(&self) {
        let gate = Arc::clone(&self.gate);
        soon(tokio::task::spawn_blocking(move || gate.reached())).await.unwrap();
    }
}

impl Fixture for Gated {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    fn start(&self) -> BoxFuture<'_, Arc<dyn LogEngine>> {
        let disk = Arc::new(GatedDisk { disk: Arc::new(RealDisk), gate: Arc::clone(&self.gate) });
        Box::pin(async move { start(disk, &self.clock, self.dir.path().join("data"), small()) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_for_the_disk_leaves_after_the_sync_and_readers_see_nothing_before() {
    let gated = Gated::new();
    let life = Life::begin(&gated).await;
    let id = life.ids[0];
    life.append(id, &batch(1, 0, 3)).await;
    gated.gate.hold(".log");
    let mut committed = life.commit(vec![append(id, &batch(1, 1, 4))]).await.unwrap();
    let mut repeat = life.commit(vec![append(id, &batch(1, 1, 4))]).await.unwrap();
    gated.reached().await;
    assert!((&mut committed.durable).now_or_never().is_none(), "acknowledged before the sync");
    assert!((&mut repeat.durable).now_or_never().is_none(), "a duplicate is not older than its original");
    assert_eq!(life.read(id, 3, 1 << 20).await.unwrap().durable_end, 3);
    assert_eq!(life.read(id, 4, 1 << 20).await.unwrap_err(), ReadError::OutOfRange { start: 0, end: 3 });
    gated.gate.release();
    soon(committed.durable).await.unwrap();
    soon(repeat.durable).await.unwrap();
    assert_eq!(life.read_all(id, 3).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_in_memory_waits_for_no_sync_whoever_is_at_it() {
    let gated = Gated::new();
    let life = Life::begin(&gated).await;
    let [slow, quick, _] = life.ids;
    life.open_with(quick, Durability::Memory).await;
    gated.gate.hold(".log");
    let held = life.commit(vec![append(slow, &batch(1, 0, 1))]).await.unwrap();
    gated.reached().await;
    // More than a segment: rolling waits for no sync either.
    for sequence in 0..200 {
        let committed = life.commit(vec![append(quick, &batch(2, sequence, 10))]).await.unwrap();
        soon(committed.durable).await.unwrap();
        assert_eq!(life.partition(quick).durable_end, 10 * (sequence + 1), "seen when it is acknowledged");
    }
    assert!(life.partition(quick).bytes > 2 * small().segment_bytes);
    gated.gate.release();
    soon(held.durable).await.unwrap();
    assert_eq!(life.read_all(quick, 0).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_partition_syncs_its_appends_gather_for_the_next_sync() {
    let gated = Gated::new();
    let life = Life::begin(&gated).await;
    let id = life.ids[0];
    life.append(id, &batch(1, 0, 1)).await;
    gated.gate.hold(".log");
    let first = life.commit(vec![append(id, &batch(1, 1, 1))]).await.unwrap();
    gated.reached().await;
    let mut later = Vec::new();
    for sequence in 2..50 {
        later.push(life.commit(vec![append(id, &batch(1, sequence, 1))]).await.unwrap());
    }
    gated.gate.release();
    soon(first.durable).await.unwrap();
    for committed in later {
        soon(committed.durable).await.unwrap();
    }
    let read = entries(&life.read(id, 2, 1 << 20).await.unwrap().entries);
    // Written while the sync was held: all of them name the end that was durable before it.
    assert!(read.iter().all(|entry| entry.header.durable_end == 1), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_becomes_durable_on_disk_keeps_what_it_showed() {
    let gated = Gated::new();
    let life = Life::begin(&gated).await;
    let id = life.ids[0];
    life.open_with(id, Durability::Memory).await;
    life.append(id, &batch(1, 0, 5)).await;
    gated.gate.hold(".log");
    assert_eq!(life.open_with(id, Durability::Disk).await.durable_end, 5);
    let mut committed = life.commit(vec![append(id, &batch(1, 1, 5))]).await.unwrap();
    gated.reached().await;
    assert!((&mut committed.durable).now_or_never().is_none());
    assert_eq!(life.partition(id).durable_end, 5);
    gated.gate.release();
    soon(committed.durable).await.unwrap();
    assert_eq!(life.partition(id).durable_end, 10);
    life.close().await;
}
