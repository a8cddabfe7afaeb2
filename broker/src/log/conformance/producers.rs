//! Producers: each sequence once, in order, and only by the identity that it belongs to.

use super::life::{append, append_as, append_at, batch, soon};
use super::{Fixture, Life};
use crate::log::engine::{At, Outcome, PartitionId, Refusal};
use crate::log::producers::{EXPIRY_MS, REMEMBERED};

/// The outcome of a batch that was in the log before.
async fn duplicate(life: &Life, id: PartitionId, n: u128, sequence: u64) -> (u64, u32) {
    match life.commit_durably(vec![append(id, &batch(n, sequence, 1))]).await[..] {
        [Outcome::Duplicate { base_offset, epoch }] => (base_offset, epoch),
        ref other => panic!("not a duplicate: {other:?}"),
    }
}

pub async fn a_repeated_batch_is_a_duplicate_with_its_first_offset(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..5).await;
    let epoch = life.partition(id).epoch;
    for sequence in [4, 0, 2, 4] {
        assert_eq!(duplicate(&life, id, 1, sequence).await, (sequence, epoch));
    }
    assert_eq!(life.read_all(id, 0).await.len(), 5);
    assert_eq!(life.append(id, &batch(1, 5, 1)).await, 5);
}

pub async fn after_a_gap_everything_is_refused_until_it_is_filled(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..2).await;
    for sequence in 3..8 {
        let refusal = life.refusal(vec![append(id, &batch(1, sequence, 1))]).await;
        assert_eq!(refusal, (0, Refusal::OutOfSequence { expected: 2 }));
    }
    life.append_many(id, 1, 2..8).await;
    let read = life.read_all(id, 0).await;
    assert!(read.iter().map(|entry| entry.batch.header().sequence).eq(0..8));
}

pub async fn a_producer_in_mid_sequence_that_nobody_knows_is_told_so(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    for sequence in [1, 2, u64::MAX] {
        let refusal = life.refusal(vec![append(id, &batch(1, sequence, 1))]).await;
        assert_eq!(refusal, (0, Refusal::UnknownProducer));
    }
    assert_eq!(life.append(id, &batch(1, 0, 1)).await, 0);
}

pub async fn a_repeat_older_than_what_is_remembered_is_too_old(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let next = REMEMBERED as u64 + 3;
    life.append_many(id, 1, 0..next).await;
    for sequence in 0..3 {
        let refusal = life.refusal(vec![append(id, &batch(1, sequence, 1))]).await;
        assert_eq!(refusal, (0, Refusal::TooOld { expected: next }));
    }
    for sequence in 3..next {
        assert_eq!(duplicate(&life, id, 1, sequence).await.0, sequence);
    }
}

pub async fn a_producer_id_is_bound_to_the_identity_that_used_it_first(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    life.append_many(id, 1, 0..2).await;
    for sequence in [0, 1, 2, 3] {
        let refusal = life.refusal(vec![append_as(id, &batch(1, sequence, 1), 99)]).await;
        assert_eq!(refusal, (0, Refusal::ProducerFenced));
    }
    life.commit_durably(vec![append_as(other, &batch(2, 0, 1), 99)]).await;
    let life = life.reopen(fixture).await;
    let refusal = life.refusal(vec![append_as(id, &batch(1, 2, 1), 99)]).await;
    assert_eq!(refusal, (0, Refusal::ProducerFenced));
    assert_eq!(life.append(id, &batch(1, 2, 1)).await, 2);
}

pub async fn sequences_count_for_each_partition_apart(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [first, second, _] = life.ids;
    life.append_many(first, 1, 0..3).await;
    let refusal = life.refusal(vec![append(second, &batch(1, 3, 1))]).await;
    assert_eq!(refusal, (0, Refusal::UnknownProducer));
    life.append_many(second, 1, 0..2).await;
    life.append_many(first, 1, 3..4).await;
}

