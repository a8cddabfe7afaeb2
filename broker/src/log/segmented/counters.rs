//! What an engine has done, in numbers: whoever watches it reads them, nobody waits for them.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::shared::locked;
use crate::log::LogCounters;
use crate::log::status::SyncTimes;
use crate::meter::{Count, Times};

/// Where they are counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) rounds: Count,
    pub(super) batches: Count,
    pub(super) bytes: Count,
    pub(super) syncs: Count,
    pub(super) journal_records: Count,
    pub(super) metadata_syncs: Count,
    pub(super) recovered: Count,
    pub(super) recovered_bytes: Count,
    segment_times: Times,
    journal_times: Times,
    metadata_times: Times,
    sync_failures: Count,
    sync_failed: Mutex<Option<Instant>>,
}

/// What is synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Synced {
    Segments,
    Journal,
    Metadata,
}

impl Counters {
    /// A record went to a journal, which syncs it.
    pub(super) fn journaled(&self) {
        self.journal_records.add(1);
        self.syncs.add(1);
    }

    /// Times a sync, and counts it if it fails.
    pub(super) fn timed(&self, what: Synced, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let begun = Instant::now();
        let result = sync();
        let times = match what {
            Synced::Segments => &self.segment_times,
            Synced::Journal => &self.journal_times,
            Synced::Metadata => &self.metadata_times,
        };
        times.add(begun.elapsed());
        if result.is_err() {
            self.sync_failures.add(1);
            *locked(&self.sync_failed) = Some(Instant::now());
        }
        result
    }

    /// How long ago the last sync failed; `None` if none did.
    fn failed_ago(&self) -> Option<Duration> {
        locked(&self.sync_failed).map(|at| at.elapsed())
    }

    pub(super) fn snapshot(&self, reserve_in_use: bool) -> LogCounters {
        LogCounters {
            rounds: self.rounds.get(),
            batches: self.batches.get(),
            bytes: self.bytes.get(),
            syncs: self.syncs.get(),
            journal_records: self.journal_records.get(),
            metadata_syncs: self.metadata_syncs.get(),
            recovered: self.recovered.get(),
            recovered_bytes: self.recovered_bytes.get(),
            sync_times: SyncTimes {
                segments: self.segment_times.read(),
                journals: self.journal_times.read(),
                metadata: self.metadata_times.read(),
            },
            sync_failures: self.sync_failures.get(),
            sync_failed_ago: self.failed_ago(),
            reserve_in_use,
        }
    }
}
