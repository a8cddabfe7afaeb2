//! The families of the broker: name, unit, labels, help.

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Appended to the name, as the format wants it.
    Named(&'static str),
    /// Things, which the name says already.
    Things(&'static str),
}

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Without the prefix and the unit.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

const SECONDS: Unit = Unit::Named("seconds");
const BYTES: Unit = Unit::Named("bytes");
const RECORDS: Unit = Unit::Named("records");

const fn things(noun: &'static str) -> Unit {
    Unit::Things(noun)
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, unit, labels: &[], help }
}

const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, unit, labels: &[], help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, unit: SECONDS, labels: &[], help }
}

impl Family {
    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    /// The whole name, without the suffix of a counter.
    pub(super) fn full_name(&self) -> String {
        match self.unit {
            Unit::Named(unit) => format!("{}_{}_{unit}", super::PREFIX, self.name),
            Unit::Things(_) => format!("{}_{}", super::PREFIX, self.name),
        }
    }
}

macro_rules! families {
    ($($constant:ident = $family:expr;)*) => {
        $(pub(super) const $constant: Family = $family;)*
        /// All of them, in the order in which they are shown.
        pub(super) const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD = gauge("build_info", things("brokers"), "The version that runs: always 1").by(&["version"]);
    UPTIME = gauge("uptime", SECONDS, "Since the broker began to serve");
    READY = gauge("ready", things("1 is ready"), "Whether the broker should be sent clients, as /readyz tells");
    NOT_READY = gauge("not_ready", things("1 holds"), "Why the broker is not ready, each reason for itself").by(&["reason"]);

    CONNECTIONS = gauge("connections", things("connections"), "Connections whose handshake is done").by(&["transport"]);
    CONNECTIONS_LIMIT = gauge("connections_limit", things("connections"), "Connections that there may be, limits.connections");
    SESSIONS = gauge("sessions", things("sessions"), "Sessions that are open").by(&["kind"]);
    SESSIONS_LIMIT = gauge("sessions_limit", things("sessions"), "Sessions that there may be, limits.sessions");
    SESSIONS_OPENED = counter("sessions_opened", things("sessions"), "Sessions that were opened").by(&["kind"]);
    GREETINGS = gauge("greetings", things("streams"), "Streams whose Hello is awaited");

    PRODUCED_BATCHES = counter("produced_batches", things("batches"), "Batches that were acknowledged, duplicates not counted").by(&["topic"]);
    PRODUCED_RECORDS = counter("produced", RECORDS, "Records that were acknowledged, duplicates not counted").by(&["topic"]);
    PRODUCED_BYTES = counter("produced", BYTES, "Bytes of batches that were acknowledged, as they came, duplicates not counted").by(&["topic"]);
    DUPLICATES = counter("produced_duplicates", things("batches"), "Batches that came again and were acknowledged without being stored twice");
    REFUSED = counter("produce_refused", things("batches"), "Batches that were refused, by the code that the client was told").by(&["code"]);
    ACKS = histogram("produce_ack", "From a batch's arrival to the decision on its acknowledgement, by what that promises").by(&["durability"]);
    CONSUMED_RECORDS = counter("consumed", RECORDS, "Records that consumers were sent").by(&["topic"]);
    CONSUMED_BYTES = counter("consumed", BYTES, "Bytes of entries that consumers were sent").by(&["topic"]);

    TOPICS = gauge("topics", things("topics"), "Topics that there are");
    PARTITIONS = gauge("partitions", things("partitions"), "Partitions of all topics");
    PARTITIONS_READ_ONLY = gauge("partitions_read_only", things("partitions"), "Partitions that take no batches for corruption in their log");
    PARTITIONS_UNAVAILABLE = gauge("partitions_unavailable", things("partitions"), "Partitions that could not be opened and are not served");
    TOPIC_BYTES = gauge("topic_size", BYTES, "What the partitions of a topic take on the disk").by(&["topic"]);

    ROUNDS = counter("log_rounds", things("rounds"), "Rounds of a shard's writer that wrote a batch");
    LOG_BATCHES = counter("log_batches", things("batches"), "Batches that were written; by log_syncs, how many share a sync");
    LOG_BYTES = counter("log_written", BYTES, "Bytes of entries that were written");
    SYNCS = counter("log_syncs", things("syncs"), "Syncs of files that batches lie in, of segments and journals");
    JOURNAL_RECORDS = counter("log_journal_records", things("journal records"), "Records of a journal: wide rounds, and commits to several files");
    METADATA_SYNCS = counter("log_metadata_syncs", things("syncs"), "Syncs of metadata logs");
    SYNC_TIMES = histogram("log_sync", "How long a sync took (fdatasync, with new names), by what was synced").by(&["file"]);
    SYNC_FAILURES = counter("log_sync_failures", things("syncs"), "Syncs that failed: what they should have made durable was cut off or refused");
    SEGMENTS = gauge("log_segments", things("segments"), "Segments of all partitions");
    RESERVE_IN_USE = gauge("log_reserve_in_use", things("1 is in use"), "Whether the disk was found full and its reserve given up: no batch is taken");
    DISK_FREE = gauge("disk_free", BYTES, "Free on the file system of the data directory, for who is not root");
    DISK_SIZE = gauge("disk_size", BYTES, "Size of the file system of the data directory");

    BUDGET_HELD = gauge("budget_held", BYTES, "What is held of a bound over the whole broker").by(&["budget"]);
    BUDGET_LIMIT = gauge("budget_limit", BYTES, "The bound").by(&["budget"]);

    GROUPS = gauge("groups", things("groups"), "Consumer groups, with members or without");
    GROUPS_LIMIT = gauge("groups_limit", things("groups"), "Consumer groups that there may be, groups.max_groups");
    GROUP_MEMBERS = gauge("group_members", things("members"), "Members of a group").by(&["group"]);
    GROUP_PARTITIONS = gauge("group_partitions", things("partitions"), "Partitions that a group reads or has read").by(&["group"]);
    GROUP_LAG = gauge("group_lag", RECORDS, "Records that a group has not committed yet, over its partitions").by(&["group"]);
    GROUP_REBALANCES = counter("group_rebalances", things("changes"), "Changes in which partitions came to members or went").by(&["group"]);

    QUOTA_ADMITTED = counter("quota_admitted", things("bytes, or requests"), "What quotas have let pass; what no quota covers is not counted").by(&["resource"]);
    QUOTA_REFUSED = counter("quota_refused", things("refusals"), "How often a quota refused, or made a consumer wait").by(&["resource"]);
    QUOTA_BY_POLICY = counter("quota_by_policy", things("decisions"), "How often quotas.on_redis_loss decided instead of Redis").by(&["resource"]);
    REDIS_AWAY = gauge("redis_away", things("1 is away"), "Whether the Redis that quotas are shared in is away; only where one is configured");
    REDIS_LOSSES = counter("redis_losses", things("losses"), "How often it went away");
    REDIS_RECOVERIES = counter("redis_recoveries", things("recoveries"), "How often it came back, the first time included");
    REDIS_UNANSWERED = counter("redis_unanswered", things("transactions"), "Transactions that it did not answer; they were not repeated");
}
