//! What the broker holds at one moment, and what bounds it.

use bytes::BytesMut;
use uuid::Uuid;

use crate::message::codec::{Field, TagWriter, read_tag, read_tags, structure};
use crate::message::error::DecodeError;
use crate::message::hello::SessionKind;
use crate::wire::Reader;

/// Asks what the broker holds and what bounds it; the answer is a [`BrokerStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowStatus {}

/// How much of something there is, and how much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Now.
    pub now: u64,
    /// At most. Lowered meanwhile, it may be less than there is now.
    pub limit: u64,
}

/// The answer to [`ShowStatus`]. Its numbers are read one after the other: each is right, together they are of about one
/// moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// Milliseconds since the broker began to serve.
    pub uptime_ms: u64,
    /// Which run of the broker it is: as in Welcome.
    pub incarnation: Uuid,
    /// Streams whose Hello is awaited.
    pub greetings: Level,
    /// Sessions, the one that asks included.
    pub sessions: Level,
    /// Bytes of batches of Produce sessions that the log is not done with, over all sessions.
    pub produce: Level,
    /// Bytes of the budget for what Consume sessions have read ahead, over all sessions.
    pub consume: Level,
    /// Bytes that each Produce session may have unanswered.
    pub produce_window: u64,
    /// Bytes that may be read ahead for each Consume session.
    pub consume_window: u64,
    /// Bytes of newest batches that the log keeps in memory.
    pub cache: Level,
    /// Consumer groups, those without members included.
    pub groups: Level,
    /// Those that hold most of their windows, at most 20, the largest first.
    pub largest_sessions: Vec<SessionUse>,
    /// Those that have most in memory, and of these most on the disk, at most 20, the largest first.
    pub largest_topics: Vec<TopicUse>,
    /// What quotas have let pass and what not.
    pub quotas: QuotaStatus,
    /// Tag 1: connections; `None` if the broker's listeners do not count them.
    pub connections: Option<Level>,
    /// Tag 2: what the log has done; `None` if it does not count.
    pub log: Option<LogStatus>,
    /// Tag 3: bytes of frames that are still arriving, over all sessions, beyond the first 64 KiB of each. One frame at a time
    /// may go beyond the limit.
    pub arriving: Option<Level>,
}

/// What a session holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUse {
    /// Whose it is, at most 255 bytes of it.
    pub identity: String,
    /// Produce or Consume.
    pub kind: SessionKind,
    /// Bytes of its window that are taken.
    pub bytes: u64,
}

/// What a topic takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicUse {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
    /// Bytes of its newest batches that the log keeps in memory.
    pub cached: u64,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// What quotas have let pass and what not, since the broker's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaStatus {
    /// Bytes of batches.
    pub produced: QuotaCount,
    /// Bytes of entries.
    pub consumed: QuotaCount,
    /// Requests.
    pub requests: QuotaCount,
    /// Tag 1: the shared store; `None` if quotas are not counted in one.
    pub redis: Option<RedisStatus>,
}

/// Of one resource. What no limit covers is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaCount {
    /// Bytes or requests that were let pass.
    pub admitted: u64,
    /// How often somebody was refused, or, consuming, made to wait.
    pub refused: u64,
    /// How often not the store decided, but the policy for a store that is away.
    pub by_policy: u64,
}

/// The store that brokers share quotas in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisStatus {
    /// Whether it is away: then the policy decides.
    pub away: bool,
    /// How often it went away.
    pub losses: u64,
    /// How often it came back, the first time included.
    pub recoveries: u64,
    /// Transactions that were sent and not answered.
    pub unanswered: u64,
}

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Rounds of a writer that wrote a batch.
    pub rounds: u64,
    /// Batches that were written.
    pub batches: u64,
    /// Bytes of batches that were written, with their entries' headers.
    pub bytes: u64,
    /// Syncs of files that batches lie in.
    pub syncs: u64,
    /// Records of a journal.
    pub journal_records: u64,
    /// Syncs of metadata.
    pub metadata_syncs: u64,
    /// Whether the disk was found full, and no batch is taken.
    pub reserve_in_use: bool,
}

structure!(ShowStatus {});
structure!(plain Level { now, limit });
structure!(BrokerStatus {
    uptime_ms, incarnation, greetings, sessions, produce, consume, produce_window, consume_window, cache, groups,
    largest_sessions, largest_topics, quotas
} tags { 1: connections, 2: log, 3: arriving });
structure!(SessionUse { identity, kind, bytes });
structure!(TopicUse { name, partitions, cached, bytes });
structure!(QuotaStatus { produced, consumed, requests } tags { 1: redis });
structure!(plain QuotaCount { admitted, refused, by_policy });
structure!(RedisStatus { away, losses, recoveries, unanswered });
structure!(LogStatus { rounds, batches, bytes, syncs, journal_records, metadata_syncs, reserve_in_use });
