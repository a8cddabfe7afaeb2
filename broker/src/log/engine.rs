//! The seam between the broker and how it keeps its log.
//!
//! An engine holds shards. A shard holds whole partitions, the offsets that groups have committed, and small
//! versioned metadata. What is committed in one call is atomic within the shard.

use std::fmt;
use std::io;
use std::time::Instant;

use bytes::Bytes;
use sealstream_protocol::batch::Batch;
use sealstream_transport::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

pub use sealstream_protocol::message::admin::Durability;

use super::status::{CacheUse, LogCounters};

/// A shard's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The shard that holds topic metadata.
    pub const METADATA: Self = Self(0);

    /// The shard of a partition: XXH3-64(topic ‖ partition as u32 little-endian, seed 0) mod `shards`.
    pub fn of_partition(partition: &PartitionId, shards: u32) -> Self {
        let mut key = [0; 20];
        key[..16].copy_from_slice(partition.topic.as_bytes());
        key[16..].copy_from_slice(&partition.index.to_le_bytes());
        Self::of_hash(xxh3_64(&key), shards)
    }

    /// The shard of a group: XXH3-64(name, seed 0) mod `shards`.
    pub fn of_group(name: &str, shards: u32) -> Self {
        Self::of_hash(xxh3_64(name.as_bytes()), shards)
    }

    fn of_hash(hash: u64, shards: u32) -> Self {
        let shard = hash % u64::from(shards.max(1));
        Self(u32::try_from(shard).expect("a remainder of a u32 fits one"))
    }
}

/// A partition, anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The topic.
    pub topic: Uuid,
    /// The partition, from 0.
    pub index: u32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// How a partition is kept. May change during its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOptions {
    /// What durability of an append means.
    pub durability: Durability,
    /// From which size on a segment is followed by the next, in bytes; 0 leaves it to the engine.
    pub segment_bytes: u64,
    /// How long a segment takes appends, in milliseconds of append time from its first entry on; 0 is for ever. Retention lets go of
    /// whole segments: without it a partition that is written to slowly keeps everything until a segment is full.
    pub segment_ms: u64,
}

impl PartitionOptions {
    /// Segments as the engine has them, of any age.
    pub const fn new(durability: Durability) -> Self {
        Self { durability, segment_bytes: 0, segment_ms: 0 }
    }
}

/// A partition as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The first offset that can be read.
    pub start: u64,
    /// The durable end: all below can be read, and no crash of the promised kind takes it back.
    pub durable_end: u64,
    /// Rises at every unclean open and every change of owner.
    pub epoch: u32,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// Whether corruption below the durable end was found; such a partition takes no batches.
    pub read_only: bool,
}

/// Where an append goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At the partition's end.
    Next,
    /// At the partition's end, which must be this offset.
    Exactly(u64),
}

/// Whose append it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A producer's: its sequence is checked, and its id is bound to the identity with this hash.
    Producer {
        /// XXH3-64 of the identity's canonical text.
        identity: u64,
    },
    /// The broker's own: no sequence is checked.
    Internal,
}

/// A group's progress in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The group.
    pub group: String,
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to read.
    pub offset: u64,
    /// The log epoch of the record before it.
    pub log_epoch: u32,
}

/// One operation of a commit.
#[derive(Clone, Debug)]
pub enum Op {
    /// Appends a validated batch to a partition that is open.
    Append {
        /// Where.
        partition: PartitionId,
        /// At which offset.
        at: At,
        /// What.
        batch: Batch,
        /// Whose.
        source: Source,
    },
    /// Records a group's progress.
    CommitOffset(OffsetCommit),
    /// Forgets a group's progress in a partition, or in all of them. To forget what is not there succeeds.
    ForgetOffsets {
        /// The group.
        group: String,
        /// The partition; `None` for all.
        partition: Option<PartitionId>,
    },
    /// Writes, or with `None` removes, a value, if its version is still `expected` (0: there is none).
    PutMeta {
        /// The key, at most 1 KiB.
        key: String,
        /// The version read before.
        expected: u64,
        /// The value, at most 1 MiB.
        value: Option<Bytes>,
    },
}

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The batch is in the log.
    Appended {
        /// The offset of its first record.
        base_offset: u64,
        /// The log epoch.
        epoch: u32,
    },
    /// The batch was in the log already; durability is the original's.
    Duplicate {
        /// The offset of the original's first record.
        base_offset: u64,
        /// The log epoch that the original was stored in.
        epoch: u32,
    },
    /// The progress is recorded.
    OffsetCommitted,
    /// The progress is forgotten.
    OffsetsForgotten,
    /// The value is written under this version (0: removed).
    MetaPut {
        /// The new version.
        version: u64,
    },
}

