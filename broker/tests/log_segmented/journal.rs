//! Wide rounds and commits that touch several files go through the journal: one sync, all or nothing.

use std::path::Path;

use futures_util::future::join_all;
use sealstream_broker::log::conformance::life::{append, batch, batch_of, put, soon};
use sealstream_broker::log::conformance::{Fixture, Life};
use sealstream_broker::log::disk::simulated::{Fault, Injection, Loss, Operation};
use sealstream_broker::log::segmented::{SegmentedOptions, SnapshotError, snapshot_on};
use sealstream_broker::log::{Durability, PartitionId};
use sealstream_protocol::batch::Codec;
use uuid::Uuid;

use super::{Simulated, small};

const WIDE: u32 = 40;

fn one_shard(power_cut: bool) -> Simulated {
    Simulated::with(SegmentedOptions { shards: 1, ..small() }, power_cut)
}

fn many() -> impl Iterator<Item = PartitionId> {
    (0..WIDE).map(|index| PartitionId { topic: Uuid::from_u128(0x71DE), index })
}

async fn open_many(life: &Life) {
    for id in many() {
        life.open(id).await;
    }
}

/// One append to each partition at once; whether all became durable.
async fn wide_round(life: &Life, sequence: u64) -> bool {
    let batch = batch_of(1, sequence, 1, 400, Codec::None);
    let commits = many().map(|id| life.shard.commit(vec![append(id, &batch)]));
    let mut all = true;
    for committed in soon(join_all(commits)).await {
        match committed {
            Ok(committed) => all &= soon(committed.durable).await.is_ok(),
            Err(_) => all = false,
        }
    }
    all
}

