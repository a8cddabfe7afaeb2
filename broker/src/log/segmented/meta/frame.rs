//! How records lie in a metadata log and in a snapshot of it: in frames, each of which counts whole or not at all.
//!
//! ```text
//!  0  magic "SLM1"                8  length of the records u32     20  highest sequence known durable u64
//!  4  CRC-32C u32 of bytes 8..   12  sequence u64                  28  records
//! ```
//!
//! Integers are little-endian. A snapshot ends with a frame without records.

use bytes::{Buf, BufMut};

use super::record::MetaRecord;

const MAGIC: [u8; 4] = *b"SLM1";

/// The length of a frame without records.
pub(super) const FRAME_HEADER: usize = 28;

/// A frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) records: Vec<MetaRecord>,
    /// How many bytes it takes.
    pub(super) len: usize,
}

/// What bytes begin with.
#[derive(Debug)]
pub(super) enum Parsed {
    Frame(Frame),
    /// Zeros, or nothing.
    End,
    /// Torn or damaged.
    Bad,
    /// A frame, by its checksum, with records that this version does not know.
    Unknown,
}

/// Appends a frame of these records.
pub(super) fn put_frame(out: &mut Vec<u8>, sequence: u64, durable: u64, records: &[MetaRecord]) {
    let start = out.len();
    out.put_slice(&MAGIC);
    out.put_bytes(0, 8);
    out.put_u64_le(sequence);
    out.put_u64_le(durable);
    for record in records {
        record.encode(out);
    }
    let len =
        u32::try_from(out.len() - start - FRAME_HEADER).expect("a commit's metadata is far below 4 GiB");
    out[start + 8..start + 12].copy_from_slice(&len.to_le_bytes());
    let crc = crc32c::crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the frame that `bytes` begin with.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let Some(head) = bytes.first_chunk::<FRAME_HEADER>() else {
        return if bytes.iter().all(|byte| *byte == 0) { Parsed::End } else { Parsed::Bad };
    };
    if head[..4] == [0; 4] {
        return if bytes.iter().all(|byte| *byte == 0) { Parsed::End } else { Parsed::Bad };
    }
    let mut rest = &head[4..];
    let (crc, len) = (rest.get_u32_le(), rest.get_u32_le() as usize);
    let (sequence, durable) = (rest.get_u64_le(), rest.get_u64_le());
    let Some(body) = bytes.get(8..FRAME_HEADER + len) else { return Parsed::Bad };
    if head[..4] != MAGIC || crc32c::crc32c(body) != crc {
        return Parsed::Bad;
    }
    let mut body = &body[FRAME_HEADER - 8..];
    let mut records = Vec::new();
    while !body.is_empty() {
        match MetaRecord::decode(&mut body) {
            Some(record) => records.push(record),
            None => return Parsed::Unknown,
        }
    }
    Parsed::Frame(Frame { sequence, durable, records, len: FRAME_HEADER + len })
}

/// The highest sequence that any whole frame in `bytes` knows to be durable, wherever it begins; 0 if there is none.
pub(super) fn last_durable(bytes: &[u8]) -> u64 {
    let starts = (0..bytes.len()).filter(|at| bytes[*at] == MAGIC[0] && bytes[*at..].starts_with(&MAGIC));
    let frames = starts.filter_map(|at| match parse(&bytes[at..]) {
        Parsed::Frame(frame) => Some(frame.durable),
        _ => None,
    });
    frames.max().unwrap_or(0)
}