pub async fn several_batches_of_one_commit_are_checked_against_each_other(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let ops =
        |sequences: &[u64]| sequences.iter().map(|sequence| append(id, &batch(1, *sequence, 1))).collect();
    assert_eq!(life.refusal(ops(&[0, 2])).await, (1, Refusal::OutOfSequence { expected: 1 }));
    assert_eq!(life.refusal(ops(&[0, 1, 1, 3])).await, (3, Refusal::OutOfSequence { expected: 2 }));
    let epoch = life.partition(id).epoch;
    let outcomes = life.commit_durably(ops(&[0, 1, 1, 2, 0])).await;
    let (appended, duplicate) = (
        |base_offset| Outcome::Appended { base_offset, epoch },
        |base_offset| Outcome::Duplicate { base_offset, epoch },
    );
    assert_eq!(outcomes, [appended(0), appended(1), duplicate(1), appended(2), duplicate(0)]);
    assert_eq!(life.read_all(id, 0).await.len(), 3);
}

pub async fn a_producer_is_forgotten_after_seven_idle_days(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    fixture.clock().set(1_000);
    life.append_many(id, 1, 0..2).await;
    fixture.clock().set(1_000 + EXPIRY_MS - 1);
    life.append_many(id, 1, 2..3).await;
    fixture.clock().advance(EXPIRY_MS);
    let refusal = life.refusal(vec![append(id, &batch(1, 3, 1))]).await;
    assert_eq!(refusal, (0, Refusal::UnknownProducer));
    assert_eq!(life.append(id, &batch(1, 0, 1)).await, 3);
}

pub async fn producers_are_known_after_a_clean_reopen(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let next = REMEMBERED as u64 + 4;
    life.append_many(id, 1, 0..next).await;
    life.append_many(id, 2, 0..1).await;
    let epoch = life.partition(id).epoch;
    let life = life.reopen(fixture).await;
    assert_eq!(duplicate(&life, id, 1, 4).await, (4, epoch));
    assert_eq!(
        life.refusal(vec![append(id, &batch(1, 3, 1))]).await,
        (0, Refusal::TooOld { expected: next })
    );
    assert_eq!(life.append(id, &batch(1, next, 1)).await, next + 1);
    assert_eq!(life.append(id, &batch(2, 1, 1)).await, next + 2);
}

pub async fn producers_are_known_after_a_crash(fixture: &dyn Fixture) {
    let mut life = Life::begin(fixture).await;
    let id = life.ids[0];
    let first_epoch = life.partition(id).epoch;
    for round in 0..3 {
        life.append_many(id, 1, round * 10..round * 10 + 10).await;
        life = life.crash(fixture).await;
    }
    assert_eq!(duplicate(&life, id, 1, 29).await.0, 29);
    let (offset, epoch) = duplicate(&life, id, 1, 14).await;
    assert_eq!(offset, 14);
    assert!(epoch > first_epoch && epoch < life.partition(id).epoch, "the epoch is the original's");
    let ahead = life.refusal(vec![append(id, &batch(1, 31, 1))]).await;
    assert_eq!(ahead, (0, Refusal::OutOfSequence { expected: 30 }));
    assert_eq!(life.append(id, &batch(1, 30, 1)).await, 30);
}

pub async fn producers_outlive_the_records_that_were_trimmed(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..3).await;
    let end = life.partition(id).durable_end;
    soon(life.shard.trim(id, end, Some(0))).await.expect("the partition is open");
    assert_eq!(duplicate(&life, id, 1, 1).await.0, 1);
    let life = life.reopen(fixture).await;
    assert_eq!(duplicate(&life, id, 1, 2).await.0, 2);
    let life = life.crash(fixture).await;
    assert_eq!(life.append(id, &batch(1, 3, 1)).await, 3);
}

pub async fn a_duplicate_is_durable_when_the_original_is(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    for sequence in 0..30 {
        let original = life.commit(vec![append(id, &batch(1, sequence, 1))]).await.expect("it is appended");
        let repeat = life.commit(vec![append(id, &batch(1, sequence, 1))]).await.expect("it is a duplicate");
        let epoch = life.partition(id).epoch;
        assert_eq!(repeat.outcomes, [Outcome::Duplicate { base_offset: sequence, epoch }]);
        drop(original);
        soon(repeat.durable).await.expect("it becomes durable");
        assert!(
            life.partition(id).durable_end > sequence,
            "the ack of a duplicate came before the original was durable"
        );
    }
    // Beside other operations too.
    let ops = vec![append(id, &batch(1, 29, 1)), append_at(id, At::Next, &batch(7, 0, 1))];
    life.commit_durably(ops).await;
}
