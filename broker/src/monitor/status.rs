//! `/v1/status`: one reading as JSON.
//!
//! Bounds: [`MOST`] connections, topics and groups; how many more there are stands beside them.

use std::collections::HashMap;

use sealstream_protocol::message::admin::GroupPartition;
use serde_json::{Map, Value, json};

use super::readiness;
use super::reading::Reading;
use crate::log::Durability;
use crate::report;
use crate::server::{ConnectionShown, GroupShown, TopicMeter};

/// 1,000 of each: an answer of about 1 MiB at most.
const MOST: usize = 1000;

pub(super) fn json(reading: &Reading) -> Value {
    let view = &reading.view;
    let (name, cluster) = view.name();
    let (connections, more_connections) = view.presence().shown(MOST);
    let sessions: Map<String, Value> = view
        .meters()
        .sessions()
        .into_iter()
        .map(|(kind, now, opened)| (kind.to_owned(), json!({ "now": now, "opened": opened })))
        .collect();
    let budgets: Map<String, Value> = reading
        .budgets
        .iter()
        .map(|(name, level)| ((*name).to_owned(), report::level_json(*level)))
        .collect();
    json!({
        "name": name,
        "cluster": cluster,
        "version": env!("CARGO_PKG_VERSION"),
        "ready": reading.is_ready(),
        "reasons": readiness::json(&reading.reasons),
        "status": report::status(&reading.status),
        "sessions": sessions,
        "budgets": budgets,
        "totals": totals(reading),
        "disk": reading.disk.map(|disk| json!({ "free": disk.free, "total": disk.total })),
        "log": log(reading),
        "connections": connections.iter().map(connection).collect::<Vec<_>>(),
        "more_connections": more_connections,
        "topics": topics(reading),
        "more_topics": reading.topics.len().saturating_sub(MOST),
        "groups": reading.groups.iter().map(group).collect::<Vec<_>>(),
        "more_groups": reading.more_groups,
        "tls": view.tls().as_ref().map(report::tls),
    })
}

/// Over all topics, since the start.
fn totals(reading: &Reading) -> Value {
    let all = || reading.meters.iter().map(|(_, meter)| meter).chain([&reading.other_topics]);
    let sum = |of: fn(&TopicMeter) -> u64| all().map(|meter| of(meter)).sum::<u64>();
    json!({
        "produced_batches": sum(|meter| meter.produced_batches.get()),
        "produced_records": sum(|meter| meter.produced_records.get()),
        "produced_bytes": sum(|meter| meter.produced_bytes.get()),
        "consumed_records": sum(|meter| meter.consumed_records.get()),
        "consumed_bytes": sum(|meter| meter.consumed_bytes.get()),
        "refused_batches": reading.view.meters().refusals().map(|(_, count)| count).sum::<u64>(),
    })
}

fn log(reading: &Reading) -> Value {
    let Some(log) = reading.log else { return Value::Null };
    let syncs = log.sync_times.segments.count() + log.sync_times.journals.count();
    let taken = log.sync_times.segments.total + log.sync_times.journals.total;
    json!({
        "segments": reading.segments,
        "sync_failures": log.sync_failures,
        "syncs_timed": syncs,
        "sync_seconds": taken.as_secs_f64(),
    })
}

fn connection(shown: &ConnectionShown) -> Value {
    let sessions: Vec<_> = shown
        .sessions
        .iter()
        .map(|session| {
            json!({
                "kind": report::kind(session.kind), "identity": &*session.identity, "client": session.client,
            })
        })
        .collect();
    json!({
        "peer": shown.remote.to_string(), "transport": shown.transport.to_string(), "identity": shown.identity,
        "suite": shown.suite, "key_exchange": shown.group, "resumed": shown.resumed,
        "seconds": shown.since.elapsed().as_secs(), "sessions": sessions,
    })
}

fn topics(reading: &Reading) -> Vec<Value> {
    let meters: HashMap<&str, &TopicMeter> =
        reading.meters.iter().map(|(name, meter)| (&**name, &**meter)).collect();
    let shown = reading.topics.iter().take(MOST).map(|(topic, partitions)| {
        let meter = meters.get(&*topic.name);
        let of = |of: fn(&TopicMeter) -> u64| meter.map(|meter| of(meter));
        json!({
            "name": topic.name,
            "partitions": topic.partitions,
            "durability": durability(topic.durability),
            "records": partitions.iter().map(|at| at.durable_end.saturating_sub(at.start)).sum::<u64>(),
            "bytes": partitions.iter().map(|at| at.bytes).sum::<u64>(),
            "read_only_partitions": partitions.iter().filter(|at| at.read_only).count(),
            "unavailable_partitions": (topic.partitions as usize).saturating_sub(partitions.len()),
            "produced_records": of(|meter| meter.produced_records.get()),
            "produced_bytes": of(|meter| meter.produced_bytes.get()),
            "consumed_records": of(|meter| meter.consumed_records.get()),
            "consumed_bytes": of(|meter| meter.consumed_bytes.get()),
        })
    });
    shown.collect()
}

fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Disk => "disk",
        Durability::Memory => "memory",
    }
}

fn group(shown: &GroupShown) -> Value {
    let description = shown.described.as_ref();
    json!({
        "name": shown.name,
        "members": shown.members,
        "partitions": description.map(|group| group.partitions.len()),
        "lag": description.map(|group| group.partitions.iter().map(GroupPartition::lag).sum::<u64>()),
        "topics": description.map(|group| group.topics.clone()),
        "rebalances": shown.rebalances,
    })
}
