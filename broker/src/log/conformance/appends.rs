//! Appends: order, atomicity, offsets, times, and bytes that come back as they were.

use std::sync::Arc;

use sealstream_protocol::batch::{Batch, Codec};
use sealstream_protocol::entry::Entry;
use tokio::task::JoinSet;

use super::life::{append, append_at, batch, batch_of, put, soon};
use super::{Fixture, Life};
use crate::log::engine::{At, Durability, OffsetCommit, Op, Outcome, PartitionId, Refusal, Shard};

pub async fn an_append_comes_back_byte_for_byte_whatever_its_durability(fixture: &dyn Fixture) {
    let life = Life::begin_closed(fixture).await;
    for (id, durability) in life.ids.into_iter().zip([Durability::Disk, Durability::Memory]) {
        let opened = life.open_with(id, durability).await;
        assert_eq!((opened.start, opened.durable_end, opened.read_only), (0, 0, false));
        fixture.clock().set(5_000);
        let plain = batch(1, 0, 3);
        let packed = batch_of(1, 1, 200, 100, Codec::Lz4);
        assert_eq!(life.append(id, &plain).await, 0);
        assert_eq!(life.append(id, &packed).await, 3);
        let read = life.read_all(id, 0).await;
        assert_eq!(read.iter().map(|entry| &entry.batch).collect::<Vec<_>>(), [&plain, &packed]);
        for (entry, base_offset) in read.iter().zip([0, 3]) {
            assert_eq!(entry.header.base_offset, base_offset);
            assert_eq!(entry.header.append_time, 5_000);
            assert_eq!(entry.header.log_epoch, opened.epoch);
        }
        assert_eq!(life.partition(id).durable_end, 203);
        assert!(life.partition(id).bytes >= (plain.bytes().len() + packed.bytes().len()) as u64);
    }
}

/// Commits from several tasks; what was called first is what the lock says.
async fn commit_from_many_tasks(shard: Arc<dyn Shard>, id: PartitionId, tasks: u128, each: u64) -> Vec<u64> {
    let calls = Arc::new(tokio::sync::Mutex::new(Vec::new()));
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let (shard, calls) = (Arc::clone(&shard), Arc::clone(&calls));
        set.spawn(async move {
            let mut later = Vec::new();
            for sequence in 0..each {
                let op = append(id, &batch(task, sequence, 2));
                let mut calls = calls.lock().await;
                calls.push((task, sequence));
                let call = calls.len();
                let future = shard.commit(vec![op]);
                drop(calls);
                // Every other one is awaited only after all were called.
                if call.is_multiple_of(2) {
                    future
                        .await
                        .expect("the commit is not refused")
                        .durable
                        .await
                        .expect("it becomes durable");
                } else {
                    later.push(future);
                }
            }
            for future in later {
                future.await.expect("the commit is not refused").durable.await.expect("it becomes durable");
            }
        });
    }
    while let Some(done) = soon(set.join_next()).await {
        done.expect("no task panics");
    }
    let calls = calls.lock().await;
    calls.iter().map(|(task, sequence)| u64::try_from(*task).expect("small") * each + sequence).collect()
}

pub async fn calls_from_many_tasks_are_in_the_log_in_their_order(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let each = 40;
    let calls = commit_from_many_tasks(Arc::clone(&life.shard), id, 8, each).await;
    let read = life.read_all(id, 0).await;
    let in_the_log: Vec<u64> = read
        .iter()
        .map(|entry| {
            let header = entry.batch.header();
            let task = header.producer_id.as_u128() - super::producer(0).as_u128();
            u64::try_from(task).expect("small") * each + header.sequence
        })
        .collect();
    assert_eq!(in_the_log, calls);
}

pub async fn a_commit_whose_future_is_dropped_takes_effect(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    drop(life.shard.commit(vec![append(id, &batch(1, 0, 1))]));
    assert_eq!(life.append(id, &batch(1, 1, 1)).await, 1);
    assert_eq!(life.read_all(id, 0).await.len(), 2);
}

pub async fn an_empty_commit_is_durable_at_once(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    assert_eq!(life.commit_durably(Vec::new()).await, []);
}

pub async fn one_commit_reaches_several_partitions(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let batches = [batch(1, 0, 1), batch(1, 0, 2), batch(1, 0, 3)];
    let ops = life.ids.iter().zip(&batches).map(|(id, batch)| append(*id, batch)).collect();
    let outcomes = life.commit_durably(ops).await;
    assert_eq!(outcomes.len(), 3);
    for (id, batch) in life.ids.into_iter().zip(&batches) {
        assert_eq!(life.read_all(id, 0).await[0].batch, *batch);
    }
}

