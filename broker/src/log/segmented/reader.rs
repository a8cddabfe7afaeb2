//! Reads of a shard, by the first way that has what is asked for:
//!
//! ```text
//! recent batches   in memory, checked when they came
//! at hand          where the last read ended, if the page cache has what lies there: neither waits, so it is read then and there
//! a segment        on a thread that may block; here alone is damage looked at, and told
//! ```
//! What is read from a segment is checked again, all of it: headers, order and checksums. What
//! is sound is served, and then the reader is told of the damage; so is the writer, after a second look, and the partition takes no
//! appends from then on.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealstream_protocol::Buffers;
use sealstream_protocol::entry::{self, EntryView};

use super::index::Found;
use super::mailbox::Event;
use super::recovery::SegmentInfo;
use super::segment::{BINDING, Item, parse};
use super::shared::{PartitionShared, ShardShared, locked, reading};
use crate::log::disk::{DiskFile, read_full};
use crate::log::engine::{PartitionId, ReadError, ReadOutcome, Within};

/// The least that is read of a segment at once, however little is asked for, in bytes: the headers of an entry and more.
const MIN_READ: usize = 4 << 10;

/// The most that is read at once, however much is asked for, in bytes: a read holds a thread and a buffer. A larger entry is read
/// whole all the same.
const MAX_READ: usize = 8 << 20;

/// 2 MiB: the most that is read at hand, copied and checked in some 0.3 ms, which is what its thread's other tasks wait for.
const MAX_AT_HAND: usize = 2 << 20;

/// How often a partition's log says that the disk failed a read: whoever reads tries again, within milliseconds at first.
const TELL_EVERY: Duration = Duration::from_mins(1);

pub(super) async fn read(
    shard: Arc<ShardShared>,
    id: PartitionId,
    from: u64,
    max_bytes: usize,
) -> Result<ReadOutcome, ReadError> {
    match read_either(shard, id, from, max_bytes, FirstEntry::Whole).await? {
        Within::Read(outcome) => Ok(outcome),
        Within::Larger(_) => unreachable!("it was to be read whole"),
    }
}

pub(super) async fn read_within(
    shard: Arc<ShardShared>,
    id: PartitionId,
    from: u64,
    max_bytes: usize,
) -> Result<Within, ReadError> {
    read_either(shard, id, from, max_bytes, FirstEntry::WithinBound).await
}

/// What becomes of a first entry that alone is larger than what is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstEntry {
    /// It is read whole.
    Whole,
    /// It is left alone.
    WithinBound,
}

async fn read_either(
    shard: Arc<ShardShared>,
    id: PartitionId,
    from: u64,
    max_bytes: usize,
    first: FirstEntry,
) -> Result<Within, ReadError> {
    let partition = shard.partition(id).ok_or(ReadError::NotOpen(id))?;
    let durable_end = partition.durable_end();
    let start = reading(&partition.view).start;
    if from < start || from > durable_end {
        return Err(ReadError::OutOfRange { start, end: durable_end });
    }
    if from == durable_end {
        return Ok(Within::Read(ReadOutcome { entries: Vec::new(), next: from, durable_end }));
    }
    if first == FirstEntry::WithinBound
        && let Some(len) = shard.cache.len_at(id, from, durable_end).filter(|len| *len > max_bytes)
    {
        return Ok(Within::Larger(len));
    }
    if let Some((chunk, next)) = shard.cache.read(id, from, max_bytes, durable_end, &shard.buffers) {
        return Ok(Within::Read(ReadOutcome { entries: vec![chunk], next, durable_end }));
    }
    let read = SegmentRead { shard: &shard, partition: &partition, from, durable_end, first };
    if let Some(read) = read.at_hand(max_bytes.min(MAX_AT_HAND)) {
        return Ok(read);
    }
    blocking(from, move || {
        let max_bytes = max_bytes.min(MAX_READ);
        let read = SegmentRead { shard: &shard, partition: &partition, from, durable_end, first };
        match read.run(max_bytes) {
            Err(ReadError::Damaged { .. }) if !reading(&partition.view).read_only => read.again(max_bytes),
            read => read,
        }
    })
    .await
}

