//! What an operator can set about the server, with the defaults and the arithmetic behind them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::Limits;
use sealstream_protocol::limits::{self, MAX_HELLO};
use sealstream_protocol::message::admin::{Durability, TlsReloaded, TlsStatus};
use sealstream_transport::BoxFuture;
use sealstream_transport::admission::Admission;

use crate::access::RuleBook;
use crate::quotas::Quotas;

/// 1,024 streams whose Hello is awaited, each with a first frame of at most 64 KiB: 64 MiB.
pub const MAX_GREETINGS: usize = 1024;

/// 2,048 sessions: two for every connection on the average. Idle, one costs a task of about 10 KiB and two read
/// buffers of 64 KiB at most: 280 MiB if all of them had just been busy, 20 MiB when quiet.
pub const MAX_SESSIONS: usize = 2048;

/// 10 s from a stream's first byte to the whole of its Hello: generous on a bad link, and short enough that 1,024
/// silent peers give their places up soon.
pub const FIRST_FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// 60 s: what a client gets that asks for no idle deadline of its own.
pub const IDLE_DEFAULT: Duration = Duration::from_mins(1);

/// 1 s: below it the pings of 2,048 sessions alone would cost thousands of frames a second.
pub const IDLE_MIN: Duration = Duration::from_secs(1);

/// 10 min: how long a vanished peer may keep its session at most.
pub const IDLE_MAX: Duration = Duration::from_mins(10);

/// 8 MiB of unanswered batches a session: eight batches of 1 MiB cover an fdatasync of 20 ms at 400 MB/s.
pub const PRODUCE_WINDOW: u32 = 8 << 20;

/// 64 MiB of batches that are queued or being made durable, over all sessions: eight full windows.
pub const PRODUCE_BUDGET: u32 = 64 << 20;

/// 64 MiB of frames that are still arriving, beyond the first 64 KiB of each: four of the largest, or 64 of 1 MiB.
pub const ARRIVING_BUDGET: u32 = 64 << 20;

/// 2 s: how long a batch waits for its part of the budget before its producer is told `Busy`, and a frame for room to arrive in.
pub const PRODUCE_PATIENCE: Duration = Duration::from_secs(2);

/// 1 MiB of entries in a Data frame, unless a single entry is larger: one read of the log, 64 TLS records.
pub const DATA_BYTES: u32 = 1 << 20;

/// 2 MiB read ahead for a Consume session: one Data frame on its way out while the next is read.
pub const CONSUME_WINDOW: u32 = 2 << 20;

/// 64 MiB read ahead over all sessions: 32 full windows. Who finds nothing left of it goes on by [`CONSUME_FLOOR`].
pub const CONSUME_BUDGET: u32 = 64 << 20;

/// 64 KiB a turn without a part of the budget, one at a time: 2,048 sessions none of which is read from hold 128 MiB so.
pub const CONSUME_FLOOR: u32 = 64 << 10;

/// 1,024 partitions a topic: a describe of them all is a frame of 35 KiB, and making them takes seconds, not minutes. At
/// most [`MAX_PARTITIONS`](sealstream_protocol::limits::MAX_PARTITIONS) of the protocol.
pub const MAX_PARTITIONS_PER_TOPIC: u32 = 1024;

/// 10,000 partitions in all: at one open segment and about 10 KiB of state each, 10,000 descriptors and 100 MiB.
pub const MAX_PARTITIONS: u32 = 10_000;

/// 30 s between two passes of retention: records outlive their time by this much at most, and by their segment.
pub const RETENTION_INTERVAL: Duration = Duration::from_secs(30);

/// The longest name of a broker or cluster, in bytes: what a Welcome can say.
const MAX_NAME: usize = 255;

/// The longest that any time can be: what the protocol can say in milliseconds is longer.
const LONGEST: Duration = Duration::from_hours(24);

/// Who may come without a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    Never,
    /// Whoever reaches a listener that is bound to a loopback address.
    #[default]
    OnLoopback,
    /// Anybody: the operator said so.
    Everywhere,
}

/// What Admin sessions are told about TLS, and can have done.
pub trait TlsControl: Send + Sync + fmt::Debug {
    /// What is served now, and whom the broker trusts. Must not block.
    fn status(&self) -> TlsStatus;

