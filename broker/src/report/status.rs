//! What a broker holds, as JSON.

use sealstream_protocol::message::admin::{BrokerStatus, Level, LogStatus, QuotaCount, QuotaStatus};
use sealstream_protocol::message::hello::SessionKind;
use serde_json::{Value, json};

/// A broker's status, as `sealstream status --json` shows it.
pub(crate) fn status(status: &BrokerStatus) -> Value {
    let sessions: Vec<_> = status
        .largest_sessions
        .iter()
        .map(|session| {
            json!({ "identity": session.identity, "kind": kind(session.kind), "bytes": session.bytes })
        })
        .collect();
    let topics: Vec<_> = status
        .largest_topics
        .iter()
        .map(|topic| {
            json!({
                "name": topic.name, "partitions": topic.partitions, "cached": topic.cached, "bytes": topic.bytes,
            })
        })
        .collect();
    json!({
        "uptime_ms": status.uptime_ms,
        "incarnation": status.incarnation.to_string(),
        "connections": status.connections.map(level_json),
        "greetings": level_json(status.greetings),
        "sessions": level_json(status.sessions),
        "arriving": status.arriving.map(level_json),
        "produce": level_json(status.produce),
        "consume": level_json(status.consume),
        "produce_window": status.produce_window,
        "consume_window": status.consume_window,
        "cache": level_json(status.cache),
        "groups": level_json(status.groups),
        "largest_sessions": sessions,
        "largest_topics": topics,
        "quotas": quotas_json(&status.quotas),
        "log": status.log.as_ref().map(log_json),
    })
}

/// How much there is, of how much.
pub(crate) fn level_json(level: Level) -> Value {
    json!({ "now": level.now, "limit": level.limit })
}

fn quotas_json(quotas: &QuotaStatus) -> Value {
    let count = |count: QuotaCount| json!({ "admitted": count.admitted, "refused": count.refused, "by_policy": count.by_policy });
    let redis = quotas.redis.map(|redis| {
        json!({
            "away": redis.away, "losses": redis.losses, "recoveries": redis.recoveries, "unanswered": redis.unanswered,
        })
    });
    json!({
        "produced": count(quotas.produced), "consumed": count(quotas.consumed), "requests": count(quotas.requests),
        "redis": redis,
    })
}

fn log_json(log: &LogStatus) -> Value {
    json!({
        "rounds": log.rounds, "batches": log.batches, "bytes": log.bytes, "syncs": log.syncs,
        "journal_records": log.journal_records, "metadata_syncs": log.metadata_syncs,
        "reserve_in_use": log.reserve_in_use,
    })
}

/// The name of a kind of session.
pub(crate) fn kind(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Admin => "admin",
        SessionKind::Produce => "produce",
        SessionKind::Consume => "consume",
        SessionKind::Group => "group",
    }
}