pub(super) async fn offset_at(shard: Arc<ShardShared>, id: PartitionId, time: i64) -> Result<u64, ReadError> {
    let partition = shard.partition(id).ok_or(ReadError::NotOpen(id))?;
    blocking(0, move || offset_at_blocking(&shard, &partition, time)).await
}

pub(super) fn check_epoch(
    shard: &ShardShared,
    id: PartitionId,
    offset: u64,
    epoch: u32,
) -> Result<(), ReadError> {
    let partition = shard.partition(id).ok_or(ReadError::NotOpen(id))?;
    let view = reading(&partition.view);
    view.epochs.check(offset, epoch, partition.durable_end()).map_err(|offset| ReadError::Diverged { offset })
}

/// Runs `read` on a thread that may block. A caller that goes away leaves it to end by itself: it is one read.
async fn blocking<T: Send + 'static>(
    offset: u64,
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let stopped = |error: tokio::task::JoinError| ReadError::Storage { offset, reason: error.to_string() };
    tokio::task::spawn_blocking(read).await.map_err(stopped)?
}

struct SegmentRead<'a> {
    shard: &'a ShardShared,
    partition: &'a PartitionShared,
    from: u64,
    durable_end: u64,
    first: FirstEntry,
}

/// What was read of whole entries, and how far that goes.
struct Chunks {
    entries: Vec<Bytes>,
    next: u64,
    /// Where the entry at `next` begins.
    position: u64,
}