    /// Loads everything anew, and says what came of it.
    fn reload(&self) -> BoxFuture<'_, TlsReloaded>;
}

/// How a new topic is kept, where its maker does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// Partitions, from 1.
    pub partitions: u32,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Milliseconds; 0 keeps records for ever.
    pub retention_ms: u64,
    /// Bytes a partition; 0 is no bound.
    pub retention_bytes: u64,
    /// Bytes of a segment; 0 leaves it to the log.
    pub segment_bytes: u64,
    /// Milliseconds that a segment takes appends; 0 is for ever.
    pub segment_ms: u64,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            partitions: 1,
            durability: Durability::Disk,
            retention_ms: 0,
            retention_bytes: 0,
            segment_bytes: 0,
            segment_ms: 0,
        }
    }
}

/// 10 s: how long a member that is not heard keeps its partitions. A restart of a broker or of a consumer takes less.
pub const GROUP_GRACE: Duration = Duration::from_secs(10);

/// 3 s between two heartbeats: three of them fit the grace.
pub const GROUP_HEARTBEAT: Duration = Duration::from_secs(3);

/// 30 s for a member to finish with what is revoked: what it has read, and its commit.
pub const GROUP_RELEASE: Duration = Duration::from_secs(30);

/// 7 days: how long a group without members is kept.
pub const GROUP_IDLE_EXPIRY: Duration = Duration::from_hours(7 * 24);

/// 1,000 groups: a task each, of about 10 KiB besides its members and partitions.
pub const MAX_GROUPS: usize = 1000;

/// 256 members of a group: a change that has every one of them told is 256 small frames.
pub const MAX_GROUP_MEMBERS: usize = 256;

/// 64 topics of a member.
pub const MAX_MEMBER_TOPICS: usize = 64;

/// 4,096 partitions of a group: each change of the group writes a record of up to 100 KiB then.
pub const MAX_GROUP_PARTITIONS: usize = 4096;

/// 512 members and 8,192 partitions: what a group's record and its description, of 1 MiB each, have room for.
const MOST_GROUP_MEMBERS: usize = 512;
const MOST_GROUP_PARTITIONS: usize = 8192;

/// What bounds consumer groups, and how long they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// How long a member that is not heard keeps its partitions.
    pub grace: Duration,
    /// How often a member is asked to be heard: at most a third of the grace.
    pub heartbeat: Duration,
    /// How long a member has to release what is revoked.
    pub release: Duration,
    /// How long a group without members is kept, with what it has committed.
    pub idle_expiry: Duration,
    /// Groups in all.
    pub max_groups: usize,
    /// Members of a group.
    pub max_members: usize,
    /// Topics of a member.
    pub max_topics: usize,
    /// Partitions of a group.
    pub max_partitions: usize,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            grace: GROUP_GRACE,
            heartbeat: GROUP_HEARTBEAT,
            release: GROUP_RELEASE,
            idle_expiry: GROUP_IDLE_EXPIRY,
            max_groups: MAX_GROUPS,
            max_members: MAX_GROUP_MEMBERS,
            max_topics: MAX_MEMBER_TOPICS,
            max_partitions: MAX_GROUP_PARTITIONS,
        }
    }
}

impl GroupOptions {
    fn validate(&self) -> Result<(), InvalidOption> {
        let moment = Duration::from_millis(1);
        within("groups.grace", self.grace, moment * 3, LONGEST)?;
        within("groups.heartbeat", self.heartbeat, moment, self.grace / 3)?;
        within("groups.release", self.release, moment, LONGEST)?;
        within("groups.idle_expiry", self.idle_expiry, moment, LONGEST * 366)?;
        within("groups.max_groups", self.max_groups, 1, 100_000)?;
        within("groups.max_members", self.max_members, 1, MOST_GROUP_MEMBERS)?;
        within("groups.max_topics", self.max_topics, 1, 256)?;
        within("groups.max_partitions", self.max_partitions, 1, MOST_GROUP_PARTITIONS)
    }
}

