use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::log::disk::{DiskFile, LockError, read_full};

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn content(disk: &dyn Disk, name: &str) -> Option<Vec<u8>> {
    disk.read(path(name), 1 << 20).ok()
}

/// A synced file `/f` that holds `bytes`.
fn synced(machine: &SimulatedDisk, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let disk = machine.mount();
    let file = disk.create(path("/f")).unwrap();
    file.write_at(0, &[bytes]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    file
}

fn twos(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| usize::from(*byte == 2)).sum()
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..50 {
        let machine = SimulatedDisk::new(seed);
        synced(&machine, &[7; 10_000]);
        machine.crash();
        assert_eq!(content(&*machine.mount(), "/f"), Some(vec![7; 10_000]), "seed {seed}");
    }
}

#[test]
fn the_harshest_crash_takes_bytes_length_and_names_that_were_not_synced() {
    let machine = SimulatedDisk::new(1);
    let file = synced(&machine, b"old");
    // No write-back may come between: overwrite until the page is dirty at the end.
    file.write_at(0, &[b"newer"]).unwrap();
    machine.mount().create(path("/g")).unwrap();
    machine.crash_losing(Loss::Everything);
    let left = content(&*machine.mount(), "/f").unwrap();
    assert!(left == b"old" || left == b"newer" || left == b"new", "{left:?}");
    assert_eq!(content(&*machine.mount(), "/g"), None);
}

#[test]
fn every_loss_happens_under_some_seed() {
    let (mut lost, mut kept, mut torn, mut nameless) = (0, 0, 0, 0);
    for seed in 0..200 {
        let machine = SimulatedDisk::new(seed);
        let file = synced(&machine, &[1; 8_192]);
        file.write_at(0, &[&[2; 8_192]]).unwrap();
        let new = machine.mount().create(path("/g")).unwrap();
        new.write_at(0, &[b"x"]).unwrap();
        new.sync_data().unwrap();
        machine.crash();
        let bytes = content(&*machine.mount(), "/f").unwrap();
        assert_eq!(bytes.len(), 8_192, "a length that did not change is kept");
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| byte == &sector[0]), "a sector is written whole or not at all");
        }
        for page in bytes.chunks(4_096) {
            let new = twos(page);
            lost += usize::from(new == 0);
            kept += usize::from(new == 4_096);
            torn += usize::from(new != 0 && new != 4_096);
        }
        nameless += usize::from(content(&*machine.mount(), "/g").is_none());
    }
    assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
    assert!((40..160).contains(&nameless), "{nameless}");
}

