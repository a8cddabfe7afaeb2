//! A producer table as bytes, for snapshots beside the log.
//!
//! ```text
//!  0  magic "SLP1" (the 1 is the version)
//!  4  number of producers u32
//!  8  producers, in the order of their ids: id 16, identity u64, next sequence u64,
//!     number of remembered batches u32, each: base offset u64, epoch u32, append time i64
//!  …  CRC-32C u32 of all before
//! ```
//!
//! Integers are little-endian.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::{Buf, BufMut};
use uuid::Uuid;

use super::{MAX_PRODUCERS, Producer, ProducerTable, Stored};

const MAGIC: &[u8; 4] = b"SLP1";

/// Id, identity, next sequence, number of batches.
const PRODUCER: usize = 16 + 8 + 8 + 4;

/// Base offset, epoch, append time.
const STORED: usize = 8 + 4 + 8;

/// Why bytes are not a snapshot of a producer table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It does not begin as a snapshot of a version known here.
    #[error("not a producer snapshot of a known version")]
    UnknownVersion,
    /// Its checksum is not that of its content.
    #[error("the producer snapshot is damaged")]
    Damaged,
    /// Its checksum holds, its content contradicts itself.
    #[error("the producer snapshot contradicts itself")]
    Inconsistent,
}

impl ProducerTable {
    /// The table as bytes: the same for equal tables. 12 bytes, and 56 to 1,316 for each producer: 5.4 MB at most,
    /// but for batches that are not durable yet.
    pub fn encode(&self) -> Vec<u8> {
        let mut ids: Vec<&Uuid> = self.producers.keys().collect();
        ids.sort_unstable();
        let mut out = Vec::with_capacity(12 + ids.len() * (PRODUCER + STORED));
        out.put_slice(MAGIC);
        out.put_u32_le(count(ids.len()));
        for id in ids {
            let producer = &self.producers[id];
            out.put_slice(id.as_bytes());
            out.put_u64_le(producer.identity);
            out.put_u64_le(producer.next);
            out.put_u32_le(count(producer.recent.len()));
            for stored in &producer.recent {
                out.put_u64_le(stored.base_offset);
                out.put_u32_le(stored.epoch);
                out.put_i64_le(stored.time);
            }
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out
    }

    /// The table that [`Self::encode`] was given. Allocates no more than a small multiple of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        if !bytes.starts_with(MAGIC) {
            return Err(SnapshotError::UnknownVersion);
        }
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Err(SnapshotError::Damaged) };
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(SnapshotError::Damaged);
        }
        decode_body(&body[MAGIC.len().min(body.len())..]).ok_or(SnapshotError::Inconsistent)
    }
}

fn decode_body(mut body: &[u8]) -> Option<ProducerTable> {
    let producers = usize::try_from(body.try_get_u32_le().ok()?).ok()?;
    if producers > MAX_PRODUCERS || producers > body.len() / PRODUCER {
        return None;
    }
    let mut table = ProducerTable { producers: HashMap::with_capacity(producers), idle: BTreeSet::new() };
    for _ in 0..producers {
        let (id, producer) = decode_producer(&mut body)?;
        table.idle.insert((producer.last_used(), id));
        if table.producers.insert(id, producer).is_some() {
            return None;
        }
    }
    body.is_empty().then_some(table)
}

fn decode_producer(body: &mut &[u8]) -> Option<(Uuid, Producer)> {
    let mut id = [0; 16];
    body.try_copy_to_slice(&mut id).ok()?;
    let identity = body.try_get_u64_le().ok()?;
    let next = body.try_get_u64_le().ok()?;
    let batches = body.try_get_u32_le().ok()?;
    let len = usize::try_from(batches).ok()?;
    if batches == 0 || u64::from(batches) > next || len > body.len() / STORED {
        return None;
    }
    let mut recent = VecDeque::with_capacity(len);
    for _ in 0..len {
        let base_offset = body.try_get_u64_le().ok()?;
        let epoch = body.try_get_u32_le().ok()?;
        let time = body.try_get_i64_le().ok()?;
        recent.push_back(Stored { base_offset, epoch, time });
    }
    Some((Uuid::from_bytes(id), Producer { identity, next, recent }))
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("tables hold thousands of producers, producers some batches in flight")
}
