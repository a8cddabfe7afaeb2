//! Retention: what is let go of is gone, and nothing else.

use super::life::{append, batch, soon};
use super::{Fixture, Life};
use crate::log::engine::{CommitError, PartitionId, ReadError, Refusal};

async fn trim(life: &Life, id: PartitionId, before: u64, max_bytes: Option<u64>) -> u64 {
    soon(life.shard.trim(id, before, max_bytes)).await.expect("the partition is open")
}

/// Everything from the start is there, nothing below it is, and the partition says the same.
async fn check_range(life: &Life, id: PartitionId, start: u64, end: u64) {
    let partition = life.partition(id);
    assert_eq!((partition.start, partition.durable_end), (start, end));
    let read = life.read_all(id, start).await;
    let records: u64 = read.iter().map(|entry| u64::from(entry.batch.header().count)).sum();
    assert_eq!(records, end - start);
    assert_eq!(read.first().map_or(start, |entry| entry.header.base_offset), start);
    if let Some(below) = start.checked_sub(1) {
        let error = life.read(id, below, 1).await.expect_err("below the start");
        assert_eq!(error, ReadError::OutOfRange { start, end });
    }
}

pub async fn a_trim_goes_no_further_than_asked_and_leaves_the_rest_readable(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    for sequence in 0..20 {
        life.append(id, &batch(1, sequence, 10)).await;
    }
    for before in [0, 5, 10, 95, 150] {
        let start = trim(&life, id, before, None).await;
        assert!(start <= before, "asked for {before}, and it went to {start}");
        check_range(&life, id, start, 200).await;
    }
}

pub async fn a_trim_of_everything_stops_at_the_end_and_appends_go_on_there(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..5).await;
    let start = trim(&life, id, u64::MAX, Some(0)).await;
    assert!(start <= 5);
    check_range(&life, id, start, 5).await;
    assert_eq!(life.append(id, &batch(1, 5, 1)).await, 5);
    check_range(&life, id, life.partition(id).start, 6).await;
    assert_eq!(soon(life.shard.offset_at(id, i64::MAX)).await, Ok(6));
    assert_eq!(soon(life.shard.offset_at(id, i64::MIN)).await, Ok(life.partition(id).start));
}

pub async fn a_trim_by_bytes_spares_the_newest(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    assert_eq!(trim(&life, id, 0, None).await, 0);
    assert_eq!(trim(&life, id, 0, Some(u64::MAX)).await, 0);
    let start = trim(&life, id, 0, Some(0)).await;
    check_range(&life, id, start, 10).await;
}

pub async fn a_trim_never_moves_the_start_back(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    let start = trim(&life, id, 8, Some(0)).await;
    assert_eq!(trim(&life, id, 1, None).await, start);
    assert_eq!(trim(&life, id, 0, None).await, start);
    check_range(&life, id, start, 10).await;
}

pub async fn a_start_is_kept_over_a_clean_reopen(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    let start = trim(&life, id, 10, Some(0)).await;
    let life = life.reopen(fixture).await;
    check_range(&life, id, start, 10).await;
    assert_eq!(life.append(id, &batch(1, 10, 1)).await, 10);
    let life = life.crash(fixture).await;
    check_range(&life, id, start, 11).await;
}

pub async fn a_deleted_partition_is_gone_for_everybody(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    life.append_many(id, 1, 0..3).await;
    life.append_many(other, 1, 0..3).await;
    soon(life.shard.delete(id)).await.expect("it is deleted");
    soon(life.shard.delete(id)).await.expect("deleting what is not there succeeds");
    assert_eq!(life.refusal(vec![append(id, &batch(1, 3, 1))]).await, (0, Refusal::NotOpen(id)));
    assert_eq!(life.read(id, 0, 1).await.expect_err("deleted"), ReadError::NotOpen(id));
    assert_eq!(soon(life.shard.offset_at(id, 0)).await, Err(ReadError::NotOpen(id)));
    assert_eq!(soon(life.shard.check_epoch(id, 1, 1)).await, Err(ReadError::NotOpen(id)));
    let error = soon(life.shard.trim(id, 1, None)).await.expect_err("deleted");
    assert!(
        matches!(error, CommitError::Refused { refusal: Refusal::NotOpen(refused), .. } if refused == id)
    );
    assert_eq!(life.shard.partition(id), None);
    assert!(life.shard.watch(id).is_none());
    check_range(&life, other, 0, 3).await;
    life.append_many(other, 1, 3..4).await;
}

pub async fn a_deleted_partition_comes_back_empty(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..3).await;
    soon(life.shard.delete(id)).await.expect("it is deleted");
    let again = life.open(id).await;
    assert_eq!((again.start, again.durable_end), (0, 0));
    assert_eq!(life.refusal(vec![append(id, &batch(1, 3, 1))]).await, (0, Refusal::UnknownProducer));
    life.append_many(id, 1, 0..2).await;
    let life = life.reopen(fixture).await;
    check_range(&life, id, 0, 2).await;
}

pub async fn a_deleted_partition_stays_deleted_after_a_crash(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    life.append_many(id, 1, 0..3).await;
    life.append_many(other, 1, 0..3).await;
    soon(life.shard.delete(id)).await.expect("it is deleted");
    let life = life.crash(fixture).await;
    check_range(&life, id, 0, 0).await;
    check_range(&life, other, 0, 3).await;
}
