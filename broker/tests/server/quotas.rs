//! Quotas as clients meet them: what is refused and what waits, that order holds, and that others are not touched.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::quotas::{Override, QuotaCounts, Quotas, Rates, Rules, Said};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::message::admin::ListTopics;
use sealstream_protocol::message::consume::{Position, Unsubscribe};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::produce::OpenTopic;
use sealstream_protocol::message::{Fault, FaultClass, FaultCode, Message};
use sealstream_transport::gcra::Limit;
use uuid::Uuid;

use crate::harness::{TestBroker, Wire, assert_code, batch, eventually, values};

const HOUR: Duration = Duration::from_hours(1);

/// A limit that gives nothing back while a test runs.
fn still(burst: u64) -> Limit {
    Limit::new(1, HOUR, burst).unwrap()
}

/// A limit that is empty and full again within milliseconds.
fn quick(burst: u64) -> Limit {
    Limit::new(burst * 20, Duration::from_secs(1), burst).unwrap()
}

fn produced(limit: Limit) -> Rates {
    Rates { produced: Some(limit), ..Rates::default() }
}

fn requests(limit: Limit) -> Rates {
    Rates { requests: Some(limit), ..Rates::default() }
}

fn consumed(limit: Limit) -> Rates {
    Rates { consumed: Some(limit), ..Rates::default() }
}

/// A broker under these limits, and its quotas.
async fn broker(rules: Rules) -> (TestBroker, Arc<Quotas>) {
    let quotas = Arc::new(Quotas::in_memory(Rules::default()));
    let options = BrokerOptions { quotas: Arc::clone(&quotas), ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    broker.create("events", 2).await;
    // What a test sets up by itself is not charged.
    quotas.set_rules(rules);
    (broker, quotas)
}

fn each(defaults: Rates) -> Rules {
    Rules { defaults, ..Rules::default() }
}

fn assert_spent(fault: &Fault, of_what: &str) -> Duration {
    assert_code(fault, FaultCode::QuotaExceeded);
    assert_eq!(fault.class, FaultClass::RetryLater);
    assert!(fault.text.contains(of_what), "{fault}");
    Duration::from_millis(fault.retry_after_ms.expect("it says how long").into())
}

/// Bytes of a batch of one short value.
fn size() -> u64 {
    batch(Uuid::new_v4(), 0, "0").len() as u64
}

#[tokio::test]
async fn a_batch_beyond_the_quota_is_refused_with_a_time_and_nothing_of_it_is_stored() {
    let (broker, quotas) = broker(each(produced(still(2 * size())))).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..3 {
        producer.produce(sequence, 0, batch(id, sequence, &sequence.to_string())).await;
    }
    producer.recv_ack().await;
    producer.recv_ack().await;
    let refused = producer.recv_refusal().await;
    assert_eq!(refused.request, 2);
    let wait = assert_spent(&refused.fault, "produced bytes of identity \"anonymous\"");
    assert!(wait > HOUR && wait <= HOUR * u32::try_from(size()).unwrap(), "{wait:?}");
    let QuotaCounts { produced, requests, redis, .. } = quotas.counts();
    assert_eq!((produced.admitted, produced.refused, produced.by_policy), (2 * size(), 1, 0));
    assert_eq!((requests.admitted, redis), (0, None));
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    assert_eq!(consumer.recv_values(2).await, ["0", "1"]);
    consumer.assert_silent().await;
    broker.stop().await;
}

#[tokio::test]
async fn what_follows_a_refused_batch_is_out_of_sequence_until_it_comes_again_and_costs_nothing() {
    let large = |id, sequence| batch(id, sequence, &"x".repeat(1_000));
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    // One large batch is more than the burst leaves behind the first; small ones would fit.
    let (broker, quotas) = broker(each(produced(still(1_500)))).await;
    let mut producer = broker.producer("events").await;
    producer.produce(0, 0, large(id, 0)).await;
    producer.produce(1, 0, large(id, 1)).await;
    producer.produce(2, 0, batch(id, 2, "2")).await;
    producer.produce(3, 0, batch(id, 3, "3")).await;
    producer.produce(4, 0, batch(other, 0, "another producer's")).await;
    producer.recv_ack().await;
    assert_spent(&producer.recv_refusal().await.fault, "produced bytes");
    for request in [2, 3] {
        let refused = producer.recv_refusal().await;
        assert_eq!((refused.request, refused.fault.offset), (request, Some(1)));
        assert_code(&refused.fault, FaultCode::OutOfSequence);
    }
    assert_eq!(producer.recv_ack().await.base_offset, 1);
    let spent = large(id, 0).len() + batch(other, 0, "another producer's").len();
    assert_eq!(quotas.counts().produced.admitted, spent as u64);
    quotas.set_rules(Rules::default());
    producer.produce(5, 0, large(id, 1)).await;
    producer.produce(6, 0, batch(id, 2, "2")).await;
    assert_eq!(producer.recv_ack().await.base_offset, 2);
    assert_eq!(producer.recv_ack().await.base_offset, 3);
    broker.stop().await;
}

#[tokio::test]
async fn order_holds_though_the_first_batch_of_a_producer_is_the_one_that_was_refused() {
    let (broker, quotas) = broker(each(produced(still(size())))).await;
    let mut producer = broker.producer("events").await;
    producer.produce(0, 0, batch(Uuid::new_v4(), 0, "0")).await;
    producer.recv_ack().await;
    let id = Uuid::new_v4();
    producer.produce(1, 0, batch(id, 0, "0")).await;
    assert_spent(&producer.recv_refusal().await.fault, "produced bytes");
    // From now on there is room, but not for what comes out of turn.
    quotas.set_rules(Rules::default());
    producer.produce(2, 0, batch(id, 1, "1")).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::OutOfSequence);
    producer.produce(3, 0, batch(id, 0, "0")).await;
    producer.produce(4, 0, batch(id, 1, "1")).await;
    producer.recv_ack().await;
    producer.recv_ack().await;
    broker.stop().await;
}