/// A commit that took effect.
pub struct Committed {
    /// One per operation, in their order.
    pub outcomes: Vec<Outcome>,
    /// Resolves when everything in the commit is as durable as promised. May be awaited anywhere, or dropped.
    pub durable: BoxFuture<'static, Result<(), DurabilityError>>,
    /// When it was written, if the engine tells.
    pub write: Option<Write>,
}

/// When a commit was written, for whoever traces it.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// Until then it waited for others.
    pub begun: Instant,
    /// From then on it was in the log, and no more durable than that.
    pub done: Instant,
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed").field("outcomes", &self.outcomes).finish_non_exhaustive()
    }
}

/// Why an operation, and with it the whole commit, was refused. Nothing of it took effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The partition was never opened, or is deleted.
    #[error("partition {0} is not open")]
    NotOpen(PartitionId),
    /// The partition is read-only.
    #[error("partition {0} is read-only: its log is corrupt")]
    ReadOnly(PartitionId),
    /// The end of the partition is elsewhere.
    #[error("the partition ends at {end}")]
    WrongOffset {
        /// Its end.
        end: u64,
    },
    /// A batch before it is missing.
    #[error("the next sequence of this producer is {expected}")]
    OutOfSequence {
        /// The sequence awaited.
        expected: u64,
    },
    /// A repeat of a batch so old that its offset is forgotten.
    #[error("this sequence was stored long ago; the next one is {expected}")]
    TooOld {
        /// The sequence awaited.
        expected: u64,
    },
    /// Nothing is known of the producer, and its sequence is not 0.
    #[error("nothing is known of this producer")]
    UnknownProducer,
    /// The producer id belongs to another identity.
    #[error("the producer id is bound to another identity")]
    ProducerFenced,
    /// The value was written meanwhile.
    #[error("the value has version {version}")]
    VersionMismatch {
        /// Its version.
        version: u64,
    },
}

/// Why a commit did not take effect, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Definite: operation `index` was refused, and nothing took effect.
    #[error("{refusal}")]
    Refused {
        /// Which operation, from 0.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// Definite: the shard's queue is full.
    #[error("the shard's queue is full")]
    Busy,
    /// Definite: no room on the disk.
    #[error("no space left on the disk that holds the log")]
    DiskFull,
    /// Indefinite: the disk failed; what the commit held may or may not be there after recovery.
    #[error("the log's disk failed: {0}")]
    Storage(String),
    /// Definite: a newer owner has the shard.
    #[error("a newer owner has taken the shard over")]
    Fenced,
    /// Definite: the shard is closed.
    #[error("the shard is closed")]
    Closed,
}

/// Why durability was not reached. The commit may or may not be there after a crash, and is no longer in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not durable: {reason}")]
pub struct DurabilityError {
    /// What the disk said.
    pub reason: String,
}

/// What a read gave.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// Whole entries in order, in chunks of one or more; the first may begin below the offset asked for. Empty at the durable end.
    pub entries: Vec<Bytes>,
    /// The offset after the last record of the last entry; the offset asked for if there is none.
    pub next: u64,
    /// The durable end at that moment.
    pub durable_end: u64,
}

/// What a read gave that was not to exceed its bound.
#[derive(Clone, Debug)]
pub enum Within {
    /// Entries within the bound.
    Read(ReadOutcome),
    /// Nothing: the first entry alone is larger, and may be read by a bound of so many bytes.
    Larger(usize),
}

impl ReadOutcome {
    /// What was read, unless that is one entry of more than `max_bytes`.
    pub(super) fn within(self, max_bytes: usize) -> Within {
        let len = self.entries.iter().map(Bytes::len).sum();
        if len > max_bytes { Within::Larger(len) } else { Within::Read(self) }
    }
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The partition is not open, or is deleted.
    #[error("partition {0} is not open")]
    NotOpen(PartitionId),
    /// The offset is below the start or above the durable end.
    #[error("offset out of range: the log holds {start} to {end}")]
    OutOfRange {
        /// The first offset.
        start: u64,
        /// The durable end.
        end: u64,
    },
    /// The log holds other records than those of this epoch at the offset.
    #[error("the log was cut: histories part at {offset}")]
    Diverged {
        /// Where.
        offset: u64,
    },
    /// What lies below the durable end at this offset is not what was written: reading it again gives the same.
    #[error("the log is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The first offset that cannot be read.
        offset: u64,
        /// What was found.
        reason: String,
        /// Where reading can go on behind the damage, as far as that is known.
        behind: Option<u64>,
    },
    /// The disk failed: another time it may not.
    #[error("cannot read the log at offset {offset}: {reason}")]
    Storage {
        /// Where.
        offset: u64,
        /// What was found.
        reason: String,
    },
}

