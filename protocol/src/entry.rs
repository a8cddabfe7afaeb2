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
