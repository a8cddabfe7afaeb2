//! A full disk, and the room that is kept for it: deletions, trims and commits go on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sealstream_broker::log::conformance::Life;
use sealstream_broker::log::conformance::life::{append, batch_of, put, soon};
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::log::{
    CommitError, LogEngine, OffsetCommit, Op, Outcome, PartitionId, PartitionOptions, Shard, ShardId,
};
use sealstream_broker::log::{Durability, conformance::life::OWNER};
use sealstream_protocol::batch::{Batch, Codec};

use super::{Simulated, small};

const RESERVE: u64 = 1 << 20;

/// More commits than fit into what a metadata log has in hand: each takes about 80 bytes.
const COMMITS: u64 = 8_000;

fn kept() -> SegmentedOptions {
    SegmentedOptions { reserve_bytes: RESERVE, ..small() }
}

fn kilobyte(sequence: u64) -> Batch {
    batch_of(1, sequence, 1, 1_000, Codec::None)
}

fn progress(partition: PartitionId, offset: u64) -> Op {
    Op::CommitOffset(OffsetCommit { group: "readers".into(), partition, offset, log_epoch: 1 })
}

fn reserve(simulated: &Simulated) -> Option<u64> {
    let files = simulated.disk.files();
    files.iter().find(|(path, _)| path == Path::new("/data/reserve")).map(|(_, len)| *len)
}

/// Appends until the disk is full; how many batches are stored.
async fn fill(shard: &Arc<dyn Shard>, id: PartitionId) -> u64 {
    let mut stored = 0;
    loop {
        match soon(shard.commit(vec![append(id, &kilobyte(stored))])).await {
            Ok(committed) => soon(committed.durable).await.unwrap(),
            Err(CommitError::DiskFull) => return stored,
            Err(error) => panic!("{error}"),
        }
        stored += 1;
    }
}

/// Commits progress `count` times, or to the first refusal.
async fn commit_progress(shard: &Arc<dyn Shard>, id: PartitionId, count: u64) -> Result<(), CommitError> {
    for offset in 0..count {
        let committed = soon(shard.commit(vec![progress(id, offset)])).await?;
        soon(committed.durable).await.unwrap();
    }
    Ok(())
}