fn has_journal(simulated: &Simulated) -> bool {
    simulated.disk.files().iter().any(|(path, _)| path.to_string_lossy().contains("journal-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_round_is_durable_by_the_journal_and_survives_a_power_cut() {
    let simulated = one_shard(true);
    let mut life = Life::begin(&simulated).await;
    for life_number in 0..4 {
        open_many(&life).await;
        for round in 0..5 {
            assert!(wide_round(&life, life_number * 5 + round).await);
        }
        assert!(has_journal(&simulated));
        life = life.crash(&simulated).await;
    }
    open_many(&life).await;
    for id in many() {
        assert_eq!(life.read_all(id, 0).await.len(), 20, "{id}");
        assert!(!life.partition(id).read_only);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_journal_has_after_a_power_cut_is_not_left_out_of_a_copy_in_silence() {
    let simulated = one_shard(true);
    let life = Life::begin(&simulated).await;
    open_many(&life).await;
    assert!(wide_round(&life, 0).await);
    let Life { engine, shard, .. } = life;
    drop(shard);
    simulated.disk.crash_losing(Loss::Everything);
    drop(engine);
    simulated.disk.restart();
    let copy =
        |to: &str| snapshot_on(&*simulated.disk.mount(), Path::new("/data"), Path::new(to), &mut |_| {});
    let error = copy("/too-soon").unwrap_err();
    assert!(matches!(error, SnapshotError::NotRecovered { .. }), "{error}");
    let life = Life::begin(&simulated).await;
    open_many(&life).await;
    life.close().await;
    let report = copy("/copy").unwrap().report;
    let found = report.partitions.iter().filter(|found| found.records == 1).count();
    assert_eq!(found, usize::try_from(WIDE).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_of_the_journal_is_used_again_and_again() {
    let simulated = one_shard(true);
    let life = Life::begin(&simulated).await;
    open_many(&life).await;
    // 40 × 500 bytes a round: a half of 64 KiB is full after three.
    for round in 0..30 {
        assert!(wide_round(&life, round).await);
    }
    let largest =
        simulated.disk.files().into_iter().filter(|(path, _)| path.to_string_lossy().contains("journal-"));
    assert!(largest.map(|(_, len)| len).max().unwrap() <= small().journal_bytes);
    let life = life.crash(&simulated).await;
    open_many(&life).await;
    for id in many() {
        assert_eq!(life.read_all(id, 0).await.len(), 30);
    }
    let life = life.reopen(&simulated).await;
    assert!(!has_journal(&simulated), "after a replay nothing is left of it");
    drop(life);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_fails_is_replaced_by_syncs_of_each_file() {
    let simulated = one_shard(true);
    let life = Life::begin(&simulated).await;
    open_many(&life).await;
    simulated.disk.inject(Injection::new(Fault::Io).on(Operation::SyncData).at("journal-"));
    for round in 0..4 {
        assert!(wide_round(&life, round).await);
    }
    let life = life.crash(&simulated).await;
    open_many(&life).await;
    for id in many() {
        assert_eq!(life.read_all(id, 0).await.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_made_anew_gets_nothing_of_what_the_journal_had_of_the_old_one() {
    let simulated = one_shard(false);
    let life = Life::begin(&simulated).await;
    open_many(&life).await;
    assert!(wide_round(&life, 0).await);
    let id = many().next().unwrap();
    soon(life.shard.delete(id)).await.unwrap();
    assert_eq!(life.open(id).await.durable_end, 0);
    let life = life.crash(&simulated).await;
    open_many(&life).await;
    assert_eq!(life.partition(id).durable_end, 0);
    assert_eq!(life.read_all(many().last().unwrap(), 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_rounds_cut_at_any_operation_lose_nothing_acknowledged() {
    for cut in (0..240).step_by(7) {
        let simulated = one_shard(true);
        let life = Life::begin(&simulated).await;
        open_many(&life).await;
        simulated.disk.inject(Injection::new(Fault::PowerCut).after(cut));
        let mut acknowledged = 0;
        while acknowledged < 8 && wide_round(&life, acknowledged).await {
            acknowledged += 1;
        }
        let life = life.crash(&simulated).await;
        open_many(&life).await;
        for id in many() {
            let partition = life.partition(id);
            assert!(!partition.read_only, "cut at {cut}");
            assert!(partition.durable_end >= acknowledged, "cut at {cut}: {id} lost something");
            let read = life.read_all(id, 0).await;
            for (sequence, entry) in (0..).zip(&read) {
                assert_eq!(entry.batch, batch_of(1, sequence, 1, 400, Codec::None));
            }
            // What was not acknowledged is there or not, and the next append knows.
            let next = read.len() as u64;
            assert_eq!(life.append(id, &batch(1, next, 1)).await, next);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_to_several_files_is_there_whole_or_not_at_all() {
    for cut in 0..60 {
        let simulated = Simulated::new(true);
        let life = Life::begin(&simulated).await;
        let [a, b, c] = life.ids;
        life.open_with(c, Durability::Memory).await;
        life.append(c, &batch(7, 0, 1)).await;
        simulated.disk.inject(Injection::new(Fault::PowerCut).after(cut));
        let mut acknowledged = 0;
        for round in 0..3 {
            let version = life.shard.meta("round").map_or(0, |value| value.version);
            let ops = vec![
                append(a, &batch(1, round, 2)),
                append(b, &batch(1, 2 * round, 3)),
                append(b, &batch(1, 2 * round + 1, 1)),
                append(c, &batch(1, round, 5)),
                put("round", version, Some(["0", "1", "2"][usize::try_from(round).unwrap()])),
            ];
            let Ok(committed) = life.commit(ops).await else { break };
            if soon(committed.durable).await.is_err() {
                break;
            }
            acknowledged = round + 1;
        }
        let life = life.crash(&simulated).await;
        let rounds = life.partition(a).durable_end / 2;
        assert!(rounds >= acknowledged, "cut at {cut}: {rounds} of {acknowledged}");
        assert_eq!(life.partition(a).durable_end, 2 * rounds, "cut at {cut}");
        assert_eq!(life.partition(b).durable_end, 4 * rounds, "cut at {cut}");
        if rounds > 0 {
            assert_eq!(life.partition(c).durable_end, 1 + 5 * rounds, "cut at {cut}");
        }
        let expected = rounds.checked_sub(1).map(|last| last.to_string());
        let found = life.shard.meta("round").map(|value| String::from_utf8(value.value.to_vec()).unwrap());
        assert_eq!(found, expected, "cut at {cut}");
        life.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_behind_one_to_several_files_keep_their_order() {
    let simulated = Simulated::new(true);
    let life = Life::begin(&simulated).await;
    let [a, b, c] = life.ids;
    let mut commits = Vec::new();
    for round in 0..20 {
        commits.push(
            life.shard.commit(vec![append(a, &batch(1, 2 * round, 1)), append(b, &batch(1, round, 1))]),
        );
        commits.push(life.shard.commit(vec![append(a, &batch(1, 2 * round + 1, 1))]));
        commits.push(life.shard.commit(vec![append(c, &batch(1, round, 1))]));
    }
    for commit in commits {
        soon(soon(commit).await.unwrap().durable).await.unwrap();
    }
    for (id, count) in [(a, 40), (b, 20), (c, 20)] {
        let sequences: Vec<u64> =
            life.read_all(id, 0).await.iter().map(|entry| entry.batch.header().sequence).collect();
        assert_eq!(sequences, (0..count).collect::<Vec<_>>());
    }
    drop(simulated.clock());
}
