//! How a round lies in the journal: as one record, which counts whole or not at all.
//!
//! ```text
//! record    0 magic "SLJ1"                4 CRC-32C u32 of bytes 8..      8 length of the items u64
//!          16 generation u64             24 sequence u64                 32 items
//! item      0 kind u8
//!   1 entries: topic 16, partition u32, incarnation u64, segment u64, position u64, end offset u64, length u64, bytes
//!   2 metadata: length u64, records
//! ```
//!
//! Integers are little-endian.

use bytes::{Buf, BufMut};
use sealstream_protocol::entry::EntryHeader;
use uuid::Uuid;

use super::super::meta::MetaRecord;
use super::super::segment;
use crate::log::engine::PartitionId;

const MAGIC: [u8; 4] = *b"SLJ1";

/// The length of a record without items.
const RECORD_HEADER: usize = 32;

const ENTRIES: u8 = 1;
const METADATA: u8 = 2;

/// Entries of one partition, as they lie in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    pub(in super::super) id: PartitionId,
    pub(in super::super) incarnation: u64,
    /// The segment, by base offset.
    pub(in super::super) segment: u64,
    pub(in super::super) position: u64,
    /// The offset after the last of them.
    pub(in super::super) end: u64,
}

/// What a record holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Entries(Place, &'a [u8]),
    Metadata(Vec<MetaRecord>),
}

/// A record.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) generation: u64,
    pub(super) sequence: u64,
    pub(super) items: Vec<Item<'a>>,
    pub(super) len: usize,
}

/// Writes a record.
pub(in super::super) struct RecordBuilder(Vec<u8>);

impl RecordBuilder {
    /// A record for which `bytes` of items are expected.
    pub(in super::super) fn new(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(RECORD_HEADER + bytes);
        out.put_bytes(0, RECORD_HEADER);
        Self(out)
    }

    /// How long the record is so far.
    pub(in super::super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Adds entries: `parts` one behind the other.
    pub(in super::super) fn entries<'a>(&mut self, place: &Place, parts: impl Iterator<Item = &'a [u8]>) {
        let out = &mut self.0;
        out.put_u8(ENTRIES);
        out.put_slice(place.id.topic.as_bytes());
        out.put_u32_le(place.id.index);
        for field in [place.incarnation, place.segment, place.position, place.end, 0] {
            out.put_u64_le(field);
        }
        let start = out.len();
        parts.for_each(|part| out.put_slice(part));
        let len = (out.len() - start) as u64;
        out[start - 8..start].copy_from_slice(&len.to_le_bytes());
    }

    /// Adds changes of the metadata.
    pub(in super::super) fn metadata(&mut self, records: &[MetaRecord]) {
        self.0.put_u8(METADATA);
        self.0.put_u64_le(0);
        let start = self.0.len();
        for record in records {
            record.encode(&mut self.0);
        }
        let len = (self.0.len() - start) as u64;
        self.0[start - 8..start].copy_from_slice(&len.to_le_bytes());
    }

    /// The record as bytes.
    pub(in super::super) fn finish(mut self, generation: u64, sequence: u64) -> Vec<u8> {
        let len = (self.0.len() - RECORD_HEADER) as u64;
        self.0[..4].copy_from_slice(&MAGIC);
        self.0[8..16].copy_from_slice(&len.to_le_bytes());
        self.0[16..24].copy_from_slice(&generation.to_le_bytes());
        self.0[24..32].copy_from_slice(&sequence.to_le_bytes());
        let crc = crc32c::crc32c(&self.0[8..]);
        self.0[4..8].copy_from_slice(&crc.to_le_bytes());
        self.0
    }
}

/// Reads the record that `bytes` begin with; `None` if there is none, or not the whole of one.
pub(super) fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let mut head = bytes.get(..RECORD_HEADER)?.strip_prefix(&MAGIC)?;
    let (crc, len) = (head.get_u32_le(), head.get_u64_le());
    let (generation, sequence) = (head.get_u64_le(), head.get_u64_le());
    let len = RECORD_HEADER.checked_add(usize::try_from(len).ok()?)?;
    let bytes = bytes.get(..len)?;
    if crc32c::crc32c(&bytes[8..]) != crc {
        return None;
    }
    let mut rest = &bytes[RECORD_HEADER..];
    let mut items = Vec::new();
    while !rest.is_empty() {
        items.push(item(&mut rest)?);
    }
    Some(Record { generation, sequence, items, len })
}

