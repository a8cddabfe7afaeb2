//! The data directory: its lock, its version, and what it refuses.

use std::fs;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::segmented::{OpenLogError, SegmentedEngine, SegmentedOptions};

use super::small;

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
    let newer = fs::read_to_string(&format).unwrap().replace("sealstream-log 1", "sealstream-log 2");
    fs::write(&format, &newer).unwrap();
    let error = SegmentedEngine::open(dir.path().into(), small()).unwrap_err();
    assert!(matches!(error, OpenLogError::Newer { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("start the newer version"), "{error}");
    assert_eq!(fs::read_to_string(&format).unwrap(), newer);
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
