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
//! timestamp (modulo 2^64; 0 in the first record); varint key length + 1 (0 is a null key), key; varint value length,
//! value; varint header count, then for each header varint name length, name in UTF-8, varint value length, value. A
//! varint is as short as its value allows. A record holds no offset: the broker gives the batch one when it is stored.

mod builder;
mod crc;
mod error;
mod header;
mod lz4;
mod pool;
mod record;

use std::fmt;

use bytes::Bytes;

pub use builder::{BatchBuilder, RecordTooLarge};
pub use error::{BatchError, Lz4Problem, RecordProblem};
pub use header::{BATCH_HEADER, BatchHeader, Codec, MAGIC};
pub use pool::BufferPool;
pub use record::{Header, HeaderRefs, Headers, Record, RecordRef, Records};

use crate::limits::Limits;

/// A batch whose header and CRC were checked; its records too, if it came from [`validate`](Self::validate) or from a
/// [`BatchBuilder`].
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    header: BatchHeader,
}

impl Batch {
    /// Checks everything that a consumer relies on: the header, the CRC, that every record is well formed, that there
    /// are exactly as many as the header counts and not a byte more, and the timestamps; inside LZ4 too.
    ///
    /// Allocates nothing for uncompressed records; for compressed ones the content, for the time of the check, of at
    /// most `limits.decompressed_batch` bytes.
    pub fn validate(bytes: Bytes, limits: &Limits) -> Result<Self, BatchError> {
        // By length first: the CRC of what is refused anyway need not be computed.
        if bytes.len() > limits.batch() as usize {
            return Err(BatchError::TooLarge { limit: limits.batch() });
        }
        let batch = Self::from_stored(bytes)?;
        match batch.header.codec {
            Codec::None => record::check(batch.plain_records(*limits)?, &batch.header)?,
            Codec::Lz4 => {
                let records = lz4::decompress(batch.stored_records(), limits.decompressed_batch)?;
                record::check(&records, &batch.header)?;
            }
        }
        Ok(batch)
    }

    /// Checks the header and the CRC: enough for a batch that the broker validated before it was stored or sent.
    pub fn from_stored(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        if header.length as usize != bytes.len() {
            return Err(BatchError::WrongLength { declared: header.length, actual: bytes.len() });
        }
        header.check_crc(&bytes)?;
        Ok(Self { bytes, header })
    }

    /// A batch whose header, length and CRC were checked where it lay.
    pub(crate) fn checked(bytes: Bytes, header: BatchHeader) -> Self {
        Self { bytes, header }
    }

    /// The fields of the header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch as it travels and is stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The batch as it travels and is stored.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The same records under another producer's number: for a batch that was refused, not for one that may be stored.
    ///
    /// ```
    /// use sealstream_protocol::{Limits, batch::{Batch, BatchBuilder, Codec}};
    /// use uuid::Uuid;
    ///
    /// let mut builder = BatchBuilder::new(Codec::Lz4);
    /// builder.push(5, None, &[7; 1000], &[])?;
    /// let batch = builder.build(Uuid::from_u128(1), 4);
    /// let other = Batch::validate(batch.renumbered(Uuid::from_u128(2), 0).into_bytes(), &Limits::default())?;
    /// assert_eq!((other.header().producer_id, other.header().sequence), (Uuid::from_u128(2), 0));
    /// assert_eq!(batch.bytes()[64..], other.bytes()[64..]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn renumbered(&self, producer_id: uuid::Uuid, sequence: u64) -> Self {
        let mut header = BatchHeader { crc: 0, producer_id, sequence, ..self.header };
        let mut bytes = Vec::with_capacity(self.bytes.len());
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(self.stored_records());
        header.seal(&mut bytes);
        Self { bytes: Bytes::from(bytes), header }
    }

    /// The records, as slices of the batch's bytes or, if it is compressed, of its decompressed content.
    ///
    /// Checks each record as it is reached, so that it also serves for a batch that was not validated.
    pub fn records(&self, limits: &Limits) -> Result<Records, BatchError> {
        let records = match self.header.codec {
            Codec::None => self.bytes.slice_ref(self.plain_records(*limits)?),
            Codec::Lz4 => Bytes::from(lz4::decompress(self.stored_records(), limits.decompressed_batch)?),
        };
        Ok(Records::new(records, self.header))
    }

    /// What follows the header.
    fn stored_records(&self) -> &[u8] {
        self.bytes.get(BATCH_HEADER..).unwrap_or_default()
    }

    fn plain_records(&self, limits: Limits) -> Result<&[u8], BatchError> {
        let records = self.stored_records();
        if records.len() > limits.decompressed_batch as usize {
            return Err(BatchError::TooLarge { limit: limits.decompressed_batch });
        }
        Ok(records)
    }
}

impl fmt::Debug for Batch {
    /// The header alone: the records may be secret, and are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Batch").field(&self.header).finish()
    }
}
