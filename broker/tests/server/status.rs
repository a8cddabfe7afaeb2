//! What the broker shows of what it holds.

use std::sync::Arc;

use sealstream_broker::access::{Action, Effect, Rule, RuleBook, Rules};
use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::server::BrokerOptions;
use sealstream_client::Client;
use sealstream_protocol::message::admin::{BrokerStatus, Level, ShowStatus};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use sealstream_transport::admission::{Admission, AdmissionLimits};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::harness::{TestBroker, assert_code, batch, eventually, show};

/// Writes 64 batches of 60 KiB.
async fn fill(broker: &TestBroker) {
    let (mut producer, id) = (broker.producer("events").await, Uuid::new_v4());
    let value = "x".repeat(60 << 10);
    for sequence in 0..64 {
        producer.produce(sequence, 0, batch(id, sequence, &value)).await;
        producer.recv_ack().await;
    }
}

/// The names of the largest topics, with the bytes of each that are in memory.
fn cached(status: &BrokerStatus) -> Vec<(&str, u64)> {
    status.largest_topics.iter().map(|topic| (&*topic.name, topic.cached)).collect()
}

#[tokio::test]
async fn held_batches_are_shown_against_their_budget_and_as_their_sessions_until_they_are_durable() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    admin.create("events", 2).await;
    let mut producers = [broker.producer("events").await, broker.producer("events").await];
    let idle = show(&mut admin).await;
    let options = BrokerOptions::default();
    assert_eq!(idle.produce, Level { now: 0, limit: options.produce_budget.into() });
    assert_eq!(idle.produce_window, u64::from(options.produce_window));
    assert_eq!(idle.largest_sessions, []);

    let hold = broker.engine.hold_durability();
    let value = "x".repeat(1000);
    let (small, large) = (batch(Uuid::new_v4(), 0, "x"), batch(Uuid::new_v4(), 0, &value));
    let under_way = (small.len() + large.len()) as u64;
    producers[0].produce(1, 0, small).await;
    producers[1].produce(1, 1, large.clone()).await;
    eventually("both are under way", async || show(&mut admin).await.produce.now == under_way).await;
    let sessions = show(&mut admin).await.largest_sessions;
    let [most, least] = &sessions[..] else { panic!("{sessions:?}") };
    assert!(most.bytes >= large.len() as u64 && most.bytes > least.bytes, "{sessions:?}");
    for session in &sessions {
        assert_eq!((&*session.identity, session.kind), ("anonymous", SessionKind::Produce));
    }
    // What the log has of sessions that broke is held, and counted, until the log is done with it.
    drop(producers);
    for _ in 0..10 {
        let status = show(&mut admin).await;
        assert_eq!(
            (status.produce.now, status.sessions.now, status.largest_sessions.len()),
            (under_way, 3, 2)
        );
    }

    hold.release();
    eventually("nothing is under_way", async || {
        let status = show(&mut admin).await;
        status.produce.now == 0 && status.largest_sessions.is_empty() && status.sessions.now == 1
    })
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn what_a_consumer_does_not_take_is_shown_as_read_ahead_and_never_more_than_its_window() {
    let options =
        BrokerOptions { data_bytes: 64 << 10, consume_window: 256 << 10, ..BrokerOptions::default() };
    let (window, budget) = (u64::from(options.consume_window), u64::from(options.consume_budget));
    let broker = TestBroker::with(options).await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    fill(&broker).await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    eventually("the window is full", async || {
        let status = show(&mut admin).await;
        let [session] = &status.largest_sessions[..] else { return false };
        assert_eq!((session.kind, status.consume.limit), (SessionKind::Consume, budget));
        assert!(session.bytes <= window, "{session:?}");
        session.bytes > window / 2 && status.consume.now > window / 2
    })
    .await;
    drop(consumer);
    eventually("it is given back", async || {
        let status = show(&mut admin).await;
        status.consume.now == 0 && status.largest_sessions.is_empty()
    })
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_consumer_that_finds_the_budget_spent_holds_one_small_turn_outside_of_it_at_most() {
    let options = BrokerOptions { consume_budget: 1 << 20, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    fill(&broker).await;
    let mut first = broker.consumer().await;
    first.subscribe(1, "events", 0, Position::Beginning).await;
    eventually("the budget is spent", async || show(&mut admin).await.consume.now > 900 << 10).await;
    // What is left of the budget is less than a turn.
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = broker.consumer().await;
        other.subscribe(1, "events", 0, Position::Beginning).await;
        others.push(other);
    }
    eventually("all are stuck", async || {
        let status = show(&mut admin).await;
        let held: Vec<_> = status.largest_sessions.iter().map(|session| session.bytes).collect();
        assert!(held.iter().skip(1).all(|bytes| *bytes <= 64 << 10), "{held:?}");
        held.len() == 5 && held[4] > 50 << 10
    })
    .await;
    // Once its client reads, one goes on and on.
    let mut reader = others.pop().unwrap();
    assert_eq!(reader.recv_values(64).await.len(), 64);
    drop((first, others));
    eventually("all is given back", async || {
        let status = show(&mut admin).await;
        (status.consume.now, status.largest_sessions.len()) == (0, 0)
    })
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_session_more_and_a_stream_that_has_not_said_hello_are_counted_while_they_last() {
    let options = BrokerOptions { max_sessions: 7, max_greetings: 5, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    let mut admin = broker.admin().await;
    let before = show(&mut admin).await;
    assert_eq!(before.sessions, Level { now: 1, limit: 7 });
    assert_eq!(before.greetings, Level { now: 0, limit: 5 });
    assert_eq!(before.incarnation, broker.running.incarnation());
    assert_eq!((before.connections, before.log), (None, None));
    let consumer = broker.consumer().await;
    let mut silent = broker.stream().await;
    silent.send.write_all(&[40, 0]).await.unwrap(); // half a Hello
    eventually("both are counted", async || {
        let status = show(&mut admin).await;
        (status.sessions.now, status.greetings.now) == (2, 1)
    })
    .await;
    drop((consumer, silent));
    eventually("neither is counted", async || {
        let status = show(&mut admin).await;
        (status.sessions.now, status.greetings.now) == (1, 0)
    })
    .await;
    broker.stop().await;
}

#[tokio::test]
async fn who_may_not_administer_the_broker_is_refused_and_who_may_sees_what_it_may_see() {
    let book = RuleBook::default();
    let broker = TestBroker::with(BrokerOptions { rules: book.clone(), ..BrokerOptions::default() }).await;
    let mut admin = broker.admin().await;
    admin.create("mine", 1).await;
    admin.create("hidden", 1).await;
    let rule = |actions: &[Action], topics: &[&str], effect| {
        Rule::new("anonymous", actions.iter().copied(), topics, effect).unwrap()
    };
    let publish = |rules: Vec<Rule>| assert!(book.publish(Rules::new(rules, [""; 0]).unwrap()));
    publish(vec![rule(&Action::ALL, &["mine"], Effect::Allow)]);
    admin.send(Message::ShowStatus(ShowStatus {})).await;
    let Message::RequestRefused(fault) = admin.recv().await else { panic!("a refusal was due") };
    assert_code(&fault, FaultCode::Forbidden);
    publish(vec![rule(&Action::ALL, &["*"], Effect::Allow), rule(&Action::ALL, &["hidden"], Effect::Deny)]);
    assert_eq!(cached(&show(&mut admin).await), [("mine", 0)]);
    broker.stop().await;
}

#[tokio::test]
async fn the_log_shows_its_cache_by_topic_and_what_it_has_done_and_the_sdk_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentedOptions { shards: 2, cache_bytes: 1 << 20, ..SegmentedOptions::default() };
    let engine = Arc::new(SegmentedEngine::open(dir.path().join("data"), options).unwrap());
    let admission = Admission::new(AdmissionLimits::default()).unwrap();
    let options = BrokerOptions { connections: Some(admission.clone()), ..BrokerOptions::default() };
    let broker = TestBroker::on(options, engine, Arc::new(SystemClock)).await;
    let mut admin = broker.admin().await;
    for name in ["large", "small", "empty"] {
        admin.create(name, 2).await;
    }
    for (topic, value) in [("large", "x".repeat(5000)), ("small", "x".repeat(500))] {
        let mut producer = broker.producer(topic).await;
        for partition in 0..2 {
            producer.produce(partition.into(), partition, batch(Uuid::new_v4(), 0, &value)).await;
            producer.recv_ack().await;
        }
    }
    let client = Client::builder()
        .url(format!("tls://{}", broker.addr()))
        .transport(Arc::new(broker.network.clone()))
        .build()
        .unwrap();
    let status = client.admin().show_status().await.unwrap();
    let [("large", large), ("small", small), ("empty", 0)] = cached(&status)[..] else {
        panic!("{status:?}")
    };
    assert!(large > 10_000 && small > 1_000 && small < large);
    assert_eq!(status.cache, Level { now: large + small, limit: 2 << 20 });
    for topic in &status.largest_topics {
        assert_eq!(topic.partitions, 2);
        assert!(topic.bytes >= topic.cached);
    }
    let log = status.log.expect("this engine counts");
    assert!(
        log.batches == 4 && log.bytes >= large + small && log.syncs > 0 && !log.reserve_in_use,
        "{log:?}"
    );
    let limit = admission.limits().connections as u64;
    assert_eq!(status.connections, Some(Level { now: 0, limit }));
    broker.stop().await;
}
