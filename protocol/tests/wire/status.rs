//! Any message about what the broker holds.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use sealstream_protocol::message::{Message, admin, hello};

use crate::messages::{text, uuid};

fn level() -> impl Strategy<Value = admin::Level> {
    any::<(u64, u64)>().prop_map(|(now, limit)| admin::Level { now, limit })
}

fn session() -> impl Strategy<Value = admin::SessionUse> {
    let kind = prop_oneof![Just(hello::SessionKind::Produce), Just(hello::SessionKind::Consume)];
    (text(), kind, any::<u64>()).prop_map(|(identity, kind, bytes)| admin::SessionUse {
        identity,
        kind,
        bytes,
    })
}

fn topic() -> impl Strategy<Value = admin::TopicUse> {
    (text(), any::<(u32, u64, u64)>()).prop_map(|(name, (partitions, cached, bytes))| admin::TopicUse {
        name,
        partitions,
        cached,
        bytes,
    })
}

fn count() -> impl Strategy<Value = admin::QuotaCount> {
    any::<(u64, u64, u64)>().prop_map(|(admitted, refused, by_policy)| admin::QuotaCount {
        admitted,
        refused,
        by_policy,
    })
}

fn quotas() -> impl Strategy<Value = admin::QuotaStatus> {
    let redis = any::<(bool, u64, u64, u64)>().prop_map(|(away, losses, recoveries, unanswered)| {
        admin::RedisStatus { away, losses, recoveries, unanswered }
    });
    (count(), count(), count(), of(redis)).prop_map(|(produced, consumed, requests, redis)| {
        admin::QuotaStatus { produced, consumed, requests, redis }
    })
}

fn log() -> impl Strategy<Value = admin::LogStatus> {
    any::<([u64; 6], bool)>().prop_map(|(numbers, reserve_in_use)| {
        let [rounds, batches, bytes, syncs, journal_records, metadata_syncs] = numbers;
        admin::LogStatus { rounds, batches, bytes, syncs, journal_records, metadata_syncs, reserve_in_use }
    })
}

pub(crate) fn status() -> impl Strategy<Value = Message> {
    let levels = [level(), level(), level(), level(), level(), level()];
    let lists = (vec(session(), 0..3), vec(topic(), 0..3));
    let status =
        (uuid(), any::<(u64, u64, u64)>(), levels, lists, quotas(), of(level()), of(log()), of(level()))
            .prop_map(|(incarnation, numbers, levels, lists, quotas, connections, log, arriving)| {
                let (uptime_ms, produce_window, consume_window) = numbers;
                let [greetings, sessions, produce, consume, cache, groups] = levels;
                let (largest_sessions, largest_topics) = lists;
                Message::BrokerStatus(Box::new(admin::BrokerStatus {
                    uptime_ms,
                    incarnation,
                    greetings,
                    sessions,
                    produce,
                    consume,
                    produce_window,
                    consume_window,
                    cache,
                    groups,
                    largest_sessions,
                    largest_topics,
                    quotas,
                    connections,
                    log,
                    arriving,
                }))
            });
    prop_oneof![Just(Message::ShowStatus(admin::ShowStatus {})), status]
}
