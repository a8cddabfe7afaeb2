//! What can be wrong with a batch.

use crate::message::{Fault, FaultCode};
use crate::wire::Flaw;

/// Why bytes are not a batch. Always the fault of whoever made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than the header has.
    #[error("a batch of {len} bytes is shorter than its header")]
    TooShort {
        /// How many there are.
        len: usize,
    },
    /// The first four bytes are not `SLB1`.
    #[error("not a batch: it does not begin with SLB1")]
    BadMagic,
    /// The length field and the bytes disagree.
    #[error("the batch says that it has {declared} bytes and has {actual}")]
    WrongLength {
        /// The field.
        declared: u32,
        /// The bytes.
        actual: usize,
    },
    /// The bytes are not those that were sent.
    #[error(
        "the batch's CRC-32C is {declared:08x} and its bytes give {computed:08x}: it was damaged on the way"
    )]
    WrongCrc {
        /// The field.
        declared: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A flag or reserved byte that this version does not know.
    #[error("the batch sets flags that version 1 does not define")]
    UnknownFlags,
    /// A codec that this version does not know.
    #[error("the batch's codec {0} is unknown: 0 is none, 1 is LZ4")]
    UnknownCodec(u8),
    /// No records.
    #[error("the batch holds no records")]
    Empty,
    /// The last offset delta is not the count less one.
    #[error("the batch's last offset delta is {declared} with {count} records")]
    WrongLastOffset {
        /// The field.
        declared: u32,
        /// The record count.
        count: u32,
    },
    /// The producer id is all zero.
    #[error("the batch's producer id is nil")]
    NilProducer,
    /// The batch, or its records after decompression, exceed the limit.
    #[error("the batch is larger than the limit of {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: u32,
    },
    /// The records are not one whole LZ4 frame.
    #[error("the batch's LZ4 frame is broken: {0}")]
    Lz4(Lz4Problem),
    /// A record is not well formed.
    #[error("record {index} of the batch is broken: {problem}")]
    Record {
        /// Which, from 0.
        index: u32,
        /// What is wrong.
        problem: RecordProblem,
    },
    /// The records end before the count is reached.
    #[error("the batch says that it holds {declared} records and holds {found}")]
    TooFewRecords {
        /// The field.
        declared: u32,
        /// The records.
        found: u32,
    },
    /// Bytes follow the last record.
    #[error("{bytes} bytes follow the last of the batch's {declared} records")]
    TrailingBytes {
        /// The record count.
        declared: u32,
        /// How many bytes.
        bytes: usize,
    },
    /// The first record's timestamp is not the header's.
    #[error("the first record's timestamp is not the batch's first timestamp")]
    WrongFirstTimestamp,
    /// The last record's timestamp is not the header's.
    #[error("the last record's timestamp is {actual}, the batch says {declared}")]
    WrongLastTimestamp {
        /// The field.
        declared: i64,
        /// The record's.
        actual: i64,
    },
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordProblem {
    /// A field goes on beyond the record's end.
    #[error("it ends early")]
    EndsEarly,
    /// A varint is longer than it need be.
    #[error("a varint is malformed")]
    Varint,
    /// Bytes are left after the last header.
    #[error("bytes follow its last header")]
    TrailingBytes,
    /// A header's name is not UTF-8.
    #[error("a header's name is not UTF-8")]
    HeaderName,
}

impl From<Flaw> for RecordProblem {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::EndsEarly => Self::EndsEarly,
            Flaw::Varint => Self::Varint,
        }
    }
}

/// What is wrong with an LZ4 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lz4Problem {
    /// It stops before its end mark.
    #[error("it ends early")]
    EndsEarly,
    /// It does not begin with the magic 184D2204: skippable and legacy frames are not allowed.
    #[error("it does not begin with the magic of an LZ4 frame")]
    BadMagic,
    /// Version, reserved bits or block size that the format does not define.
    #[error("its descriptor is not one that LZ4 defines")]
    Descriptor,
    /// It needs a dictionary.
    #[error("it needs a dictionary")]
    Dictionary,
    /// A checksum of the frame does not match.
    #[error("a checksum does not match")]
    Checksum,
    /// A block is larger than the descriptor allows.
    #[error("a block is larger than its descriptor allows")]
    BlockTooLarge,
    /// A block cannot be decompressed.
    #[error("a block cannot be decompressed")]
    Block,
    /// The content has another size than the descriptor says.
    #[error("its content has another size than it says")]
    ContentSize,
    /// Bytes follow the frame: exactly one frame is allowed.
    #[error("bytes follow it")]
    TrailingBytes,
}

impl From<&BatchError> for Fault {
    fn from(error: &BatchError) -> Self {
        let code = match error {
            BatchError::TooLarge { .. } => FaultCode::TooLarge,
            _ => FaultCode::InvalidBatch,
        };
        Self::new(code, error.to_string())
    }
}
