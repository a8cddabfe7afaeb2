//! Opens a partition: finds out where its log ends, and what it knows of its producers.
//!
//! After a clean close the metadata says both. Otherwise everything from the last checkpoint on is read and checked. The first place that
//! cannot be read is the end, if nothing durable lies behind it: torn, and cut off. If something durable does, it is corruption:
//! nothing is touched, and the partition is read-only.
//!
//! What is known to be durable: what a checkpoint covers, what the journal held, and whatever an entry's header, before the bad
//! place or behind it, calls durable.

use std::io;

use sealstream_protocol::entry::{EntryHeader, EntryView};

use super::checkpoint::{self, Checkpoint, Mark};
use super::damage::Damage;
use super::epochs::EpochHistory;
use super::layout::PartitionDir;
use super::meta::PartitionState;
use super::segment::{self, Binding, Depth, SEGMENT_HEADER, Step, Walk};
use crate::log::disk::Disk;
use crate::log::engine::PartitionId;
use crate::log::producers::{ProducerAppend, ProducerTable};

/// A segment as it lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentInfo {
    /// The offset of its first record.
    pub(super) base: u64,
    /// Its length, without room that is reserved.
    pub(super) bytes: u64,
}

/// What is to be opened.
pub(super) struct Request<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a PartitionDir,
    pub(super) id: PartitionId,
    /// What the metadata says; `None` for a new partition.
    pub(super) state: Option<&'a PartitionState>,
    /// Below this everything is durable, as the journal held it.
    pub(super) floor: u64,
}

/// A partition, found.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Its segments, ascending.
    pub(super) segments: Vec<SegmentInfo>,
    pub(super) start: u64,
    /// Where the log ends. All before it is durable.
    pub(super) end: Mark,
    /// How long the last segment's file is.
    pub(super) allocated: u64,
    pub(super) last_time: i64,
    pub(super) producers: ProducerTable,
    pub(super) epochs: EpochHistory,
    /// The offset of its checkpoint; 0 if it has none.
    pub(super) saved: u64,
    /// Whether it was closed cleanly: no epoch needs to rise.
    pub(super) clean: bool,
    /// Bytes of entries that were read to find all this.
    pub(super) read: u64,
    /// What is wrong below the durable end.
    pub(super) corruption: Option<String>,
}

