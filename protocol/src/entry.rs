//! Entries: what the disk holds and a Consume session carries. A header of the broker's own, then the untouched batch.
//!
//! ```text
//!  0  magic "SLE1"
//!  4  CRC-32C u32 of bytes 8..40 and of the batch's first 12 bytes (magic, length, CRC): binds header and batch
//!  8  length u32, the whole entry: 40 + the batch's length
//! 12  log epoch u32
//! 16  base offset u64
//! 24  append time i64, ms since the Unix epoch: never below the previous entry's
//! 32  durable end u64 when the entry was written
//! 40  batch
//! ```
//!
//! The header's CRC covers the batch's, so that a batch under another's header is found out.

use std::fmt;

use bytes::{Buf, Bytes};

use crate::batch::{BATCH_HEADER, Batch, BatchError, BatchHeader};
use crate::wire::{Flaw, Reader};

/// The length of an entry's header, in bytes.
pub const ENTRY_HEADER: usize = 40;

/// What an entry begins with: `SLE1`.
pub const MAGIC: [u8; 4] = *b"SLE1";

/// How many bytes [`peek`] needs: both headers.
pub const PEEK: usize = ENTRY_HEADER + BATCH_HEADER;

/// From here to the batch the header is covered by its CRC.
const CRC_FROM: usize = 8;

/// The batch's magic, length and CRC are covered by the entry's CRC.
const BOUND: usize = 12;

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// What is there may be the beginning of an entry; so many bytes are needed to tell more.
    #[error("an entry goes on beyond the bytes that are there: it needs {needed}")]
    Incomplete {
        /// From the entry's first byte, not more than are missing for sure.
        needed: usize,
    },
    /// The first four bytes are not `SLE1`: no entry begins here.
    #[error("not an entry: it does not begin with SLE1")]
    BadMagic,
    /// The header is damaged, or belongs to another batch.
    #[error("the entry's CRC-32C is {declared:08x} and its bytes give {computed:08x}")]
    WrongCrc {
        /// The field.
        declared: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The lengths of entry and batch do not fit each other.
    #[error("an entry of {entry} bytes cannot hold a batch of {batch}")]
    WrongLength {
        /// The entry's.
        entry: u32,
        /// The batch's.
        batch: u32,
    },
    /// The offset of the last record would exceed 64 bits.
    #[error("the entry's offsets exceed 64 bits")]
    OffsetOverflow,
    /// The batch is broken.
    #[error("the entry's batch is broken: {}", Stored(.0))]
    Batch(#[from] BatchError),
}

/// A batch that was stored: what is said of one that arrives from a producer would mislead.
struct Stored<'a>(&'a BatchError);

impl fmt::Display for Stored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            BatchError::WrongCrc { declared, computed } => {
                write!(f, "its CRC-32C is {declared:08x} and its bytes give {computed:08x}")
            }
            other => other.fmt(f),
        }
    }
}

impl EntryError {
    /// Whether more bytes could make it an entry: what is there is too short, not wrong.
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Self::Incomplete { .. })
    }
}

/// What the broker says of a batch that it has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// The epoch of the log when the batch was appended.
    pub log_epoch: u32,
    /// The offset of the batch's first record.
    pub base_offset: u64,
    /// In milliseconds since the Unix epoch: never below the previous entry's.
    pub append_time: i64,
    /// The durable end of the log when the entry was written.
    pub durable_end: u64,
}

impl EntryHeader {
    /// The bytes that precede `batch` as this header's entry.
    ///
    /// # Panics
    ///
    /// If entry and batch together exceed 4 GiB, which no batch within the protocol's limits does.
    pub fn encode(&self, batch: &Batch) -> [u8; ENTRY_HEADER] {
        let length = batch.header().length.checked_add(ENTRY_HEADER_U32).expect("a batch is below 4 GiB");
        let mut bytes = [0; ENTRY_HEADER];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.log_epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.append_time.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable_end.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[CRC_FROM..]), &batch.bytes()[..BOUND]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// [`ENTRY_HEADER`] as the length field counts.
const ENTRY_HEADER_U32: u32 = 40;

/// Both headers of an entry, checked, without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// The broker's header.
    pub header: EntryHeader,
    /// The whole entry, in bytes: the next one begins so many bytes on.
    pub total_len: usize,
    /// The batch's header. Its own CRC, which covers the records, was not checked: see [`check`].
    pub batch_header: BatchHeader,
}

