//! What a partition saves now and then, so that recovery reads the tail only: what it knows of its producers at a place that is synced.
//!
//! ```text
//!  0  magic "SLC1"                      24  position in the segment u64
//!  4  CRC-32C u32 of bytes 8..          32  append time of the entry before i64
//!  8  offset u64                        40  the producers
//! 16  base offset of the segment u64
//! ```
//!
//! Integers are little-endian.

use std::io;

use bytes::{Buf, BufMut};

use super::layout::PartitionDir;
use crate::log::disk::Disk;
use crate::log::producers::ProducerTable;

const MAGIC: [u8; 4] = *b"SLC1";
const HEADER: usize = 40;

/// 4,096 producers take 5.4 MB, and more where batches were not durable yet.
const MAX_CHECKPOINT: usize = 64 << 20;

/// A place in a partition's log: between two entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The offset of the next record.
    pub(super) offset: u64,
    /// The segment that it lies in, by base offset.
    pub(super) base: u64,
    /// Where in that segment; 0 if the segment is not there yet.
    pub(super) position: u64,
}

impl Mark {
    /// The place at `offset`, where no segment was begun.
    pub(super) fn unwritten(offset: u64) -> Self {
        Self { offset, base: offset, position: 0 }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.offset);
        out.put_u64_le(self.base);
        out.put_u64_le(self.position);
    }

    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            offset: bytes.try_get_u64_le().ok()?,
            base: bytes.try_get_u64_le().ok()?,
            position: bytes.try_get_u64_le().ok()?,
        })
    }
}

/// A partition at a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkpoint {
    /// The place.
    pub(super) mark: Mark,
    /// The append time of the entry before it.
    pub(super) last_time: i64,
    /// What is known of the producers there.
    pub(super) producers: ProducerTable,
}

/// A checkpoint as bytes.
pub(super) fn encode(mark: Mark, last_time: i64, producers: &ProducerTable) -> Vec<u8> {
    let table = producers.encode();
    let mut bytes = Vec::with_capacity(HEADER + table.len());
    bytes.put_slice(&MAGIC);
    bytes.put_u32_le(0);
    mark.encode(&mut bytes);
    bytes.put_i64_le(last_time);
    bytes.put_slice(&table);
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the checkpoint of a partition. `None`, with a line in the log, if it is damaged: recovery then reads more.
pub(super) fn load(disk: &dyn Disk, dir: &PartitionDir) -> io::Result<Option<Checkpoint>> {
    let bytes = match disk.read(&dir.checkpoint(), MAX_CHECKPOINT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let checkpoint = decode(&bytes);
    if checkpoint.is_none() {
        tracing::warn!(file = %dir.checkpoint().display(), "a checkpoint is damaged: the whole log is read instead");
    }
    Ok(checkpoint)
}

fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    if rest.try_get_u32_le().ok()? != crc32c::crc32c(rest) {
        return None;
    }
    let mark = Mark::decode(&mut rest)?;
    let last_time = rest.try_get_i64_le().ok()?;
    Some(Checkpoint { mark, last_time, producers: ProducerTable::decode(rest).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_as_it_went_out_and_not_after_a_flipped_bit() {
        let mark = Mark { offset: 70, base: 60, position: 4_711 };
        let mut bytes = encode(mark, -5, &ProducerTable::new());
        let found = decode(&bytes).unwrap();
        assert_eq!((found.mark, found.last_time), (mark, -5));
        for at in 0..bytes.len() {
            bytes[at] ^= 4;
            assert!(decode(&bytes).is_none(), "byte {at}");
            bytes[at] ^= 4;
        }
        assert!(decode(&bytes[..20]).is_none());
    }
}
