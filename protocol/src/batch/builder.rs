//! Builds batches: records are encoded once, behind room for the header, where they stay.

use bytes::{BufMut, Bytes};
use uuid::Uuid;

use super::header::{BATCH_HEADER, BatchHeader, Codec};
use super::pool::BufferPool;
use super::{Batch, lz4};
use crate::limits::Limits;
use crate::wire::{put_varint, varint_len, zigzag};

/// The record does not fit into the batch any more. The batch is as it was before.
///
/// If [`room`](Self::room) is less than [`capacity`](Self::capacity), build what is there and push again; otherwise the
/// record is larger than the broker's limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of {size} bytes as encoded does not fit: the batch has room for {room} of {capacity} bytes"
)]
#[non_exhaustive]
pub struct RecordTooLarge {
    /// The record as encoded, in bytes.
    pub size: usize,
    /// What the batch has left, in bytes.
    pub room: usize,
    /// What an empty batch has, in bytes.
    pub capacity: usize,
}

/// Collects records into a batch.
///
/// ```
/// use sealstream_protocol::{Limits, batch::{Batch, BatchBuilder, Codec}};
///
/// let mut builder = BatchBuilder::new(Codec::None);
/// builder.push(1_700_000_000_000, Some(b"key"), b"value", &[("trace", b"1")])?;
/// let batch = builder.build(uuid::Uuid::from_u128(7), 0);
/// let record = batch.records(&Limits::default())?.next().unwrap()?;
/// assert_eq!(record.value, "value");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Codec,
    capacity: usize,
    /// Room for the header, then records; empty before the first.
    buffer: Vec<u8>,
    /// How long the last batch was before compression: the next one is likely to be as long.
    expected: usize,
    /// Where buffers come from and go to.
    pool: Option<BufferPool>,
    /// The CRC of the records, once the batch is sealed.
    records_crc: Option<u32>,
    count: u32,
    first_timestamp: i64,
    last_timestamp: i64,
}

impl BatchBuilder {
    /// A builder of batches that fit the protocol's own limits.
    pub fn new(codec: Codec) -> Self {
        Self::with_limits(codec, &Limits::default())
    }

    /// A builder of batches that a peer with these limits takes.
    pub fn with_limits(codec: Codec, limits: &Limits) -> Self {
        // Compressed or not: a batch that compression does not shrink must fit a frame as it is.
        let framed = (limits.batch() as usize).saturating_sub(BATCH_HEADER);
        let capacity = framed.min(limits.decompressed_batch as usize);
        Self {
            codec,
            capacity,
            buffer: Vec::new(),
            expected: 0,
            pool: None,
            records_crc: None,
            count: 0,
            first_timestamp: 0,
            last_timestamp: 0,
        }
    }

    /// The first batch is likely to be so long before compression, in bytes: room for it is made at once. Later ones are
    /// expected to be as long as the one before.
    #[must_use]
    pub fn expecting(mut self, bytes: usize) -> Self {
        self.expected = bytes.min(self.capacity + BATCH_HEADER);
        self
    }

    /// Takes buffers from this pool, to which they return when their batches are gone.
    #[must_use]
    pub fn pooled(mut self, pool: BufferPool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Does now what can be done before the batch's number is known: the CRC of records that are not to be compressed, while
    /// they are in the cache of whoever has written them. Records that are pushed later undo it.
    pub fn seal(&mut self) {
        if self.codec == Codec::None && !self.is_empty() {
            self.records_crc = Some(crc32c::crc32c(&self.buffer[BATCH_HEADER..]));
        }
    }

    /// Adds a record. The timestamp is in milliseconds since the Unix epoch; no key differs from an empty one.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &[u8])],
    ) -> Result<(), RecordTooLarge> {
        let first = if self.is_empty() { timestamp_ms } else { self.first_timestamp };
        let delta = zigzag(timestamp_ms.wrapping_sub(first));
        let body = body_len(delta, key, value, headers);
        let size = varint_len(body as u64).saturating_add(body);
        let room = self.capacity - self.buffer.len().saturating_sub(BATCH_HEADER);
        if size > room {
            return Err(RecordTooLarge { size, room, capacity: self.capacity });
        }
        if self.is_empty() {
            self.begin(size);
            self.first_timestamp = timestamp_ms;
        }
        self.records_crc = None;
        self.buffer.reserve(size);
        let out = &mut self.buffer;
        put_varint(out, body as u64);
        put_varint(out, delta);
        match key {
            None => out.put_u8(0),
            Some(key) => {
                put_varint(out, key.len() as u64 + 1);
                out.extend_from_slice(key);
            }
        }
        put_run(out, value);
        put_varint(out, headers.len() as u64);
        for (name, value) in headers {
            put_run(out, name.as_bytes());
            put_run(out, value);
        }
        self.last_timestamp = timestamp_ms;
        self.count += 1;
        Ok(())
    }