#[test]
fn the_same_seed_gives_the_same_losses() {
    let run = |seed| {
        let machine = SimulatedDisk::new(seed);
        let file = synced(&machine, &vec![1; 50_000]);
        for position in (0..50_000).step_by(700) {
            file.write_at(position, &[&[2; 300]]).unwrap();
        }
        machine.crash();
        content(&*machine.mount(), "/f")
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_killed_process_loses_nothing_but_its_handles_and_locks() {
    let machine = SimulatedDisk::new(1);
    let disk = machine.mount();
    let lock = disk.lock(path("/lock")).unwrap();
    assert!(matches!(disk.lock(path("/lock")), Err(LockError::Held { .. })));
    let file = disk.create(path("/f")).unwrap();
    file.write_at(0, &[b"not ", b"synced"]).unwrap();
    machine.kill();
    assert!(file.write_at(0, &[b"x"]).is_err());
    assert!(file.sync_data().is_err());
    assert!(file.read_at(0, &mut [0]).is_err());
    assert!(disk.create(path("/g")).is_err());
    let next = machine.mount();
    assert_eq!(content(&*next, "/f").unwrap(), b"not synced");
    let held = next.lock(path("/lock")).unwrap();
    drop(lock); // the dead process's: it must not release the other's
    assert!(matches!(next.lock(path("/lock")), Err(LockError::Held { .. })));
    drop(held);
    next.lock(path("/lock")).unwrap();
}

#[test]
fn a_failed_sync_loses_data_that_the_cache_still_shows_and_the_next_sync_passes_over() {
    let mut hidden = 0;
    for seed in 0..50 {
        let machine = SimulatedDisk::new(seed);
        let file = synced(&machine, &vec![1; 40_960]);
        file.write_at(0, &[&vec![2; 40_960]]).unwrap();
        let pages_written_back = || {
            let disk = machine.mount();
            twos(&content(&*disk, "/f").unwrap())
        };
        machine.inject(Injection::new(Fault::Io).on(Operation::SyncData));
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(pages_written_back(), 40_960, "the page cache lies");
        file.sync_data().unwrap();
        machine.crash_losing(Loss::Nothing);
        let left = pages_written_back();
        hidden += usize::from(left < 40_960);
    }
    assert_eq!(hidden, 50, "a failed sync always loses something that was dirty");
}

#[test]
fn names_that_a_failed_sync_left_behind_are_durable_with_the_next() {
    let mut lost = 0;
    for seed in 0..50 {
        for again in [false, true] {
            let machine = SimulatedDisk::new(seed);
            let disk = machine.mount();
            disk.create(path("/f")).unwrap();
            machine.inject(Injection::new(Fault::Io).on(Operation::SyncDir));
            disk.sync_dir(path("/")).unwrap_err();
            if again {
                disk.sync_dir(path("/")).unwrap();
            }
            machine.crash_losing(Loss::Everything);
            match machine.files().is_empty() {
                true if again => panic!("seed {seed}: a synced name is lost"),
                empty => lost += usize::from(empty),
            }
        }
    }
    assert!((1..50).contains(&lost), "a failed sync may bring a name through, or not: {lost} of 50 lost");
}

#[test]
fn dropping_the_caches_brings_the_truth_out() {
    let machine = SimulatedDisk::new(3);
    let file = synced(&machine, &[1; 4_096]);
    file.write_at(0, &[&[2; 4_096]]).unwrap();
    machine.inject(Injection::new(Fault::Io).on(Operation::SyncData));
    file.sync_data().unwrap_err();
    let mut byte = [0];
    file.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [2]);
    machine.drop_caches();
    file.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [1]);
}

#[test]
fn after_a_power_cut_everything_fails_until_the_restart() {
    let machine = SimulatedDisk::new(2);
    let file = synced(&machine, b"kept");
    machine.inject(Injection::new(Fault::PowerCut).on(Operation::Write).after(1));
    file.write_at(4, &[b"one"]).unwrap();
    file.write_at(7, &[b"two"]).unwrap_err();
    assert!(machine.is_down());
    file.write_at(7, &[b"two"]).unwrap_err();
    assert!(machine.mount().list(path("/")).is_err());
    machine.restart();
    assert!(!machine.is_down());
    assert!(content(&*machine.mount(), "/f").unwrap().starts_with(b"kept"));
    assert!(file.read_at(0, &mut [0]).is_err(), "the handle belongs to the process that ended");
}

