//! What a segment file holds, and how it is walked.
//!
//! ```text
//! segment header   0 magic "SLS1"   4 CRC-32C u32 of bytes 8..48   8 base offset u64   16 topic 16   32 partition u32
//!                  36 log epoch u32, when it was begun   40 zeros
//! then, again and again
//!   an entry       as docs/protocol.md has it
//!   a binding      0 magic "SLI1"   4 CRC-32C u32 of bytes 8..32   8 producer id 16   24 identity u64
//! then zeros       room that was reserved and is not used yet
//! ```
//!
//! Integers are little-endian. A binding stands before the first entry of a producer that the partition did not know: entries
//! do not say whose they are, and recovery must. One with a nil producer says that the entry behind it is the broker's own
//! append, though it bears the id of a producer that the partition knows.

use std::io;

use bytes::Buf;
use sealstream_protocol::entry::{self, EntryView, PEEK};
use uuid::Uuid;

use super::epochs::EpochHistory;
use crate::log::disk::{DiskFile, read_full};
use crate::log::engine::PartitionId;

/// The length of a segment's header, in bytes.
pub(super) const SEGMENT_HEADER: u64 = 48;

/// The length of a binding, in bytes.
pub(super) const BINDING: usize = 32;

const SEGMENT_MAGIC: [u8; 4] = *b"SLS1";
const BINDING_MAGIC: [u8; 4] = *b"SLI1";
const ENTRY_MAGIC: [u8; 4] = entry::MAGIC;

/// How much a walk over headers reads at once: some dozens of small entries; of large ones all but the header is skipped.
const HEADERS_BLOCK: usize = 16 << 10;

/// How much a walk over everything reads at once.
const FULL_BLOCK: usize = 1 << 20;

/// The header of a segment that is begun in this log epoch.
pub(super) fn segment_header(id: PartitionId, base: u64, epoch: u32) -> [u8; 48] {
    let mut header = [0; 48];
    header[..4].copy_from_slice(&SEGMENT_MAGIC);
    header[8..16].copy_from_slice(&base.to_le_bytes());
    header[16..32].copy_from_slice(id.topic.as_bytes());
    header[32..36].copy_from_slice(&id.index.to_le_bytes());
    header[36..40].copy_from_slice(&epoch.to_le_bytes());
    let crc = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The log epoch that a segment was begun in; `None` if `file` does not begin as the segment of this partition and base must.
pub(super) fn epoch_of(file: &dyn DiskFile, id: PartitionId, base: u64) -> io::Result<Option<u32>> {
    let mut found = [0; 48];
    read_full(file, 0, &mut found)?;
    let mut epoch = &found[36..40];
    let epoch = epoch.get_u32_le();
    Ok((found == segment_header(id, base, epoch)).then_some(epoch))
}

/// Whether the log does not go through a segment: it was begun in another log epoch than its offset belongs to, for the log was cut
/// below it, and removing it failed, or was undone by a power cut. Or it has no header and nothing but zeros behind, for beginning it failed.
pub(super) fn is_stale(
    file: &dyn DiskFile,
    id: PartitionId,
    base: u64,
    epochs: &EpochHistory,
) -> io::Result<bool> {
    let begun = match epoch_of(file, id, base)? {
        Some(epoch) => (base, epoch),
        // A power cut may take the header and leave entries.
        None => match last_words(file, 0)? {
            Some(words) => words.first,
            None => return Ok(matches!(Walk::new(file, SEGMENT_HEADER, Depth::Full)?.next()?, Step::End)),
        },
    };
    let (offset, epoch) = begun;
    Ok(epochs.at(offset).is_some_and(|expected| expected != epoch))
}

/// Whose a producer id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) producer: Uuid,
    pub(super) identity: u64,
}

impl Binding {
    /// Of an entry whose sequence is nobody's.
    pub(super) const OWN: Self = Self { producer: Uuid::nil(), identity: 0 };

    /// Whether it is [`Self::OWN`].
    pub(super) fn is_own(&self) -> bool {
        self.producer.is_nil()
    }

