//! Group commit: how many batches one sync makes durable, as the engine counts it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::conformance::life::{OWNER, append, batch, batch_of, soon};
use sealstream_broker::log::disk::{DirEntry, Disk, DiskFile, DiskLock, LockError, RealDisk};
use sealstream_broker::log::segmented::{LogCounters, SegmentedEngine, SegmentedOptions};
use sealstream_broker::log::{Durability, LogEngine, PartitionId, PartitionOptions, ShardId};
use sealstream_protocol::batch::Codec;
use tokio::task::JoinSet;

/// How many producers there are, each of which waits for its acknowledgement.
const PRODUCERS: u32 = 64;

/// How many batches each of them sends.
const BATCHES: u64 = 40;

/// What a sync takes at least: that of a quick disk with a cache that survives power loss. In memory, where tests may run, it takes nothing.
const SYNC: Duration = Duration::from_millis(4);

/// The machine's disk, whose syncs take the time that a disk's take.
#[derive(Debug)]
struct SlowDisk;

#[derive(Debug)]
struct SlowFile(Arc<dyn DiskFile>);

impl Disk for SlowDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(RealDisk.create(path)?)))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(RealDisk.open(path)?)))
    }
    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open_read_only(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> Result<DiskLock, LockError> {
        RealDisk.lock(path)
    }
}

impl DiskFile for SlowFile {
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.0.write_at(position, parts)
    }
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(position, buf)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(SYNC);
        self.0.sync_data()
    }
    fn reread(&self) -> io::Result<()> {
        self.0.reread()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

/// Sends [`BATCHES`] from each producer to its one of `partitions`, each batch once the one before is durable; what was counted.
async fn produce(producers: u32, partitions: u32) -> LogCounters {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentedOptions { shards: 1, ..SegmentedOptions::default() };
    let clock = Arc::new(sealstream_broker::log::clock::SystemClock);
    let engine =
        SegmentedEngine::open_on(Arc::new(SlowDisk), clock, dir.path().join("data"), options).unwrap();
    let shard = engine.open_shard(ShardId(0), OWNER).await.unwrap();
    let id = |index| PartitionId { topic: uuid::Uuid::from_u128(1), index };
    for index in 0..partitions {
        soon(shard.open_partition(id(index), PartitionOptions::new(Durability::Disk))).await.unwrap();
    }
    let (before, begun) = (engine.counters(), std::time::Instant::now());
    let mut tasks = JoinSet::new();
    for number in 0..producers {
        let (shard, id) = (Arc::clone(&shard), id(number % partitions));
        tasks.spawn(async move {
            for sequence in 0..BATCHES {
                let batch = batch(u128::from(number), sequence, 1);
                let committed = shard.commit(vec![append(id, &batch)]).await.unwrap();
                committed.durable.await.unwrap();
            }
        });
    }
    while let Some(done) = soon(tasks.join_next()).await {
        done.unwrap();
    }
    let after = engine.counters();
    println!(
        "{producers} producers, {partitions} partitions: {BATCHES} batches each in {:?}",
        begun.elapsed()
    );
    assert_eq!(after.batches - before.batches, u64::from(producers) * BATCHES);
    soon(engine.close()).await.unwrap();
    LogCounters {
        batches: after.batches - before.batches,
        syncs: after.syncs - before.syncs,
        rounds: after.rounds - before.rounds,
        journal_records: after.journal_records - before.journal_records,
        ..after
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_producers_that_wait_for_their_acknowledgements_16_share_a_sync_at_least() {
    let counted = produce(PRODUCERS, 1).await;
    assert!(counted.batches >= 16 * counted.syncs, "{counted:?}");
    assert!(counted.rounds <= counted.batches && counted.bytes > 0, "{counted:?}");
    assert_eq!(counted.journal_records, 0, "one file needs no journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_each_writes_to_a_partition_of_its_own_they_share_syncs_by_the_journal() {
    let counted = produce(PRODUCERS, PRODUCERS).await;
    assert!(counted.journal_records > 0, "wide rounds go to the journal: {counted:?}");
    assert!(counted.batches >= 2 * counted.syncs, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_alone_shares_its_syncs_with_nobody() {
    let counted = produce(1, 1).await;
    assert_eq!((counted.batches, counted.syncs), (BATCHES, BATCHES));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_to_be_in_memory_is_written_back_by_and_by_with_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentedOptions { shards: 1, ..SegmentedOptions::default() };
    let engine = SegmentedEngine::open(dir.path().join("data"), options).unwrap();
    let shard = engine.open_shard(ShardId(0), OWNER).await.unwrap();
    let id = PartitionId { topic: uuid::Uuid::from_u128(1), index: 0 };
    soon(shard.open_partition(id, PartitionOptions::new(Durability::Memory))).await.unwrap();
    let before = engine.counters().syncs;
    // 40 MiB, far from a whole segment.
    let value = 1 << 20;
    for sequence in 0..40 {
        let committed =
            shard.commit(vec![append(id, &batch_of(1, sequence, 1, value, Codec::None))]).await.unwrap();
        soon(committed.durable).await.unwrap();
    }
    // A sync begins before the next append is looked at.
    let syncs = engine.counters().syncs - before;
    assert!((1..=5).contains(&syncs), "one for 8 MiB at most, but there were {syncs}");
    soon(engine.close()).await.unwrap();
}

/// Syncs while eight partitions in memory are written to in turn, where so many may wait for theirs.
async fn syncs_in_memory(held_segments: usize) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentedOptions { shards: 1, held_segments, ..SegmentedOptions::default() };
    let engine = SegmentedEngine::open(dir.path().join("data"), options).unwrap();
    let shard = engine.open_shard(ShardId(0), OWNER).await.unwrap();
    let ids: Vec<_> = (0..8).map(|index| PartitionId { topic: uuid::Uuid::from_u128(1), index }).collect();
    for id in &ids {
        soon(shard.open_partition(*id, PartitionOptions::new(Durability::Memory))).await.unwrap();
    }
    let before = engine.counters().syncs;
    for sequence in 0..20 {
        for id in &ids {
            let committed = shard.commit(vec![append(*id, &batch(1, sequence, 1))]).await.unwrap();
            soon(committed.durable).await.unwrap();
        }
    }
    let syncs = engine.counters().syncs - before;
    soon(engine.close()).await.unwrap();
    syncs
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_in_memory_are_synced_only_where_more_than_may_be_held_are_written_to_in_turn() {
    assert_eq!(syncs_in_memory(8).await, 0);
    assert!(syncs_in_memory(7).await > 20);
}
