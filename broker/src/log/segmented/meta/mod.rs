//! The metadata of a shard: a small log of its own, replaced by a snapshot and a new log when it has grown.
//!
//! Generation G of the log continues snapshot G, or log G−1 while the snapshot is still being written. A change is visible once it is
//! durable.
//!
//! ```text
//! append ──► staged ── flush ──► pending ── synced ──► applied to the state that readers see
//! ```
//!
//! What has failed to become durable is forgotten, and a new generation begins with what was durable before.

mod frame;
mod load;
mod record;
mod state;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use super::layout::ShardDir;
use crate::log::disk::{Disk, DiskFile};
pub(super) use load::{load, look};
pub(super) use record::{MetaRecord, PartitionState};
pub(super) use state::MetaState;

/// How far the log's file is extended at once, in bytes: some thousand small records.
const ALLOCATION: u64 = 256 << 10;

/// How much room is kept for the shard's own records when the disk is full, in bytes: those of a trim or a deletion, which make
/// room, take some hundred bytes each.
const RESERVE: u64 = 64 << 10;

/// A log below this size is not worth a snapshot, in bytes.
const MIN_COMPACTION: u64 = 4 << 20;

/// A frame that is not durable yet.
#[derive(Debug)]
struct Pending {
    sequence: u64,
    records: Vec<MetaRecord>,
    /// Whether the shard itself wrote it, and not a commit.
    internal: bool,
}

/// The writer's side of a shard's metadata log.
#[derive(Debug)]
pub(super) struct MetaLog {
    disk: Arc<dyn Disk>,
    dir: ShardDir,
    generation: u64,
    /// How often it had to begin anew.
    starts: u64,
    file: Arc<dyn DiskFile>,
    position: u64,
    allocated: u64,
    /// The sequence of the last frame, staged or written.
    sequence: u64,
    /// The sequence of the last frame that is written.
    written: u64,
    /// The sequence of the last frame that is durable.
    durable: u64,
    staged: Vec<u8>,
    pending: VecDeque<Pending>,
    /// Of keys with changes that are not durable yet: the sequence of the last one, and the version (0: removed).
    versions: HashMap<String, (u64, u64)>,
    given: u64,
    /// Files with frames that are not synced, the current one last.
    dirty: Vec<Arc<dyn DiskFile>>,
    new_name: bool,
    /// The size of the last snapshot, in bytes.
    snapshot: u64,
    /// A generation was begun, up to this sequence the old ones count, and its snapshot is not made yet.
    compacting: Option<u64>,
}

/// How far the metadata has come, by sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetaProgress {
    /// Up to here it is in the page cache.
    pub(super) written: u64,
    /// Up to here it is durable.
    pub(super) durable: u64,
}

/// What is to be synced for the metadata.
pub(super) struct MetaSync {
    /// How often the log had begun anew.
    pub(super) starts: u64,
    /// Durable up to this sequence, if it succeeds.
    pub(super) upto: u64,
    pub(super) files: Vec<Arc<dyn DiskFile>>,
    pub(super) new_name: bool,
}

impl MetaLog {
    /// The version of a key as the next change will find it; 0 if it has no value.
    pub(super) fn version(&self, state: &MetaState, key: &str) -> u64 {
        let pending = self.versions.get(key).map(|(_, version)| *version);
        pending.unwrap_or_else(|| state.value(key).map_or(0, |value| value.version))
    }

    /// Sees to it that no version is given that was given before this life of the shard, though it may have been lost since: returns what
    /// must be durable first. A life has 2^32 versions to give, and there are as many lives.
    pub(super) fn begin_life(&mut self) -> MetaRecord {
        self.given = ((self.given >> 32) + 1) << 32;
        MetaRecord::Versions(self.given)
    }

    /// A version that no value ever had.
    pub(super) fn next_version(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// Stages records that count together; returns their sequence.
    pub(super) fn append(&mut self, records: Vec<MetaRecord>, internal: bool) -> u64 {
        self.sequence += 1;
        frame::put_frame(&mut self.staged, self.sequence, self.durable, &records);
        for record in &records {
            let (key, version) = match record {
                MetaRecord::Put { key, version, .. } => (key, *version),
                MetaRecord::Remove { key, .. } => (key, 0),
                _ => continue,
            };
            self.versions.insert(key.clone(), (self.sequence, version));
        }
        self.pending.push_back(Pending { sequence: self.sequence, records, internal });
        self.sequence
    }

    /// The sequence up to which everything is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether a sync is of the log as it is now, and not of one that was given up meanwhile.
    pub(super) fn is_current(&self, starts: u64) -> bool {
        self.starts == starts
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> MetaProgress {
        MetaProgress { written: self.written, durable: self.durable }
    }

    /// Whether every change is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.staged.is_empty()
    }

    /// Whether there is something to sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.written > self.durable
    }

