//! Whether the disk takes what it is given, keeps it, and has room for it.

use std::path::PathBuf;
use std::time::Duration;

use super::finding::Finding;
use crate::cli::output::bytes;
use crate::log::LEAST_ROOM;

const CHECK: &str = "disk";

/// Room besides the reserve, below which a disk is nearly full: 1 GiB are four segments, and twenty seconds of 50 MB/s.
const LITTLE: u64 = 1 << 30;

/// Files that can still be made, below which that is little: a partition has a handful, of a hundred partitions a thousand.
const FEW_FILES: u64 = 1000;

/// A sync that takes longer bounds a producer that waits for each answer to 20 batches a second.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// What was found where the log is, or will be.
#[derive(Debug)]
pub(super) struct DiskFacts {
    pub(super) dir: PathBuf,
    /// The directory itself, or the nearest above it that is there.
    pub(super) looked_at: PathBuf,
    /// As the kernel names it: `ext4`.
    pub(super) file_system: Option<String>,
    pub(super) free: u64,
    pub(super) total: u64,
    /// Files that can still be made; `None` where there is no bound.
    pub(super) files_left: Option<u64>,
    pub(super) reserve_wanted: u64,
    /// What of it the file `reserve` holds already.
    pub(super) reserve_held: u64,
    /// What lies in it that is not a broker's, while it is no data directory yet.
    pub(super) foreign: Option<String>,
    pub(super) probe: Result<Probe, String>,
}

/// What writing a file said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// The file system can promise room to a file.
    pub(super) allocates: bool,
    pub(super) syncs: u32,
    pub(super) median_sync: Duration,
    pub(super) longest_sync: Duration,
}

pub(super) fn judge(facts: &DiskFacts) -> Vec<Finding> {
    let mut findings = vec![room(facts)];
    findings.extend(facts.foreign.as_ref().map(|other| {
        let text = format!("{} is no data directory yet, and holds `{other}`", facts.dir.display());
        Finding::warn(CHECK, text, "if it was named by mistake, name another (data_dir, --data-dir)")
    }));
    findings.extend(files_left(facts));
    findings.extend(fitness(facts));
    match &facts.probe {
        Ok(probe) => findings.extend(writing(facts, *probe)),
        Err(fault) => {
            let remedy = "give it to the user that runs the broker (chown), or name another (data_dir)";
            findings.push(Finding::fail(CHECK, fault.clone(), Some(remedy)));
        }
    }
    findings
}

fn room(facts: &DiskFacts) -> Finding {
    let DiskFacts { dir, looked_at, free, total, .. } = facts;
    let missing = facts.reserve_wanted.saturating_sub(facts.reserve_held);
    let place = if dir == looked_at {
        dir.display().to_string()
    } else {
        format!("{} (not there yet; looked at {})", dir.display(), looked_at.display())
    };
    let text = format!("{place} has {} free of {}", bytes(*free), bytes(*total));
    if *free < missing {
        let text =
            format!("{text}, less than log.reserve still needs ({}): no batch is taken", bytes(missing));
        return Finding::fail(
            CHECK,
            text,
            Some("free some space, delete topics, shorten retention, or lower log.reserve"),
        );
    }
    let left = free.saturating_sub(missing);
    if left < LEAST_ROOM {
        let text = format!("{text}: it is full, and producers are refused, or are about to be");
        return Finding::fail(CHECK, text, Some("free some space, delete topics, or shorten retention"));
    }
    if left < LITTLE {
        return Finding::warn(
            CHECK,
            text,
            "free some space, or shorten retention: on a full disk producers are refused",
        );
    }
    Finding::ok(CHECK, text)
}

fn files_left(facts: &DiskFacts) -> Option<Finding> {
    let left = facts.files_left.filter(|left| *left < FEW_FILES)?;
    let text = format!("{left} more files can be made there (inodes)");
    let remedy = "delete files, or make a file system with more inodes";
    Some(if left == 0 {
        Finding::fail(CHECK, text, Some(remedy))
    } else {
        Finding::warn(CHECK, text, remedy)
    })
}

