//! What the next start makes of what the last one left: torn tails are cut, damage is not.

use std::path::PathBuf;

use sealstream_broker::log::conformance::Fixture;
use sealstream_broker::log::conformance::Life;
use sealstream_broker::log::conformance::life::{append, batch, batch_of, put, soon};
use sealstream_broker::log::segmented::SegmentedOptions;
use sealstream_broker::log::{CommitError, OpenShardError, PartitionId, ReadError, Refusal, ShardId};
use sealstream_protocol::batch::Codec;

use super::{Simulated, small};

/// The one segment of a small partition.
fn segment(id: PartitionId, base: u64) -> PathBuf {
    format!("/data/shard-0/partitions/{}-{}/{base:020}.log", id.topic, id.index).into()
}

/// Ends the process and leaves the disk to the test.
async fn kill(life: Life, simulated: &Simulated) {
    let Life { engine, shard, .. } = life;
    drop(shard);
    simulated.crash(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_at_the_tail_is_torn_and_cut_and_the_log_goes_on() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..5).await;
    let epoch = life.partition(id).epoch;
    let end = life.partition(id).bytes;
    kill(life, &simulated).await;
    // Nothing after the last entry says that it was durable.
    simulated.disk.corrupt(&segment(id, 0), end - 3, 1).unwrap();
    let life = Life::begin(&simulated).await;
    let partition = life.partition(id);
    assert_eq!((partition.durable_end, partition.epoch, partition.read_only), (4, epoch + 1, false));
    assert_eq!(life.shard.check_epoch(id, 5, epoch).await.unwrap_err(), ReadError::Diverged { offset: 4 });
    assert_eq!(life.append(id, &batch(1, 4, 1)).await, 4);
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_below_the_durable_end_makes_the_partition_read_only_and_touches_nothing() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let [id, other, _] = life.ids;
    life.append_many(id, 1, 0..5).await;
    life.append_many(other, 1, 0..5).await;
    let position = life.partition(id).bytes / 2;
    kill(life, &simulated).await;
    simulated.disk.corrupt(&segment(id, 0), position, 1).unwrap();
    let before = simulated.disk.files();
    let life = Life::begin(&simulated).await;
    let partition = life.partition(id);
    assert!(partition.read_only);
    assert!(partition.durable_end >= 4, "{partition:?}");
    assert_eq!(life.read(id, 0, 1).await.unwrap().next, 1);
    assert!(matches!(life.read(id, 2, 1 << 20).await.unwrap_err(), ReadError::Damaged { .. }));
    assert_eq!(life.refusal(vec![append(id, &batch(1, 5, 1))]).await, (0, Refusal::ReadOnly(id)));
    assert_eq!(life.append(other, &batch(1, 5, 1)).await, 5);
    let len = |files: &[(PathBuf, u64)]| files.iter().find(|(path, _)| *path == segment(id, 0)).unwrap().1;
    assert_eq!(len(&simulated.disk.files()), len(&before));
    let life = life.reopen(&simulated).await;
    assert!(life.partition(id).read_only, "it does not heal by itself");
    soon(life.shard.delete(id)).await.unwrap();
    assert!(!life.open(id).await.read_only);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_below_the_durable_end_is_damage_too() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..5).await;
    kill(life, &simulated).await;
    // The magic of the second entry becomes zeros: no entry, and no torn one either.
    let mount = simulated.disk.mount();
    let file = mount.open(&segment(id, 0)).unwrap();
    let mut first = [0; 48 + 32 + 12];
    file.read_at(0, &mut first).unwrap();
    let len = u32::from_le_bytes(first[88..92].try_into().unwrap());
    file.write_at(80 + u64::from(len), &[&[0; 104]]).unwrap();
    let life = Life::begin(&simulated).await;
    assert!(life.partition(id).read_only);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_log_that_lacks_a_segment_is_read_only() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..3).await;
    life.close().await;
    simulated.disk.mount().remove_file(&segment(id, 0)).unwrap();
    let life = Life::begin(&simulated).await;
    assert!(life.partition(id).read_only);
    assert_eq!(life.partition(id).durable_end, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lacks_what_a_checkpoint_covers_is_read_only_and_begins_where_it_can_be_read() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..40 {
        life.append(id, &batch_of(1, sequence, 1, 2_000, Codec::None)).await;
    }
    saved(id, &simulated).await;
    kill(life, &simulated).await;
    simulated.disk.mount().remove_file(&segment(id, 0)).unwrap();
    let life = Life::begin(&simulated).await;
    let partition = life.partition(id);
    assert!(partition.read_only);
    assert!(partition.start > 0 && partition.durable_end >= 39, "{partition:?}");
    assert!(life.read(id, partition.start, 1).await.unwrap().next > partition.start);
}

