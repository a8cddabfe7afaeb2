//! What lies where in a data directory, its version, and its lock.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::disk::{Disk, DiskLock, LockError};
use crate::log::engine::{PartitionId, ShardId};

/// The newest format of the data directory that this version reads, and the one that it writes. An older one becomes this when it is opened
/// to be written to.
///
/// - 1: the first.
/// - 2: a shard's metadata may say from which epoch on partitions begin new ones; the file `restored`.
const FORMAT: u32 = 2;

/// The oldest that this version reads.
const OLDEST: u32 = 1;

/// The file `format` is two short lines.
const MAX_FORMAT_TEXT: usize = 256;

const SEGMENT_SUFFIX: &str = ".log";

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// Another process has it, or another engine of this one.
    #[error("data directory {dir} is {lock}: stop that broker, or give this one a directory of its own")]
    InUse {
        /// The directory.
        dir: String,
        /// Who has it.
        lock: LockError,
    },
    /// A newer version made it.
    #[error(
        "data directory {dir} has log format {found}, written by a newer version of sealstream; this version knows formats up \
         to {FORMAT}: start the newer version, or use another data directory"
    )]
    Newer {
        /// The directory.
        dir: String,
        /// Its format.
        found: u32,
    },
    /// It has no readable `format` file, but is not empty either.
    #[error("{dir} is not a sealstream data directory: {reason}")]
    Foreign {
        /// The directory.
        dir: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed.
    #[error("cannot open data directory {dir}: {source}{}", remedy(source))]
    Io {
        /// The directory.
        dir: String,
        /// What the disk said.
        source: io::Error,
    },
}

/// What to do about a disk that does not open, where it says so clearly.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": give it to the user that runs the broker (chown), or name another (data_dir, --data-dir)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            ": mount a volume there that can be written, or name another directory (data_dir, --data-dir)"
        }
        io::ErrorKind::StorageFull => ": free some space there",
        _ => "",
    }
}

/// What a directory without the file `format` may hold: what a start that was cut short, or a copy that is being put back, leaves there.
/// Besides whatever begins with a dot, with `shard-` or with `tickets.secret`.
const UNFINISHED: [&str; 6] = ["lock", "format.new", "reserve", "restored", "dev-ca", "lost+found"];

/// What lies in `dir` that is not a broker's, while `dir` is no data directory yet: it may have been named by mistake. Afterwards it is no
/// news.
pub(crate) fn foreign(disk: &dyn Disk, dir: &Path) -> io::Result<Option<String>> {
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if entries.iter().any(|entry| entry.name == "format") {
        return Ok(None);
    }
    let beginnings = ["shard-", "tickets.secret", "."];
    let ours =
        |name: &str| UNFINISHED.contains(&name) || beginnings.iter().any(|start| name.starts_with(start));
    Ok(entries.into_iter().map(|entry| entry.name).find(|name| !ours(name)))
}

/// A data directory.
#[derive(Clone, Debug)]
pub(super) struct DataDir {
    root: PathBuf,
}

impl DataDir {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn shard(&self, id: ShardId) -> ShardDir {
        ShardDir { root: self.root.join(format!("shard-{}", id.0)) }
    }

    /// Says so where a directory is made a data directory that holds other things too. It is not refused: a configuration may lie there.
    pub(super) fn tell_of_others(&self, disk: &dyn Disk) {
        // What cannot be listed is not made a data directory either, and that says why.
        if let Ok(Some(other)) = foreign(disk, &self.root) {
            tracing::warn!(
                dir = self.name(),
                holds = other,
                "a data directory is made where other things lie: if it was named by mistake, name another (data_dir, --data-dir)"
            );
        }
    }

    /// Makes the directory if it is not there, and takes its lock.
    pub(super) fn lock(&self, disk: &dyn Disk) -> Result<DiskLock, OpenLogError> {
        disk.create_dir_all(&self.root).map_err(|source| self.failed(source))?;
        match disk.lock(&self.root.join("lock")) {
            Ok(lock) => Ok(lock),
            Err(LockError::Io(source)) => Err(self.failed(source)),
            Err(lock @ LockError::Held { .. }) => Err(OpenLogError::InUse { dir: self.name(), lock }),
        }
    }