/// Everything about a server that is not its log and not its listeners. A plain struct: set what differs.
///
/// ```
/// use sealstream_broker::server::BrokerOptions;
///
/// let options = BrokerOptions { name: "broker-1".into(), ..BrokerOptions::default() };
/// assert_eq!(options.cluster, "sealstream");
/// ```
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// The broker's name, at most 255 bytes.
    pub name: String,
    /// The cluster's name, at most 255 bytes: a client that asks for another is refused.
    pub cluster: String,
    /// The largest frame and batch that are accepted; at most the protocol's own limits.
    pub limits: Limits,
    /// Who may come without a certificate or token.
    pub anonymous: Anonymous,
    /// Who may do what; whoever keeps a clone can publish other rules while the broker runs. Without rules everybody who
    /// is let in may do everything.
    pub rules: RuleBook,
    /// Streams at once whose Hello is awaited; beyond it a stream is answered by `Busy`. How many connections there are is
    /// for the listeners to bound ([`Admission`](sealstream_transport::admission::Admission)).
    pub max_greetings: usize,
    /// Sessions at once; beyond it a Hello is answered by `Busy`.
    pub max_sessions: usize,
    /// From the start of a stream to the end of its Hello.
    pub first_frame_deadline: Duration,
    /// The idle deadline of a client that asks for 0.
    pub idle_default: Duration,
    /// The shortest idle deadline granted.
    pub idle_min: Duration,
    /// The longest idle deadline granted.
    pub idle_max: Duration,
    /// Bytes of unanswered batches that a Produce session may have; beyond it the server stops reading from it.
    pub produce_window: u32,
    /// Bytes of unanswered batches over all sessions. A batch that is larger than all of it passes alone.
    pub produce_budget: u32,
    /// Bytes of frames that are arriving, beyond the first 64 KiB of each; at least a frame, by which one may exceed it.
    pub arriving_budget: u32,
    /// How long a batch waits for its part of `produce_budget`, and a frame for its part of `arriving_budget`, before `Busy`.
    pub produce_patience: Duration,
    /// Bytes of entries in one Data frame; a larger entry travels alone.
    pub data_bytes: u32,
    /// Bytes read ahead for a Consume session.
    pub consume_window: u32,
    /// Bytes read ahead over all sessions.
    pub consume_budget: u32,
    /// How a topic is kept where its maker does not say.
    pub topic_defaults: TopicDefaults,
    /// The most partitions a topic may have.
    pub max_partitions_per_topic: u32,
    /// The most partitions that all topics may have together.
    pub max_partitions: u32,
    /// Between two passes of retention.
    pub retention_interval: Duration,
    /// What bounds consumer groups.
    pub groups: GroupOptions,
    /// What lets the listeners' connections in: `ShowStatus` shows how many there are; without it, it does not.
    pub connections: Option<Admission>,
    /// Answers `ShowTls` and `ReloadTls`; without it they are `Unsupported`.
    pub tls: Option<Arc<dyn TlsControl>>,
    /// How much each identity and address may produce, consume and ask for; without limits by default. Closed when the broker
    /// stops.
    pub quotas: Arc<Quotas>,
    /// A drill: a Produce session that opens this topic panics. What an operator sees of a fault of ours, and that the other
    /// sessions do not.
    pub panic_topic: Option<String>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            name: "sealstream".into(),
            cluster: "sealstream".into(),
            limits: Limits::default(),
            anonymous: Anonymous::default(),
            rules: RuleBook::default(),
            max_greetings: MAX_GREETINGS,
            max_sessions: MAX_SESSIONS,
            first_frame_deadline: FIRST_FRAME_DEADLINE,
            idle_default: IDLE_DEFAULT,
            idle_min: IDLE_MIN,
            idle_max: IDLE_MAX,
            produce_window: PRODUCE_WINDOW,
            produce_budget: PRODUCE_BUDGET,
            arriving_budget: ARRIVING_BUDGET,
            produce_patience: PRODUCE_PATIENCE,
            data_bytes: DATA_BYTES,
            consume_window: CONSUME_WINDOW,
            consume_budget: CONSUME_BUDGET,
            topic_defaults: TopicDefaults::default(),
            max_partitions_per_topic: MAX_PARTITIONS_PER_TOPIC,
            max_partitions: MAX_PARTITIONS,
            retention_interval: RETENTION_INTERVAL,
            groups: GroupOptions::default(),
            connections: None,
            tls: None,
            quotas: Arc::default(),
            panic_topic: None,
        }
    }
}