#[test]
fn faults_strike_the_operation_and_path_they_wait_for() {
    let machine = SimulatedDisk::new(2);
    let disk = machine.mount();
    machine.inject(Injection::new(Fault::NoSpace).on(Operation::Create).at("log").always());
    disk.create(path("/a")).unwrap();
    for _ in 0..2 {
        let error = disk.create(path("/x.log")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    machine.clear_faults();
    disk.create(path("/x.log")).unwrap();
    let before = machine.operations();
    machine.inject(Injection::new(Fault::Io).after(2));
    disk.list(path("/")).unwrap();
    disk.list(path("/")).unwrap();
    disk.list(path("/")).unwrap_err();
    disk.list(path("/")).unwrap();
    assert_eq!(machine.operations(), before + 4);
}

#[test]
fn a_full_disk_writes_a_part_and_never_what_was_allocated_is_refused() {
    let machine = SimulatedDisk::new(2);
    let disk = machine.mount();
    machine.set_capacity(Some(16_384));
    let file = disk.create(path("/f")).unwrap();
    file.allocate(8_192).unwrap();
    let other = disk.create(path("/g")).unwrap();
    assert_eq!(other.allocate(12_288).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(other.write_at(0, &[&[1; 10_000]]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 8_192);
    file.write_at(0, &[&[1; 8_192]]).unwrap();
    other.truncate(0).unwrap();
    file.write_at(8_192, &[&[1; 8_192]]).unwrap();
    assert_eq!(machine.used(), 16_384);
    disk.remove_file(path("/f")).unwrap();
    assert_eq!(machine.used(), 16_384, "it is open still");
    drop(file);
    assert_eq!(machine.used(), 0);
}

#[test]
fn a_rename_is_atomic_whatever_else_is_lost() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let machine = SimulatedDisk::new(seed);
        synced(&machine, b"old");
        let disk = machine.mount();
        let fresh = disk.create(path("/f.new")).unwrap();
        fresh.write_at(0, &[b"new"]).unwrap();
        fresh.sync_data().unwrap();
        disk.rename(path("/f.new"), path("/f")).unwrap();
        machine.crash();
        match content(&*machine.mount(), "/f").as_deref() {
            Some(b"old") => old += 1,
            Some(b"new") => new += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(old > 10 && new > 10, "{old} {new}");
}

#[test]
fn replace_is_atomic_at_every_power_cut() {
    for seed in 0..20 {
        for operation in 0.. {
            let machine = SimulatedDisk::new(seed);
            synced(&machine, b"old");
            machine.inject(Injection::new(Fault::PowerCut).after(operation));
            let result = machine.mount().replace(path("/f"), b"new");
            if result.is_ok() {
                machine.crash();
                assert_eq!(content(&*machine.mount(), "/f").unwrap(), b"new");
                break;
            }
            machine.restart();
            let left = content(&*machine.mount(), "/f").unwrap();
            assert!(left == b"old" || left == b"new", "{left:?}");
            machine.mount().replace(path("/f"), b"newer").unwrap();
            assert_eq!(content(&*machine.mount(), "/f").unwrap(), b"newer");
        }
    }
}

#[test]
fn a_file_in_a_directory_whose_name_was_lost_is_lost_with_it() {
    let machine = SimulatedDisk::new(1);
    let disk = machine.mount();
    disk.create_dir_all(path("/a/b")).unwrap(); // durable by itself
    disk.create(path("/a/b/f")).unwrap();
    disk.sync_dir(path("/a/b")).unwrap();
    disk.rename(path("/a/b"), path("/a/c")).unwrap();
    machine.crash_losing(Loss::Everything);
    let names = machine.files();
    assert_eq!(names, [(PathBuf::from("/a/b/f"), 0)]);
    machine.mount().remove_dir_all(path("/a")).unwrap();
    machine.crash_losing(Loss::Everything);
    assert_eq!(machine.files(), names, "a removal is durable only once it is synced");
    machine.mount().remove_dir_all(path("/a")).unwrap();
    machine.mount().sync_dir(path("/")).unwrap();
    machine.crash_losing(Loss::Everything);
    assert_eq!(machine.files(), []);
}

#[test]
fn a_removed_file_is_read_through_the_handle_that_holds_it() {
    let machine = SimulatedDisk::new(1);
    let file = synced(&machine, b"still here");
    let disk = machine.mount();
    disk.remove_file(path("/f")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    for n in 0..200 {
        let name = format!("/{n}");
        disk.create(path(&name)).unwrap();
        disk.remove_file(path(&name)).unwrap();
    }
    let mut bytes = [0; 20];
    assert_eq!(read_full(&*file, 0, &mut bytes).unwrap(), 10);
    assert_eq!(&bytes[..10], b"still here");
}

#[test]
fn a_cut_tail_reads_as_zeros_when_the_file_grows_again() {
    let machine = SimulatedDisk::new(1);
    let file = synced(&machine, &[9; 10_000]);
    file.truncate(5_000).unwrap();
    file.allocate(10_000).unwrap();
    let mut bytes = vec![1; 10_000];
    assert_eq!(read_full(&*file, 0, &mut bytes).unwrap(), 10_000);
    assert!(bytes[..5_000].iter().all(|&byte| byte == 9));
    assert!(bytes[5_000..].iter().all(|&byte| byte == 0));
}

#[test]
fn corruption_shows_at_once_and_after_a_crash() {
    let machine = SimulatedDisk::new(1);
    synced(&machine, &[1; 100]);
    machine.corrupt(path("/f"), 50, 0x80).unwrap();
    assert_eq!(content(&*machine.mount(), "/f").unwrap()[50], 0x81);
    machine.crash();
    assert_eq!(content(&*machine.mount(), "/f").unwrap()[50], 0x81);
    machine.corrupt(path("/f"), 100, 1).unwrap_err();
}