    /// Takes the lock for somebody who only reads; `None` where nobody can write, and so nobody does.
    pub(super) fn lock_if_writable(&self, disk: &dyn Disk) -> Result<Option<DiskLock>, OpenLogError> {
        match disk.lock(&self.root.join("lock")) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Io(_)) => Ok(None),
            Err(lock @ LockError::Held { .. }) => Err(OpenLogError::InUse { dir: self.name(), lock }),
        }
    }

    /// How many shards the directory has; `None` if it was never finished.
    pub(super) fn shards(&self, disk: &dyn Disk) -> Result<Option<u32>, OpenLogError> {
        Ok(self.read_format(disk)?.map(|(_, shards)| shards))
    }

    /// Brings an older directory to the format that is written, durably; how many shards it has. `None` if it was never finished.
    pub(super) fn upgrade(&self, disk: &dyn Disk) -> Result<Option<u32>, OpenLogError> {
        let Some((found, shards)) = self.read_format(disk)? else { return Ok(None) };
        if found < FORMAT {
            // Everything that format 1 can hold means the same in format 2.
            tracing::info!(dir = %self.name(), from = found, to = FORMAT, "upgrade the format of the data directory");
            self.write_format(disk, shards)?;
        }
        Ok(Some(shards))
    }

    fn read_format(&self, disk: &dyn Disk) -> Result<Option<(u32, u32)>, OpenLogError> {
        let text = match disk.read(&self.format(), MAX_FORMAT_TEXT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed(source)),
        };
        let text = String::from_utf8_lossy(&text);
        let value = |name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<u32>().ok())
        };
        let foreign = |reason: &str| OpenLogError::Foreign { dir: self.name(), reason: reason.to_owned() };
        let found = value("sealstream-log ").ok_or_else(|| foreign("its file `format` names no version"))?;
        if found > FORMAT {
            return Err(OpenLogError::Newer { dir: self.name(), found });
        }
        let shards = value("shards ").filter(|shards| found >= OLDEST && *shards > 0);
        shards.map(|shards| Some((found, shards))).ok_or_else(|| foreign("its file `format` is damaged"))
    }

    /// Lays out a new directory; `format` comes last, so that what a crash leaves half-made is made again.
    pub(super) fn create(&self, disk: &dyn Disk, shards: u32) -> Result<(), OpenLogError> {
        for id in 0..shards {
            let partitions = self.shard(ShardId(id)).partitions();
            disk.create_dir_all(&partitions).map_err(|source| self.failed(source))?;
            // Without `format` nothing was ever acknowledged from here; logs all the same mean that `format` was lost.
            let found = disk.list(&partitions).map_err(|source| self.failed(source))?;
            if !found.is_empty() {
                let reason = "it holds logs, but its file `format` is missing".to_owned();
                return Err(OpenLogError::Foreign { dir: self.name(), reason });
            }
        }
        self.write_format(disk, shards)
    }

    /// Makes it a data directory.
    pub(super) fn write_format(&self, disk: &dyn Disk, shards: u32) -> Result<(), OpenLogError> {
        let text = format!("sealstream-log {FORMAT}\nshards {shards}\n");
        disk.replace(&self.format(), text.as_bytes()).map_err(|source| self.failed(source))
    }

    /// The mark of a copy that goes on from where it was made, elsewhere than its original.
    pub(super) fn restored(&self) -> PathBuf {
        self.root.join("restored")
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    /// The file that keeps room on the disk.
    pub(super) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    fn name(&self) -> String {
        self.root.display().to_string()
    }

    pub(super) fn failed(&self, source: io::Error) -> OpenLogError {
        OpenLogError::Io { dir: self.name(), source }
    }
}

/// The directory of a shard.
#[derive(Clone, Debug)]
pub(super) struct ShardDir {
    root: PathBuf,
}