/// Tries an append again until it is taken.
async fn append_at_last(shard: &Arc<dyn Shard>, id: PartitionId, sequence: u64) {
    soon(async {
        loop {
            match shard.commit(vec![append(id, &kilobyte(sequence))]).await {
                Ok(committed) => return committed.durable.await.unwrap(),
                Err(CommitError::DiskFull) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_progress_is_committed_and_topics_are_deleted_while_appends_are_refused() {
    let simulated = Simulated::with(kept(), true);
    let life = Life::begin(&simulated).await;
    let [id, other, _] = life.ids;
    life.append(other, &kilobyte(0)).await;
    assert_eq!(reserve(&simulated), Some(RESERVE));
    simulated.disk.set_capacity(Some(simulated.disk.used() + 100_000));
    let stored = fill(&life.shard, id).await;
    assert_eq!(reserve(&simulated), Some(RESERVE), "an append does not touch it");
    simulated.disk.set_capacity(Some(simulated.disk.used()));
    commit_progress(&life.shard, id, COMMITS).await.unwrap();
    assert_eq!(reserve(&simulated), None, "it was needed");
    let refused = life.commit(vec![append(other, &kilobyte(1))]).await.unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    let refused =
        life.commit(vec![append(other, &kilobyte(1)), put("key", 0, Some("value"))]).await.unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    // What is there already is acknowledged again.
    let repeat = life.commit_durably(vec![append(other, &kilobyte(0))]).await;
    assert!(matches!(repeat[..], [Outcome::Duplicate { base_offset: 0, .. }]), "{repeat:?}");
    assert_eq!(life.read_all(id, 0).await.len() as u64, stored);

    // After a power cut on the full disk it is all there, and goes on as it did.
    let life = life.crash(&simulated).await;
    assert_eq!(life.shard.committed_offset("readers", id), Some((COMMITS - 1, 1)));
    assert_eq!(life.read_all(id, 0).await.len() as u64, stored);
    commit_progress(&life.shard, other, 100).await.unwrap();
    soon(life.shard.delete(id)).await.unwrap();
    simulated.disk.set_capacity(Some(simulated.disk.used() + 2 * RESERVE));
    append_at_last(&life.shard, other, 1).await;
    assert_eq!(reserve(&simulated), Some(RESERVE), "made again before anything is taken");
    life.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_reserve_a_full_disk_refuses_progress_too() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    simulated.disk.set_capacity(Some(simulated.disk.used()));
    let error = commit_progress(&life.shard, life.ids[0], COMMITS).await.unwrap_err();
    assert!(matches!(error, CommitError::DiskFull), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_on_a_full_disk_keeps_what_is_known_of_the_producers() {
    let simulated = Simulated::with(kept(), true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..40 {
        life.append(id, &kilobyte(sequence)).await;
    }
    simulated.disk.set_capacity(Some(simulated.disk.used()));
    let start = soon(life.shard.trim(id, 30, None)).await.unwrap();
    assert!(start > 0 && start <= 30);
    // The first batch, which alone says whose the producer is, is gone: a checkpoint was saved first.
    let life = life.crash(&simulated).await;
    simulated.disk.set_capacity(None);
    append_at_last(&life.shard, id, 40).await;
    assert_eq!(life.partition(id).durable_end, 41);
    life.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_starts_on_a_disk_that_has_no_room_for_the_reserve() {
    let simulated = Simulated::with(kept(), true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append(id, &kilobyte(0)).await;
    life.close().await;
    // As left by a broker that kept none, and filled up since.
    simulated.disk.mount().remove_file(Path::new("/data/reserve")).unwrap();
    simulated.disk.set_capacity(Some(simulated.disk.used() + RESERVE / 2));
    let life = Life::begin(&simulated).await;
    assert_eq!(reserve(&simulated), None, "no part of it is left");
    let refused = life.commit(vec![append(id, &kilobyte(1))]).await.unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    assert_eq!(life.read_all(id, 0).await.len(), 1);
    commit_progress(&life.shard, id, 10).await.unwrap();
    simulated.disk.set_capacity(None);
    append_at_last(&life.shard, id, 1).await;
    life.close().await;
}

/// A small file system of its own, for as long as it lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(dir: &Path, size: &str) -> Self {
        let run = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(dir).status();
        assert!(run.unwrap().success(), "a tmpfs can be mounted");
        Self(dir.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs to mount a tmpfs, as root"]
async fn a_real_full_disk_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(dir.path(), "size=12m");
    let data = mounted.0.join("data");
    let options = SegmentedOptions { segment_bytes: 256 << 10, ..kept() };
    let id = PartitionId { topic: uuid::Uuid::from_u128(1), index: 0 };
    let open = async || {
        let engine = SegmentedEngine::open(data.clone(), options).unwrap();
        let shard = engine.open_shard(ShardId(0), OWNER).await.unwrap();
        for index in 0..2 {
            let id = PartitionId { index, ..id };
            shard.open_partition(id, PartitionOptions::new(Durability::Disk)).await.unwrap();
        }
        (engine, shard)
    };
    let (engine, shard) = open().await;
    let stored = fill(&shard, id).await;
    assert!(stored > 5_000, "{stored}");
    // Takes the last pages that a file could still grow by.
    let rest = std::fs::File::create(mounted.0.join("rest")).unwrap();
    let mut len = 0;
    while std::os::unix::fs::FileExt::write_all_at(&rest, &[1; 4096], len).is_ok() {
        len += 4096;
    }
    drop(rest);
    commit_progress(&shard, id, COMMITS).await.unwrap();
    assert!(engine.counters().reserve_in_use);
    // As killed: neither drained nor sealed.
    drop((engine, shard));
    let (engine, shard) = open().await;
    assert_eq!(shard.partition(id).unwrap().durable_end, stored);
    assert_eq!(shard.committed_offset("readers", id), Some((COMMITS - 1, 1)));
    let start = soon(shard.trim(id, stored, Some(1 << 20))).await.unwrap();
    assert!(start > 0);
    append_at_last(&shard, id, stored).await;
    assert!(!engine.counters().reserve_in_use);
    soon(engine.close()).await.unwrap();
    drop((engine, shard));
    let report = sealstream_broker::log::segmented::verify(&data, false, &mut |_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    drop(mounted);
}