/// An option under which a broker could serve nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("BrokerOptions::{option} is {value}: it must be {expected}")]
pub struct InvalidOption {
    /// The field.
    pub option: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub expected: String,
}

impl BrokerOptions {
    /// Whether a broker can serve by them; [`Broker::start`](super::Broker::start) asks.
    pub fn validate(&self) -> Result<(), InvalidOption> {
        for (option, text) in [("name", &self.name), ("cluster", &self.cluster)] {
            within(option, text.len(), 0, MAX_NAME)
                .map_err(|error| InvalidOption { value: format!("{} bytes long", error.value), ..error })?;
        }
        within("limits.frame", self.limits.frame, MAX_HELLO, Limits::MAX_FRAME)?;
        within(
            "limits.decompressed_batch",
            self.limits.decompressed_batch,
            1,
            Limits::MAX_DECOMPRESSED_BATCH,
        )?;
        within("max_greetings", self.max_greetings, 1, usize::MAX)?;
        within("max_sessions", self.max_sessions, 1, usize::MAX)?;
        for (option, bytes) in [
            ("produce_window", self.produce_window),
            ("produce_budget", self.produce_budget),
            ("data_bytes", self.data_bytes),
            ("consume_window", self.consume_window),
            ("consume_budget", self.consume_budget),
        ] {
            within(option, bytes, 1, u32::MAX)?;
        }
        within("arriving_budget", self.arriving_budget, self.limits.frame, u32::MAX)?;
        let moment = Duration::from_millis(1);
        within("first_frame_deadline", self.first_frame_deadline, moment, LONGEST)?;
        within("idle_min", self.idle_min, moment, LONGEST)?;
        within("idle_max", self.idle_max, self.idle_min, LONGEST)?;
        within("idle_default", self.idle_default, self.idle_min, self.idle_max)?;
        within("produce_patience", self.produce_patience, Duration::ZERO, LONGEST)?;
        within("retention_interval", self.retention_interval, moment, LONGEST)?;
        within("max_partitions_per_topic", self.max_partitions_per_topic, 1, limits::MAX_PARTITIONS)?;
        within("max_partitions", self.max_partitions, 1, u32::MAX)?;
        self.groups.validate()?;
        within("topic_defaults.partitions", self.topic_defaults.partitions, 1, self.max_partitions_per_topic)
    }
}

fn within<T>(option: &'static str, value: T, low: T, high: T) -> Result<(), InvalidOption>
where
    T: Copy + PartialOrd + fmt::Debug,
{
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(InvalidOption { option, value: format!("{value:?}"), expected: format!("from {low:?} to {high:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(BrokerOptions::default().validate(), Ok(()));
    }

    #[test]
    fn an_option_under_which_nobody_could_be_served_is_named() {
        type Change = fn(&mut BrokerOptions);
        let changes: [(&str, Change); 13] = [
            ("name", |options| options.name = "n".repeat(256)),
            ("limits.frame", |options| options.limits.frame = 10),
            ("max_sessions", |options| options.max_sessions = 0),
            ("produce_window", |options| options.produce_window = 0),
            ("arriving_budget", |options| options.arriving_budget = options.limits.frame - 1),
            ("consume_budget", |options| options.consume_budget = 0),
            ("idle_max", |options| options.idle_max = Duration::from_millis(999)),
            ("idle_default", |options| options.idle_default = Duration::from_hours(1)),
            ("retention_interval", |options| options.retention_interval = Duration::ZERO),
            ("first_frame_deadline", |options| options.first_frame_deadline = Duration::MAX),
            ("groups.heartbeat", |options| options.groups.heartbeat = Duration::from_secs(4)),
            ("groups.max_partitions", |options| options.groups.max_partitions = 10_000),
            ("topic_defaults.partitions", |options| options.topic_defaults.partitions = 0),
        ];
        for (option, change) in changes {
            let mut options = BrokerOptions::default();
            change(&mut options);
            assert_eq!(options.validate().unwrap_err().option, option);
        }
    }
}
