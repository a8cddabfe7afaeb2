//! The disk under the data directory, and what writing to it says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::cli::doctor::disk::{DiskFacts, Probe};
use crate::config::Config;
use crate::log::disk::RealDisk;
use crate::log::segmented::foreign;

/// Syncs that are measured: on a slow disk of 100 ms each they take 1.6 s.
const SYNCS: u32 = 16;

/// What is written before each sync: a page, as an entry of the log dirties one at least.
const PAGE: usize = 4096;

/// Room that is asked for, to see whether it can be.
const ALLOCATION: u64 = 1 << 20;

pub(in crate::cli::doctor) fn look(config: &Config) -> DiskFacts {
    let dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let looked_at = nearest(&dir);
    let room = statvfs(&looked_at).ok();
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    DiskFacts {
        file_system: file_system(&looked_at),
        free: room.as_ref().map_or(0, |room| bytes(room.f_bavail, room.f_frsize)),
        total: room.as_ref().map_or(0, |room| bytes(room.f_blocks, room.f_frsize)),
        // File systems without a table of inodes say that they have none.
        files_left: room.as_ref().filter(|room| room.f_files > 0).map(|room| room.f_favail),
        reserve_wanted: config.log.reserve.0,
        reserve_held: fs::metadata(dir.join("reserve")).map_or(0, |reserve| reserve.len()),
        foreign: foreign(&RealDisk, &dir).ok().flatten(),
        probe: probe(&looked_at),
        dir,
        looked_at,
    }
}

/// The directory itself, or the nearest above it that is there.
fn nearest(dir: &Path) -> PathBuf {
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Writes a file, syncs it a few times, and removes it.
fn probe(dir: &Path) -> Result<Probe, String> {
    let path = dir.join(format!("sealstream-doctor-{}.probe", std::process::id()));
    let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let mut passing = Passing { file, path: &path };
    passing.measure().map_err(failed)
}

/// A file that is gone when this is.
struct Passing<'a> {
    file: File,
    path: &'a Path,
}

impl Passing<'_> {
    fn measure(&mut self) -> io::Result<Probe> {
        let asked = fallocate(&self.file, FallocateFlags::empty(), 0, ALLOCATION);
        // That there is no room now is another matter.
        let allocates = !matches!(asked, Err(Errno::OPNOTSUPP | Errno::NOSYS));
        let mut times = Vec::new();
        for _ in 0..SYNCS {
            self.file.write_all(&[0; PAGE])?;
            let start = Instant::now();
            self.file.sync_data()?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let longest_sync = times.last().copied().unwrap_or(Duration::ZERO);
        Ok(Probe { allocates, syncs: SYNCS, median_sync: times[times.len() / 2], longest_sync })
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(self.path) {
            tracing::error!(file = %self.path.display(), %error, "the probe file could not be removed: remove it");
        }
    }
}

/// The type of the file system that `path` is on, as the kernel names it.
fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    kind_of(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

/// Looks for the mount with the longest path that `path` begins with; of several at one place the last one hides the others (proc(5),
/// "mountinfo": the fifth field is where, the first behind a lone `-` is of what type).
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let parse = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let place = mount.split(' ').nth(4)?.replace("\\040", " ");
        Some((PathBuf::from(place), kind.split(' ').next()?.to_owned()))
    };
    let over = mounts.lines().filter_map(parse).filter(|(place, _)| path.starts_with(place));
    over.max_by_key(|(place, _)| place.components().count()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_innermost_mount() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      30 22 0:26 / /var/lib rw - xfs /dev/vdb rw\n\
                      31 22 0:27 / /var/lib/seal\\040stream rw,nosuid - tmpfs none rw,size=1k\n\
                      32 22 0:28 / /var/library rw - nfs4 host:/x rw\n";
        let kind = |path: &str| kind_of(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/home"), "ext4");
        assert_eq!(kind("/var/lib/x"), "xfs");
        assert_eq!(kind("/var/lib/seal stream/data"), "tmpfs");
        assert_eq!(kind("/var/library"), "nfs4");
        assert_eq!(kind_of("noise", Path::new("/")), None);
    }

    #[test]
    fn the_probe_leaves_nothing_behind_and_says_what_it_could_not_do() {
        let dir = tempfile::tempdir().unwrap();
        let probe = probe(dir.path()).unwrap();
        assert!(probe.longest_sync >= probe.median_sync);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let nowhere = dir.path().join("not/there");
        assert!(super::probe(&nowhere).unwrap_err().contains("cannot write"));
        assert_eq!(nearest(&nowhere), dir.path());
    }
}
