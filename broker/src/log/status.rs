//! What an engine shows of itself to whoever watches it.

use std::time::Duration;

use super::engine::PartitionId;
use crate::meter::TimeCounts;

/// Room besides the reserve, below which a disk is full: segments grow by up to 64 MiB at a time, and by less where there is less; the largest batch
/// has 16 MiB.
pub const LEAST_ROOM: u64 = 16 << 20;

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
    /// Partitions that had not been closed cleanly when they were opened.
    pub recovered: u64,
    /// Bytes of entries that were read and checked to open them.
    pub recovered_bytes: u64,
    /// How long syncs took.
    pub sync_times: SyncTimes,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// How long ago the last of them failed.
    pub sync_failed_ago: Option<Duration>,
    /// Whether the disk was found full, and its reserve is in use: no batch is taken.
    pub reserve_in_use: bool,
}

/// How long syncs took, by what was synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// The segments of a partition, with the names of new ones.
    pub segments: TimeCounts,
    /// A record of a journal, with writing it.
    pub journals: TimeCounts,
    /// Metadata logs.
    pub metadata: TimeCounts,
}

/// What a shard keeps in memory of its newest batches, for readers at the tail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Bytes of batches, with their entries' headers, over all partitions.
    pub bytes: u64,
    /// Bytes that there may be. 0: the shard keeps none.
    pub limit: u64,
    /// The partitions that have some, each with its bytes, in no order. They add up to `bytes`.
    pub partitions: Vec<(PartitionId, u64)>,
}