impl ShardDir {
    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    pub(super) fn meta_log(&self, generation: u64) -> PathBuf {
        self.root.join(format!("meta-{generation:010}.log"))
    }

    pub(super) fn meta_snapshot(&self, generation: u64) -> PathBuf {
        self.root.join(format!("meta-{generation:010}.snapshot"))
    }

    pub(super) fn journal(&self, half: usize) -> PathBuf {
        self.root.join(format!("journal-{half}"))
    }

    pub(super) fn partitions(&self) -> PathBuf {
        self.root.join("partitions")
    }

    pub(super) fn partition(&self, id: PartitionId) -> PartitionDir {
        PartitionDir { root: self.partitions().join(format!("{}-{}", id.topic, id.index)) }
    }
}

/// The generation of a metadata log's file, and whether it is a snapshot.
pub(super) fn parse_meta_name(name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_prefix("meta-")?;
    let (generation, snapshot) = match rest.strip_suffix(".snapshot") {
        Some(generation) => (generation, true),
        None => (rest.strip_suffix(".log")?, false),
    };
    Some((generation.parse().ok()?, snapshot))
}

/// The partition that a directory is named for.
pub(super) fn parse_partition_name(name: &str) -> Option<PartitionId> {
    let (topic, index) = name.rsplit_once('-')?;
    Some(PartitionId { topic: uuid::Uuid::parse_str(topic).ok()?, index: index.parse().ok()? })
}

/// The directory of a partition.
#[derive(Clone, Debug)]
pub(super) struct PartitionDir {
    root: PathBuf,
}

impl PartitionDir {
    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    pub(super) fn segment(&self, base: u64) -> PathBuf {
        self.root.join(format!("{base:020}{SEGMENT_SUFFIX}"))
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    pub(super) fn damage(&self) -> PathBuf {
        self.root.join("damage")
    }

    /// The base offsets of the segments that are there, ascending.
    pub(super) fn segments(&self, disk: &dyn Disk) -> io::Result<Vec<u64>> {
        let mut bases: Vec<u64> =
            disk.list(&self.root)?.iter().filter_map(|entry| parse_segment_name(&entry.name)).collect();
        bases.sort_unstable();
        Ok(bases)
    }
}

fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_somebody_else_is_told_from_an_empty_and_from_an_unfinished_one() {
        let dir = tempfile::tempdir().unwrap();
        let told = || foreign(&crate::log::disk::RealDisk, dir.path()).unwrap();
        for ours in [".keep", "lost+found", "lock", "shard-0", "tickets.secret"] {
            std::fs::write(dir.path().join(ours), "").unwrap();
            assert_eq!(told(), None, "{ours}");
        }
        std::fs::write(dir.path().join("passwd"), "").unwrap();
        assert_eq!(told().as_deref(), Some("passwd"));
        std::fs::write(dir.path().join("format"), "").unwrap();
        assert_eq!(told(), None);
        assert_eq!(foreign(&crate::log::disk::RealDisk, &dir.path().join("nowhere")).unwrap(), None);
    }

    #[test]
    fn names_of_partitions_segments_and_metadata_come_back_as_they_went_out() {
        let shard = DataDir::new("data".into()).shard(ShardId(3));
        let id = PartitionId { topic: uuid::Uuid::from_u128(77), index: 12 };
        let partition = shard.partition(id);
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(parse_partition_name(&name(partition.path())), Some(id));
        assert_eq!(parse_segment_name(&name(&partition.segment(u64::MAX))), Some(u64::MAX));
        assert_eq!(parse_segment_name(&name(&partition.segment(5))), Some(5));
        assert_eq!(parse_segment_name("5.log"), None);
        assert_eq!(parse_meta_name(&name(&shard.meta_log(9))), Some((9, false)));
        assert_eq!(parse_meta_name(&name(&shard.meta_snapshot(10))), Some((10, true)));
        assert_eq!(parse_meta_name("meta-1.snapshot.new"), None);
    }
}
