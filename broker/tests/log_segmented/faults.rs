//! What happens when the disk fails: nothing promised is lost, nothing lost is shown.

use std::time::Duration;

use sealstream_broker::log::conformance::Life;
use sealstream_broker::log::conformance::life::{append, batch, batch_of, put, soon};
use sealstream_broker::log::disk::simulated::{Fault, Injection, Loss, Operation};
use sealstream_broker::log::{CommitError, Durability, Outcome, ReadError};
use sealstream_protocol::batch::Codec;

use super::Simulated;

/// Fails the next sync of a partition's segments, and no other.
fn sync_of_segments() -> Injection {
    Injection::new(Fault::Io).on(Operation::SyncData).at("000.log")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_cuts_to_what_is_durable_and_is_never_read_back() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let [id, other, _] = life.ids;
    life.append_many(id, 1, 0..10).await;
    life.append_many(other, 1, 0..3).await;
    let before = (life.partition(id).epoch, life.partition(other).epoch);
    simulated.disk.inject(sync_of_segments());
    let lost = life.commit(vec![append(id, &batch(1, 10, 7))]).await.unwrap();
    let error = soon(lost.durable).await.unwrap_err();
    assert!(!error.reason.is_empty());
    assert_eq!(life.partition(id).durable_end, 10);
    let counted = life.engine.counters().unwrap();
    assert!(counted.sync_failures == 1 && counted.sync_failed_ago.is_some(), "{counted:?}");
    assert!(counted.sync_times.segments.count() >= 3, "{counted:?}");
    assert_eq!((life.partition(id).epoch, life.partition(other).epoch), (before.0 + 1, before.1));
    // The sequence is awaited again, at the same offset, in the new epoch.
    let again = life.commit_durably(vec![append(id, &batch(1, 10, 2))]).await;
    assert_eq!(again, [Outcome::Appended { base_offset: 10, epoch: before.0 + 1 }]);
    simulated.disk.drop_caches();
    let read = life.read_all(id, 0).await;
    assert_eq!(read.len(), 11);
    assert_eq!(read[10].batch, batch(1, 10, 2));
    assert_eq!(
        life.shard.check_epoch(id, 12, before.0).await.unwrap_err(),
        ReadError::Diverged { offset: 10 }
    );
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await, read);
    assert_eq!(life.append(id, &batch(1, 11, 1)).await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_first_sync_leaves_an_empty_partition_that_takes_appends() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    simulated.disk.inject(sync_of_segments());
    let lost = life.commit(vec![append(id, &batch(1, 0, 7))]).await.unwrap();
    soon(lost.durable).await.unwrap_err();
    assert_eq!(life.append(id, &batch(1, 0, 2)).await, 0);
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_a_name_is_a_failed_sync() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    simulated.disk.inject(Injection::new(Fault::Io).on(Operation::SyncDir).at("partitions/"));
    let lost = life.commit(vec![append(id, &batch(1, 0, 7))]).await.unwrap();
    soon(lost.durable).await.unwrap_err();
    assert_eq!(life.append(id, &batch(1, 0, 2)).await, 0);
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_behind_a_failed_sync_fail_with_it_and_later_ones_do_not() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append(id, &batch(1, 0, 1)).await;
    simulated.disk.inject(sync_of_segments());
    let mut commits = Vec::new();
    for sequence in 1..40 {
        commits.push(life.shard.commit(vec![append(id, &batch(1, sequence, 1))]));
    }
    let mut durable = 1;
    let mut failed = false;
    for (sequence, commit) in (1..).zip(commits) {
        match soon(commit).await {
            Ok(committed) => match soon(committed.durable).await {
                Ok(()) => {
                    assert!(!failed, "sequence {sequence} is durable, one before it is not");
                    durable += 1;
                }
                Err(_) => failed = true,
            },
            Err(CommitError::Refused { .. }) => assert!(failed, "only after the cut there is a gap"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failed);
    assert_eq!(life.partition(id).durable_end, durable);
    assert_eq!(life.append(id, &batch(1, durable, 1)).await, durable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_in_the_background_cuts_a_topic_in_memory_too() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.open_with(id, Durability::Memory).await;
    let epoch = life.partition(id).epoch;
    let mut watch = life.shard.watch(id).unwrap();
    simulated.disk.inject(sync_of_segments());
    // Until a segment is full, nobody syncs; then somebody does.
    let mut sequence = 0;
    while life.partition(id).epoch == epoch {
        let commit = life.commit(vec![append(id, &batch_of(1, sequence, 1, 1000, Codec::None))]).await;
        if commit.is_err() {
            break;
        }
        sequence += 1;
        tokio::task::yield_now().await;
    }
    soon(watch.wait_for(|end| *end < sequence)).await.unwrap();
    assert_eq!(life.partition(id).epoch, epoch + 1);
    let end = life.partition(id).durable_end;
    assert_eq!(life.append(id, &batch(2, 0, 1)).await, end);
    life.close().await;
}

/// In many lives, since chance decides what of a write was done, and what of it reached the storage.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_failed_write_does_not_come_back_after_a_clean_end() {
    for _ in 0..60 {
        let simulated = Simulated::new(false);
        let life = Life::begin(&simulated).await;
        let id = life.ids[0];
        life.append_many(id, 1, 0..3).await;
        simulated.disk.inject(Injection::new(Fault::NoSpace).on(Operation::Write).at("000.log"));
        let failed = (2..12).map(|producer| life.shard.commit(vec![append(id, &batch(producer, 0, 4))]));
        let failed: Vec<_> = failed.collect();
        let mut stored = 3;
        for commit in failed {
            match soon(commit).await {
                Ok(committed) => {
                    soon(committed.durable).await.unwrap();
                    stored += 4;
                }
                // Whether it is stored is unknown, but not what is shown from now on.
                Err(error) => assert!(matches!(error, CommitError::Storage(_)), "{error}"),
            }
        }
        let life = life.reopen(&simulated).await;
        assert_eq!(life.partition(id).durable_end, stored);
        drop(life);
        simulated.disk.crash_losing(Loss::Everything);
        let life = Life::begin(&simulated).await;
        assert_eq!(life.partition(id).durable_end, stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_metadata_fails_what_waits_for_it_and_nothing_after() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    life.commit_durably(vec![put("key", 0, Some("old"))]).await;
    let version = life.shard.meta("key").unwrap().version;
    simulated.disk.inject(Injection::new(Fault::Io).on(Operation::SyncData).at("meta-"));
    let lost = life.commit(vec![put("key", version, Some("new"))]).await.unwrap();
    soon(lost.durable).await.unwrap_err();
    assert_eq!(life.shard.meta("key").unwrap().value, "old");
    life.commit_durably(vec![put("key", version, Some("newer"))]).await;
    life.commit_durably(vec![put("other", 0, Some("value"))]).await;
    simulated.disk.drop_caches();
    let life = life.crash(&simulated).await;
    assert_eq!(life.shard.meta("key").unwrap().value, "newer");
    assert_eq!(life.shard.meta("other").unwrap().value, "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_opens_though_the_metadata_that_says_so_had_to_begin_anew() {
    let simulated = Simulated::new(true);
    let life = Life::begin_closed(&simulated).await;
    let id = life.ids[0];
    simulated.disk.inject(Injection::new(Fault::Io).on(Operation::SyncData).at("meta-"));
    life.open(id).await;
    life.append(id, &batch(1, 0, 2)).await;
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_definite_refusal_and_passes_when_there_is_room() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    simulated.disk.set_capacity(Some(simulated.disk.used() + 20_000));
    let mut stored = 0;
    let full = loop {
        match life.commit(vec![append(id, &batch_of(1, stored, 3, 500, Codec::None))]).await {
            Ok(committed) => {
                soon(committed.durable).await.unwrap();
                stored += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(full, CommitError::DiskFull), "{full}");
    assert_eq!(life.partition(id).durable_end, 3 * stored);
    assert_eq!(life.read_all(id, 0).await.len() as u64, stored);
    simulated.disk.set_capacity(None);
    // The same sequence: the refused one took nothing with it.
    assert_eq!(life.append(id, &batch(1, stored, 1)).await, 3 * stored);
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await.len() as u64, stored + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_metadata_and_takes_it_when_there_is_room() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    simulated.disk.set_capacity(Some(0));
    let large = || put("large", 0, Some(Box::leak("x".repeat(600_000).into_boxed_str())));
    let error = life.commit(vec![large()]).await.unwrap_err();
    assert!(matches!(error, CommitError::DiskFull), "{error}");
    assert_eq!(life.shard.meta("large"), None);
    simulated.disk.set_capacity(None);
    life.commit_durably(vec![large()]).await;
    let life = life.crash(&simulated).await;
    assert_eq!(life.shard.meta("large").unwrap().value.len(), 600_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trim_frees_a_full_disk() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..40 {
        life.append(id, &batch_of(1, sequence, 1, 1000, Codec::None)).await;
    }
    simulated.disk.set_capacity(Some(0));
    let start = soon(life.shard.trim(id, 30, None)).await;
    simulated.disk.set_capacity(None);
    // Where the metadata has no room the trim waits, and is not forgotten.
    let start = match start {
        Ok(start) => start,
        Err(_) => soon(life.shard.trim(id, 30, None)).await.unwrap(),
    };
    assert!(start > 0 && start <= 30);
    soon(async {
        while simulated.disk.files().iter().any(|(path, _)| path.ends_with("00000000000000000000.log")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    life.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_takes_nothing_with_it() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..3).await;
    simulated.disk.inject(Injection::new(Fault::Io).on(Operation::Write).at("000.log"));
    let error = life.commit(vec![append(id, &batch(1, 3, 5))]).await.unwrap_err();
    assert!(matches!(error, CommitError::Storage(_)), "{error}");
    assert_eq!(life.append(id, &batch(1, 3, 1)).await, 3);
    // Neither could what was written of it be cut off.
    simulated.disk.inject(Injection::new(Fault::NoSpace).on(Operation::Write).at("000.log"));
    simulated.disk.inject(Injection::new(Fault::Io).on(Operation::Truncate).at("000.log"));
    let error = life.commit(vec![append(id, &batch(1, 4, 5))]).await.unwrap_err();
    assert!(matches!(error, CommitError::Storage(_)), "{error}");
    assert_eq!(life.append(id, &batch(1, 4, 1)).await, 4);
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await.len(), 5);
}
