//! Makes a copy of a data directory that a broker may be writing to, without asking it.
//!
//! ```text
//! metadata of every shard ──► logs, partition by partition ──► metadata again ──► changed meanwhile? those partitions once more
//!                                                                    │ no
//!                                     `restored`, `format` ◄─────────┘──► verified
//! ```
//!
//! The metadata is read first, so that what it says of the logs (progress of groups, epochs) is in the logs that are read after it. Of a
//! log everything is taken that can be read when its turn comes: all that was acknowledged before the copy was begun, and
//! perhaps more. What was written last may be half there; the copy ends before it. Segments that are durable and followed by others do not
//! change any more and get a second name (a hard link) where the file system lets them; the rest is copied. What a partition's last
//! segment holds is always copied: a broker on the copy appends to it.
//!
//! A topic that is made or deleted meanwhile may be there, or not, or be empty. A commit to several partitions at once that is made
//! meanwhile may be there in part. The copy has no journal, and is as a killed broker leaves a directory: its first open
//! reads the tails, and begins epochs of its own ([`super::restore`]).

mod files;
mod partition;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use self::files::Files;
use super::layout::{DataDir, OpenLogError, ShardDir};
use super::meta::{self, MetaRecord, MetaState, PartitionState};
use super::verify::{Report, verify_on};
use super::{journal, verify::VerifyError};
use crate::log::disk::{Disk, RealDisk, parent};
use crate::log::engine::{PartitionId, ShardId};

/// How often something is read again that was being changed while it was read. A trim or a roll is over in milliseconds, and the next
/// one of the same partition seconds away.
const ATTEMPTS: u32 = 10;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no such directory.
    #[error(
        "there is no sealstream data directory at {0}: data_dir of the configuration names it, ./sealstream-data by default"
    )]
    Missing(String),
    /// What it is copied to holds something.
    #[error("{0} is not empty: give a directory that is, or that is not there yet")]
    NotEmpty(String),
    /// What it is copied to lies in what is copied.
    #[error("{to} lies in {from}, which it is to be a copy of: give a directory outside of it")]
    Within {
        /// Where the copy would be.
        to: String,
        /// What would be copied.
        from: String,
    },
    /// The directory is none, or of a newer version.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// What is to be copied is damaged.
    #[error(
        "{path} cannot be copied: {reason}; look with `sealstream log verify`, and delete the topic or restore an earlier copy"
    )]
    Damaged {
        /// Where.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A broker was cut off by a power cut, and its journal has what the logs lack.
    #[error("{path} ends before what its journal holds: start a broker on the directory once, then copy it")]
    NotRecovered {
        /// Where.
        path: String,
    },
    /// What is to be copied changed again and again.
    #[error("{path} changed {ATTEMPTS} times while it was copied: try again when the broker has settled")]
    Restless {
        /// Where.
        path: String,
    },
    /// What was written is not as it should be.
    #[error("the copy in {path} is not sound ({reason}): it was not finished, remove it")]
    Unsound {
        /// Where.
        path: String,
        /// What was found.
        reason: String,
    },
    /// A disk failed, or is full.
    #[error("cannot copy to or from {path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What the disk said.
        source: io::Error,
    },
}

/// A copy that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How many bytes of logs share the disk with the original.
    pub linked: u64,
    /// How many were copied.
    pub copied: u64,
    /// The copy, as it was checked: sound, and nothing torn.
    pub report: Report,
}