    /// Writes what is staged. After an error it is staged no more: see [`Self::drop_staged`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let end = self.position + self.staged.len() as u64;
        if end + RESERVE > self.allocated {
            let allocated = (end + RESERVE).next_multiple_of(ALLOCATION);
            match self.file.allocate(allocated) {
                Ok(()) => self.allocated = allocated,
                Err(error) => {
                    let own = self.pending.iter().rev().take_while(|frame| frame.sequence > self.written);
                    if end > self.allocated || own.into_iter().any(|frame| !frame.internal) {
                        return Err(error);
                    }
                }
            }
        }
        if let Err(error) = self.file.write_at(self.position, &[&self.staged]) {
            // A frame that was refused must not be found by recovery.
            self.file.truncate(self.position).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
            self.allocated = self.position;
            return Err(error);
        }
        self.position = end;
        self.written = self.sequence;
        self.staged.clear();
        if !self.dirty.iter().any(|file| Arc::ptr_eq(file, &self.file)) {
            self.dirty.push(Arc::clone(&self.file));
        }
        Ok(())
    }

    /// Forgets what is staged and was not written; returns how the shard's own records among it began.
    pub(super) fn drop_staged(&mut self) -> Vec<(u64, Vec<MetaRecord>)> {
        self.staged.clear();
        self.sequence = self.written;
        self.forget_after(self.written)
    }

    /// What must be synced for everything written so far to be durable.
    pub(super) fn begin_sync(&mut self) -> MetaSync {
        let files = std::mem::take(&mut self.dirty);
        MetaSync {
            starts: self.starts,
            upto: self.written,
            files,
            new_name: std::mem::take(&mut self.new_name),
        }
    }

    /// Takes over what has become durable.
    pub(super) fn synced(&mut self, upto: u64, state: &mut MetaState) {
        self.durable = self.durable.max(upto);
        while self.pending.front().is_some_and(|pending| pending.sequence <= upto) {
            let Some(pending) = self.pending.pop_front() else { break };
            for record in &pending.records {
                state.apply(record);
            }
        }
        self.versions.retain(|_, (sequence, _)| *sequence > upto);
    }

    /// Takes over a change that became durable by way of the journal; its frame follows into the log like any other.
    pub(super) fn append_durable(&mut self, records: Vec<MetaRecord>, state: &mut MetaState) -> u64 {
        for record in &records {
            state.apply(record);
        }
        let sequence = self.append(records, true);
        if let Some(pending) = self.pending.back() {
            self.versions.retain(|_, (of, _)| *of != pending.sequence);
        }
        sequence
    }

    /// After a sync that failed: goes back to what is durable. Returns the shard's own records that were lost, with their
    /// sequences: they are to be appended again.
    pub(super) fn give_up(&mut self) -> Vec<(u64, Vec<MetaRecord>)> {
        self.starts += 1;
        self.staged.clear();
        self.dirty.clear();
        let lost = self.forget_after(self.durable);
        (self.sequence, self.written) = (self.durable, self.durable);
        lost
    }

    /// Begins a new generation with what is durable, for the old file can no longer be trusted.
    pub(super) fn start_over(&mut self, state: &MetaState) -> io::Result<()> {
        let next = self.generation + 1;
        let snapshot = encode_snapshot(self.durable, state);
        self.disk.replace(&self.dir.meta_snapshot(next), &snapshot)?;
        self.snapshot = snapshot.len() as u64;
        self.switch(next)?;
        self.disk.sync_dir(self.dir.path())?;
        self.new_name = false;
        self.compacting = None;
        remove_older(&*self.disk, &self.dir, next);
        Ok(())
    }

    fn forget_after(&mut self, sequence: u64) -> Vec<(u64, Vec<MetaRecord>)> {
        let kept = self.pending.partition_point(|pending| pending.sequence <= sequence);
        let lost = self.pending.drain(kept..).filter(|pending| pending.internal);
        let lost = lost.map(|pending| (pending.sequence, pending.records)).collect();
        // Versions of what remains are looked up again: the map only knows the last of each key.
        self.versions.clear();
        for pending in &self.pending {
            for record in &pending.records {
                match record {
                    MetaRecord::Put { key, version, .. } => {
                        self.versions.insert(key.clone(), (pending.sequence, *version));
                    }
                    MetaRecord::Remove { key, .. } => {
                        self.versions.insert(key.clone(), (pending.sequence, 0));
                    }
                    _ => {}
                }
            }
        }
        lost
    }

    /// Begins a new generation if the log has grown beyond what it is worth. Its snapshot is due when
    /// [`Self::snapshot_due`] says so.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        let worth = MIN_COMPACTION.max(2 * self.snapshot);
        if self.compacting.is_some() || self.position < worth || !self.staged.is_empty() {
            return Ok(());
        }
        self.switch(self.generation + 1)?;
        self.compacting = Some(self.written);
        Ok(())
    }

    /// The generation whose snapshot can be made now of the state that readers see, and the sequence it stands for.
    pub(super) fn snapshot_due(&mut self) -> Option<(u64, u64)> {
        let upto = self.compacting.filter(|upto| *upto <= self.durable)?;
        self.compacting = None;
        Some((self.generation, self.durable.max(upto)))
    }

    /// A snapshot of so many bytes was made.
    pub(super) fn snapshot_made(&mut self, bytes: u64) {
        self.snapshot = bytes;
    }

    fn switch(&mut self, generation: u64) -> io::Result<()> {
        let path = self.dir.meta_log(generation);
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = self.disk.create(&path)?;
        (self.generation, self.position, self.allocated, self.new_name) = (generation, 0, 0, true);
        Ok(())
    }

    /// Cuts off the room that was reserved: for a clean close, after the last sync.
    pub(super) fn trim_reserve(&mut self) -> io::Result<()> {
        self.file.truncate(self.position)?;
        self.allocated = self.position;
        self.file.sync_data()
    }
}

/// The state as a snapshot that stands for everything up to `sequence`.
pub(super) fn encode_snapshot(sequence: u64, state: &MetaState) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in state.records() {
        frame::put_frame(&mut bytes, sequence, sequence, &[record]);
    }
    frame::put_frame(&mut bytes, sequence, sequence, &[]);
    bytes
}

/// Removes the generations below one that has its snapshot. What cannot be removed now is when the shard opens again.
pub(super) fn remove_older(disk: &dyn Disk, dir: &ShardDir, generation: u64) {
    let Ok(entries) = disk.list(dir.path()) else { return };
    for entry in entries {
        if super::layout::parse_meta_name(&entry.name).is_some_and(|(found, _)| found < generation) {
            let _ = disk.remove_file(&dir.path().join(&entry.name));
        }
    }
}
