//! The 64 bytes that every batch begins with.

use uuid::Uuid;

use super::crc;
use super::error::BatchError;
use crate::wire::{Flaw, Reader};

/// The length of a batch's header, in bytes.
pub const BATCH_HEADER: usize = 64;

/// What a batch begins with: `SLB1`.
pub const MAGIC: [u8; 4] = *b"SLB1";

/// From here to its end a batch is covered by its CRC.
pub(super) const CRC_FROM: usize = 12;

/// How the records of a batch are compressed, as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// By the LZ4 frame format: exactly one frame, without a dictionary.
    Lz4 = 1,
}

impl Codec {
    /// `none` or `lz4`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
        }
    }
}

/// The fields of a batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The whole batch, in bytes.
    pub length: u32,
    /// CRC-32C of the bytes from 12 on.
    pub crc: u32,
    /// How many records there are: at least 1.
    pub count: u32,
    /// `count - 1`: the offset of the last record, less the first one's.
    pub last_offset_delta: u32,
    /// The first record's timestamp, in milliseconds since the Unix epoch.
    pub first_timestamp: i64,
    /// The last record's timestamp, in milliseconds since the Unix epoch.
    pub last_timestamp: i64,
    /// How the records are compressed.
    pub codec: Codec,
    /// Whose batch it is: never nil.
    pub producer_id: Uuid,
    /// Counts the producer's batches for the partition, from 0.
    pub sequence: u64,
}

impl BatchHeader {
    /// Reads the header that `bytes` begin with and checks every field that can be checked without the rest.
    ///
    /// Neither the CRC nor the number of bytes is compared with anything: see [`Batch::from_stored`](super::Batch::from_stored).
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut reader = Reader::new(bytes.get(..BATCH_HEADER).unwrap_or_default());
        let too_short = |_: Flaw| BatchError::TooShort { len: bytes.len() };
        if reader.array::<4>().map_err(too_short)? != MAGIC {
            return Err(BatchError::BadMagic);
        }
        let header = Self::fields(&mut reader).map_err(too_short)??;
        if (header.length as usize) < BATCH_HEADER {
            return Err(BatchError::TooShort { len: header.length as usize });
        }
        if header.count == 0 {
            return Err(BatchError::Empty);
        }
        if header.last_offset_delta != header.count - 1 {
            let declared = header.last_offset_delta;
            return Err(BatchError::WrongLastOffset { declared, count: header.count });
        }
        if header.producer_id.is_nil() {
            return Err(BatchError::NilProducer);
        }
        Ok(header)
    }

    fn fields(reader: &mut Reader<'_>) -> Result<Result<Self, BatchError>, Flaw> {
        let length = reader.u32()?;
        let crc = reader.u32()?;
        let count = reader.u32()?;
        let last_offset_delta = reader.u32()?;
        let first_timestamp = reader.i64()?;
        let last_timestamp = reader.i64()?;
        let flags = reader.u16()?;
        let codec = reader.u8()?;
        let reserved = reader.u8()?;
        let producer_id = Uuid::from_bytes(reader.array()?);
        let sequence = reader.u64()?;
        if flags != 0 || reserved != 0 {
            return Ok(Err(BatchError::UnknownFlags));
        }
        let codec = match codec {
            0 => Codec::None,
            1 => Codec::Lz4,
            unknown => return Ok(Err(BatchError::UnknownCodec(unknown))),
        };
        Ok(Ok(Self {
            length,
            crc,
            count,
            last_offset_delta,
            first_timestamp,
            last_timestamp,
            codec,
            producer_id,
            sequence,
        }))
    }

    /// Compares the CRC with that of `batch`, all of its bytes.
    pub(crate) fn check_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(batch.get(CRC_FROM..).unwrap_or_default());
        if computed == self.crc { Ok(()) } else { Err(BatchError::WrongCrc { declared: self.crc, computed }) }
    }

    /// Computes the CRC of a batch that begins with this header, and writes it into both.
    pub(super) fn seal(&mut self, batch: &mut [u8]) {
        let (head, covered) = batch.split_at_mut(CRC_FROM);
        self.crc = crc32c::crc32c(covered);
        head[8..].copy_from_slice(&self.crc.to_le_bytes());
    }

    /// The same, where the CRC of what follows the header is known.
    pub(super) fn seal_with(&mut self, batch: &mut [u8], records_crc: u32) {
        let head = crc32c::crc32c(&batch[CRC_FROM..BATCH_HEADER]);
        self.crc = crc::combine(head, records_crc, batch.len() - BATCH_HEADER);
        batch[8..CRC_FROM].copy_from_slice(&self.crc.to_le_bytes());
    }

    /// The header as it stands in the batch.
    pub(super) fn encode(&self) -> [u8; BATCH_HEADER] {
        let mut bytes = [0; BATCH_HEADER];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.crc.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.last_offset_delta.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.first_timestamp.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.last_timestamp.to_le_bytes());
        bytes[38] = self.codec as u8;
        bytes[40..56].copy_from_slice(self.producer_id.as_bytes());
        bytes[56..64].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }
}
