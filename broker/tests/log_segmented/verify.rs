//! Checking a data directory: everything is read, damage is named with its place, nothing is changed.

use std::path::{Path, PathBuf};

use sealstream_broker::log::conformance::life::{batch, batch_of, put};
use sealstream_broker::log::conformance::{Fixture, Life};
use sealstream_broker::log::segmented::{Report, VerifyError, verify, verify_on};
use sealstream_protocol::batch::Codec;

use super::{Real, Simulated, small};

fn check(simulated: &Simulated) -> Report {
    verify_on(&*simulated.disk.mount(), Path::new("/data"), false, &mut |_| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_directory_is_counted_to_the_last_record() {
    let real = Real::new(small());
    let life = Life::begin(&real).await;
    let [a, b, _] = life.ids;
    for sequence in 0..50 {
        life.append(a, &batch_of(1, sequence, 3, 200, Codec::Lz4)).await;
        life.append(b, &batch_of(2, sequence, 2, 200, Codec::None)).await;
    }
    life.commit_durably(vec![put("key", 0, Some("value"))]).await;
    let start = life.shard.trim(b, 60, None).await.unwrap();
    let dir = real.dir.path().join("data");
    let error = verify(&dir, false, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("in use by another running broker"), "{error}");
    assert!(verify(&dir, true, &mut |_| {}).unwrap().is_sound());
    life.close().await;
    let mut bytes = 0;
    let report = verify(&dir, false, &mut |more| bytes += more).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.partitions.len(), 3);
    let of = |id| report.partitions.iter().find(|partition| partition.id == id).unwrap();
    assert_eq!((of(a).entries, of(a).records, of(a).start, of(a).end), (50, 150, 0, 150));
    assert_eq!((of(b).records, of(b).start, of(b).end), (100 - start, start, 100));
    assert!(of(a).clean && of(a).torn.is_none() && of(a).segments > 1);
    assert_eq!(bytes, report.partitions.iter().map(|partition| partition.bytes).sum::<u64>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_in_the_durable_log_is_found_and_named() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    for sequence in 0..20 {
        life.append(id, &batch(1, sequence, 2)).await;
    }
    let bytes = life.partition(id).bytes;
    life.close().await;
    let file: PathBuf = format!("/data/shard-0/partitions/{}-{}/{:020}.log", id.topic, id.index, 0).into();
    assert!(check(&simulated).is_sound());
    let files = simulated.disk.files();
    for position in (0..bytes).step_by(37) {
        simulated.disk.corrupt(&file, position, 16).unwrap();
        let report = check(&simulated);
        assert!(!report.is_sound(), "byte {position}");
        let fault = report.partitions.iter().find_map(|partition| partition.fault.clone()).unwrap();
        assert_eq!(fault.file, file);
        assert!(fault.position <= position, "{fault} for byte {position}");
        simulated.disk.corrupt(&file, position, 16).unwrap();
    }
    assert!(check(&simulated).is_sound());
    assert_eq!(simulated.disk.files(), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_has_torn_is_no_damage() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..5).await;
    let end = life.partition(id).bytes;
    let Life { engine, shard, .. } = life;
    drop(shard);
    simulated.crash(engine).await;
    let file: PathBuf = format!("/data/shard-0/partitions/{}-{}/{:020}.log", id.topic, id.index, 0).into();
    simulated.disk.corrupt(&file, end - 1, 1).unwrap();
    let report = check(&simulated);
    assert!(report.is_sound(), "{report:?}");
    let partition = report.partitions.iter().find(|partition| partition.id == id).unwrap();
    assert_eq!(partition.end, 4);
    assert!(!partition.clean);
    assert_eq!(partition.torn.as_ref().unwrap().file, file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_or_metadata_log_is_found() {
    let simulated = Simulated::new(false);
    let life = Life::begin(&simulated).await;
    for key in ["a", "b", "c"] {
        life.commit_durably(vec![put(key, 0, Some("value"))]).await;
    }
    life.close().await;
    simulated.disk.corrupt(Path::new("/data/shard-0/meta-0000000001.log"), 40, 1).unwrap();
    let report = check(&simulated);
    assert_eq!(report.faults.len(), 1, "{report:?}");
    assert!(report.faults[0].reason.contains("metadata"), "{}", report.faults[0]);
}

#[test]
fn a_directory_that_is_not_there_is_missing_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nowhere");
    assert!(matches!(verify(&path, false, &mut |_| {}), Err(VerifyError::Missing(_))));
    assert!(!path.exists());
}
