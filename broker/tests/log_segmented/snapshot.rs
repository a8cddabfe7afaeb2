//! Copies of a data directory that is written to, and what sets a copy apart from its original.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sealstream_broker::log::conformance::life::{append, batch_of, put, soon};
use sealstream_broker::log::conformance::{Fixture, Life};
use sealstream_broker::log::disk::RealDisk;
use sealstream_broker::log::disk::simulated::{Fault, Injection};
use sealstream_broker::log::segmented::{Snapshot, SnapshotError, snapshot, snapshot_on, verify, verify_on};
use sealstream_broker::log::{CommitError, LogEngine, OffsetCommit, Op, PartitionId, ReadError, Shard};
use sealstream_protocol::batch::{Batch, Codec};
use sealstream_transport::BoxFuture;
use tokio::task::JoinSet;

use super::{Real, Simulated, small, start};

/// Epochs of a copy are this much higher at least.
const LEAP: u32 = 1 << 16;

fn kilobyte(sequence: u64) -> Batch {
    batch_of(1, sequence, 1, 1_000, Codec::None)
}

/// A directory on the machine's disk that is there already.
struct There {
    dir: PathBuf,
    clock: Arc<sealstream_broker::log::clock::ManualClock>,
}

impl Fixture for There {
    fn clock(&self) -> Arc<sealstream_broker::log::clock::ManualClock> {
        Arc::clone(&self.clock)
    }

    fn start(&self) -> BoxFuture<'_, Arc<dyn LogEngine>> {
        Box::pin(async move { start(Arc::new(RealDisk), &self.clock, self.dir.clone(), small()) })
    }
}

fn there(dir: &Path) -> There {
    There { dir: dir.to_owned(), clock: Arc::default() }
}

async fn copy(from: PathBuf, to: PathBuf) -> Result<Snapshot, SnapshotError> {
    soon(tokio::task::spawn_blocking(move || snapshot(&from, &to, &mut |_| {}))).await.unwrap()
}

/// What is written while copies are made: appends, progress that follows them, and trims.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: [Arc<AtomicU64>; 3],
    tasks: JoinSet<()>,
}

impl Load {
    fn begin(life: &Life) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: [Arc<AtomicU64>; 3] = Default::default();
        let mut tasks = JoinSet::new();
        for (id, acknowledged) in life.ids.into_iter().zip(&acknowledged) {
            let (shard, stop, acknowledged) =
                (Arc::clone(&life.shard), Arc::clone(&stop), Arc::clone(acknowledged));
            tasks.spawn(async move {
                for sequence in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    write(&*shard, id, sequence).await;
                    acknowledged.store(sequence + 1, Ordering::SeqCst);
                    if sequence % 64 == 63 {
                        shard.trim(id, sequence - 40, None).await.unwrap();
                    }
                }
            });
        }
        Self { stop, acknowledged, tasks }
    }

    fn acknowledged(&self) -> [u64; 3] {
        self.acknowledged.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(done) = soon(self.tasks.join_next()).await {
            done.unwrap();
        }
    }
}

