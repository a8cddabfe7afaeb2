//! The machine: its clock, and what it lets the broker take.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::cli::descriptors;
use crate::cli::doctor::clock::ClockFacts;
use crate::cli::doctor::limits::{LimitFacts, memory_bound};
use crate::config::{Config, TransportName};

/// How long the clock is watched: a step shows at once, a slew of half a thousandth not at all.
const WATCH: Duration = Duration::from_millis(200);

/// Files that are looked at for the last write.
const MOST_FILES: usize = 10_000;

/// `data_dir` is where a broker keeps its log, on a broker's machine.
pub(in crate::cli::doctor) fn clock(data_dir: Option<&Path>) -> ClockFacts {
    let (monotonic, wall) = (Instant::now(), SystemTime::now());
    thread::sleep(WATCH);
    let (monotonic, now) = (monotonic.elapsed(), SystemTime::now());
    let drift = match now.duration_since(wall) {
        Ok(passed) => passed.abs_diff(monotonic),
        Err(back) => back.duration() + monotonic,
    };
    ClockFacts { drift, watched_for: monotonic, last_write: data_dir.and_then(last_write) }
}

/// What of the log was written last: segments lie two levels below the shards of a data directory, and what is made or renamed shows
/// in the directories above.
fn last_write(data_dir: &Path) -> Option<(PathBuf, i64)> {
    let within = |dir: &Path| {
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let top = within(data_dir);
    let below: Vec<_> =
        top.iter().filter(|path| path.is_dir()).flat_map(|path| within(path)).take(MOST_FILES).collect();
    let files = below.iter().filter(|path| path.is_dir()).flat_map(|path| within(path)).take(MOST_FILES);
    let written = |path: PathBuf| {
        let since = fs::metadata(&path).ok()?.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some((path, i64::try_from(since.as_secs()).ok()?))
    };
    top.iter()
        .cloned()
        .chain(files)
        .chain(below.iter().cloned())
        .filter_map(written)
        .max_by_key(|(_, at)| *at)
}

pub(in crate::cli::doctor) fn limits(config: &Config) -> LimitFacts {
    let quic = config.transports.contains(&TransportName::Quic);
    LimitFacts {
        files: descriptors::allowed(),
        files_wanted: descriptors::wanted(config),
        memory: memory(),
        memory_bound: memory_bound(config),
        udp_buffers: quic.then(udp_buffers).flatten(),
    }
}

/// What the machine has, or the container this runs in, whichever is less.
fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = groups.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// The line `MemTotal:  24609996 kB` of /proc/meminfo, in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn udp_buffers() -> Option<(u64, u64)> {
    let read =
        |name: &str| fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok();
    Some((read("rmem_max")?, read("wmem_max")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_memory_is_read_in_bytes() {
        assert_eq!(total_of("MemTotal:       24609996 kB\nMemFree:  1 kB\n"), Some(24_609_996 * 1024));
        assert_eq!(total_of("MemFree:  1 kB\n"), None);
    }

    #[test]
    fn the_last_write_is_found_among_the_segments() {
        let dir = tempfile::tempdir().unwrap();
        let partition = dir.path().join("shard-0/p");
        fs::create_dir_all(&partition).unwrap();
        fs::write(dir.path().join("format"), "2").unwrap();
        let segment = partition.join("0.log");
        let file = fs::File::create(&segment).unwrap();
        let later = SystemTime::now() + Duration::from_hours(2);
        file.set_modified(later).unwrap();
        let (path, at) = last_write(dir.path()).unwrap();
        assert_eq!(path, segment);
        let later = later.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(u64::try_from(at).unwrap(), later);
        assert!(last_write(&dir.path().join("nowhere")).is_none());
    }
}
