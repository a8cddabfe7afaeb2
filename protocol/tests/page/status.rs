//! The values that the vectors about what the broker holds are made of.

use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{
    BrokerStatus, Level, LogStatus, QuotaCount, QuotaStatus, RedisStatus, SessionUse, ShowStatus, TopicUse,
};
use sealstream_protocol::message::hello::SessionKind;

use crate::samples::INCARNATION;

/// Messages by name.
pub(crate) fn messages() -> Vec<(&'static str, Message)> {
    let log = LogStatus {
        rounds: 900,
        batches: 4_000,
        bytes: 5 << 30,
        syncs: 950,
        journal_records: 50,
        metadata_syncs: 40,
        reserve_in_use: true,
    };
    let redis = RedisStatus { away: true, losses: 2, recoveries: 2, unanswered: 1 };
    let quotas = QuotaStatus {
        produced: QuotaCount { admitted: 1 << 30, refused: 7, by_policy: 3 },
        consumed: QuotaCount { admitted: 2 << 30, refused: 1, by_policy: 0 },
        requests: QuotaCount { admitted: 12_000, refused: 0, by_policy: 4 },
        redis: Some(redis),
    };
    let producer = SessionUse {
        identity: "spiffe://example.org/orders/writer".into(),
        kind: SessionKind::Produce,
        bytes: 3 << 20,
    };
    let consumer = SessionUse { identity: "anonymous".into(), kind: SessionKind::Consume, bytes: 1 << 20 };
    let topic = TopicUse { name: "orders.eu".into(), partitions: 8, cached: 20 << 20, bytes: 5 << 30 };
    let status = BrokerStatus {
        uptime_ms: 86_400_000,
        incarnation: INCARNATION,
        greetings: Level { now: 1, limit: 1024 },
        sessions: Level { now: 17, limit: 2048 },
        produce: Level { now: 3 << 20, limit: 64 << 20 },
        consume: Level { now: 1 << 20, limit: 64 << 20 },
        produce_window: 8 << 20,
        consume_window: 2 << 20,
        cache: Level { now: 20 << 20, limit: 64 << 20 },
        groups: Level { now: 3, limit: 1000 },
        largest_sessions: vec![producer, consumer],
        largest_topics: vec![topic],
        quotas,
        connections: Some(Level { now: 12, limit: 1024 }),
        log: Some(log),
        arriving: Some(Level { now: 2 << 20, limit: 64 << 20 }),
    };
    let bare = BrokerStatus {
        largest_sessions: vec![],
        largest_topics: vec![],
        quotas: QuotaStatus::default(),
        connections: None,
        log: None,
        arriving: None,
        ..status.clone()
    };
    vec![
        ("show-status", Message::ShowStatus(ShowStatus {})),
        ("broker-status", Message::BrokerStatus(status.into())),
        ("broker-status-bare", Message::BrokerStatus(bare.into())),
    ]
}
