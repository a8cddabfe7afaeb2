//! How records become batches: a producer's options, once its topic and what the broker accepts are known.

use std::time::Duration;

use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BATCH_HEADER, Codec};

/// How records become batches, and how many of them may be about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) partitions: u32,
    pub(super) codec: Codec,
    /// What the broker accepts.
    pub(super) limits: Limits,
    /// A batch is full at so many bytes, header included.
    pub(super) batch_bytes: usize,
    /// A batch is full at so many records.
    pub(super) batch_records: u32,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
    /// Bytes that may be about, encoded, from `push` until settled.
    pub(super) window_bytes: usize,
    /// Batches that may be about.
    pub(super) window_batches: usize,
}

impl Plan {
    /// The largest record that a batch of its own can hold, by its bound.
    pub(super) fn record_limit(&self) -> usize {
        /// What a frame needs besides the batch, and what LZ4 may add: see `BatchBuilder`.
        const MARGIN: usize = 1024 + BATCH_HEADER;
        (self.limits.frame as usize).saturating_sub(MARGIN).min(self.limits.decompressed_batch as usize)
    }
}
