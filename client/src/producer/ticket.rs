//! What a batch is on its way: a ticket from its first record to its end, full before it is sent, settled at last.

use std::sync::Arc;

use sealstream_protocol::batch::BatchBuilder;
use tokio::time::Instant;

use super::delivery::{Outcome, Receipt};

/// What identifies a batch from its first record to its end.
#[derive(Debug)]
pub(super) struct Ticket {
    /// The number of its first record: unique in the producer, and rising from batch to batch.
    pub(super) first: u64,
    pub(super) receipt: Arc<Receipt>,
    /// How many records it has.
    pub(super) records: u32,
    /// What it takes of the window.
    pub(super) bytes: usize,
    /// When it fails if it is not settled.
    pub(super) deadline: Instant,
}

/// How a batch ended.
#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) ticket: Ticket,
    pub(super) outcome: Outcome,
}

/// A batch that is filled and not built yet: its sequence is not known before it is sent.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) ticket: Ticket,
    pub(super) builder: BatchBuilder,
}
