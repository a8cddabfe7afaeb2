//! What an engine has done, in numbers: whoever watches it reads them, nobody waits for them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::LogCounters;

/// Where they are counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) rounds: Count,
    pub(super) batches: Count,
    pub(super) bytes: Count,
    pub(super) syncs: Count,
    pub(super) journal_records: Count,
    pub(super) metadata_syncs: Count,
}

/// A number that grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// A record went to a journal, which syncs it.
    pub(super) fn journaled(&self) {
        self.journal_records.add(1);
        self.syncs.add(1);
    }

    pub(super) fn snapshot(&self, reserve_in_use: bool) -> LogCounters {
        LogCounters {
            rounds: self.rounds.get(),
            batches: self.batches.get(),
            bytes: self.bytes.get(),
            syncs: self.syncs.get(),
            journal_records: self.journal_records.get(),
            metadata_syncs: self.metadata_syncs.get(),
            reserve_in_use,
        }
    }
}
