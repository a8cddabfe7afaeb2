//! The durable log: partitions of entries, kept in shards by an engine.
//!
//! ```text
//! LogEngine ── open_shard(id, owner_epoch) ──► Shard       the owner of a shard fences the one before it
//! Shard     ── commit(ops) ──► outcomes, and a future of durability
//!           ── read, watch, trim, delete
//! ```

pub mod clock;
#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub mod disk;
pub mod engine;
pub mod memory;
pub mod producers;
pub mod segmented;
pub mod status;

pub use engine::{
    At, CommitError, Committed, Durability, DurabilityError, LogEngine, OffsetCommit, Op, OpenShardError,
    Outcome, Partition, PartitionId, PartitionOptions, ReadError, ReadOutcome, Refusal, Shard, ShardId,
    Source, Versioned, Within,
};
pub use status::{CacheUse, LEAST_ROOM, LogCounters, SyncTimes};
