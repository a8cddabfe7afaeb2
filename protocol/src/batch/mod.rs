//! Record batches: one immutable byte string from the producer to the disk to the consumer.
//!
//! ```text
//!  0  magic "SLB1"                    36  flags u16, must be 0
//!  4  length u32, the whole batch     38  codec u8: 0 none, 1 LZ4 frame format
//!  8  CRC-32C u32 of bytes 12..       39  reserved u8, must be 0
//! 12  record count u32, at least 1    40  producer id, 16 bytes, not nil
//! 16  last offset delta u32           56  sequence u64
//! 20  first timestamp i64, ms         64  records, compressed as a whole by the codec
//! 28  last timestamp i64, ms
//! ```
//!
//! Integers are little-endian. A record: varint length of what follows; zigzag varint timestamp delta to the first
//! timestamp; varint key length + 1 (0 is a null key), key; varint value length, value; varint header count, then for
//! each header varint name length, name, varint value length, value. It holds no offset: the broker gives the batch
//! one when it is stored.

use bytes::Bytes;

/// A batch whose framing was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
}

impl Batch {
    /// The batch as it travels and is stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
