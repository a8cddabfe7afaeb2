//! Durability: who sees what, and when.

use sealstream_protocol::entry::Entry;

use super::life::{append, batch, put, soon};
use super::{Fixture, Life};
use crate::log::engine::Durability;

pub async fn what_is_durable_can_be_read_and_watched(fixture: &dyn Fixture) {
    let life = Life::begin_closed(fixture).await;
    for (id, durability) in life.ids.into_iter().zip([Durability::Disk, Durability::Memory]) {
        life.open_with(id, durability).await;
        let watch = life.shard.watch(id).expect("the partition is open");
        for sequence in 0..20 {
            life.append(id, &batch(1, sequence, 2)).await;
            let end = sequence * 2 + 2;
            assert!(*watch.borrow() >= end);
            assert!(life.partition(id).durable_end >= end);
            assert_eq!(life.read(id, end - 2, 1).await.expect("in range").next, end);
        }
    }
    life.commit_durably(vec![put("key", 0, Some("value"))]).await;
}

pub async fn nothing_is_visible_before_it_is_durable(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let mut waiting = Vec::new();
    for sequence in 0..50 {
        waiting.push(life.commit(vec![append(id, &batch(1, sequence, 1))]).await.expect("it is appended"));
        let partition = life.partition(id);
        let watched = *life.shard.watch(id).expect("the partition is open").borrow();
        let outcome = life.read(id, 0, usize::MAX).await.expect("in range");
        assert!(partition.durable_end <= sequence + 1);
        assert!(watched <= sequence + 1);
        assert!(outcome.next <= outcome.durable_end, "a read went beyond the durable end");
    }
    for committed in waiting.into_iter().rev() {
        soon(committed.durable).await.expect("it becomes durable");
    }
    assert_eq!(life.partition(id).durable_end, 50);
}

pub async fn an_entry_was_written_after_the_durable_end_that_it_names(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..10).await;
    for sequence in 10..20 {
        drop(life.commit(vec![append(id, &batch(1, sequence, 1))]).await);
    }
    life.append_many(id, 1, 20..21).await;
    let read = life.read_all(id, 0).await;
    for (entry, offset) in read.iter().zip(0..) {
        assert!(entry.header.durable_end <= offset, "the durable end lies ahead of the entry");
    }
    assert!(read.iter().map(|entry| entry.header.durable_end).is_sorted());
    let known: Vec<u64> = read.iter().take(10).map(|entry| entry.header.durable_end).collect();
    assert!(known.iter().copied().eq(0..10), "each was durable before the next was written: {known:?}");
    assert_eq!(read.last().map(Entry::next_offset), Some(21));
}

pub async fn a_watch_wakes_its_waiters(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    let mut watch = life.shard.watch(id).expect("the partition is open");
    let mut idle = life.shard.watch(other).expect("the partition is open");
    idle.mark_unchanged();
    let waiter = async { *watch.wait_for(|end| *end == 3).await.expect("the partition stays open") };
    let writer = life.append_many(id, 1, 0..3);
    let (end, ()) = soon(async { tokio::join!(waiter, writer) }).await;
    assert_eq!(end, 3);
    assert!(!idle.has_changed().expect("the partition stays open"), "another partition's watch moved");
}

pub async fn a_watch_ends_with_its_partition(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    let mut watch = life.shard.watch(id).expect("the partition is open");
    let still = life.shard.watch(other).expect("the partition is open");
    let waiter = async { watch.wait_for(|end| *end > 100).await.map(|_| ()) };
    let (ended, deleted) = soon(async { tokio::join!(waiter, life.shard.delete(id)) }).await;
    ended.expect_err("the watch outlived its partition");
    deleted.expect("the partition is deleted");
    assert!(life.shard.watch(id).is_none());
    assert!(still.has_changed().is_ok(), "another partition's watch ended");
}

pub async fn a_watch_ends_with_the_engine(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let mut watch = life.shard.watch(id).expect("the partition is open");
    life.close().await;
    soon(watch.wait_for(|end| *end > 100)).await.map(|_| ()).expect_err("the watch outlived the engine");
}

pub async fn a_partition_never_opened_cannot_be_watched(fixture: &dyn Fixture) {
    let life = Life::begin_closed(fixture).await;
    assert!(life.shard.watch(life.ids[0]).is_none());
}
