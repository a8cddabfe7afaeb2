//! Metadata and the offsets of groups.

use bytes::Bytes;

use super::life::{append, batch, put, soon};
use super::{Fixture, Life};
use crate::log::engine::{OffsetCommit, Op, Outcome, PartitionId, Refusal, Versioned};

fn progress(group: &str, partition: PartitionId, offset: u64) -> Op {
    Op::CommitOffset(OffsetCommit { group: group.into(), partition, offset, log_epoch: 3 })
}

/// Puts and gives the new version.
async fn version_after(life: &Life, op: Op) -> u64 {
    match life.commit_durably(vec![op]).await[..] {
        [Outcome::MetaPut { version }] => version,
        ref other => panic!("not put: {other:?}"),
    }
}

fn value(life: &Life, key: &str) -> Option<(u64, Bytes)> {
    life.shard.meta(key).map(|Versioned { version, value }| (version, value))
}

pub async fn a_value_is_put_only_over_the_version_expected(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    assert_eq!(life.shard.meta("key"), None);
    assert_eq!(
        life.refusal(vec![put("key", 7, Some("a"))]).await,
        (0, Refusal::VersionMismatch { version: 0 })
    );
    let first = version_after(&life, put("key", 0, Some("a"))).await;
    assert_ne!(first, 0);
    assert_eq!(value(&life, "key"), Some((first, "a".into())));
    for wrong in [0, first + 1, u64::MAX] {
        let refusal = life.refusal(vec![put("key", wrong, Some("b"))]).await;
        assert_eq!(refusal, (0, Refusal::VersionMismatch { version: first }));
        let refusal = life.refusal(vec![put("key", wrong, None)]).await;
        assert_eq!(refusal, (0, Refusal::VersionMismatch { version: first }));
    }
    let second = version_after(&life, put("key", first, Some("b"))).await;
    assert!(second > first);
    assert_eq!(value(&life, "key"), Some((second, "b".into())));
    assert_eq!(version_after(&life, put("key", second, None)).await, 0);
    assert_eq!(value(&life, "key"), None);
    assert_eq!(version_after(&life, put("other", 0, None)).await, 0);
}

pub async fn a_version_never_comes_twice_though_its_key_was_removed(fixture: &dyn Fixture) {
    let mut life = Life::begin(fixture).await;
    let mut last = 0;
    for round in 0..4 {
        let version = version_after(&life, put("key", 0, Some("a"))).await;
        assert!(version > last, "version {version} after {last}");
        last = version;
        version_after(&life, put("key", version, None)).await;
        life = if round % 2 == 0 { life.reopen(fixture).await } else { life.crash(fixture).await };
    }
}

pub async fn one_commit_may_put_a_key_twice(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let first = version_after(&life, put("key", 0, Some("a"))).await;
    let ops = vec![put("key", first, None), put("key", 0, Some("b"))];
    let outcomes = life.commit_durably(ops).await;
    let [Outcome::MetaPut { version: 0 }, Outcome::MetaPut { version }] = outcomes[..] else {
        panic!("not put: {outcomes:?}");
    };
    assert_eq!(value(&life, "key"), Some((version, "b".into())));
    let ops = vec![put("key", version, Some("c")), put("key", version, Some("d"))];
    let (index, refusal) = life.refusal(ops).await;
    assert!(index == 1 && matches!(refusal, Refusal::VersionMismatch { .. }), "{refusal:?}");
    assert_eq!(value(&life, "key"), Some((version, "b".into())));
}

pub async fn keys_are_listed_by_prefix_and_in_order(fixture: &dyn Fixture) {
    let mut life = Life::begin(fixture).await;
    let keys = ["topic/b", "topic/", "topi", "topic/a", "topic0", "topic/ä", "topic/a/x", "zzz"];
    life.commit_durably(keys.iter().map(|key| put(key, 0, Some("v"))).collect()).await;
    for _ in 0..2 {
        let listed =
            |prefix| life.shard.meta_with_prefix(prefix).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(listed("topic/"), ["topic/", "topic/a", "topic/a/x", "topic/b", "topic/ä"]);
        assert_eq!(listed("").len(), keys.len());
        assert!(listed("").is_sorted());
        assert_eq!(listed("zzzz"), [""; 0]);
        life = life.reopen(fixture).await;
    }
}

pub async fn an_offset_is_the_last_one_committed(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    assert_eq!(life.shard.committed_offset("g", id), None);
    life.commit_durably(vec![progress("g", id, 5), progress("h", id, 6), progress("g", other, 7)]).await;
    life.commit_durably(vec![progress("g", id, 4)]).await;
    life.commit_durably(vec![progress("g", id, 9), progress("g", id, 8)]).await;
    assert_eq!(life.shard.committed_offset("g", id), Some((8, 3)));
    assert_eq!(life.shard.committed_offset("h", id), Some((6, 3)));
    assert_eq!(life.shard.committed_offset("g", other), Some((7, 3)));
    assert_eq!(life.shard.committed_offset("h", other), None);
}

fn forget(group: &str, partition: Option<PartitionId>) -> Op {
    Op::ForgetOffsets { group: group.into(), partition }
}