impl SegmentRead<'_> {
    /// What can be had without waiting; `None` if that is nothing, or not what should be there: then [`run`](Self::run) finds out.
    fn at_hand(&self, max_bytes: usize) -> Option<Within> {
        let id = self.partition.id;
        let (segment, next_base) = reading(&self.partition.view).segment_of(self.from)?;
        let open = self.shard.files.peek(id, segment.base)?;
        // Whoever holds the index may be reading for it.
        let position = open.index.try_lock().ok()?.place(self.from)?;
        let mut buffer = self.shard.buffers.take_filled(max_bytes.max(MIN_READ));
        let read = open.file.read_at_hand(position, &mut buffer).ok()?;
        buffer.truncate(read);
        let bytes = self.shard.buffers.lend(buffer);
        match split(&bytes, position, max_bytes, self.from, self.end(next_base)) {
            Split::Chunks(chunks) if !chunks.entries.is_empty() => {
                if let Ok(mut index) = open.index.try_lock() {
                    index.remember(chunks.next, chunks.position);
                }
                Some(self.served(chunks, max_bytes))
            }
            _ => None,
        }
    }

    fn run(&self, max_bytes: usize) -> Result<Within, ReadError> {
        let found = reading(&self.partition.view).segment_of(self.from);
        let Some((segment, next_base)) = found else { return Err(self.gone()) };
        match self.read_segment(segment, next_base, max_bytes) {
            Ok(outcome) => outcome,
            // Trimmed between the look and the read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.gone()),
            Err(error) => Err(self.storage(self.from, error.to_string())),
        }
    }

    /// Looks again, with nothing that was known of the segment: what was cut or trimmed meanwhile looks damaged too. What still does is
    /// told to the writer.
    fn again(&self, max_bytes: usize) -> Result<Within, ReadError> {
        let Self { shard, partition, from, first, .. } = *self;
        let rewritten = {
            let view = reading(&partition.view);
            if let Some((segment, _)) = view.segment_of(from) {
                shard.files.forget(partition.id, segment.base);
            }
            view.rewritten
        };
        // Looked at after the count: a cut in between raises that.
        let durable_end = partition.durable_end();
        if from >= durable_end {
            return Err(self.gone());
        }
        let read = Self { shard, partition, from, durable_end, first }.run(max_bytes);
        if let Err(ReadError::Damaged { offset, reason, .. }) = &read {
            let (id, offset, reason) = (partition.id, *offset, reason.clone());
            shard.mailbox.tell(Event::Damaged { id, rewritten, offset, reason });
        }
        read
    }

    fn read_segment(
        &self,
        segment: SegmentInfo,
        next_base: Option<u64>,
        max_bytes: usize,
    ) -> io::Result<Result<Within, ReadError>> {
        let id = self.partition.id;
        let open = self.shard.files.get(id, segment.base, &self.partition.dir.segment(segment.base))?;
        let position = match locked(&open.index).locate(&*open.file, self.from)? {
            Found::At(position) => position,
            Found::Beyond => {
                return Ok(Err(self.damaged(self.from, "the segment ends before it".to_owned(), next_base)));
            }
            Found::Damaged { offset, reason } => return Ok(Err(self.damaged(offset, reason, next_base))),
        };
        let end = self.end(next_base);
        let damaged = |reason: &str, behind| Ok(Err(self.damaged(self.from, reason.to_owned(), behind)));
        let mut wanted = max_bytes.max(MIN_READ);
        loop {
            let bytes = read_bytes(&*open.file, position, wanted, &self.shard.buffers)?;
            let len = bytes.len();
            match split(&bytes, position, max_bytes, self.from, end) {
                Split::Chunks(chunks) if chunks.entries.is_empty() => {
                    return damaged("there is no entry", next_base);
                }
                Split::Chunks(chunks) => {
                    locked(&open.index).remember(chunks.next, chunks.position);
                    return Ok(Ok(self.served(chunks, max_bytes)));
                }
                // The first entry alone is larger.
                Split::Short(needed) if self.first == FirstEntry::WithinBound && needed > max_bytes => {
                    return Ok(Ok(Within::Larger(needed)));
                }
                Split::Short(needed) if needed > len && len == wanted => wanted = needed,
                Split::Short(_) => return damaged("the file ends within an entry", next_base),
                Split::Bad { reason, next } => return damaged(&reason, next.or(next_base)),
            }
        }
    }

    /// Where a read of a segment ends that the one at `next_base` follows.
    fn end(&self, next_base: Option<u64>) -> u64 {
        next_base.unwrap_or(u64::MAX).min(self.durable_end)
    }

    fn served(&self, chunks: Chunks, max_bytes: usize) -> Within {
        let Chunks { entries, next, .. } = chunks;
        let outcome = ReadOutcome { entries, next, durable_end: self.durable_end };
        match self.first {
            FirstEntry::Whole => Within::Read(outcome),
            FirstEntry::WithinBound => outcome.within(max_bytes),
        }
    }

    fn gone(&self) -> ReadError {
        let start = reading(&self.partition.view).start;
        ReadError::OutOfRange { start, end: self.partition.durable_end() }
    }

    /// Said aloud once, by the writer.
    fn damaged(&self, offset: u64, reason: String, behind: Option<u64>) -> ReadError {
        if reading(&self.partition.view).lacking {
            return self.storage(offset, "what lies there is in the journal alone, for now".to_owned());
        }
        let behind = behind.filter(|behind| *behind > self.from && *behind < self.durable_end);
        ReadError::Damaged { offset, reason, behind }
    }

    fn storage(&self, offset: u64, reason: String) -> ReadError {
        let mut told = locked(&self.partition.failure_told);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            let topic = self.shard.topic_of(self.partition.id);
            tracing::warn!(topic = &*topic, partition = %self.partition.id, offset, reason, "cannot read the log");
        }
        ReadError::Storage { offset, reason }
    }
}

enum Split {
    Chunks(Chunks),
    /// So many bytes are needed for the first entry.
    Short(usize),
    /// The first thing is no entry, or not the one that should be here. Its headers may be sound, and say where the next one begins.
    Bad {
        reason: String,
        next: Option<u64>,
    },
}

