//! The data directory: its lock, its version, and what it refuses.

use std::fs;

use std::path::Path;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::conformance::{Fixture, Life, batch};
use sealstream_broker::log::disk::simulated::{Fault, Injection};
use sealstream_broker::log::segmented::{OpenLogError, SegmentedEngine, SegmentedOptions, snapshot, verify};

use super::{Real, Simulated, small};

#[test]
fn a_directory_in_use_is_refused_and_the_message_names_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let engine = SegmentedEngine::open(path.clone(), small()).unwrap();
    let error = SegmentedEngine::open(path.clone(), small()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("in use by another running broker"), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    assert!(text.contains(&path.display().to_string()), "{text}");
    drop(engine);
    SegmentedEngine::open(path, small()).unwrap();
}

#[test]
fn a_directory_of_a_newer_version_is_refused_with_the_remedy_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(SegmentedEngine::open(dir.path().into(), small()).unwrap());
    let format = dir.path().join("format");
    let newer = fs::read_to_string(&format).unwrap().replace("sealstream-log 2", "sealstream-log 3");
    fs::write(&format, &newer).unwrap();
    let error = SegmentedEngine::open(dir.path().into(), small()).unwrap_err();
    assert!(matches!(error, OpenLogError::Newer { found: 3, .. }), "{error}");
    assert!(error.to_string().contains("start the newer version"), "{error}");
    assert_eq!(fs::read_to_string(&format).unwrap(), newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_an_older_version_is_upgraded_with_all_that_is_in_it_and_says_so_from_then_on() {
    let real = Real::new(small());
    let life = Life::begin(&real).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..20).await;
    let epoch = life.partition(id).epoch;
    life.close().await;
    let data = real.dir.path().join("data");
    let format = data.join("format");
    // What format 2 added is in no directory that was never restored: this is one of format 1.
    let older = fs::read_to_string(&format).unwrap().replace("sealstream-log 2", "sealstream-log 1");
    fs::write(&format, &older).unwrap();
    // Looking at it changes nothing, and copying it neither.
    assert!(verify(&data, false, &mut |_| {}).unwrap().is_sound());
    snapshot(&data, &real.dir.path().join("copy"), &mut |_| {}).unwrap();
    assert_eq!(fs::read_to_string(&format).unwrap(), older);

    let life = Life::begin(&real).await;
    assert_eq!(fs::read_to_string(&format).unwrap(), "sealstream-log 2\nshards 4\n");
    assert_eq!((life.partition(id).durable_end, life.partition(id).epoch), (20, epoch));
    assert_eq!(life.append(id, &batch(1, 20, 1)).await, 20, "the producer is known");
    life.close().await;
}

#[test]
fn an_upgrade_that_is_cut_off_anywhere_leaves_the_old_format_or_the_new_one() {
    for step in 0..40 {
        let simulated = Simulated::new(true);
        let open =
            || SegmentedEngine::open_on(simulated.disk.mount(), simulated.clock(), "/data".into(), small());
        drop(open().unwrap());
        simulated.disk.kill();
        let format = Path::new("/data/format");
        simulated.disk.mount().replace(format, b"sealstream-log 1\nshards 4\n").unwrap();
        simulated.disk.inject(Injection::new(Fault::PowerCut).after(step));
        drop(open());
        simulated.disk.clear_faults();
        simulated.disk.restart();
        let found = String::from_utf8(simulated.disk.mount().read(format, 100).unwrap()).unwrap();
        assert!(
            ["sealstream-log 1\nshards 4\n", "sealstream-log 2\nshards 4\n"].contains(&&*found),
            "{found}"
        );
        drop(open().unwrap());
    }
}

#[test]
fn a_directory_with_a_damaged_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for text in
        ["", "sealstream-log x\nshards 4\n", "sealstream-log 0\nshards 4\n", "sealstream-log 1\nshards 0\n"]
    {
        fs::write(dir.path().join("format"), text).unwrap();
        let error = SegmentedEngine::open(dir.path().into(), small()).unwrap_err();
        assert!(matches!(error, OpenLogError::Foreign { .. }), "{text:?}: {error}");
    }
}

#[test]
fn logs_without_a_format_are_not_taken_for_a_new_directory() {
    let dir = tempfile::tempdir().unwrap();
    drop(SegmentedEngine::open(dir.path().into(), small()).unwrap());
    fs::create_dir(dir.path().join("shard-1/partitions/4b1d6f2e-0000-4000-8000-000000000001-0")).unwrap();
    fs::remove_file(dir.path().join("format")).unwrap();
    let error = SegmentedEngine::open(dir.path().into(), small()).unwrap_err();
    assert!(error.to_string().contains("`format` is missing"), "{error}");
}

#[test]
fn the_number_of_shards_is_that_of_the_directory_whatever_is_configured_later() {
    let dir = tempfile::tempdir().unwrap();
    let with = |shards| SegmentedOptions { shards, ..small() };
    assert_eq!(SegmentedEngine::open(dir.path().into(), with(3)).unwrap().shards(), 3);
    assert_eq!(SegmentedEngine::open(dir.path().into(), with(8)).unwrap().shards(), 3);
}