/// Waits until the partition has a checkpoint; returns its path.
async fn saved(id: PartitionId, simulated: &Simulated) -> PathBuf {
    let checkpoint = segment(id, 0).with_file_name("checkpoint");
    soon(async {
        while !simulated.disk.files().iter().any(|(path, _)| *path == checkpoint) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    checkpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_reads_no_further_back_than_the_checkpoint() {
    let simulated = Simulated::with(SegmentedOptions { segment_bytes: 4 << 20, ..small() }, false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..100 {
        life.append(id, &batch_of(1, sequence, 1, 2_000, Codec::None)).await;
    }
    let checkpoint = saved(id, &simulated).await;
    kill(life, &simulated).await;
    // Damage that was long synced: for `verify` to find, and for the next reader.
    simulated.disk.corrupt(&segment(id, 0), 5_000, 1).unwrap();
    let life = Life::begin(&simulated).await;
    assert!(!life.partition(id).read_only);
    assert_eq!(life.append(id, &batch(1, 100, 1)).await, 100, "the producer is known all the same");
    kill(life, &simulated).await;
    // Without the checkpoint everything is read.
    simulated.disk.corrupt(&checkpoint, 50, 1).unwrap();
    let life = Life::begin(&simulated).await;
    assert!(life.partition(id).read_only);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_metadata_is_an_error_that_names_it_and_is_not_cut() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    for n in 0..20_u64 {
        life.commit_durably(vec![put(
            "key",
            n.checked_sub(1).map_or(0, |_| life.shard.meta("key").unwrap().version),
            Some("value"),
        )])
        .await;
    }
    kill(life, &simulated).await;
    let log: PathBuf = "/data/shard-0/meta-0000000001.log".into();
    simulated.disk.corrupt(&log, 300, 4).unwrap();
    let before = simulated.disk.files();
    let engine = simulated.start().await;
    let error = engine.open_shard(ShardId(0), 1).await.unwrap_err();
    assert!(matches!(error, OpenShardError::Io { .. }), "{error}");
    assert!(error.to_string().contains("metadata log is damaged at byte"), "{error}");
    assert_eq!(simulated.disk.files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_lives_through_many_generations_of_its_log() {
    let simulated = Simulated::new(true);
    let mut life = Life::begin(&simulated).await;
    let value: &'static str = Box::leak("v".repeat(700_000).into_boxed_str());
    for round in 0..3 {
        // More than twice 4 MiB a round.
        for _ in 0..14 {
            let version = life.shard.meta("large").map_or(0, |value| value.version);
            life.commit_durably(vec![put("large", version, Some(value))]).await;
        }
        life.commit_durably(vec![put(["a", "b", "c"][round], 0, Some("small"))]).await;
        life = life.crash(&simulated).await;
        assert_eq!(life.shard.meta_with_prefix("").len(), round + 2);
        assert_eq!(life.shard.meta("large").unwrap().value.len(), 700_000);
    }
    life = life.reopen(&simulated).await;
    assert_eq!(life.shard.meta_with_prefix("").len(), 4);
    let logs = simulated.disk.files().into_iter().filter(|(path, _)| path.starts_with("/data/shard-0/"));
    let bytes: u64 = logs.map(|(_, len)| len).sum();
    assert!(bytes < 16 << 20, "{bytes} bytes of metadata are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shard_is_asked_after_it_was_dropped_fails() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    let Life { engine, shard, .. } = life;
    drop(engine);
    let error = soon(shard.commit(vec![append(id, &batch(1, 0, 1))])).await.unwrap_err();
    assert!(matches!(error, CommitError::Closed), "{error}");
    assert_eq!(soon(shard.read(id, 0, 1)).await.unwrap_err(), ReadError::NotOpen(id));
}

/// Waits until a read that finds damage has the partition read-only, and a start to come would know.
async fn found_damaged(life: &Life, id: PartitionId, offset: u64, simulated: &Simulated) {
    let error = life.read(id, offset, 1 << 20).await.unwrap_err();
    assert!(matches!(error, ReadError::Damaged { offset: found, .. } if found == offset), "{error}");
    soon(async {
        while !life.partition(id).read_only || !noted(id, simulated) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn noted(id: PartitionId, simulated: &Simulated) -> bool {
    let note = segment(id, 0).with_file_name("damage");
    simulated.disk.files().iter().any(|(path, _)| *path == note)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_finds_damage_makes_the_partition_read_only_until_it_is_cured() {
    let options = SegmentedOptions { segment_bytes: 4 << 20, cache_bytes: 0, ..small() };
    let simulated = Simulated::with(options, false);
    let life = Life::begin(&simulated).await;
    let [id, other, _] = life.ids;
    for sequence in 0..100 {
        life.append(id, &batch_of(1, sequence, 1, 2_000, Codec::None)).await;
    }
    saved(id, &simulated).await;
    life.append_many(other, 1, 0..5).await;
    simulated.disk.corrupt(&segment(id, 0), 5_000, 1).unwrap();
    assert_eq!(
        life.read(id, 0, 1 << 20).await.unwrap().next,
        2,
        "what lies before it is served, and nothing else"
    );
    assert!(!life.partition(id).read_only, "nobody was at it yet");
    let error = life.read(id, 2, 1 << 20).await.unwrap_err();
    assert!(matches!(error, ReadError::Damaged { offset: 2, behind: Some(3), .. }), "{error}");
    found_damaged(&life, id, 2, &simulated).await;
    assert_eq!(life.refusal(vec![append(id, &batch(1, 100, 1))]).await, (0, Refusal::ReadOnly(id)));
    assert_eq!(life.read(id, 3, 1).await.unwrap().next, 4, "what lies behind it can be read");
    assert_eq!(life.append(other, &batch(1, 5, 1)).await, 5);
    assert!(!life.partition(other).read_only);
    // A start looks where it would not have.
    kill(life, &simulated).await;
    let life = Life::begin(&simulated).await;
    let partition = life.partition(id);
    assert_eq!((partition.read_only, partition.durable_end), (true, 100));
    let life = life.reopen(&simulated).await;
    assert!(life.partition(id).read_only, "a clean end does not hide it");
    kill(life, &simulated).await;
    simulated.disk.corrupt(&segment(id, 0), 5_000, 1).unwrap();
    let life = Life::begin(&simulated).await;
    assert!(!life.partition(id).read_only);
    assert!(!noted(id, &simulated));
    assert_eq!(life.append(id, &batch(1, 100, 1)).await, 100, "the producer is known all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_retention_has_let_go_of_is_none_after_the_next_start() {
    let simulated = Simulated::with(SegmentedOptions { cache_bytes: 0, ..small() }, false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..60 {
        life.append(id, &batch_of(1, sequence, 1, 2_000, Codec::None)).await;
    }
    saved(id, &simulated).await;
    simulated.disk.corrupt(&segment(id, 0), 1_000, 1).unwrap();
    found_damaged(&life, id, 0, &simulated).await;
    let start = soon(life.shard.trim(id, 20, None)).await.unwrap();
    assert!(start > 0);
    kill(life, &simulated).await;
    let life = Life::begin(&simulated).await;
    let partition = life.partition(id);
    assert_eq!((partition.start, partition.durable_end, partition.read_only), (start, 60, false));
    assert_eq!(life.append(id, &batch(1, 60, 1)).await, 60);
}
