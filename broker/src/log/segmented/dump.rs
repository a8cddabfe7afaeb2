//! Shows what lies in a data directory, entry by entry, and changes nothing. A broker may be running in it: what is being written
//! meanwhile may end a partition's listing early.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sealstream_protocol::batch::{Batch, BatchHeader};
use sealstream_protocol::entry::{ENTRY_HEADER, EntryHeader};
use uuid::Uuid;

use super::layout::{DataDir, PartitionDir};
use super::meta::{self, PartitionState};
use super::segment::{self, Depth, SEGMENT_HEADER, Step, Walk};
use super::verify::{Fault, VerifyError};
use crate::log::disk::{Disk, RealDisk};
use crate::log::engine::{PartitionId, ShardId, Versioned};

/// What is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpOptions {
    /// Only this topic.
    pub topic: Option<Uuid>,
    /// Only partitions of this number.
    pub partition: Option<u32>,
    /// Only entries that end above this offset.
    pub from: u64,
    /// So many entries of each partition at most; `None` is all.
    pub count: Option<u64>,
}

/// Something that was found, in the order in which it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dumped {
    /// A partition begins.
    Partition {
        /// Which.
        id: PartitionId,
        /// The shard that holds it.
        shard: ShardId,
        /// The first offset that can be read.
        start: u64,
        /// The log epoch of the next append.
        epoch: u32,
        /// Whether it was closed cleanly.
        clean: bool,
    },
    /// A segment begins.
    Segment {
        /// The offset that it begins at.
        base: u64,
        /// The log epoch that it was begun in; `None` if its header is damaged.
        epoch: Option<u32>,
        /// The file.
        file: PathBuf,
        /// Its length, with what is reserved and not used yet.
        bytes: u64,
    },
    /// An entry.
    Entry {
        /// Where it lies in the segment.
        position: u64,
        /// Its length.
        bytes: u64,
        /// The broker's part.
        header: EntryHeader,
        /// The producer's part.
        batch: BatchHeader,
        /// The producer's part with its records; its checksum holds.
        content: Batch,
    },
    /// Something that cannot be read on from: damaged, torn, or being written.
    Fault(Fault),
}

/// The values that a shard's metadata has under keys with this prefix, as they lie on the disk.
pub fn values(dir: &Path, shard: ShardId, prefix: &str) -> Result<Vec<(String, Versioned)>, VerifyError> {
    let data = DataDir::new(dir.to_owned());
    if data.shards(&RealDisk)?.is_none() {
        return Err(VerifyError::Missing(dir.display().to_string()));
    }
    let state = meta::look(&RealDisk, &data.shard(shard)).map_err(|source| data.failed(source))?;
    Ok(state.values_with_prefix(prefix))
}

/// Shows `visit` what lies in the data directory `dir`, until it breaks off. Blocks, for as long as it takes to read it.
pub fn dump(
    dir: &Path,
    options: &DumpOptions,
    visit: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> Result<(), VerifyError> {
    let disk: &dyn Disk = &RealDisk;
    let data = DataDir::new(dir.to_owned());
    let Some(shards) = data.shards(disk)? else {
        return Err(VerifyError::Missing(dir.display().to_string()));
    };
    let wanted = |id: &PartitionId| {
        options.topic.is_none_or(|topic| topic == id.topic)
            && options.partition.is_none_or(|index| index == id.index)
    };
    let mut found = Vec::new();
    for shard in (0..shards).map(ShardId) {
        let state = match meta::look(disk, &data.shard(shard)) {
            // Never opened.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            state => state.map_err(|source| data.failed(source))?,
        };
        let partitions = state.partitions().filter(|(id, _)| wanted(id));
        found.extend(partitions.map(|(id, state)| (id, shard, state.clone())));
    }
    found.sort_unstable_by_key(|(id, ..)| *id);
    for (id, shard, state) in found {
        let dir = data.shard(shard).partition(id);
        let (start, epoch, clean) = (state.start, state.epochs.current(), state.sealed.is_some());
        let mut walk = Listing { disk, id, dir, state: &state, options, left: options.count, visit };
        let end = match (walk.visit)(Dumped::Partition { id, shard, start, epoch, clean }) {
            ControlFlow::Continue(()) => walk.run(),
            ControlFlow::Break(()) => Ok(ControlFlow::Break(())),
        };
        if end.map_err(|source| data.failed(source))?.is_break() {
            break;
        }
    }
    Ok(())
}

struct Listing<'a> {
    disk: &'a dyn Disk,
    id: PartitionId,
    dir: PartitionDir,
    state: &'a PartitionState,
    options: &'a DumpOptions,
    left: Option<u64>,
    visit: &'a mut dyn FnMut(Dumped) -> ControlFlow<()>,
}

impl Listing<'_> {
    fn run(&mut self) -> io::Result<ControlFlow<()>> {
        let mut bases = match self.dir.segments(self.disk) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            bases => bases?,
        };
        bases.retain(|base| *base >= self.state.start);
        // The last one that begins at or below the offset holds it.
        let first = bases.partition_point(|base| *base <= self.options.from).saturating_sub(1);
        for (at, base) in bases.iter().enumerate().skip(first) {
            if self.left == Some(0) {
                break;
            }
            match self.segment(*base, bases.get(at + 1).copied()) {
                // Trimmed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(ControlFlow::Continue(())) => {}
                ended => return ended,
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn segment(&mut self, base: u64, next: Option<u64>) -> io::Result<ControlFlow<()>> {
        let path = self.dir.segment(base);
        let file = self.disk.open_read_only(&path)?;
        if segment::is_stale(&*file, self.id, base, &self.state.epochs)? {
            return Ok(ControlFlow::Continue(()));
        }
        let epoch = segment::epoch_of(&*file, self.id, base)?;
        let shown = Dumped::Segment { base, epoch, file: path.clone(), bytes: file.len()? };
        if (self.visit)(shown).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let mut walk = Walk::new(&*file, SEGMENT_HEADER, Depth::Full)?;
        let mut end = base;
        // Where the next segment begins the log goes on there, whatever is left behind in this one.
        while next != Some(end) && self.left != Some(0) {
            let shown = match walk.next()? {
                Step::End => break,
                Step::Binding(_) => continue,
                Step::Bad(reason) => {
                    let position = walk.position();
                    return Ok((self.visit)(Dumped::Fault(Fault { file: path, position, reason })));
                }
                Step::Entry { position, view } => {
                    end = view.next_offset();
                    if end <= self.options.from {
                        continue;
                    }
                    let bytes = walk.bytes_of(position, view.total_len).unwrap_or_default();
                    let content = Bytes::copy_from_slice(bytes.get(ENTRY_HEADER..).unwrap_or_default());
                    match Batch::from_stored(content) {
                        Ok(content) => Dumped::Entry {
                            position,
                            bytes: view.total_len as u64,
                            header: view.header,
                            batch: view.batch_header,
                            content,
                        },
                        Err(error) => {
                            Dumped::Fault(Fault { file: path.clone(), position, reason: error.to_string() })
                        }
                    }
                }
            };
            if matches!(shown, Dumped::Entry { .. }) {
                self.left = self.left.map(|left| left - 1);
            }
            if (self.visit)(shown).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
