//! What is there after the end of a process, clean or not.

use super::life::{append, batch, put, soon};
use super::{Fixture, Life};
use crate::log::engine::{PartitionId, ReadError};

async fn check_epoch(life: &Life, id: PartitionId, offset: u64, epoch: u32) -> Result<(), ReadError> {
    soon(life.shard.check_epoch(id, offset, epoch)).await
}

pub async fn everything_is_there_after_a_clean_reopen(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    for (id, batches) in life.ids.into_iter().zip([0, 1, 200]) {
        for sequence in 0..batches {
            let last = life.commit(vec![append(id, &batch(1, sequence, 3))]).await.expect("it is appended");
            if sequence == batches - 1 {
                soon(last.durable).await.expect("it becomes durable");
            }
        }
    }
    let mut before = Vec::new();
    for id in life.ids {
        before.push((life.partition(id).durable_end, life.read_all(id, 0).await));
    }
    let life = life.reopen(fixture).await;
    for (id, (end, entries)) in life.ids.into_iter().zip(before) {
        assert_eq!(life.partition(id).durable_end, end);
        assert_eq!(life.partition(id).start, 0);
        assert_eq!(life.read_all(id, 0).await, entries);
        assert_eq!(*life.shard.watch(id).expect("the partition is open").borrow(), end);
    }
}

pub async fn a_clean_reopen_keeps_the_log_epoch(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, empty, _] = life.ids;
    life.append_many(id, 1, 0..2).await;
    let epochs = (life.partition(id).epoch, life.partition(empty).epoch);
    let life = life.reopen(fixture).await.reopen(fixture).await;
    assert_eq!((life.partition(id).epoch, life.partition(empty).epoch), epochs);
}

pub async fn a_crash_takes_nothing_that_was_durable_and_raises_the_log_epoch(fixture: &dyn Fixture) {
    let mut life = Life::begin(fixture).await;
    let id = life.ids[0];
    for round in 0..4 {
        let before = life.partition(id);
        life.append_many(id, 1, round * 5..round * 5 + 5).await;
        life = life.crash(fixture).await;
        let after = life.partition(id);
        assert!(after.epoch > before.epoch, "the epoch {} follows {}", after.epoch, before.epoch);
        assert_eq!((after.start, after.durable_end, after.read_only), (0, round * 5 + 5, false));
        let read = life.read_all(id, 0).await;
        assert!(read.iter().map(|entry| entry.batch.header().sequence).eq(0..round * 5 + 5));
    }
}

pub async fn a_reader_learns_where_histories_part(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    let first = life.partition(id).epoch;
    let life = life.crash(fixture).await;
    life.append_many(id, 1, 10..20).await;
    let second = life.partition(id).epoch;
    let life = life.reopen(fixture).await;
    for (offset, epoch) in [(0, first), (5, first), (10, first), (11, second), (20, second)] {
        assert_eq!(check_epoch(&life, id, offset, epoch).await, Ok(()), "{offset} in epoch {epoch}");
    }
    for offset in [11, 15, 20, 99] {
        let diverged = Err(ReadError::Diverged { offset: 10 });
        assert_eq!(check_epoch(&life, id, offset, first).await, diverged, "{offset} in epoch {first}");
    }
    // A record beyond the end was seen in a log that is no more.
    assert_eq!(check_epoch(&life, id, 21, second).await, Err(ReadError::Diverged { offset: 20 }));
    let life = life.crash(fixture).await;
    assert_eq!(check_epoch(&life, id, 15, first).await, Err(ReadError::Diverged { offset: 10 }));
    assert_eq!(check_epoch(&life, id, 20, second).await, Ok(()));
}

pub async fn an_epoch_that_the_log_never_had_diverges(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    let epoch = life.partition(id).epoch;
    for offset in [1, 10, 11] {
        let result = check_epoch(&life, id, offset, epoch + 1).await;
        assert!(matches!(result, Err(ReadError::Diverged { offset: at }) if at <= 10), "{result:?}");
    }
}

pub async fn appends_go_on_after_many_crashes(fixture: &dyn Fixture) {
    let mut life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    for round in 0..8 {
        life.append(id, &batch(1, round, 2)).await;
        // Not awaited: it may be there or not, but whole, and in its place.
        drop(life.shard.commit(vec![append(other, &batch(1, 0, 7)), put("key", 0, Some("value"))]));
        life = if round % 3 == 2 { life.reopen(fixture).await } else { life.crash(fixture).await };
        let read = life.read_all(id, 0).await;
        assert!(read.iter().map(|entry| entry.header.base_offset).eq((0..=round).map(|n| n * 2)));
        let there = life.partition(other).durable_end;
        assert!(there == 0 || there == 7, "part of a batch is there: {there}");
    }
}

pub async fn partitions_never_written_to_survive_a_crash(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let life = life.crash(fixture).await.crash(fixture).await;
    for id in life.ids {
        assert_eq!(life.read_all(id, 0).await, []);
        life.append_many(id, 1, 0..1).await;
    }
}
