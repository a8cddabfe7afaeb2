//! What an engine has done, in numbers: whoever watches it reads them, nobody waits for them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an engine has done since it was opened, over all shards. Each number only grows; together they are of about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Rounds of a writer that wrote a batch.
    pub rounds: u64,
    /// Batches that were written.
    pub batches: u64,
    /// Bytes of batches that were written, with their entries' headers.
    pub bytes: u64,
    /// Syncs of files that batches lie in, of segments and journals: what an acknowledgement may wait for.
    pub syncs: u64,
    /// Records of a journal, each by one sync: wide rounds, and commits that touch several files.
    pub journal_records: u64,
    /// Syncs of metadata logs.
    pub metadata_syncs: u64,
    /// Whether the disk was found full, and its reserve is in use: no batch is taken.
    pub reserve_in_use: bool,
}

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
