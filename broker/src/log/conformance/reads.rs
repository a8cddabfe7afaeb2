//! Reads: bounds, ranges, and one log that everybody sees alike.

use std::sync::Arc;

use sealstream_protocol::entry::Entry;
use tokio::task::JoinSet;

use super::life::{append, batch, soon};
use super::{Fixture, Life, entries};
use crate::log::engine::{PartitionId, ReadError, Shard, Within};

pub async fn a_read_gives_at_most_the_bytes_asked_for_but_one_entry_at_least(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    let len = |chunks: &[bytes::Bytes]| chunks.iter().map(bytes::Bytes::len).sum::<usize>();
    let one = len(&life.read(id, 0, 1).await.expect("in range").entries);
    for max in [0, 1, one - 1, one, one + 1, 3 * one - 1, 3 * one, 10 * one, 11 * one] {
        for from in [0, 4] {
            let outcome = life.read(id, from, max).await.expect("in range");
            let expected = (max / one).clamp(1, 10 - usize::try_from(from).expect("small"));
            assert_eq!(entries(&outcome.entries).len(), expected, "at most {max} bytes of entries of {one}");
            assert_eq!(outcome.next, from + expected as u64);
            assert_eq!(outcome.durable_end, 10);
        }
    }
}

pub async fn a_read_within_a_bound_leaves_a_larger_entry_alone_and_says_what_it_takes(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append(id, &batch(1, 0, 2000)).await;
    life.append_many(id, 1, 1..5).await;
    let shard = Arc::clone(&life.shard);
    let large = life.read(id, 0, 1).await.expect("in range").entries[0].len();
    for bound in [0, 1, large / 2, large - 1] {
        match shard.read_within(id, 0, bound).await.expect("in range") {
            Within::Larger(needed) => assert!(needed >= large, "{needed} of {large}"),
            Within::Read(outcome) => panic!("{} entries within {bound} bytes", outcome.entries.len()),
        }
    }
    let Within::Larger(needed) = shard.read_within(id, 0, 1).await.expect("in range") else { panic!() };
    for (from, bound) in [(0, needed), (2000, large), (2004, 0)] {
        let Within::Read(outcome) = shard.read_within(id, from, bound).await.expect("in range") else {
            panic!("{bound} bytes are enough at {from}")
        };
        let same = life.read(id, from, bound).await.expect("in range");
        assert_eq!((outcome.next, &outcome.entries), (same.next, &same.entries));
        assert!(outcome.next > from || from == 2004);
    }
    assert!(shard.read_within(id, 3000, 10).await.is_err());
}

pub async fn a_read_from_the_middle_of_a_batch_begins_with_that_batch(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    for sequence in 0..3 {
        life.append(id, &batch(1, sequence, 10)).await;
    }
    for from in 0..30 {
        let outcome = life.read(id, from, 1).await.expect("in range");
        let read = entries(&outcome.entries);
        assert_eq!(read.iter().map(|entry| entry.header.base_offset).collect::<Vec<_>>(), [from / 10 * 10]);
        assert_eq!(outcome.next, from / 10 * 10 + 10);
    }
}

pub async fn a_read_at_the_end_is_empty(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    for end in [0, 1, 2] {
        let outcome = life.read(id, end, 1 << 20).await.expect("the end is in range");
        assert!(outcome.entries.is_empty());
        assert_eq!((outcome.next, outcome.durable_end), (end, end));
        life.append(id, &batch(1, end, 1)).await;
    }
}

pub async fn a_read_beyond_the_end_is_out_of_range(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..3).await;
    for from in [4, 100, u64::MAX] {
        let error = life.read(id, from, 1).await.expect_err("beyond the end");
        assert_eq!(error, ReadError::OutOfRange { start: 0, end: 3 });
    }
}

pub async fn a_partition_never_opened_cannot_be_read(fixture: &dyn Fixture) {
    let life = Life::begin_closed(fixture).await;
    let id = life.ids[0];
    let refused = ReadError::NotOpen(id);
    assert_eq!(life.read(id, 0, 1).await.expect_err("not open"), refused);
    assert_eq!(soon(life.shard.offset_at(id, 0)).await.expect_err("not open"), refused);
    assert_eq!(soon(life.shard.check_epoch(id, 0, 1)).await.expect_err("not open"), refused);
}