    pub(super) fn encode(&self) -> [u8; BINDING] {
        let mut bytes = [0; BINDING];
        bytes[..4].copy_from_slice(&BINDING_MAGIC);
        bytes[8..24].copy_from_slice(self.producer.as_bytes());
        bytes[24..].copy_from_slice(&self.identity.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; BINDING]) -> Option<Self> {
        let mut rest = &bytes[4..];
        if rest.get_u32_le() != crc32c::crc32c(&bytes[8..]) {
            return None;
        }
        let producer = Uuid::from_slice(&rest[..16]).ok()?;
        rest.advance(16);
        Some(Self { producer, identity: rest.get_u64_le() })
    }
}

/// What a segment, or a run of bytes out of one, holds at a place.
#[derive(Debug)]
pub(super) enum Item {
    /// An entry, of `view.total_len` bytes.
    Entry(EntryView),
    /// A binding, of [`BINDING`] bytes.
    Binding(Binding),
    /// Zeros, or nothing: the segment ends here.
    End,
    /// Only the beginning of something that takes so many bytes.
    Partial(usize),
    /// Nothing that was ever written here.
    Bad(String),
}

/// Reads what `bytes` begin with, by the headers alone.
pub(super) fn parse(bytes: &[u8]) -> Item {
    let Some(magic) = bytes.first_chunk::<4>() else {
        return if bytes.iter().all(|byte| *byte == 0) { Item::End } else { Item::Partial(4) };
    };
    if *magic == [0; 4] {
        return Item::End;
    }
    if *magic == BINDING_MAGIC {
        return match bytes.first_chunk::<BINDING>() {
            None => Item::Partial(BINDING),
            Some(bytes) => match Binding::decode(bytes) {
                Some(binding) => Item::Binding(binding),
                None => Item::Bad("a binding with a wrong checksum".to_owned()),
            },
        };
    }
    match entry::peek(bytes) {
        Ok(view) => Item::Entry(view),
        Err(error) if error.is_incomplete() => Item::Partial(PEEK),
        Err(error) => Item::Bad(error.to_string()),
    }
}

/// How closely a walk looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// At the headers of entries and their checksums.
    Headers,
    /// At everything: the batches' checksums too, and that nothing but zeros follows the end.
    Full,
}

/// A step of a walk.
#[derive(Debug)]
pub(super) enum Step {
    /// An entry.
    Entry {
        /// Where it begins.
        position: u64,
        /// Its headers.
        view: EntryView,
    },
    /// A binding.
    Binding(Binding),
    /// The end.
    End,
    /// Something that cannot be read on from.
    Bad(String),
}

/// Goes through a segment from one item to the next. Memory: a block of 16 KiB or 1 MiB, or the largest entry.
pub(super) struct Walk<'a> {
    file: &'a dyn DiskFile,
    depth: Depth,
    /// How long the file was when the walk began.
    limit: u64,
    position: u64,
    block: Vec<u8>,
    block_at: u64,
    filled: usize,
}

impl<'a> Walk<'a> {
    /// A walk from `position`, where an item must begin.
    pub(super) fn new(file: &'a dyn DiskFile, position: u64, depth: Depth) -> io::Result<Self> {
        let limit = file.len()?;
        Ok(Self { file, depth, limit, position, block: Vec::new(), block_at: 0, filled: 0 })
    }

    /// Where the next item begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next item. After an end or a bad one it is the same again.
    pub(super) fn next(&mut self) -> io::Result<Step> {
        match parse(self.window(PEEK)?) {
            Item::Entry(view) => self.entry(view),
            Item::Binding(binding) => {
                self.position += BINDING as u64;
                Ok(Step::Binding(binding))
            }
            Item::End if self.depth == Depth::Full && !self.only_zeros_from(self.position)? => {
                Ok(Step::Bad("zeros, with other bytes behind them".to_owned()))
            }
            Item::End => Ok(Step::End),
            Item::Partial(_) => Ok(Step::Bad("the file ends within an entry".to_owned())),
            Item::Bad(reason) => Ok(Step::Bad(reason)),
        }
    }

