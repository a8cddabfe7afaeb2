//! Brings what the journal holds to where it belongs, when a shard opens.
//!
//! Doing it twice does no harm: what lies there already is left alone, and what has been trimmed, cut or deleted since is passed over.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sealstream_protocol::entry::EntryHeader;

use super::record::{self, Item, Place};
use crate::log::disk::{Disk, DiskFile, read_full};
use crate::log::engine::PartitionId;
use crate::log::segmented::layout::ShardDir;
use crate::log::segmented::meta::{MetaRecord, MetaState};
use crate::log::segmented::segment::{epoch_of, is_stale, segment_header};

/// A half is as large as the options say, or as one commit that had to go in whole: at most 16 MiB × 256 batches.
const MAX_HALF: usize = 4 << 30;

/// What a replay found.
#[derive(Debug, Default)]
pub(in super::super) struct Replayed {
    /// Below these offsets the journal held everything: what is missing there is no torn tail.
    pub(in super::super) floors: HashMap<PartitionId, u64>,
    /// Changes of the metadata that its own log did not get, in order.
    pub(in super::super) metadata: Vec<MetaRecord>,
    /// The highest generation.
    pub(in super::super) generation: u64,
}

/// Replays both halves, and makes the result durable.
pub(in super::super) fn replay(disk: &dyn Disk, dir: &ShardDir, meta: &MetaState) -> io::Result<Replayed> {
    let mut halves = read_halves(disk, dir)?;
    record::in_order(&mut halves);
    // Above whatever the metadata has taken from a journal, though nothing may be left of that: what is older does not count.
    let done = Replayed { generation: meta.replayed().0, ..Replayed::default() };
    let mut replay = Replay { disk, dir, meta, touched: BTreeMap::new(), done };
    for bytes in &halves {
        replay.half(bytes)?;
    }
    for file in replay.touched.values() {
        file.sync_data()?;
    }
    Ok(replay.done)
}

/// Forgets what was replayed: after it, and the metadata, are durable.
pub(in super::super) fn reset(disk: &dyn Disk, dir: &ShardDir) -> io::Result<()> {
    for half in 0..2 {
        match disk.remove_file(&dir.journal(half)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_dir(dir.path())
}

/// Up to which offset the journal has entries of each partition; changes nothing.
pub(in super::super) fn look(disk: &dyn Disk, dir: &ShardDir) -> io::Result<HashMap<PartitionId, u64>> {
    let mut ends: HashMap<PartitionId, u64> = HashMap::new();
    for bytes in read_halves(disk, dir)? {
        for record in record::chain(&bytes) {
            for item in record.items {
                if let Item::Entries(place, _) = item {
                    let end = ends.entry(place.id).or_default();
                    *end = (*end).max(place.end);
                }
            }
        }
    }
    Ok(ends)
}

/// Changes of the metadata that only the journal may have, in order; changes nothing.
pub(in super::super) fn metadata_behind(
    disk: &dyn Disk,
    dir: &ShardDir,
    meta: &MetaState,
) -> io::Result<Vec<MetaRecord>> {
    let mut halves = read_halves(disk, dir)?;
    record::in_order(&mut halves);
    let records = halves.iter().flat_map(|bytes| record::chain(bytes));
    let new = records.filter(|record| (record.generation, record.sequence) > meta.replayed());
    let items = new.flat_map(|record| record.items).filter_map(|item| match item {
        Item::Metadata(records) => Some(records),
        Item::Entries(..) => None,
    });
    Ok(items.flatten().collect())
}

fn read_halves(disk: &dyn Disk, dir: &ShardDir) -> io::Result<Vec<Vec<u8>>> {
    let mut halves = Vec::new();
    for half in 0..2 {
        match disk.read(&dir.journal(half), MAX_HALF) {
            Ok(bytes) => halves.push(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(halves)
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    dir: &'a ShardDir,
    meta: &'a MetaState,
    touched: BTreeMap<PathBuf, Arc<dyn DiskFile>>,
    done: Replayed,
}

impl Replay<'_> {
    fn half(&mut self, bytes: &[u8]) -> io::Result<()> {
        for record in record::chain(bytes) {
            self.done.generation = self.done.generation.max(record.generation);
            let new = (record.generation, record.sequence) > self.meta.replayed();
            for item in record.items {
                match item {
                    Item::Entries(place, bytes) => self.entries(&place, bytes)?,
                    Item::Metadata(records) if new => self.done.metadata.extend(records),
                    Item::Metadata(_) => {}
                }
            }
        }
        Ok(())
    }

    fn entries(&mut self, place: &Place, bytes: &[u8]) -> io::Result<()> {
        let Some(state) = self.meta.partition(place.id) else { return Ok(()) };
        let known = state.incarnation == place.incarnation;
        if !known || state.sealed.is_some() || place.end <= state.start {
            return Ok(());
        }
        // A round that failed, and whose offsets were given to others after a cut.
        let current = |header: EntryHeader| {
            state.epochs.at(header.base_offset).is_none_or(|epoch| epoch == header.log_epoch)
        };
        if !record::first_entry(bytes).is_some_and(current) {
            return Ok(());
        }
        let partition = self.dir.partition(place.id);
        let segments = partition.segments(self.disk)?;
        // The log goes on in a segment after a cut: what this place was given for is history.
        for base in segments.iter().filter(|base| (place.segment + 1..place.end).contains(base)) {
            let later = self.disk.open(&partition.segment(*base))?;
            if !is_stale(&*later, place.id, *base, &state.epochs)? {
                return Ok(());
            }
        }
        let path = partition.segment(place.segment);
        if !self.touched.contains_key(&path) {
            // Its name may be lost, though that of a later one is not; or one of the same name, that a cut had removed, is back.
            let found = segments.contains(&place.segment).then(|| self.disk.open(&path)).transpose()?;
            let file = match found {
                Some(file) if !is_stale(&*file, place.id, place.segment, &state.epochs)? => file,
                Some(_) => {
                    self.disk.remove_file(&path)?;
                    self.disk.create(&path)?
                }
                None => self.disk.create(&path)?,
            };
            // Its name may be in the cache alone, as a process that was killed left it.
            self.disk.sync_dir(partition.path())?;
            // What a failed sync of an earlier start left there looks written, and must be written again.
            file.reread()?;
            if epoch_of(&*file, place.id, place.segment)?.is_none() {
                let epoch = state.epochs.at(place.segment).unwrap_or_else(|| state.epochs.current());
                file.write_at(0, &[&segment_header(place.id, place.segment, epoch)])?;
            }
            self.touched.insert(path.clone(), file);
        }
        let file = &self.touched[&path];
        let mut found = vec![0; bytes.len()];
        let read = read_full(&**file, place.position, &mut found)?;
        if found[..read] != *bytes {
            file.write_at(place.position, &[bytes])?;
        }
        let floor = self.done.floors.entry(place.id).or_default();
        *floor = (*floor).max(place.end);
        Ok(())
    }
}