/// Copies the data directory `from` to `to`, which must be empty or not there. A broker may be running in it. `progress` is told how many
/// bytes more were copied or checked, now and then. Blocks, for as long as it takes to read everything.
///
/// After an error `to` is no data directory, and may be removed.
pub fn snapshot(from: &Path, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<Snapshot, SnapshotError> {
    if lies_within(to, from) {
        return Err(SnapshotError::Within { to: to.display().to_string(), from: from.display().to_string() });
    }
    snapshot_on(&RealDisk, from, to, progress)
}

/// Whether a path, of which not all needs to be there, leads into a directory.
fn lies_within(path: &Path, dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else { return false };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    there.is_some_and(|there| there.starts_with(dir))
}

/// The same on any disk.
pub fn snapshot_on(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Snapshot, SnapshotError> {
    let (source, target) = (DataDir::new(from.to_owned()), DataDir::new(to.to_owned()));
    let Some(shards) = source.shards(disk)? else {
        return Err(SnapshotError::Missing(from.display().to_string()));
    };
    let failed = |source| SnapshotError::Io { path: to.display().to_string(), source };
    disk.create_dir_all(to).map_err(failed)?;
    if !disk.list(to).map_err(failed)?.is_empty() {
        return Err(SnapshotError::NotEmpty(to.display().to_string()));
    }
    // Where no broker runs none may start; where one does, it goes on.
    let lock = match source.lock_if_writable(disk) {
        Ok(lock) => lock,
        Err(OpenLogError::InUse { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let live = lock.is_none();
    let mut copy = Copy { disk, live, files: Files::new(disk, progress) };
    let ids = || (0..shards).map(ShardId);
    let states: Vec<_> =
        ids().map(|id| copy.metadata(&source.shard(id))).collect::<Result<_, SnapshotError>>()?;
    for (id, state) in ids().zip(states) {
        copy.shard(&source.shard(id), &target.shard(id), &state)?;
    }
    let Copy { files, .. } = copy;
    let (linked, copied) = (files.linked, files.copied);
    drop(lock);
    let mark = format!("a copy of {}: the next open begins new log epochs\n", from.display());
    disk.replace(&target.restored(), mark.as_bytes()).map_err(failed)?;
    target.write_format(disk, shards)?;
    disk.sync_dir(parent(to)).map_err(failed)?;
    let report = check(disk, &target, progress).inspect_err(|_| {
        // Without it nobody takes it for one.
        let _ = disk.remove_file(&target.format());
    })?;
    Ok(Snapshot { linked, copied, report })
}

/// Looks through the whole copy.
fn check(disk: &dyn Disk, to: &DataDir, progress: &mut dyn FnMut(u64)) -> Result<Report, SnapshotError> {
    let path = to.path().display().to_string();
    let report = match verify_on(disk, to.path(), false, progress) {
        Ok(report) => report,
        Err(VerifyError::Open(error)) => return Err(error.into()),
        Err(VerifyError::Missing(path)) => return Err(SnapshotError::Missing(path)),
    };
    let torn =
        report.partitions.iter().find_map(|partition| partition.fault.as_ref().or(partition.torn.as_ref()));
    match report.faults.first().or(torn) {
        Some(fault) => Err(SnapshotError::Unsound { path, reason: fault.to_string() }),
        None => Ok(report),
    }
}

/// A copy that is being made.
struct Copy<'a> {
    disk: &'a dyn Disk,
    /// A broker may be at it.
    live: bool,
    files: Files<'a>,
}

impl Copy<'_> {
    /// A shard's metadata as the next open would find it.
    fn metadata(&self, dir: &ShardDir) -> Result<MetaState, SnapshotError> {
        let mut attempts = 0;
        loop {
            match self.read_metadata(dir) {
                Ok(state) => return Ok(state),
                // A generation was removed, or a frame written, between two looks.
                Err(error) if self.live && attempts < ATTEMPTS => {
                    tracing::debug!(shard = %dir.path().display(), %error, "the metadata changed while it was read");
                    attempts += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let (path, reason) = (dir.path().display().to_string(), error.to_string());
                    return Err(SnapshotError::Damaged { path, reason });
                }
                Err(source) => return Err(io_error(dir.path(), source)),
            }
        }
    }

    fn read_metadata(&self, dir: &ShardDir) -> io::Result<MetaState> {
        let mut state = match meta::look(self.disk, dir) {
            // A shard that was never opened.
            Err(error) if error.kind() == io::ErrorKind::NotFound => MetaState::default(),
            state => state?,
        };
        for record in journal::metadata_behind(self.disk, dir, &state)? {
            state.apply(&record);
        }
        Ok(state)
    }

    fn shard(&mut self, from: &ShardDir, to: &ShardDir, state: &MetaState) -> Result<(), SnapshotError> {
        let failed = |source| io_error(to.path(), source);
        self.disk.create_dir_all(&to.partitions()).map_err(failed)?;
        let journaled = journal::look(self.disk, from).map_err(|source| io_error(from.path(), source))?;
        let mut copied: BTreeMap<PartitionId, PartitionState> = BTreeMap::new();
        let mut todo: Vec<_> = state.partitions().map(|(id, found)| (id, found.clone())).collect();
        todo.sort_unstable_by_key(|(id, _)| *id);
        for _ in 0..ATTEMPTS {
            for (id, found) in std::mem::take(&mut todo) {
                let journaled = journaled.get(&id).copied().filter(|_| !self.live);
                if let Some(taken) = self.partition((id, found, journaled), from, &to.partition(id))? {
                    copied.insert(id, taken);
                }
            }
            if !self.live {
                break;
            }
            // Cut, deleted or opened anew meanwhile: what was copied may be of two histories.
            let now = self.metadata(from)?;
            copied.retain(|id, taken| match now.partition(*id) {
                Some(found)
                    if found.incarnation == taken.incarnation
                        && found.epochs.current() == taken.epochs.current() =>
                {
                    true
                }
                Some(found) => {
                    todo.push((*id, found.clone()));
                    false
                }
                None => false,
            });
            if todo.is_empty() {
                break;
            }
        }
        if !todo.is_empty() {
            return Err(SnapshotError::Restless { path: from.path().display().to_string() });
        }
        self.remove_others(to, &copied).map_err(failed)?;
        let adjusted = adjust(state, &copied);
        self.disk.replace(&to.meta_snapshot(1), &meta::encode_snapshot(1, &adjusted)).map_err(failed)?;
        self.disk.sync_dir(&to.partitions()).map_err(failed)
    }

    /// Removes what was copied of partitions that turned out not to be there.
    fn remove_others(&self, to: &ShardDir, kept: &BTreeMap<PartitionId, PartitionState>) -> io::Result<()> {
        let kept: Vec<_> = kept.keys().map(|id| to.partition(*id)).collect();
        for entry in self.disk.list(&to.partitions())? {
            let path = to.partitions().join(&entry.name);
            if !kept.iter().any(|dir| dir.path() == path) {
                self.disk.remove_dir_all(&path)?;
            }
        }
        Ok(())
    }
}

/// The metadata for the copies of these partitions, and for no others.
fn adjust(state: &MetaState, copied: &BTreeMap<PartitionId, PartitionState>) -> MetaState {
    let mut adjusted = MetaState::default();
    for record in state.records() {
        match record {
            MetaRecord::Partition(..) | MetaRecord::Deleting(_) => {}
            MetaRecord::Offset(commit)
                if !copied.contains_key(&commit.partition) && state.partition(commit.partition).is_some() => {
            }
            record => adjusted.apply(&record),
        }
    }
    for (id, found) in copied {
        adjusted.apply(&MetaRecord::Partition(*id, found.clone()));
    }
    adjusted
}

fn io_error(path: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io { path: path.display().to_string(), source }
}