    fn entry(&mut self, view: EntryView) -> io::Result<Step> {
        let position = self.position;
        if self.limit.saturating_sub(position) < view.total_len as u64 {
            return Ok(Step::Bad("the file ends within an entry".to_owned()));
        }
        if self.depth == Depth::Full
            && let Err(error) = entry::check(self.window(view.total_len)?)
        {
            return Ok(Step::Bad(error.to_string()));
        }
        self.position += view.total_len as u64;
        Ok(Step::Entry { position, view })
    }

    /// The bytes of the entry that the last step of a full walk found at `position`.
    pub(super) fn bytes_of(&self, position: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(position.checked_sub(self.block_at)?).ok()?;
        self.block[..self.filled].get(from..from.checked_add(len)?)
    }

    /// At least `needed` bytes from the position on, or all there are.
    fn window(&mut self, needed: usize) -> io::Result<&[u8]> {
        let rest = usize::try_from(self.limit.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let needed = needed.min(rest);
        let offset = self.position.checked_sub(self.block_at).and_then(|offset| usize::try_from(offset).ok());
        let have = offset.and_then(|offset| self.filled.checked_sub(offset)).unwrap_or(0);
        if have < needed {
            let block = if self.depth == Depth::Full { FULL_BLOCK } else { HEADERS_BLOCK };
            let len = needed.max(block.min(rest));
            if self.block.len() < len {
                self.block.resize(len, 0);
            }
            self.block_at = self.position;
            self.filled = 0;
            self.filled = read_full(self.file, self.position, &mut self.block[..len])?;
            return Ok(&self.block[..self.filled]);
        }
        let offset = offset.unwrap_or(0);
        Ok(&self.block[offset.min(self.filled)..self.filled])
    }

    fn only_zeros_from(&self, from: u64) -> io::Result<bool> {
        let mut block = vec![0; FULL_BLOCK];
        let mut at = from;
        while at < self.limit {
            let read = self.file.read_at(at, &mut block)?;
            if read == 0 {
                break;
            }
            if block[..read].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += read as u64;
        }
        Ok(true)
    }
}

/// The highest durable end that any entry at or behind `from` speaks of, and the end of such entries: looks for entries at
/// every byte, as after damage nobody knows where they begin. `None` if there is none.
pub(super) fn last_words(file: &dyn DiskFile, from: u64) -> io::Result<Option<LastWords>> {
    let limit = file.len()?;
    let mut found: Option<LastWords> = None;
    let mut block = vec![0; FULL_BLOCK + PEEK];
    let mut at = from;
    while at < limit {
        let filled = read_full(file, at, &mut block)?;
        let starts = if filled == block.len() { FULL_BLOCK } else { filled };
        for start in candidates(&block[..filled], starts) {
            if let Ok(view) = entry::peek(&block[start..filled]) {
                let first = (view.header.base_offset, view.header.log_epoch);
                let words = found.get_or_insert(LastWords { first, durable_end: 0, end: 0 });
                words.durable_end = words.durable_end.max(view.header.durable_end);
                words.end = words.end.max(view.next_offset());
            }
        }
        at += starts as u64;
        if starts == 0 {
            break;
        }
    }
    Ok(found)
}

/// What entries behind a damaged place say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastWords {
    /// The offset and the log epoch of the first of them.
    pub(super) first: (u64, u32),
    /// The highest durable end in their headers.
    pub(super) durable_end: u64,
    /// The offset after the last of them.
    pub(super) end: u64,
}

/// Where an entry may begin, among the first `starts` bytes.
fn candidates(bytes: &[u8], starts: usize) -> impl Iterator<Item = usize> + '_ {
    // Page by page, as most of what is looked through is zeros.
    (0..starts).step_by(4096).flat_map(move |page| {
        let end = (page + 4096).min(starts);
        let empty = bytes[page..end].iter().all(|byte| *byte == 0);
        let range = if empty { 0..0 } else { page..end };
        range
            .filter(move |start| bytes[*start] == ENTRY_MAGIC[0] && bytes[*start..].starts_with(&ENTRY_MAGIC))
    })
}