/// Opens a partition. Blocks, for as long as it takes to read what a checkpoint does not cover.
pub(super) fn recover(request: &Request<'_>) -> io::Result<Recovered> {
    let Request { disk, dir, .. } = *request;
    disk.create_dir_all(dir.path())?;
    let Some(state) = request.state else {
        if !dir.segments(disk)?.is_empty() {
            let text = format!("{} holds a log that the metadata does not know", dir.path().display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        return Ok(empty(&PartitionState::default(), true));
    };
    let mut segments = Vec::new();
    for base in remove_trimmed(disk, dir, state.start)? {
        let path = dir.segment(base);
        let file = disk.open(&path)?;
        if segment::is_stale(&*file, request.id, base, &state.epochs)? {
            tracing::info!(partition = %request.id, base, "remove a segment that the log does not go through");
            disk.remove_file(&path)?;
        } else {
            segments.push(SegmentInfo { base, bytes: file.len()? });
        }
    }
    match state.sealed {
        Some((end, last_time)) => sealed(request, state, segments, end, last_time),
        None => unsealed(request, state, segments),
    }
}

/// Removes segments that a trim let go of before a crash kept it from removing them: the log begins where a segment does.
fn remove_trimmed(disk: &dyn Disk, dir: &PartitionDir, start: u64) -> io::Result<Vec<u64>> {
    let mut bases = dir.segments(disk)?;
    let gone = bases.partition_point(|base| *base < start);
    for base in bases.drain(..gone) {
        disk.remove_file(&dir.segment(base))?;
    }
    Ok(bases)
}

fn empty(state: &PartitionState, clean: bool) -> Recovered {
    Recovered {
        segments: Vec::new(),
        start: state.start,
        end: Mark::unwritten(state.start),
        allocated: 0,
        last_time: 0,
        producers: ProducerTable::new(),
        epochs: state.epochs.clone(),
        saved: 0,
        clean,
        read: 0,
        corruption: None,
    }
}

fn sealed(
    request: &Request<'_>,
    state: &PartitionState,
    segments: Vec<SegmentInfo>,
    end: Mark,
    last_time: i64,
) -> io::Result<Recovered> {
    let checkpoint = checkpoint::load(request.disk, request.dir)?;
    let segments = remove_unwritten(request, segments, end)?;
    let mut found = Recovered { segments, end, last_time, ..empty(state, true) };
    found.start = state.start.max(found.segments.first().map_or(0, |first| first.base));
    found.corruption = missing_from_sealed(&mut found.segments, state.start, end);
    match checkpoint.filter(|checkpoint| checkpoint.mark.offset == end.offset) {
        Some(checkpoint) => {
            found.producers = checkpoint.producers;
            found.saved = checkpoint.mark.offset;
        }
        None if found.corruption.is_none() => {
            let scan = scan(request, state, &found.segments, checkpoint::load(request.disk, request.dir)?)?;
            (found.producers, found.read) = (scan.producers, scan.read);
            if scan.end.offset < end.offset {
                found.corruption = Some(scan.reason);
            }
        }
        None => {}
    }
    found.allocated = found.segments.last().map_or(0, |last| last.bytes);
    Ok(found)
}

/// Removes, durably, segments that were begun at the end of the log and never got an entry: the log may go on in the one before.
fn remove_unwritten(
    request: &Request<'_>,
    mut segments: Vec<SegmentInfo>,
    end: Mark,
) -> io::Result<Vec<SegmentInfo>> {
    let Request { disk, dir, .. } = *request;
    let kept = segments.partition_point(|segment| segment.base <= end.base || segment.base < end.offset);
    if kept < segments.len() {
        for segment in segments.drain(kept..) {
            disk.remove_file(&dir.segment(segment.base))?;
        }
        disk.sync_dir(dir.path())?;
    }
    Ok(segments)
}

/// What a partition that was closed cleanly at `end` lacks.
fn missing_from_sealed(segments: &mut [SegmentInfo], start: u64, end: Mark) -> Option<String> {
    if end.position == 0 {
        return None;
    }
    if segments.first().is_none_or(|first| first.base != start) {
        return Some(format!("segment {start} is missing"));
    }
    match segments.last_mut() {
        Some(last) if last.base == end.base && last.bytes >= end.position => {
            last.bytes = end.position;
            None
        }
        Some(last) if last.base == end.base => {
            Some(format!("segment {} is shorter than when it was closed", last.base))
        }
        _ => Some(format!("segment {} is missing", end.base)),
    }
}

fn unsealed(
    request: &Request<'_>,
    state: &PartitionState,
    mut segments: Vec<SegmentInfo>,
) -> io::Result<Recovered> {
    let checkpoint = checkpoint::load(request.disk, request.dir)?;
    let known = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.mark.offset);
    let mut floor = request.floor.max(known).max(state.start);
    let scan = if let Some(damage) = Damage::load(request.disk, request.dir)? {
        floor = floor.max(damage.end);
        let whole = scan(request, state, &segments, None)?;
        if whole.end.offset < floor.max(whole.durable_end) {
            whole
        } else {
            tracing::info!(partition = %request.id, "the damage that was found in the log is no longer there");
            Damage::forget(request.disk, request.dir)?;
            scan(request, state, &segments, checkpoint)?
        }
    } else {
        scan(request, state, &segments, checkpoint)?
    };
    let floor = floor.max(scan.durable_end);
    let missing = segments.first().is_some_and(|first| first.base > state.start);
    let mut found = Recovered {
        end: scan.end,
        last_time: scan.last_time,
        producers: scan.producers,
        saved: scan.saved,
        read: scan.read,
        ..empty(state, false)
    };
    if scan.end.offset < floor || missing && floor > state.start {
        let reason = if missing { format!("segment {} is missing", state.start) } else { scan.reason };
        found.corruption = Some(reason);
        found.start = segments.first().map_or(state.start, |first| first.base);
        found.end.offset = floor.max(scan.end.offset);
        found.segments = segments;
        return Ok(found);
    }
    cut(request, &mut segments, scan.end, &scan.reason)?;
    found.allocated = segments.last().map_or(0, |last| last.bytes);
    found.segments = segments;
    Ok(found)
}

/// Makes the log end at `end`, durably.
fn cut(request: &Request<'_>, segments: &mut Vec<SegmentInfo>, end: Mark, reason: &str) -> io::Result<()> {
    let Request { disk, dir, id, .. } = *request;
    if !reason.is_empty() {
        tracing::info!(partition = %id, offset = end.offset, reason, "cut the torn tail of the log");
    }
    // A segment without an entry goes too: its header may be torn, and the next append makes it anew.
    let kept = if end.position > SEGMENT_HEADER { end.base + 1 } else { end.base };
    while let Some(last) = segments.pop_if(|last| last.base >= kept) {
        disk.remove_file(&dir.segment(last.base))?;
    }
    if let Some(last) = segments.last_mut() {
        let file = disk.open(&dir.segment(last.base))?;
        let position = if last.base == end.base { end.position } else { last.bytes };
        if last.bytes > position {
            file.truncate(position)?;
            last.bytes = position;
        }
        file.sync_data()?;
    }
    disk.sync_dir(dir.path())
}

/// What reading the tail found.
struct Scan {
    end: Mark,
    last_time: i64,
    producers: ProducerTable,
    /// The highest durable end that an entry spoke of.
    durable_end: u64,
    /// The offset of the checkpoint that it began with; 0 if there was none.
    saved: u64,
    /// Bytes of entries that were read.
    read: u64,
    /// Why it did not go on; empty at a clean end.
    reason: String,
}

fn scan(
    request: &Request<'_>,
    state: &PartitionState,
    segments: &[SegmentInfo],
    checkpoint: Option<Checkpoint>,
) -> io::Result<Scan> {
    let usable = checkpoint.filter(|found| found.mark.offset >= state.start);
    let saved = usable.as_ref().map_or(0, |found| found.mark.offset);
    let from =
        usable.unwrap_or_else(|| Checkpoint { mark: Mark::unwritten(state.start), ..Checkpoint::default() });
    let after = segments.partition_point(|segment| segment.base <= from.mark.offset);
    let begin = match after.checked_sub(1).map(|at| segments[at].base) {
        Some(base) if base == from.mark.base && from.mark.position > SEGMENT_HEADER => from.mark,
        // Its segment holds nothing, was trimmed, or was moved: what is known of the producers holds all the same.
        Some(base) => Mark::unwritten(base),
        None => Mark::unwritten(state.start),
    };
    let mut scan = Scan {
        end: begin,
        last_time: from.last_time,
        producers: from.producers,
        durable_end: 0,
        saved,
        read: 0,
        reason: String::new(),
    };
    let first = segments.partition_point(|segment| segment.base < begin.base);
    for (at, segment) in segments.iter().enumerate().skip(first) {
        let next = segments.get(at + 1).map(|next| next.base);
        if !scan.segment(request, state, segment.base, next)? {
            scan.look_behind(request, &segments[at..])?;
            break;
        }
    }
    Ok(scan)
}

impl Scan {
    /// Reads a segment from where the log ends so far; returns whether the next one continues it.
    fn segment(
        &mut self,
        request: &Request<'_>,
        state: &PartitionState,
        base: u64,
        next: Option<u64>,
    ) -> io::Result<bool> {
        if self.end.base != base || self.end.position == 0 {
            if self.end.offset != base {
                self.reason = format!("segment {base} does not begin where the one before it ends");
                return Ok(false);
            }
            self.end = Mark::unwritten(base);
        }
        let file = request.disk.open(&request.dir.segment(base))?;
        // A killed process leaves what it wrote in the page cache: what is found from here on counts as durable.
        file.reread()?;
        if segment::epoch_of(&*file, request.id, base)?.is_none() {
            self.reason = format!("segment {base} has a damaged header");
            return Ok(false);
        }
        let mut walk = Walk::new(&*file, self.end.position.max(SEGMENT_HEADER), Depth::Full)?;
        let mut binding = None;
        loop {
            // A log that was cut goes on in the next segment: what the file still holds behind that is history no more.
            if next == Some(self.end.offset) {
                return Ok(true);
            }
            match walk.next()? {
                Step::Binding(found) => binding = Some(found),
                Step::End if next.is_none() => return Ok(true),
                Step::End => {
                    self.reason = format!("segment {base} ends before the next one begins");
                    return Ok(false);
                }
                Step::Bad(reason) => {
                    self.reason = format!("segment {base}, byte {}: {reason}", walk.position());
                    return Ok(false);
                }
                Step::Entry { position, view } => {
                    if let Some(reason) = self.misplaced(state, &view.header) {
                        self.reason = format!("segment {base}, byte {position}: {reason}");
                        return Ok(false);
                    }
                    self.read += view.total_len as u64;
                    self.take(&view, binding.take());
                    self.end = Mark { offset: view.next_offset(), base, position: walk.position() };
                }
            }
        }
    }

    /// Why an entry cannot be what was appended here.
    fn misplaced(&self, state: &PartitionState, header: &EntryHeader) -> Option<String> {
        if header.base_offset != self.end.offset {
            return Some(format!("offset {} where {} should be", header.base_offset, self.end.offset));
        }
        let epoch = state.epochs.at(header.base_offset).filter(|epoch| *epoch != header.log_epoch)?;
        Some(format!("an entry of log epoch {} in epoch {epoch}", header.log_epoch))
    }

    fn take(&mut self, view: &EntryView, binding: Option<Binding>) {
        let header = &view.header;
        self.durable_end = self.durable_end.max(header.durable_end);
        self.last_time = self.last_time.max(header.append_time);
        if header.base_offset < self.saved {
            return;
        }
        let producer = view.batch_header.producer_id;
        let identity = match binding {
            Some(binding) if binding.is_own() => None,
            Some(binding) => Some(binding.identity),
            None => self.producers.identity(producer),
        };
        if let Some(identity) = identity {
            let (sequence, base_offset) = (view.batch_header.sequence, header.base_offset);
            let append =
                ProducerAppend { producer, identity, sequence, base_offset, epoch: header.log_epoch };
            self.producers.record(&append, header.append_time, header.durable_end);
        }
    }

    /// Looks for what is said to be durable behind the place where reading ended.
    fn look_behind(&mut self, request: &Request<'_>, segments: &[SegmentInfo]) -> io::Result<()> {
        for segment in segments {
            let file = request.disk.open(&request.dir.segment(segment.base))?;
            let from = if segment.base == self.end.base { self.end.position.max(SEGMENT_HEADER) } else { 0 };
            if let Some(words) = segment::last_words(&*file, from)? {
                self.durable_end = self.durable_end.max(words.durable_end);
            }
        }
        Ok(())
    }
}
