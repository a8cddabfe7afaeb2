//! The journal of a shard: one file that a wide round goes to, so that one sync makes all of it durable.
//!
//! The same bytes go to their segments too, which are synced later, and then the journal's space is used again. It also makes a commit
//! atomic that touches several files: the journal has it whole, or nobody has it.
//!
//! It has two halves. One is filled; when it is full the other takes over, and the segments behind the first are synced. A half is
//! used again once they are.

mod record;
mod replay;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::layout::ShardDir;
use crate::log::disk::{Disk, DiskFile, read_full};
use crate::log::engine::PartitionId;
pub(super) use record::{Place, RecordBuilder};
pub(super) use replay::{Replayed, look, metadata_behind, replay, reset};

/// The journal of a shard.
#[derive(Debug)]
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    dir: ShardDir,
    capacity: u64,
    halves: [Half; 2],
    current: usize,
    generation: u64,
    sequence: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// A record is being written.
    Busy,
    /// It failed, and is used again in new files, once nothing relies on the old ones.
    Failed,
}

#[derive(Debug, Default)]
struct Half {
    file: Option<Arc<dyn DiskFile>>,
    new_name: bool,
    position: u64,
    /// Partitions whose segments have to be synced up to these offsets: so far the half has them.
    behind: BTreeMap<PartitionId, u64>,
    /// The metadata log must be durable up to this sequence.
    needs_meta: u64,
}

/// The right to write one record.
pub(super) struct Slot {
    file: Arc<dyn DiskFile>,
    position: u64,
    generation: u64,
    sequence: u64,
    sync_dir: Option<(Arc<dyn Disk>, ShardDir)>,
}

impl Slot {
    /// Writes the record and makes it durable. Blocks.
    pub(super) fn write(self, builder: RecordBuilder) -> io::Result<()> {
        let bytes = builder.finish(self.generation, self.sequence);
        // Extended in one go: what is overwritten later needs no change of the file's metadata, and syncs faster.
        self.file.allocate(self.position + bytes.len() as u64)?;
        self.file.write_at(self.position, &[&bytes])?;
        self.file.sync_data()?;
        match self.sync_dir {
            Some((disk, dir)) => disk.sync_dir(dir.path()),
            None => Ok(()),
        }
    }
}

impl Journal {
    /// A journal in which nothing is left to replay.
    pub(super) fn new(disk: Arc<dyn Disk>, dir: ShardDir, capacity: u64, generation: u64) -> Self {
        Self {
            disk,
            dir,
            capacity,
            halves: Default::default(),
            current: 0,
            generation: generation + 1,
            sequence: 0,
            state: State::Idle,
        }
    }

    /// Whether a record is being written.
    pub(super) fn is_busy(&self) -> bool {
        self.state == State::Busy
    }

    /// Whether a record of `bytes` can be written now, the metadata being durable up to this sequence. One larger than a half gets a
    /// half of its own.
    pub(super) fn has_room(&self, bytes: u64, meta_durable: u64) -> bool {
        let free = |half: &Half| half.behind.is_empty() && half.needs_meta <= meta_durable;
        match self.state {
            State::Busy => false,
            State::Idle => self.fits(bytes) || free(&self.halves[1 - self.current]),
            State::Failed => self.halves.iter().all(free),
        }
    }

    fn fits(&self, bytes: u64) -> bool {
        let half = &self.halves[self.current];
        half.position == 0 || half.position + bytes <= self.capacity
    }

    /// Takes the room for a record of `bytes`, which [there is](Self::has_room). If that fills a half, whatever else comes of it, the
    /// partitions whose segments should be synced from now on go to `behind`.
    pub(super) fn reserve(&mut self, bytes: u64, behind: &mut impl Extend<PartitionId>) -> io::Result<Slot> {
        if self.state == State::Failed {
            reset(&*self.disk, &self.dir)?;
            self.halves = Default::default();
            self.generation += 1;
            self.sequence = 0;
            self.state = State::Idle;
        }
        if !self.fits(bytes) {
            behind.extend(self.halves[self.current].behind.keys().copied());
            self.current = 1 - self.current;
            self.generation += 1;
            self.sequence = 0;
            let half = &mut self.halves[self.current];
            (half.position, half.needs_meta) = (0, 0);
        }
        let half = &mut self.halves[self.current];
        let file = if let Some(file) = &half.file {
            Arc::clone(file)
        } else {
            half.new_name = true;
            let file = self.disk.create(&self.dir.journal(self.current))?;
            Arc::clone(half.file.insert(file))
        };
        self.sequence += 1;
        self.state = State::Busy;
        let sync_dir = half.new_name.then(|| (Arc::clone(&self.disk), self.dir.clone()));
        let (generation, sequence) = (self.generation, self.sequence);
        let slot = Slot { file, position: half.position, generation, sequence, sync_dir };
        half.position += bytes;
        Ok(slot)
    }

    /// The record is durable: it has these partitions up to these offsets. Returns what names it, for the metadata that it held.
    pub(super) fn written(&mut self, partitions: impl Iterator<Item = (PartitionId, u64)>) -> (u64, u64) {
        self.state = State::Idle;
        let half = &mut self.halves[self.current];
        half.new_name = false;
        half.behind.extend(partitions);
        (self.generation, self.sequence)
    }

    /// The bytes of a partition from one offset to another, all of which are in the journal. Blocks.
    pub(super) fn collect(
        &self,
        id: PartitionId,
        incarnation: u64,
        from: u64,
        to: u64,
    ) -> io::Result<Vec<u8>> {
        let mut halves = Vec::new();
        for file in self.halves.iter().filter_map(|half| half.file.as_ref()) {
            let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
            let mut bytes = vec![0; len];
            let read = read_full(&**file, 0, &mut bytes)?;
            bytes.truncate(read);
            halves.push(bytes);
        }
        record::collect(&mut halves, id, incarnation, from, to)
            .ok_or_else(|| io::Error::other("the journal does not have what it should have"))
    }

    /// The half in use must wait for the metadata log too.
    pub(super) fn needs_meta(&mut self, sequence: u64) {
        self.halves[self.current].needs_meta = sequence;
    }

    /// Writing the record failed. What the journal holds already stays good, and is needed until its segments are synced: those of
    /// the partitions returned, with what names the record.
    pub(super) fn failed(&mut self) -> ((u64, u64), Vec<PartitionId>) {
        self.state = State::Failed;
        let behind = self.halves.iter().flat_map(|half| half.behind.keys().copied()).collect();
        ((self.generation, self.sequence), behind)
    }

    /// What the journal has of a partition below `end` is in its segments, durably, or is not wanted any more.
    pub(super) fn settled(&mut self, id: PartitionId, end: u64) {
        for half in &mut self.halves {
            if half.behind.get(&id).is_some_and(|behind| *behind <= end) {
                half.behind.remove(&id);
            }
        }
    }
}