/// Why a shard could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenShardError {
    /// There is no such shard.
    #[error("shard {0:?} does not exist")]
    Unknown(ShardId),
    /// A newer owner has it.
    #[error("a newer owner has the shard")]
    Fenced,
    /// The disk failed, or holds what cannot be used.
    #[error("cannot open the shard in {path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What was found.
        source: io::Error,
    },
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Rises with each write of the key; never 0.
    pub version: u64,
    /// The value.
    pub value: Bytes,
}

/// A way to keep a log.
pub trait LogEngine: Send + Sync + fmt::Debug {
    /// How many shards there are: fixed when the data directory was made.
    fn shards(&self) -> u32;

    /// Opens a shard, recovers it, and fences every owner of a lower epoch. The same epoch again gives the same shard.
    fn open_shard(
        &self,
        id: ShardId,
        owner_epoch: u64,
    ) -> BoxFuture<'_, Result<std::sync::Arc<dyn Shard>, OpenShardError>>;

    /// What it has done so far; `None` if it does not count.
    fn counters(&self) -> Option<LogCounters> {
        None
    }

    /// Seals every open shard, so that the next open is clean. Commits are refused from here on.
    fn close(&self) -> BoxFuture<'_, io::Result<()>>;
}

/// An open shard. All methods may be called from any task at any time.
pub trait Shard: Send + Sync + fmt::Debug {
    /// What lines of the log are to call the topic of this id, until its partitions are deleted. Nothing, unless the engine writes such
    /// lines.
    fn name_topic(&self, _topic: Uuid, _name: &str) {}

    /// Makes a partition, or opens the one that is there and gives it these options.
    fn open_partition(
        &self,
        id: PartitionId,
        options: PartitionOptions,
    ) -> BoxFuture<'_, Result<Partition, CommitError>>;

    /// Commits `ops` atomically. The order of calls, not of polls, is the order in the log; the caller holds permits
    /// for the bytes. A future dropped does not undo the commit.
    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'static, Result<Committed, CommitError>>;

    /// Reads durable entries from the one that holds `from`, at most `max_bytes` of them but at least one.
    fn read(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<ReadOutcome, ReadError>>;

    /// Like [`read`](Self::read), but an entry that is larger than `max_bytes` takes no memory: it is left alone.
    ///
    /// By default it is read and thrown away, which suits an engine that has it in memory.
    fn read_within(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Within, ReadError>> {
        let read = self.read(id, from, max_bytes);
        Box::pin(async move { Ok(read.await?.within(max_bytes)) })
    }

    /// The durable end as it moves; closed when the partition is deleted or the shard closes.
    fn watch(&self, id: PartitionId) -> Option<watch::Receiver<u64>>;

    /// The partition as it stands.
    fn partition(&self, id: PartitionId) -> Option<Partition>;

    /// The first offset whose batch was appended at or after `time` (milliseconds since the Unix epoch); the durable
    /// end if there is none.
    fn offset_at(&self, id: PartitionId, time: i64) -> BoxFuture<'_, Result<u64, ReadError>>;

    /// Whether what a reader saw below `offset`, the last of it in log epoch `epoch`, is what the log holds:
    /// [`ReadError::Diverged`] if not.
    fn check_epoch(&self, id: PartitionId, offset: u64, epoch: u32) -> BoxFuture<'_, Result<(), ReadError>>;

    /// Lets go of whole segments below `before`, and of the oldest beyond `max_bytes`; returns the new start.
    fn trim(
        &self,
        id: PartitionId,
        before: u64,
        max_bytes: Option<u64>,
    ) -> BoxFuture<'_, Result<u64, CommitError>>;

    /// Deletes a partition and all that is kept for it. Deleting what is not there succeeds.
    fn delete(&self, id: PartitionId) -> BoxFuture<'_, Result<(), CommitError>>;

    /// The value of a key.
    fn meta(&self, key: &str) -> Option<Versioned>;

    /// All keys that begin with `prefix`, in order, with their values.
    fn meta_with_prefix(&self, prefix: &str) -> Vec<(String, Versioned)>;

    /// A group's progress in a partition, as it is durable: the next offset and its log epoch.
    fn committed_offset(&self, group: &str, partition: PartitionId) -> Option<(u64, u32)>;

    /// A group's progress in all partitions that it has some in, in their order, as it is durable.
    fn committed_offsets(&self, group: &str) -> Vec<(PartitionId, (u64, u32))>;

    /// What it keeps in memory besides the log, of partitions that are open; never more than its limit. Nothing, unless the
    /// engine has a cache.
    fn cache(&self) -> CacheUse {
        CacheUse::default()
    }

    /// How many segments its open partitions have; 0, unless the engine has such a thing.
    fn segments(&self) -> u64 {
        0
    }
}