pub async fn the_offsets_of_a_group_are_listed_in_the_order_of_their_partitions(fixture: &dyn Fixture) {
    let mut life = Life::begin(fixture).await;
    let mut ids = life.ids;
    ids.sort_unstable();
    let [first, second, third] = ids;
    assert_eq!(life.shard.committed_offsets("g"), []);
    let ops = vec![progress("g", third, 3), progress("g", first, 1), progress("h", second, 9)];
    life.commit_durably(ops).await;
    for _ in 0..2 {
        assert_eq!(life.shard.committed_offsets("g"), [(first, (1, 3)), (third, (3, 3))]);
        assert_eq!(life.shard.committed_offsets("h"), [(second, (9, 3))]);
        life = life.reopen(fixture).await;
    }
}

pub async fn what_a_group_forgets_is_gone_and_nothing_else(fixture: &dyn Fixture) {
    let mut life = Life::begin(fixture).await;
    let [id, other, _] = life.ids;
    life.commit_durably(vec![progress("g", id, 5), progress("g", other, 7), progress("h", id, 6)]).await;
    let outcomes = life.commit_durably(vec![forget("g", Some(id)), forget("nobody", None)]).await;
    assert_eq!(outcomes, [Outcome::OffsetsForgotten, Outcome::OffsetsForgotten]);
    assert_eq!(life.shard.committed_offsets("g"), [(other, (7, 3))]);
    life = life.reopen(fixture).await;
    assert_eq!(life.shard.committed_offset("g", id), None);
    // In one commit, what comes later counts.
    life.commit_durably(vec![progress("g", id, 1), forget("g", None), progress("g", id, 2)]).await;
    for _ in 0..2 {
        assert_eq!(life.shard.committed_offsets("g"), [(id, (2, 3))]);
        assert_eq!(life.shard.committed_offsets("h"), [(id, (6, 3))]);
        life = life.crash(fixture).await;
    }
    life.commit_durably(vec![forget("g", None)]).await;
    life = life.crash(fixture).await;
    assert_eq!(life.shard.committed_offsets("g"), []);
}

pub async fn forgetting_and_a_value_go_together_or_not_at_all(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let [id, ..] = life.ids;
    let outcomes = life.commit_durably(vec![put("group", 0, Some("a")), progress("g", id, 5)]).await;
    let [Outcome::MetaPut { version }, Outcome::OffsetCommitted] = outcomes[..] else {
        panic!("not put: {outcomes:?}");
    };
    let (index, _) = life.refusal(vec![forget("g", None), put("group", version + 1, None)]).await;
    assert_eq!(index, 1);
    assert_eq!(life.shard.committed_offsets("g"), [(id, (5, 3))]);
    life.commit_durably(vec![forget("g", None), put("group", version, None)]).await;
    assert_eq!((life.shard.committed_offsets("g"), value(&life, "group")), (vec![], None));
}

/// Writes enough that an engine has reason to compact, and gives the last version of each key.
async fn fill(life: &Life) -> Vec<u64> {
    let mut versions = vec![0; 5];
    for round in 0..40_u64 {
        for (index, version) in versions.iter_mut().enumerate() {
            let key = format!("key/{index}");
            let value = Bytes::from(format!("{round}/{index}").repeat(50));
            let op = Op::PutMeta { key, expected: *version, value: Some(value) };
            let ops = vec![op, progress(&format!("group {index}"), life.ids[0], round)];
            let outcomes = life.commit_durably(ops).await;
            let [Outcome::MetaPut { version: new }, Outcome::OffsetCommitted] = outcomes[..] else {
                panic!("not put: {outcomes:?}");
            };
            *version = new;
        }
    }
    let gone = versions.pop().expect("five keys");
    life.commit_durably(vec![put("key/4", gone, None), append(life.ids[1], &batch(1, 0, 1))]).await;
    versions
}

fn check(life: &Life, versions: &[u64]) {
    for (index, version) in versions.iter().enumerate() {
        let expected = Bytes::from(format!("39/{index}").repeat(50));
        assert_eq!(value(life, &format!("key/{index}")), Some((*version, expected)));
    }
    assert_eq!(life.shard.meta_with_prefix("key/").len(), versions.len());
    for index in 0..5 {
        assert_eq!(life.shard.committed_offset(&format!("group {index}"), life.ids[0]), Some((39, 3)));
    }
    assert_eq!(life.partition(life.ids[1]).durable_end, 1);
}

pub async fn values_and_offsets_are_kept_over_a_clean_reopen(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let versions = fill(&life).await;
    check(&life, &versions);
    let life = life.reopen(fixture).await.reopen(fixture).await;
    check(&life, &versions);
}

pub async fn values_and_offsets_are_kept_over_a_crash(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let versions = fill(&life).await;
    let life = life.crash(fixture).await;
    check(&life, &versions);
    let version = version_after(&life, put("key/0", versions[0], Some("more"))).await;
    let life = life.crash(fixture).await;
    assert_eq!(value(&life, "key/0"), Some((version, "more".into())));
}

pub async fn a_large_value_is_kept_whole(fixture: &dyn Fixture) {
    let life = Life::begin(fixture).await;
    let large: Bytes = (0..1_u32 << 20).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let key = "k".repeat(1 << 10);
    let put = Op::PutMeta { key: key.clone(), expected: 0, value: Some(large.clone()) };
    let committed = life.commit(vec![put]).await.expect("it is put");
    soon(committed.durable).await.expect("it becomes durable");
    let life = life.reopen(fixture).await;
    assert_eq!(value(&life, &key).map(|(_, value)| value), Some(large));
}