/// Appends a batch, and then says that it was read.
async fn write(shard: &dyn Shard, id: PartitionId, sequence: u64) {
    let committed = shard.commit(vec![append(id, &kilobyte(sequence))]).await.unwrap();
    committed.durable.await.unwrap();
    let read = OffsetCommit { group: "readers".into(), partition: id, offset: sequence + 1, log_epoch: 1 };
    shard.commit(vec![Op::CommitOffset(read)]).await.unwrap().durable.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_under_load_is_sound_and_has_all_that_was_acknowledged_before() {
    let real = Real::new(small());
    let life = Life::begin(&real).await;
    let from = real.dir.path().join("data");
    let load = Load::begin(&life);
    for round in 0..6 {
        soon(async {
            let before = load.acknowledged();
            while load.acknowledged().iter().zip(before).any(|(now, before)| *now < before + 60) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let before = load.acknowledged();
        let to = real.dir.path().join(format!("copy-{round}"));
        let made = copy(from.clone(), to.clone()).await.unwrap();
        assert!(made.report.is_sound() && made.copied > 0, "{made:?}");
        let fixture = there(&to);
        let copied = Life::begin(&fixture).await;
        for (id, acknowledged) in copied.ids.into_iter().zip(before) {
            let partition = copied.partition(id);
            assert!(partition.durable_end >= acknowledged, "{partition:?} and {acknowledged}");
            assert!(partition.epoch > LEAP && !partition.read_only, "{partition:?}");
            let entries = copied.read_all(id, partition.start).await;
            for (offset, entry) in (partition.start..).zip(&entries) {
                assert_eq!(entry.batch, kilobyte(offset));
            }
            let (progress, _) = copied.shard.committed_offset("readers", id).unwrap();
            assert!(progress <= partition.durable_end, "nobody has read what is not there");
            assert!(progress + 1 >= acknowledged);
            // The producer is known, and goes on where the copy ends.
            assert_eq!(copied.append(id, &kilobyte(partition.durable_end)).await, partition.durable_end);
        }
        copied.close().await;
        assert!(verify(&to, false, &mut |_| {}).unwrap().is_sound());
        assert!(verify(&from, true, &mut |_| {}).unwrap().is_sound());
    }
    load.end().await;
    life.close().await;
    let report = verify(&from, false, &mut |_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_shares_with_its_original_neither_of_them_changes() {
    let real = Real::new(small());
    let life = Life::begin(&real).await;
    let id = life.ids[0];
    for sequence in 0..50 {
        life.append(id, &kilobyte(sequence)).await;
    }
    let (from, to) = (real.dir.path().join("data"), real.dir.path().join("copy"));
    let made = copy(from.clone(), to.clone()).await.unwrap();
    assert!(made.linked > 30_000 && made.copied > 0, "{made:?}");
    assert!(made.copied < 20_000, "the last segments alone are copied: {made:?}");
    let fixture = there(&to);
    let copied = Life::begin(&fixture).await;
    for sequence in 50..80 {
        life.append(id, &batch_of(1, sequence, 1, 700, Codec::None)).await;
        copied.append(id, &kilobyte(sequence)).await;
    }
    soon(copied.shard.trim(id, 30, None)).await.unwrap();
    let (copied, life) = (copied.crash(&fixture).await, life.crash(&real).await);
    let (theirs, ours) = (copied.read_all(id, 30).await, life.read_all(id, 0).await);
    assert_eq!((theirs.len(), ours.len()), (50, 80));
    assert_eq!(
        (theirs[49].batch.clone(), ours[79].batch.clone()),
        (kilobyte(79), batch_of(1, 79, 1, 700, Codec::None))
    );
    assert_eq!(
        ours[..50].iter().map(|entry| entry.batch.clone()).collect::<Vec<_>>(),
        (0..50).map(kilobyte).collect::<Vec<_>>()
    );
    copied.close().await;
    life.close().await;
    for dir in [from, to] {
        assert!(verify(&dir, false, &mut |_| {}).unwrap().is_sound());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_the_original_is_told_where_the_copy_parts_from_it() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    let disk = simulated.disk.mount();
    let made = snapshot_on(&*disk, Path::new("/data"), Path::new("/copy"), &mut |_| {}).unwrap();
    assert_eq!(made.linked, 0, "this disk gives no second names");
    // The original goes on, in its epoch and, after a crash, in the next.
    life.append_many(id, 1, 10..15).await;
    let life = life.crash(&simulated).await;
    life.append_many(id, 1, 15..20).await;
    let theirs = life.partition(id).epoch;
    assert_eq!(theirs, 2);
    life.close().await;

    let engine = start(simulated.disk.mount(), &simulated.clock(), "/copy".into(), small());
    let shard = engine.open_shard(sealstream_broker::log::ShardId(0), 1).await.unwrap();
    let options = sealstream_broker::log::PartitionOptions::new(sealstream_broker::log::Durability::Disk);
    let opened = soon(shard.open_partition(id, options)).await.unwrap();
    assert!(opened.epoch > theirs + LEAP - 2, "{opened:?}");
    assert_eq!(opened.durable_end, 10);
    for sequence in 10..30 {
        soon(shard.commit(vec![append(id, &kilobyte(sequence))])).await.unwrap().durable.await.unwrap();
    }
    for (offset, epoch) in [(11, 1), (15, 1), (16, theirs), (20, theirs), (25, theirs + 1)] {
        let parted = shard.check_epoch(id, offset, epoch).await;
        assert_eq!(parted, Err(ReadError::Diverged { offset: 10 }), "offset {offset} of epoch {epoch}");
    }
    assert_eq!(shard.check_epoch(id, 10, 1).await, Ok(()));
    assert_eq!(shard.check_epoch(id, 25, opened.epoch).await, Ok(()));
    // A partition that is made now has an epoch that one of the same name in the original has not.
    let added = PartitionId { index: id.index + 1_000, ..id };
    assert!(soon(shard.open_partition(added, options)).await.unwrap().epoch > LEAP);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_copy_started_twice_has_two_histories() {
    let real = Real::new(small());
    let life = Life::begin(&real).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    life.close().await;
    let mut epochs = Vec::new();
    for name in ["one", "two"] {
        let to = real.dir.path().join(name);
        copy(real.dir.path().join("data"), to.clone()).await.unwrap();
        assert!(to.join("restored").exists());
        let fixture = there(&to);
        let life = Life::begin(&fixture).await;
        assert!(!to.join("restored").exists(), "done once");
        let epoch = life.partition(id).epoch;
        let life = life.reopen(&fixture).await;
        assert_eq!(life.partition(id).epoch, epoch, "a clean start begins no epoch");
        life.close().await;
        epochs.push(epoch);
    }
    assert_ne!(epochs[0], epochs[1], "one in 65,536 fails here by chance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_of_a_copy_that_is_cut_off_anywhere_begins_new_epochs_all_the_same() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..5).await;
    life.close().await;
    let mut before = 1;
    for step in 0..60 {
        simulated.disk.mount().replace(Path::new("/data/restored"), b"by hand\n").unwrap();
        simulated.disk.inject(Injection::new(Fault::PowerCut).after(step));
        let begun = sealstream_broker::log::segmented::SegmentedEngine::open_on(
            simulated.disk.mount(),
            simulated.clock(),
            "/data".into(),
            small(),
        );
        let cut_off = begun.is_err();
        drop(begun);
        simulated.disk.clear_faults();
        simulated.disk.restart();
        let there = simulated.disk.files().iter().any(|(path, _)| path.ends_with("restored"));
        let life = Life::begin(&simulated).await;
        let epoch = life.partition(id).epoch;
        assert!(
            epoch >= before + LEAP,
            "step {step}: {epoch} after {before}; cut off: {cut_off}, marked: {there}"
        );
        assert_eq!(life.read_all(id, 0).await.len(), 5);
        life.close().await;
        before = epoch;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_what_was_killed_and_of_what_was_closed_are_the_same() {
    for close in [true, false] {
        let simulated = Simulated::new(false);
        let life = Life::begin(&simulated).await;
        let [id, trimmed, empty] = life.ids;
        for sequence in 0..40 {
            life.append(id, &kilobyte(sequence)).await;
            life.append(trimmed, &kilobyte(sequence)).await;
        }
        let start = soon(life.shard.trim(trimmed, 30, None)).await.unwrap();
        life.commit_durably(vec![put("topic", 0, Some("value"))]).await;
        if close {
            life.close().await;
        } else {
            let Life { engine, shard, .. } = life;
            drop(shard);
            simulated.crash(engine).await;
        }
        let disk = simulated.disk.mount();
        let before = simulated.disk.files();
        snapshot_on(&*disk, Path::new("/data"), Path::new("/copy"), &mut |_| {}).unwrap();
        let after = simulated.disk.files();
        assert!(before.iter().all(|file| after.contains(file)), "the original is left alone");
        assert!(
            !after
                .iter()
                .any(|(path, _)| path.starts_with("/copy") && path.to_str().unwrap().contains("journal"))
        );
        drop(disk);
        let report = verify_on(&*simulated.disk.mount(), Path::new("/copy"), false, &mut |_| {}).unwrap();
        let found: Vec<_> =
            report.partitions.iter().map(|found| (found.id, found.start, found.end)).collect();
        let mut expected = [(id, 0, 40), (trimmed, start, 40), (empty, 0, 0)];
        expected.sort_unstable();
        assert_eq!(found, expected, "close: {close}");
        let engine = start_at(&simulated, "/copy");
        let shard = engine.open_shard(sealstream_broker::log::ShardId(0), 1).await.unwrap();
        assert_eq!(shard.meta("topic").unwrap().value, "value");
    }
}

fn start_at(simulated: &Simulated, dir: &str) -> Arc<dyn LogEngine> {
    start(simulated.disk.mount(), &simulated.clock(), dir.into(), small())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_not_copied_and_leaves_no_directory_that_could_be_started() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..30 {
        life.append(id, &kilobyte(sequence)).await;
    }
    life.close().await;
    let bases: Vec<_> = simulated
        .disk
        .files()
        .into_iter()
        .filter(|(path, len)| {
            path.to_str().unwrap().contains(&id.topic.to_string())
                && path.extension().is_some_and(|end| end == "log")
                && *len > 2_000
        })
        .map(|(path, _)| path)
        .collect();
    assert!(bases.len() > 2);
    for (number, file) in [&bases[0], bases.last().unwrap()].into_iter().enumerate() {
        simulated.disk.corrupt(file, 1_500, 1).unwrap();
        let to: PathBuf = format!("/copy-{number}").into();
        let disk = simulated.disk.mount();
        let error = snapshot_on(&*disk, Path::new("/data"), &to, &mut |_| {}).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. } | SnapshotError::Unsound { .. }), "{error}");
        assert!(!simulated.disk.files().iter().any(|(path, _)| *path == to.join("format")), "{error}");
        simulated.disk.corrupt(file, 1_500, 1).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_nowhere_but_into_an_empty_directory_and_comes_from_one_with_data() {
    let real = Real::new(small());
    Life::begin(&real).await.close().await;
    let from = real.dir.path().join("data");
    let error = copy(from.clone(), from.clone()).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Within { .. }), "{error}");
    let error = copy(real.dir.path().join("nowhere"), real.dir.path().join("copy")).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Missing(_)), "{error}");
    assert!(!real.dir.path().join("copy").exists());
    std::fs::create_dir(real.dir.path().join("empty")).unwrap();
    copy(from, real.dir.path().join("empty")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_disk_is_an_error_and_harms_nobody() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..30 {
        life.append(id, &kilobyte(sequence)).await;
    }
    simulated.disk.set_capacity(Some(simulated.disk.used() + 10_000));
    let error = snapshot_on(&*simulated.disk.mount(), Path::new("/data"), Path::new("/copy"), &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, SnapshotError::Io { .. }), "{error}");
    simulated.disk.set_capacity(None);
    match life.commit(vec![append(id, &kilobyte(30))]).await {
        Ok(committed) => soon(committed.durable).await.unwrap(),
        Err(CommitError::DiskFull) => {}
        Err(error) => panic!("{error}"),
    }
    assert_eq!(life.read_all(id, 0).await.len() as u64, life.partition(id).durable_end);
}
