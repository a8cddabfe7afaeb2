//! Ownership of a shard, and its end.

use std::sync::Arc;

use super::life::{OWNER, append, batch, put, soon};
use super::{Fixture, Life};
use crate::log::engine::{CommitError, Durability, OpenShardError, PartitionOptions, Shard, ShardId};

const OPTIONS: PartitionOptions = PartitionOptions::new(Durability::Disk);

async fn open(life: &Life, owner: u64) -> Result<Arc<dyn Shard>, OpenShardError> {
    soon(life.engine.open_shard(ShardId(0), owner)).await
}

pub async fn the_same_epoch_gives_the_same_shard(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let again = open(&life, OWNER).await.expect("it is the owner");
    let committed =
        soon(again.commit(vec![append(id, &batch(1, 0, 1))])).await.expect("the partition is open");
    soon(committed.durable).await.expect("it becomes durable");
    assert_eq!(life.append(id, &batch(1, 1, 1)).await, 1);
    assert_eq!(again.partition(id), life.shard.partition(id));
    let watch = life.shard.watch(id).expect("the partition is open");
    drop(again);
    assert_eq!(life.append(id, &batch(1, 2, 1)).await, 2);
    assert_eq!(*watch.borrow(), 3);
}

pub async fn an_older_owner_cannot_open_the_shard(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    assert!(matches!(open(&life, OWNER - 1).await, Err(OpenShardError::Fenced)));
    life.append_many(life.ids[0], 1, 0..1).await;
}

pub async fn a_newer_owner_fences_the_one_before(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..3).await;
    let newer = open(&life, OWNER + 1).await.expect("it is newer");
    let old = &life.shard;
    let fenced =
        |result: Result<(), CommitError>| assert!(matches!(result, Err(CommitError::Fenced)), "{result:?}");
    fenced(soon(old.commit(vec![append(id, &batch(1, 3, 1))])).await.map(|_| ()));
    fenced(soon(old.commit(vec![put("key", 0, Some("value"))])).await.map(|_| ()));
    fenced(soon(old.open_partition(id, OPTIONS)).await.map(|_| ()));
    fenced(soon(old.trim(id, 1, None)).await.map(|_| ()));
    fenced(soon(old.delete(id)).await);
    let opened = soon(newer.open_partition(id, OPTIONS)).await.expect("it owns the shard");
    assert_eq!(opened.durable_end, 3, "nothing of the fenced owner came through");
    let committed = soon(newer.commit(vec![append(id, &batch(1, 3, 1))])).await.expect("it owns the shard");
    soon(committed.durable).await.expect("it becomes durable");
    assert!(newer.meta("key").is_none());
}

pub async fn an_older_owner_is_refused_after_a_reopen_too(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    drop(open(&life, OWNER + 5).await.expect("it is newer"));
    life.close().await;
    let engine = soon(fixture.start()).await;
    let refused = soon(engine.open_shard(ShardId(0), OWNER + 4)).await;
    assert!(matches!(refused, Err(OpenShardError::Fenced)));
    soon(engine.open_shard(ShardId(0), OWNER + 5)).await.expect("it is the owner");
}

pub async fn a_change_of_owner_raises_the_log_epoch(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..3).await;
    let before = life.partition(id).epoch;
    let newer = open(&life, OWNER + 1).await.expect("it is newer");
    let opened = soon(newer.open_partition(id, OPTIONS)).await.expect("it owns the shard");
    assert!(opened.epoch > before);
    assert_eq!(soon(newer.check_epoch(id, 3, before)).await, Ok(()));
}

pub async fn there_is_no_shard_beyond_the_last(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    for id in [ShardId(life.engine.shards()), ShardId(u32::MAX)] {
        let refused = soon(life.engine.open_shard(id, OWNER)).await;
        assert!(matches!(refused, Err(OpenShardError::Unknown(unknown)) if unknown == id));
    }
    for id in 1..life.engine.shards() {
        soon(life.engine.open_shard(ShardId(id), OWNER)).await.expect("the shard opens");
    }
}

pub async fn a_closed_engine_takes_nothing(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let id = life.ids[0];
    let pending = life.commit(vec![append(id, &batch(1, 0, 1))]).await.expect("the partition is open");
    soon(life.engine.close()).await.expect("the engine closes");
    soon(pending.durable).await.expect("closing makes everything durable");
    let closed =
        |result: Result<(), CommitError>| assert!(matches!(result, Err(CommitError::Closed)), "{result:?}");
    closed(soon(life.shard.commit(vec![append(id, &batch(1, 1, 1))])).await.map(|_| ()));
    closed(soon(life.shard.open_partition(id, OPTIONS)).await.map(|_| ()));
    closed(soon(life.shard.delete(id)).await);
    assert!(life.shard.watch(id).is_none());
    soon(life.engine.open_shard(ShardId(0), OWNER)).await.map(|_| ()).expect_err("the engine is closed");
    soon(life.engine.close()).await.expect("closing again succeeds");
    drop(life);
    let life = Life::begin(fixture).await;
    assert_eq!(life.partition(id).durable_end, 1);
}

pub async fn the_number_of_shards_is_kept(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let shards = life.engine.shards();
    assert!(shards >= 1);
    let life = life.reopen(fixture).await.crash(fixture).await;
    assert_eq!(life.engine.shards(), shards);
}
