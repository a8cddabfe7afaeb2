//! One reading of one partition, from a position on: what its driver and whoever takes its records both know of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use sealstream_protocol::message::consume::Membership;
use uuid::Uuid;

use super::options::{OnDiverged, OnOutOfRange};

/// What all partitions of a topic have in common for one consumer.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Uuid,
    /// Whether to stop at the end that the partition had when it was first subscribed to.
    pub(crate) until_end: bool,
    pub(crate) on_out_of_range: OnOutOfRange,
    pub(crate) on_diverged: OnDiverged,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Unique within its consumer, and never used again: what still arrives of an earlier reading is told by it.
    pub(crate) id: u64,
    pub(crate) terms: Arc<Terms>,
    pub(crate) partition: u32,
    /// As which member of a group the partition is read.
    pub(crate) membership: Option<Membership>,
    /// Where the records start, once the broker has said.
    start: OnceLock<u64>,
    taken_back: AtomicBool,
}

impl Reading {
    pub(crate) fn new(id: u64, terms: Arc<Terms>, partition: u32, membership: Option<Membership>) -> Self {
        Self { id, terms, partition, membership, start: OnceLock::new(), taken_back: AtomicBool::new(false) }
    }

    /// Ends it: nothing of it is handed out any more. The drivers must be told that there are news.
    pub(crate) fn take_back(&self) {
        self.taken_back.store(true, Ordering::Release);
    }

    pub(crate) fn is_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::Acquire)
    }

    /// The first offset, if the broker has said which that is.
    pub(crate) fn start(&self) -> Option<u64> {
        self.start.get().copied()
    }

    pub(super) fn started(&self, offset: u64) {
        // Only the first subscription says where it started.
        let _ = self.start.set(offset);
    }
}