/// Splits what was read at `position` into chunks of whole entries, which are checked: of at most `max_bytes`, but at least one entry,
/// the first one that with the offset `from`, and none at or beyond `end`. Bindings are left out: where one stands, a chunk ends.
fn split(bytes: &Bytes, position: u64, max_bytes: usize, from: u64, end: u64) -> Split {
    let mut entries = Vec::new();
    let (mut chunk, mut at, mut taken) = (0, 0, 0);
    let mut next = from;
    let close = |entries: &mut Vec<Bytes>, chunk: usize, at: usize| {
        if at > chunk {
            entries.push(bytes.slice(chunk..at));
        }
    };
    loop {
        let first = taken == 0;
        match parse(&bytes[at..]) {
            Item::Entry(view) if view.header.base_offset >= end => break,
            Item::Entry(view) => {
                let len = view.total_len;
                if !first && taken + len > max_bytes {
                    break;
                }
                if at + len > bytes.len() {
                    if first {
                        return Split::Short(at + len);
                    }
                    break;
                }
                if let Err(bad) = check(&bytes[at..at + len], &view, first, next) {
                    if first {
                        return bad;
                    }
                    break;
                }
                at += len;
                taken += len;
                next = view.next_offset();
            }
            Item::Binding(_) => {
                close(&mut entries, chunk, at);
                at += BINDING;
                chunk = at;
            }
            Item::Partial(len) if first => return Split::Short(at + len),
            Item::Bad(reason) if first => return Split::Bad { reason, next: None },
            Item::End | Item::Partial(_) | Item::Bad(_) => break,
        }
    }
    close(&mut entries, chunk, at);
    Split::Chunks(Chunks { entries, next, position: position + at as u64 })
}

/// Whether an entry is the one that holds the offset `expected`, and, unless it is the `first`, begins with it; and whether its batch is
/// what was written.
fn check(bytes: &[u8], view: &EntryView, first: bool, expected: u64) -> Result<(), Split> {
    let base = view.header.base_offset;
    if base > expected || view.next_offset() <= expected || !first && base != expected {
        return Err(Split::Bad { reason: format!("offset {base} where {expected} should be"), next: None });
    }
    let next = Some(view.next_offset());
    entry::check(bytes).map(drop).map_err(|error| Split::Bad { reason: error.to_string(), next })
}

fn read_bytes(file: &dyn DiskFile, position: u64, len: usize, buffers: &Buffers) -> io::Result<Bytes> {
    let mut buffer = buffers.take_filled(len);
    let read = read_full(file, position, &mut buffer)?;
    buffer.truncate(read);
    Ok(buffers.lend(buffer))
}

fn offset_at_blocking(shard: &ShardShared, partition: &PartitionShared, time: i64) -> Result<u64, ReadError> {
    let segments = reading(&partition.view).segments.clone();
    let failed = |offset, error: io::Error| ReadError::Storage { offset, reason: error.to_string() };
    let open = |segment: &SegmentInfo| {
        shard.files.get(partition.id, segment.base, &partition.dir.segment(segment.base))
    };
    // The last segment that begins before the time holds the offset, or the next one begins with it.
    let (mut low, mut high) = (0, segments.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let first = open(&segments[middle]).and_then(|open| locked(&open.index).first_time(&*open.file));
        match first {
            Ok(Some(first)) if first < time => low = middle + 1,
            Ok(_) => high = middle,
            // Trimmed meanwhile: what comes behind is still there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => low = middle + 1,
            Err(error) => return Err(failed(segments[middle].base, error)),
        }
    }
    let mut found = segments.get(low).map(|segment| segment.base);
    if let Some(before) = low.checked_sub(1) {
        let segment = segments[before];
        match open(&segment).and_then(|open| locked(&open.index).locate_time(&*open.file, time)) {
            Ok(offset) => found = offset.or(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(segment.base, error)),
        }
    }
    let start = reading(&partition.view).start;
    let end = partition.durable_end();
    Ok(found.unwrap_or(end).max(start).min(end))
}