pub async fn a_refused_commit_leaves_nothing_and_names_the_operation(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [first, second, _] = life.ids;
    let progress = OffsetCommit { group: "g".into(), partition: first, offset: 1, log_epoch: 1 };
    let ops = vec![
        append(first, &batch(1, 0, 1)),
        append(second, &batch(1, 0, 1)),
        put("key", 0, Some("value")),
        Op::CommitOffset(progress),
        append(second, &batch(1, 2, 1)),
        append(first, &batch(1, 1, 1)),
    ];
    assert_eq!(life.refusal(ops).await, (4, Refusal::OutOfSequence { expected: 1 }));
    assert_eq!(life.shard.meta("key"), None);
    assert_eq!(life.shard.committed_offset("g", first), None);
    for id in [first, second] {
        // Neither the offset nor the sequence was used up.
        let fresh = batch(1, 0, 1);
        let outcomes = life.commit_durably(vec![append(id, &fresh)]).await;
        let epoch = life.partition(id).epoch;
        assert_eq!(outcomes, [Outcome::Appended { base_offset: 0, epoch }]);
        assert_eq!(life.read_all(id, 0).await.len(), 1);
    }
}

pub async fn an_exact_append_is_refused_anywhere_but_at_the_end(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let three = batch(1, 0, 3);
    assert_eq!(
        life.refusal(vec![append_at(id, At::Exactly(1), &three)]).await,
        (0, Refusal::WrongOffset { end: 0 })
    );
    life.commit_durably(vec![append_at(id, At::Exactly(0), &three)]).await;
    for offset in [0, 2, 4, u64::MAX] {
        assert_eq!(
            life.refusal(vec![append_at(id, At::Exactly(offset), &three)]).await,
            (0, Refusal::WrongOffset { end: 3 })
        );
    }
    life.commit_durably(vec![append_at(id, At::Exactly(3), &three)]).await;
    assert_eq!(life.partition(id).durable_end, 6);
}

pub async fn appends_of_one_commit_to_one_partition_follow_each_other(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let ops = vec![
        append(id, &batch(1, 0, 4)),
        append_at(id, At::Exactly(4), &batch(2, 0, 2)),
        append(id, &batch(1, 1, 1)),
    ];
    let epoch = life.partition(id).epoch;
    let appended = |base_offset| Outcome::Appended { base_offset, epoch };
    assert_eq!(life.commit_durably(ops).await, [appended(0), appended(4), appended(6)]);
    assert_eq!(
        life.refusal(vec![append(id, &batch(1, 2, 1)), append_at(id, At::Exactly(7), &batch(2, 0, 1))]).await,
        (1, Refusal::WrongOffset { end: 8 })
    );
}

pub async fn append_times_never_decrease_though_the_clock_does(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    for (sequence, now) in [1_000, 2_000, 500, 1_999, 2_001].into_iter().enumerate() {
        fixture.clock().set(now);
        life.append(id, &batch(1, sequence as u64, 1)).await;
    }
    let life = life.reopen(fixture).await;
    fixture.clock().set(7);
    life.append(id, &batch(1, 5, 1)).await;
    let times: Vec<i64> = life.read_all(id, 0).await.iter().map(|entry| entry.header.append_time).collect();
    assert_eq!(times, [1_000, 2_000, 2_000, 2_000, 2_001, 2_001]);
}

pub async fn appends_of_the_broker_itself_have_no_sequence(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    for sequence in [9, 9, 3] {
        life.commit_durably(vec![append_at(id, At::Next, &batch(1, sequence, 1))]).await;
    }
    // Nor do they bind the id in them.
    assert_eq!(life.append(id, &batch(1, 0, 1)).await, 3);
}

pub async fn a_partition_never_opened_takes_nothing(fixture: &dyn Fixture) {
    let life = Life::begin_closed(fixture).await;
    let [id, other, _] = life.ids;
    life.open(other).await;
    let ops = vec![append(other, &batch(1, 0, 1)), append(id, &batch(1, 0, 1))];
    assert_eq!(life.refusal(ops).await, (1, Refusal::NotOpen(id)));
    assert_eq!(life.shard.partition(id), None);
    assert_eq!(life.read_all(other, 0).await, []);
}

pub async fn large_and_small_batches_keep_their_bytes(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let batches: Vec<_> =
        [(1, 0), (1, 1), (40, 3_000), (1, 700_000), (1, 4_095), (300, 1), (1, 2_000_000), (7, 511)]
            .into_iter()
            .enumerate()
            .map(|(sequence, (records, value))| batch_of(1, sequence as u64, records, value, Codec::None))
            .collect();
    for batch in &batches {
        life.append(id, batch).await;
    }
    let same = |read: Vec<Entry>| {
        assert!(read.iter().map(|entry| entry.batch.bytes()).eq(batches.iter().map(Batch::bytes)));
    };
    same(life.read_all(id, 0).await);
    let life = life.reopen(fixture).await;
    same(life.read_all(id, 0).await);
}