impl EntryView {
    /// The offset after the batch's last record.
    pub fn next_offset(&self) -> u64 {
        self.header.base_offset + u64::from(self.batch_header.count)
    }
}

/// Reads the headers of the entry that `bytes` begin with, of which it needs [`PEEK`], and checks them against the
/// header's CRC; what the batch's CRC covers is not looked at.
///
/// Tells what is too short ([`EntryError::Incomplete`]) from what is wrong (all else).
pub fn peek(bytes: &[u8]) -> Result<EntryView, EntryError> {
    let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    if !MAGIC.starts_with(magic) {
        return Err(EntryError::BadMagic);
    }
    let incomplete = |_: Flaw| EntryError::Incomplete { needed: PEEK };
    let both: &[u8; PEEK] = bytes.first_chunk().ok_or(EntryError::Incomplete { needed: PEEK })?;
    let (own, batch) = both.split_at(ENTRY_HEADER);
    let mut reader = Reader::new(own);
    reader.take(MAGIC.len()).map_err(incomplete)?;
    let declared = reader.u32().map_err(incomplete)?;
    let length = reader.u32().map_err(incomplete)?;
    let header = EntryHeader {
        log_epoch: reader.u32().map_err(incomplete)?,
        base_offset: reader.u64().map_err(incomplete)?,
        append_time: reader.i64().map_err(incomplete)?,
        durable_end: reader.u64().map_err(incomplete)?,
    };
    let computed = crc32c::crc32c(both.get(CRC_FROM..ENTRY_HEADER + BOUND).unwrap_or_default());
    if computed != declared {
        return Err(EntryError::WrongCrc { declared, computed });
    }
    let batch_header = BatchHeader::parse(batch)?;
    if batch_header.length.checked_add(ENTRY_HEADER_U32) != Some(length) {
        return Err(EntryError::WrongLength { entry: length, batch: batch_header.length });
    }
    if header.base_offset.checked_add(u64::from(batch_header.count)).is_none() {
        return Err(EntryError::OffsetOverflow);
    }
    Ok(EntryView { header, total_len: length as usize, batch_header })
}

/// Reads the entry that `bytes` begin with and checks all of it but the form of its records: both headers and both
/// CRCs.
pub fn check(bytes: &[u8]) -> Result<EntryView, EntryError> {
    let view = peek(bytes)?;
    let entry = bytes.get(..view.total_len).ok_or(EntryError::Incomplete { needed: view.total_len })?;
    view.batch_header.check_crc(entry.get(ENTRY_HEADER..).unwrap_or_default())?;
    Ok(view)
}

/// An entry: a batch and where it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The broker's header.
    pub header: EntryHeader,
    /// The batch.
    pub batch: Batch,
}

impl Entry {
    /// Takes the first entry off `bytes` without copying it, all but the form of its records checked; `None` if there
    /// are no bytes. After an error `bytes` are as they were.
    pub fn parse(bytes: &mut Bytes) -> Result<Option<Self>, EntryError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let view = check(bytes)?;
        let mut entry = bytes.split_to(view.total_len);
        entry.advance(ENTRY_HEADER);
        Ok(Some(Self { header: view.header, batch: Batch::checked(entry, view.batch_header) }))
    }

    /// The offset after the batch's last record.
    pub fn next_offset(&self) -> u64 {
        self.header.base_offset + u64::from(self.batch.header().count)
    }
}

/// The entries of a Data frame's payload, or of any run of whole entries. After an error it is at its end.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use sealstream_protocol::{batch::{BatchBuilder, Codec}, entry::{Entries, EntryHeader}};
///
/// let mut builder = BatchBuilder::new(Codec::None);
/// builder.push(0, None, b"value", &[])?;
/// let batch = builder.build(uuid::Uuid::from_u128(7), 0);
/// let header = EntryHeader { log_epoch: 1, base_offset: 40, append_time: 0, durable_end: 40 };
/// let mut bytes = BytesMut::from(&header.encode(&batch)[..]);
/// bytes.extend_from_slice(batch.bytes());
///
/// let entry = Entries::new(bytes.freeze()).next().unwrap()?;
/// assert_eq!((entry.batch, entry.header), (batch, header));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Entries {
    rest: Bytes,
}

impl Entries {
    /// Of `bytes`, which should be whole entries: a last one that is cut is an error.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = Entry::parse(&mut self.rest);
        if entry.is_err() {
            self.rest.clear();
        }
        entry.transpose()
    }
}

impl std::iter::FusedIterator for Entries {}