/// The records of a half, in order: as far as they continue each other.
pub(super) fn chain(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    let mut before = None;
    std::iter::from_fn(move || {
        let record = parse(rest)?;
        let number = (record.generation, record.sequence);
        // What an earlier use of the half left behind does not continue the sequence.
        if before.is_some_and(|(generation, sequence)| number != (generation, sequence + 1)) {
            return None;
        }
        before = Some(number);
        rest = &rest[record.len..];
        Some(record)
    })
}

/// Puts halves in the order in which they were written.
pub(super) fn in_order(halves: &mut [Vec<u8>]) {
    halves.sort_by_key(|bytes| parse(bytes).map(|record| record.generation));
}

/// The entries of a partition from one offset to another; `None` if some are missing.
pub(super) fn collect(
    halves: &mut [Vec<u8>],
    id: PartitionId,
    incarnation: u64,
    from: u64,
    to: u64,
) -> Option<Vec<u8>> {
    in_order(halves);
    let mut found = Vec::new();
    let mut next = from;
    for item in halves.iter().flat_map(|half| chain(half)).flat_map(|record| record.items) {
        if let Item::Entries(place, bytes) = item
            && (place.id, place.incarnation) == (id, incarnation)
            && next < to
            && first_entry(bytes)?.base_offset == next
        {
            found.extend_from_slice(bytes);
            next = place.end;
        }
    }
    (next == to).then_some(found)
}

/// The header of the first entry in a run of them.
pub(super) fn first_entry(mut bytes: &[u8]) -> Option<EntryHeader> {
    loop {
        match segment::parse(bytes) {
            segment::Item::Entry(view) => return Some(view.header),
            segment::Item::Binding(_) => bytes = &bytes[segment::BINDING..],
            _ => return None,
        }
    }
}

fn item<'a>(bytes: &mut &'a [u8]) -> Option<Item<'a>> {
    match bytes.try_get_u8().ok()? {
        ENTRIES => {
            let topic = Uuid::from_slice(take(bytes, 16)?).ok()?;
            let id = PartitionId { topic, index: bytes.try_get_u32_le().ok()? };
            let incarnation = bytes.try_get_u64_le().ok()?;
            let segment = bytes.try_get_u64_le().ok()?;
            let position = bytes.try_get_u64_le().ok()?;
            let end = bytes.try_get_u64_le().ok()?;
            let len = bytes.try_get_u64_le().ok()?;
            Some(Item::Entries(Place { id, incarnation, segment, position, end }, take(bytes, len)?))
        }
        METADATA => {
            let len = bytes.try_get_u64_le().ok()?;
            let mut records = take(bytes, len)?;
            let mut found = Vec::new();
            while !records.is_empty() {
                found.push(MetaRecord::decode(&mut records)?);
            }
            Some(Item::Metadata(found))
        }
        _ => None,
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went_out_and_not_from_a_part_of_it_or_after_a_flipped_bit() {
        let id = PartitionId { topic: Uuid::from_u128(5), index: 6 };
        let place = Place { id, incarnation: 1, segment: 2, position: 3, end: 4 };
        let records = vec![MetaRecord::Owner(3), MetaRecord::Versions(9)];
        let mut builder = RecordBuilder::new(10);
        builder.entries(&place, [&b"header"[..], b"batch"].into_iter());
        builder.metadata(&records);
        let mut bytes = builder.finish(7, 8);
        let record = parse(&bytes).unwrap();
        assert_eq!((record.generation, record.sequence, record.len), (7, 8, bytes.len()));
        assert_eq!(record.items, [Item::Entries(place, b"headerbatch"), Item::Metadata(records)]);
        for at in 0..bytes.len() {
            assert!(parse(&bytes[..at]).is_none());
            bytes[at] ^= 1;
            assert!(parse(&bytes).is_none(), "byte {at}");
            bytes[at] ^= 1;
        }
    }
}