pub async fn reading_in_steps_gives_every_record_once_and_in_order(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    let mut expected = 0;
    for sequence in 0..300_u64 {
        let records = u32::try_from(sequence * 7 % 13 + 1).expect("small");
        life.append(id, &batch(1, sequence, records)).await;
        if sequence % 3 == 0 {
            life.append(other, &batch(1, sequence / 3, 1)).await;
        }
        expected += u64::from(records);
    }
    for step in [1, 333, 4_096, 1 << 20] {
        let (mut from, mut sequence) = (0, 0);
        while from < expected {
            let outcome = life.read(id, from, step).await.expect("in range");
            for entry in entries(&outcome.entries) {
                assert_eq!(entry.header.base_offset, from);
                assert_eq!(entry.batch.header().sequence, sequence);
                from = entry.next_offset();
                sequence += 1;
            }
            assert_eq!(outcome.next, from);
        }
        assert_eq!((from, sequence), (expected, 300));
    }
}

/// Follows a partition up to `end`; checks that nothing is seen twice, left out, or before its time.
async fn follow(shard: Arc<dyn Shard>, id: PartitionId, end: u64) {
    let mut watch = shard.watch(id).expect("the partition is open");
    let mut from = 0;
    while from < end {
        let seen = *soon(watch.wait_for(|durable| *durable > from)).await.expect("the partition stays open");
        let outcome = soon(shard.read(id, from, 2_000)).await.expect("in range");
        assert!(outcome.durable_end >= seen, "the durable end went back");
        assert!(!outcome.entries.is_empty(), "the durable end promised more");
        for entry in entries(&outcome.entries) {
            assert_eq!(entry.header.base_offset, from);
            from = entry.next_offset();
        }
        assert!(from <= outcome.durable_end, "a read went beyond the durable end");
    }
}

pub async fn readers_and_writers_at_once_see_one_growing_log(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let mut set = JoinSet::new();
    let (writers, each) = (4, 50);
    let end = u64::try_from(writers).expect("small") * each * 3;
    for id in life.ids {
        for writer in 0..writers {
            let shard = Arc::clone(&life.shard);
            set.spawn(async move {
                for sequence in 0..each {
                    let committed = shard.commit(vec![append(id, &batch(writer, sequence, 3))]).await;
                    let committed = committed.expect("the commit is not refused");
                    if sequence % 5 == 0 {
                        committed.durable.await.expect("it becomes durable");
                    }
                }
            });
        }
        for _ in 0..2 {
            set.spawn(follow(Arc::clone(&life.shard), id, end));
        }
    }
    while let Some(done) = soon(set.join_next()).await {
        done.expect("no task panics");
    }
    for id in life.ids {
        let read = life.read_all(id, 0).await;
        assert_eq!(read.last().map(Entry::next_offset), Some(end));
    }
}

pub async fn the_offset_at_a_time_is_the_first_batch_appended_then_or_later(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    assert_eq!(soon(life.shard.offset_at(id, 0)).await, Ok(0));
    for (sequence, now) in [1_000, 1_000, 2_000, 3_000].into_iter().enumerate() {
        fixture.clock().set(now);
        life.append(id, &batch(1, sequence as u64, 5)).await;
    }
    let expected = [
        (i64::MIN, 0),
        (999, 0),
        (1_000, 0),
        (1_001, 10),
        (2_000, 10),
        (2_001, 15),
        (3_000, 15),
        (3_001, 20),
        (i64::MAX, 20),
    ];
    for (time, offset) in expected {
        assert_eq!(soon(life.shard.offset_at(id, time)).await, Ok(offset), "at {time}");
    }
    let life = life.reopen(fixture).await;
    for (time, offset) in expected {
        assert_eq!(soon(life.shard.offset_at(id, time)).await, Ok(offset), "at {time}, after a reopen");
    }
}

pub async fn what_is_cached_adds_up_to_no_more_than_its_limit_and_goes_with_its_partition(
    fixture: &dyn Fixture,
) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    let check = |gone: Option<PartitionId>| {
        let cache = life.shard.cache();
        assert_eq!(cache.partitions.iter().map(|(_, bytes)| bytes).sum::<u64>(), cache.bytes);
        assert!(cache.bytes <= cache.limit, "{cache:?}");
        for (partition, bytes) in cache.partitions {
            assert!(life.ids.contains(&partition) && Some(partition) != gone && bytes > 0, "{partition}");
        }
    };
    check(None);
    for sequence in 0..50 {
        life.append(id, &batch(1, sequence, 10)).await;
        life.append(other, &batch(2, sequence, 1)).await;
        check(None);
    }
    soon(life.shard.delete(id)).await.expect("it is deleted");
    check(Some(id));
}