#[tokio::test]
async fn what_the_log_refuses_is_given_back() {
    let (broker, _) = broker(each(produced(still(2 * size())))).await;
    let mut producer = broker.producer("events").await;
    for request in 0..10 {
        // Of a producer of which nothing is known, in mid-sequence.
        producer.produce(request, 0, batch(Uuid::new_v4(), 5, "0")).await;
        assert_code(&producer.recv_refusal().await.fault, FaultCode::UnknownProducer);
    }
    let id = Uuid::new_v4();
    producer.produce(10, 0, batch(id, 0, "0")).await;
    producer.produce(11, 0, batch(id, 1, "0")).await;
    producer.recv_ack().await;
    producer.recv_ack().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_frame_of_a_producer_is_a_request_and_what_is_refused_for_its_request_costs_no_bytes() {
    let rates = Rates { produced: Some(still(100_000)), requests: Some(still(3)), consumed: None };
    let (broker, quotas) = broker(each(rates)).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..3 {
        producer.produce(sequence, 0, batch(id, sequence, "0")).await;
    }
    producer.recv_ack().await;
    producer.recv_ack().await;
    assert_spent(&producer.recv_refusal().await.fault, "requests");
    producer.send(Message::OpenTopic(OpenTopic { handle: 2, name: "events".into(), id: None })).await;
    let Message::OpenRefused(refused) = producer.recv().await else { panic!("it is a request") };
    assert_spent(&refused.fault, "requests");
    assert_eq!(quotas.counts().produced.admitted, 2 * size());
    assert_eq!(quotas.counts().requests.admitted, 3);
    // Pings are none.
    producer.assert_silent().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_refused_request_of_an_admin_leaves_its_session_open() {
    let (broker, _) = broker(each(requests(quick(2)))).await;
    let mut admin = broker.session(SessionKind::Admin).await;
    let list = || Message::ListTopics(ListTopics { after: String::new(), limit: 0 });
    let mut refused = 0;
    let mut answered = 0;
    while answered < 5 {
        admin.send(list()).await;
        match admin.recv().await {
            Message::TopicList(_) => answered += 1,
            Message::RequestRefused(fault) => {
                tokio::time::sleep(assert_spent(&fault, "requests")).await;
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(refused >= 1);
    broker.stop().await;
}

async fn fill(broker: &TestBroker, partition: u32, count: u64) {
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..count {
        producer.produce(sequence, partition, batch(id, sequence, &sequence.to_string())).await;
        producer.recv_ack().await;
    }
}

async fn recv_all(consumer: &mut Wire, count: u64) {
    let expected: Vec<_> = (0..count).map(|value| value.to_string()).collect();
    assert_eq!(consumer.recv_values(expected.len()).await, expected);
}

#[tokio::test]
async fn a_consumer_beyond_its_quota_is_paced_and_gets_everything_in_order() {
    let (broker, quotas) = broker(Rules::default()).await;
    fill(&broker, 0, 30).await;
    // All of them are more than the burst, so that some must wait.
    quotas.set_rules(each(consumed(quick(4 * size()))));
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Offset(20)).await;
    let mut found = Vec::new();
    while found.len() < 10 {
        found.extend(values(consumer.recv_data().await.entries));
    }
    assert_eq!(found.first().unwrap().0, 20);
    fill(&broker, 1, 5).await;
    consumer.subscribe(2, "events", 1, Position::Beginning).await;
    recv_all(&mut consumer, 5).await;
    assert!(quotas.counts().consumed.refused > 0, "it had to wait");
    broker.stop().await;
}

#[tokio::test]
async fn a_consumer_that_waits_for_its_quota_is_heard_and_harms_nobody() {
    let (broker, quotas) = broker(Rules::default()).await;
    fill(&broker, 0, 3).await;
    fill(&broker, 1, 3).await;
    quotas.set_rules(each(consumed(still(100_000))));
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    recv_all(&mut consumer, 3).await;
    // It owes more than comes back for hours.
    quotas.set_rules(each(consumed(still(1))));
    consumer.subscribe(2, "events", 1, Position::Beginning).await;
    eventually("it waits", async || quotas.counts().consumed.refused > 0).await;
    consumer.assert_silent().await;
    consumer.send(Message::Unsubscribe(Unsubscribe { subscription: 2 })).await;
    let Message::SubscriptionEnded(ended) = consumer.recv().await else { panic!("it is heard") };
    assert_eq!((ended.subscription, ended.fault), (2, None));
    // Raised, the quota lets all pass but what was taken off.
    fill(&broker, 0, 1).await;
    quotas.set_rules(Rules::default());
    assert_eq!(consumer.recv_data().await.subscription, 1);
    consumer.assert_silent().await;
    broker.stop().await;
}

#[tokio::test]
async fn each_address_has_limits_of_its_own_besides_those_of_the_identity() {
    let rules = Rules { defaults: requests(still(100)), address: requests(still(3)), ..Rules::default() };
    let (broker, _) = broker(rules).await;
    let mut first = broker.producer("events").await;
    let mut second = broker.producer("events").await;
    first.produce(1, 0, batch(Uuid::new_v4(), 0, "0")).await;
    first.recv_ack().await;
    second.produce(1, 0, batch(Uuid::new_v4(), 0, "0")).await;
    assert_spent(&second.recv_refusal().await.fault, "the address that you come from");
    broker.stop().await;
}

#[tokio::test]
async fn a_change_of_the_rules_holds_for_open_sessions_at_once() {
    let (broker, quotas) = broker(each(produced(still(size())))).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    producer.produce(0, 0, batch(id, 0, "0")).await;
    producer.recv_ack().await;
    producer.produce(1, 0, batch(id, 1, "0")).await;
    producer.recv_refusal().await;
    let anonymous = Override {
        pattern: "anon*".into(),
        produced: Said::Unlimited,
        consumed: Said::Nothing,
        requests: Said::Nothing,
    };
    quotas.set_rules(Rules { overrides: vec![anonymous], ..each(produced(still(size()))) });
    for sequence in 1..20 {
        producer.produce(sequence, 0, batch(id, sequence, "0")).await;
        producer.recv_ack().await;
    }
    quotas.set_rules(each(requests(still(1))));
    producer.produce(20, 0, batch(id, 20, "0")).await;
    producer.recv_ack().await;
    producer.produce(21, 0, batch(id, 21, "0")).await;
    assert_spent(&producer.recv_refusal().await.fault, "requests");
    broker.stop().await;
}