    /// Makes room for a batch whose first record has so many bytes.
    fn begin(&mut self, size: usize) {
        if self.buffer.capacity() == 0
            && let Some(buffer) = self.pool.as_ref().and_then(BufferPool::take)
        {
            self.buffer = buffer;
        }
        // A sixteenth more than the last one: a batch that is a little longer would otherwise be copied to grow.
        let expected = self.expected + self.expected / 16;
        self.buffer.reserve_exact(expected.max(BATCH_HEADER + size));
        self.buffer.resize(BATCH_HEADER, 0);
    }

    /// How many records were pushed since the last batch.
    pub fn record_count(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The same as [`record_count`](Self::record_count).
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// How long the batch is so far before compression, in bytes with its header; 0 without records.
    pub fn encoded_len(&self) -> usize {
        self.buffer.len()
    }

    /// Ends the batch and starts the next one. Records that LZ4 does not make smaller are left uncompressed.
    ///
    /// The batch owns its bytes alone and keeps at most an eighth more than it needs; what is worth keeping for the
    /// next one stays here.
    ///
    /// # Panics
    ///
    /// If there are no records, or the producer id is nil: neither is a batch.
    pub fn build(&mut self, producer_id: Uuid, sequence: u64) -> Batch {
        assert!(!self.is_empty(), "a batch holds at least one record");
        assert!(!producer_id.is_nil(), "a producer id is not nil");
        self.expected = self.buffer.len();
        let records_crc = self.records_crc.take();
        let (codec, mut bytes) = self.take_bytes();
        let mut header = BatchHeader {
            length: u32::try_from(bytes.len()).expect("the capacity is far below 4 GiB"),
            crc: 0,
            count: self.count,
            last_offset_delta: self.count - 1,
            first_timestamp: self.first_timestamp,
            last_timestamp: self.last_timestamp,
            codec,
            producer_id,
            sequence,
        };
        bytes[..BATCH_HEADER].copy_from_slice(&header.encode());
        match records_crc {
            Some(records_crc) => header.seal_with(&mut bytes, records_crc),
            None => header.seal(&mut bytes),
        }
        self.count = 0;
        Batch { bytes: self.own(bytes), header }
    }

    /// The bytes, in a buffer that is not much larger than they are.
    fn own(&mut self, mut bytes: Vec<u8>) -> Bytes {
        let oversized = bytes.capacity() - bytes.len() > bytes.len() / 8;
        match &self.pool {
            Some(pool) if !oversized => pool.lend(bytes),
            Some(pool) if self.buffer.capacity() == 0 && pool.takes(&bytes) => {
                // A few bytes of a large buffer, which serves again.
                let exact = Bytes::copy_from_slice(&bytes);
                bytes.clear();
                self.buffer = bytes;
                exact
            }
            _ => {
                if oversized {
                    bytes.shrink_to_fit();
                }
                Bytes::from(bytes)
            }
        }
    }

    /// The records behind room for the header, compressed if that makes them smaller; the buffer is empty after.
    fn take_bytes(&mut self) -> (Codec, Vec<u8>) {
        if self.codec == Codec::Lz4 {
            let mut compressed = Vec::with_capacity(self.buffer.len() / 2);
            compressed.resize(BATCH_HEADER, 0);
            lz4::compress(&self.buffer[BATCH_HEADER..], &mut compressed);
            if compressed.len() < self.buffer.len() {
                self.buffer.clear();
                return (Codec::Lz4, compressed);
            }
        }
        (Codec::None, std::mem::take(&mut self.buffer))
    }
}

/// How long a record is after its length field; saturates far beyond any capacity.
fn body_len(delta: u64, key: Option<&[u8]>, value: &[u8], headers: &[(&str, &[u8])]) -> usize {
    let key_len = key.map_or(1, |key| varint_len(key.len() as u64 + 1).saturating_add(key.len()));
    let mut len = varint_len(delta)
        .saturating_add(key_len)
        .saturating_add(run_len(value))
        .saturating_add(varint_len(headers.len() as u64));
    for (name, value) in headers {
        len = len.saturating_add(run_len(name.as_bytes())).saturating_add(run_len(value));
    }
    len
}

fn run_len(bytes: &[u8]) -> usize {
    varint_len(bytes.len() as u64).saturating_add(bytes.len())
}

fn put_run(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
