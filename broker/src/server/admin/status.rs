//! What the broker holds at this moment, and what bounds it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use sealstream_protocol::message::admin::{
    BrokerStatus, Level, LogStatus, QuotaCount, QuotaStatus, RedisStatus, TopicUse,
};
use sealstream_protocol::message::{Fault, FaultCode, Message};

use super::super::broker::Core;
use super::super::rights::Rights;
use super::super::session::heart::Heart;
use crate::log::LogCounters;
use crate::quotas::{QuotaCounts, ResourceCounts};

/// 20 sessions and 20 topics: a screen of each, and with names of 255 bytes an answer of 11 KiB.
const LARGEST: usize = 20;

/// Reads all of it. On a thread of its own: 10,000 partitions with a hundred segments each take milliseconds.
pub(super) async fn show(core: &Arc<Core>, heart: &Heart, rights: &Rights) -> Result<Message, Fault> {
    let (core, rights) = (Arc::clone(core), rights.clone());
    let reading = tokio::task::spawn_blocking(move || read(&core, |name| rights.shows(name)));
    let status = heart.while_busy(reading).await.map_err(|error| {
        tracing::error!(%error, "reading the status panicked");
        Fault::new(FaultCode::Internal, "the broker failed to read its status: its log says more")
    })?;
    Ok(Message::BrokerStatus(status.into()))
}

/// All of it, with the topics that are `shown`. Blocks.
pub(in crate::server) fn read(core: &Core, shown: impl Fn(&str) -> bool) -> BrokerStatus {
    let options = &core.options;
    let (cache, largest_topics) = topics(core, shown);
    BrokerStatus {
        uptime_ms: u64::try_from(core.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        incarnation: core.incarnation,
        greetings: core.greetings.level(),
        sessions: core.sessions.level(),
        produce: core.produce_budget.level(),
        consume: core.consume_budget.level(),
        produce_window: options.produce_window.into(),
        consume_window: options.consume_window.into(),
        cache,
        groups: core.groups.level(),
        largest_sessions: core.windows.largest(LARGEST),
        largest_topics,
        quotas: quotas(&options.quotas.counts()),
        connections: options.connections.as_ref().map(|admission| Level {
            now: admission.counts().connections as u64,
            limit: admission.limits().connections as u64,
        }),
        arriving: Some(core.arrivals.level()),
        log: core.engine.counters().map(|counters| log(&counters)),
    }
}

/// The log's cache over all shards, and the largest topics of those that the client may see.
fn topics(core: &Core, may_show: impl Fn(&str) -> bool) -> (Level, Vec<TopicUse>) {
    let shards = core.topics.shards();
    let mut cache = Level::default();
    let mut cached: HashMap<_, u64> = HashMap::new();
    for shard in shards.all() {
        let used = shard.cache();
        cache.now += used.bytes;
        cache.limit += used.limit;
        for (partition, bytes) in used.partitions {
            *cached.entry(partition.topic).or_default() += bytes;
        }
    }
    let catalogue = core.topics.snapshot();
    let shown = catalogue.topics().filter(|topic| may_show(&topic.name));
    let sizes = shown.map(|topic| {
        let on_disk = topic.partition_ids().filter_map(|id| shards.of(&id).partition(id));
        (cached.get(&topic.id).copied().unwrap_or(0), on_disk.map(|found| found.bytes).sum::<u64>(), topic)
    });
    let mut sizes: Vec<_> = sizes.collect();
    // Stable: of equals, the first by name.
    sizes.sort_by_key(|(cached, bytes, _)| Reverse((*cached, *bytes)));
    sizes.truncate(LARGEST);
    let shown = sizes.into_iter().map(|(cached, bytes, topic)| TopicUse {
        name: topic.name.clone(),
        partitions: topic.partitions,
        cached,
        bytes,
    });
    (cache, shown.collect())
}

fn quotas(counts: &QuotaCounts) -> QuotaStatus {
    let count = |counts: ResourceCounts| QuotaCount {
        admitted: counts.admitted,
        refused: counts.refused,
        by_policy: counts.by_policy,
    };
    QuotaStatus {
        produced: count(counts.produced),
        consumed: count(counts.consumed),
        requests: count(counts.requests),
        redis: counts.redis.map(|redis| RedisStatus {
            away: redis.away,
            losses: redis.losses,
            recoveries: redis.recoveries,
            unanswered: redis.unanswered,
        }),
    }
}

fn log(counters: &LogCounters) -> LogStatus {
    LogStatus {
        rounds: counters.rounds,
        batches: counters.batches,
        bytes: counters.bytes,
        syncs: counters.syncs,
        journal_records: counters.journal_records,
        metadata_syncs: counters.metadata_syncs,
        reserve_in_use: counters.reserve_in_use,
    }
}