/// File systems that do not keep what they are given, or not as a log needs it.
fn fitness(facts: &DiskFacts) -> Option<Finding> {
    let kind = facts.file_system.as_deref()?;
    let (why, remedy) = match kind {
        "tmpfs" | "ramfs" => (
            "it is gone when the machine restarts, whatever was acknowledged",
            "name a directory on a disk (data_dir)",
        ),
        "overlay" | "aufs" => {
            ("it is a container's own layer, and goes with the container", "mount a volume there")
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "afs" | "ceph" => (
            "it is on another machine, and its locks and syncs promise less than a disk's",
            "name a directory on a disk (data_dir)",
        ),
        "vfat" | "exfat" | "msdos" => {
            ("it has no journal and keeps no modes of files", "name a directory on ext4 or XFS (data_dir)")
        }
        fuse if fuse.starts_with("fuse") => {
            ("what a sync promises there is up to a process", "name a directory on a disk (data_dir)")
        }
        _ => return None,
    };
    Some(Finding::warn(CHECK, format!("{} is on {kind}: {why}", facts.looked_at.display()), remedy))
}

fn writing(facts: &DiskFacts, probe: Probe) -> Vec<Finding> {
    let Probe { allocates, syncs, median_sync, longest_sync } = probe;
    let text = format!(
        "a file can be written there, and a sync takes {:.2} ms, {:.2} ms at the longest of {syncs}",
        median_sync.as_secs_f64() * 1e3,
        longest_sync.as_secs_f64() * 1e3
    );
    let mut findings = vec![if median_sync > SLOW_SYNC {
        let remedy = "take a faster disk, send larger batches, or durability memory for topics that may lose what power loss takes";
        Finding::warn(CHECK, text, remedy)
    } else {
        Finding::ok(CHECK, text)
    }];
    if !allocates && facts.reserve_wanted > 0 {
        let text = "the file system cannot promise room to a file (fallocate): log.reserve is an empty promise there".to_owned();
        findings.push(Finding::warn(
            CHECK,
            text,
            "name a directory on ext4 or XFS (data_dir), or watch the disk",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn facts() -> DiskFacts {
        let ms = Duration::from_millis;
        DiskFacts {
            dir: "data".into(),
            looked_at: "data".into(),
            file_system: Some("ext4".into()),
            free: 100 << 30,
            total: 200 << 30,
            files_left: Some(1_000_000),
            reserve_wanted: 64 << 20,
            reserve_held: 0,
            foreign: None,
            probe: Ok(Probe { allocates: true, syncs: 16, median_sync: ms(1), longest_sync: ms(4) }),
        }
    }

    fn worst(change: impl FnOnce(&mut DiskFacts)) -> (Level, String) {
        let mut facts = facts();
        change(&mut facts);
        let findings = judge(&facts);
        let of = |level| findings.iter().find(|found| found.level == level);
        let worst = of(Level::Fail).or(of(Level::Warn)).unwrap_or(&findings[0]);
        (worst.level, worst.to_string())
    }

    #[test]
    fn a_disk_with_room_that_syncs_in_time_is_well() {
        assert_eq!(worst(|_| {}).0, Level::Ok);
        assert!(worst(|facts| facts.dir = "data/new".into()).1.contains("not there yet"));
    }

    #[test]
    fn a_disk_without_room_for_the_reserve_fails_unless_the_reserve_is_there_already() {
        let (level, text) = worst(|facts| facts.free = 63 << 20);
        assert!(
            level == Level::Fail
                && text.contains("log.reserve still needs (64.0 MiB)")
                && text.contains("free some space"),
            "{text}"
        );
        let (level, text) = worst(|facts| (facts.free, facts.reserve_held) = (63 << 20, 64 << 20));
        assert!(level == Level::Warn && text.contains("shorten retention"), "{text}");
        let (level, text) = worst(|facts| (facts.free, facts.reserve_held) = (1 << 20, 64 << 20));
        assert!(level == Level::Fail && text.contains("it is full"), "{text}");
        assert_eq!(worst(|facts| facts.files_left = Some(0)).0, Level::Fail);
        assert_eq!(worst(|facts| facts.files_left = None).0, Level::Ok);
    }

    #[test]
    fn file_systems_that_do_not_keep_a_log_are_named_with_the_reason() {
        for (kind, why) in [
            ("tmpfs", "restarts"),
            ("overlay", "volume"),
            ("nfs4", "another machine"),
            ("fuse.sshfs", "process"),
            ("vfat", "journal"),
        ] {
            let (level, text) = worst(|facts| facts.file_system = Some(kind.into()));
            assert!(level == Level::Warn && text.contains(kind) && text.contains(why), "{text}");
        }
        assert_eq!(worst(|facts| facts.file_system = Some("xfs".into())).0, Level::Ok);
        assert_eq!(worst(|facts| facts.file_system = None).0, Level::Ok);
    }

    #[test]
    fn what_cannot_be_written_fails_and_what_is_slow_or_promises_no_room_is_warned_of() {
        let (level, text) = worst(|facts| facts.probe = Err("cannot write data/x: denied".into()));
        assert!(level == Level::Fail && text.contains("chown"), "{text}");
        let probe = facts().probe.unwrap();
        let (level, text) = worst(|facts| facts.probe = Ok(Probe { median_sync: SLOW_SYNC * 2, ..probe }));
        assert!(level == Level::Warn && text.contains("100.00 ms"), "{text}");
        let (level, text) = worst(|facts| facts.probe = Ok(Probe { allocates: false, ..probe }));
        assert!(level == Level::Warn && text.contains("fallocate"), "{text}");
    }
}
