//! What is bounded, what waits for what, and who is not harmed by it.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::collections::HashMap;
use std::time::Duration;

use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::message::consume::{Position, Unsubscribe};
use sealstream_protocol::message::hello::Pong;
use sealstream_protocol::message::produce::Produce;
use sealstream_protocol::message::{FaultCode, Message};
use uuid::Uuid;

use crate::harness::{TestBroker, Wire, assert_code, batch, eventually, show, subscription_to, values};

/// A batch of 600 KiB.
fn big(id: Uuid, sequence: u64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, &vec![b'x'; 600 << 10], &[]).unwrap();
    builder.build(id, sequence).into_bytes()
}

#[tokio::test]
async fn beyond_its_window_a_session_is_not_read_from_and_nobody_else_is_harmed() {
    let options = BrokerOptions { produce_window: 1 << 20, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    broker.create("events", 2).await;
    let mut producer = broker.producer("events").await;
    let mut other = broker.producer("events").await;
    let hold = broker.engine.hold_durability();
    let id = Uuid::new_v4();
    for sequence in 0..3 {
        let batch = big(id, sequence);
        producer.writer.feed(&Message::Produce(Produce {
            request: sequence,
            handle: 1,
            partition: 0,
            batch,
        }));
    }
    // Two of 600 KiB exceed the window of 1 MiB: the third finds neither a reader nor room in the pipe.
    let stuck = tokio::time::timeout(Duration::from_millis(200), producer.writer.flush()).await;
    assert!(stuck.is_err());
    other.produce(1, 1, batch(Uuid::new_v4(), 0, "x")).await;
    other.assert_silent().await;
    hold.release();
    other.recv_ack().await;
    let (_, acks) = tokio::join!(producer.writer.flush(), async {
        let mut acks = Vec::new();
        while acks.len() < 3 {
            match producer.reader.next().await.unwrap().unwrap() {
                Message::Ack(ack) => acks.push(ack.base_offset),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
        acks
    });
    assert_eq!(acks, [0, 1, 2]);
    broker.stop().await;
}

#[tokio::test]
async fn when_the_brokers_memory_is_spent_a_batch_is_refused_as_busy_after_a_while() {
    let options = BrokerOptions {
        produce_budget: 1 << 20,
        produce_patience: Duration::from_millis(10),
        ..BrokerOptions::default()
    };
    let broker = TestBroker::with(options).await;
    broker.create("events", 2).await;
    let mut greedy = broker.producer("events").await;
    let mut modest = broker.producer("events").await;
    let hold = broker.engine.hold_durability();
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    greedy.produce(1, 0, big(a, 0)).await;
    greedy.assert_silent().await;
    modest.produce(1, 1, big(b, 0)).await;
    modest.produce(2, 1, batch(b, 1, "behind")).await;
    let fault = modest.recv_refusal().await.fault;
    assert_code(&fault, FaultCode::Busy);
    assert!(fault.retry_after_ms.is_some());
    // Small enough for what is left, but behind a gap.
    let fault = modest.recv_refusal().await.fault;
    assert_code(&fault, FaultCode::OutOfSequence);
    assert_eq!(fault.offset, Some(0));
    hold.release();
    greedy.recv_ack().await;
    modest.produce(3, 1, big(b, 0)).await;
    modest.produce(4, 1, batch(b, 1, "behind")).await;
    assert_eq!(modest.recv_ack().await.request, 3);
    assert_eq!(modest.recv_ack().await.request, 4);
    broker.stop().await;
}

#[tokio::test]
async fn a_broken_session_keeps_its_part_of_the_memory_until_the_log_is_done() {
    let options = BrokerOptions {
        produce_budget: 1 << 20,
        produce_patience: Duration::from_millis(10),
        ..BrokerOptions::default()
    };
    let broker = TestBroker::with(options).await;
    broker.create("events", 1).await;
    let hold = broker.engine.hold_durability();
    let mut gone = broker.producer("events").await;
    let id = Uuid::new_v4();
    gone.produce(1, 0, big(id, 0)).await;
    gone.assert_silent().await;
    drop(gone);
    let mut next = broker.producer("events").await;
    next.produce(2, 0, big(Uuid::new_v4(), 0)).await;
    assert_code(&next.recv_refusal().await.fault, FaultCode::Busy);
    hold.release();
    // What was taken is stored, although nobody waited for the answer.
    next.produce(3, 0, batch(id, 0, "x")).await;
    let ack = next.recv_ack().await;
    assert!(ack.duplicate);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_read_from_no_further_and_harms_nobody() {
    let options = BrokerOptions { produce_window: 64 << 10, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    broker.create("events", 2).await;
    let mut deaf = broker.producer("events").await;
    let id = Uuid::new_v4();
    let mut sent = 0;
    // Its pipes hold 64 KiB each way, the broker 64 answers: it must come to a stop.
    loop {
        let batch = batch(id, sent, "x");
        deaf.writer.feed(&Message::Produce(Produce { request: sent, handle: 1, partition: 0, batch }));
        if tokio::time::timeout(Duration::from_millis(100), deaf.writer.flush()).await.is_err() {
            break;
        }
        sent += 1;
        assert!(sent < 100_000, "the broker takes batches without end");
    }
    let mut other = broker.producer("events").await;
    other.produce(1, 1, batch(Uuid::new_v4(), 0, "x")).await;
    other.recv_ack().await;
    // It learns to read: nothing was lost.
    let Wire { mut reader, mut writer, .. } = deaf;
    let (flushed, ()) = tokio::join!(writer.flush(), async {
        for expected in 0..=sent {
            let Some(Message::Ack(ack)) = reader.next().await.unwrap() else { panic!() };
            assert_eq!((ack.request, ack.base_offset), (expected, expected));
        }
    });
    flushed.unwrap();
    broker.stop().await;
}

/// Fills `topic` with `count` batches of `bytes` bytes.
async fn bulky(broker: &TestBroker, topic: &str, count: u64, bytes: usize) {
    broker.create(topic, 1).await;
    let mut producer = broker.producer(topic).await;
    let id = Uuid::new_v4();
    let value = vec![b'x'; bytes];
    for sequence in 0..count {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(0, None, &value, &[]).unwrap();
        producer.produce(sequence, 0, builder.build(id, sequence).into_bytes()).await;
        producer.recv_ack().await;
    }
}

#[tokio::test]
async fn subscriptions_take_turns() {
    let options =
        BrokerOptions { data_bytes: 16 << 10, consume_window: 32 << 10, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    for topic in ["a", "b", "c"] {
        bulky(&broker, topic, 100, 4 << 10).await;
    }
    let mut consumer = broker.consumer().await;
    for (number, topic) in (0..).zip(["a", "b", "c"]) {
        consumer.writer.feed(&Message::Subscribe(subscription_to(number, topic, 0, Position::Beginning)));
    }
    consumer.flush().await.unwrap();
    let mut received: HashMap<u32, usize> = HashMap::new();
    let mut started = 0;
    while received.values().sum::<usize>() < 300 {
        match consumer.recv().await {
            Message::Subscribed(_) => started += 1,
            Message::Data(data) => {
                assert!(data.entries.len() <= 16 << 10);
                *received.entry(data.subscription).or_default() += values(data.entries).len();
            }
            other => panic!("{other:?}"),
        }
        // From the moment that all three are there, none gets more than a few turns ahead of another.
        if started == 3 && received.values().all(|count| *count < 100) {
            let most = received.values().max().unwrap_or(&0);
            let least = (0..3).map(|number| received.get(&number).copied().unwrap_or(0)).min().unwrap();
            assert!(most - least <= 30, "{received:?}");
        }
    }
    assert_eq!(received, HashMap::from([(0, 100), (1, 100), (2, 100)]));
    broker.stop().await;
}

#[tokio::test]
async fn an_entry_larger_than_a_frame_should_be_travels_alone() {
    let options = BrokerOptions { data_bytes: 16 << 10, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    bulky(&broker, "events", 3, 100 << 10).await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    for offset in 0..3 {
        let found = values(consumer.recv_data().await.entries);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, offset);
    }
    broker.stop().await;
}

#[tokio::test]
async fn readers_that_stop_reading_harm_nobody_even_when_they_hold_the_whole_budget() {
    let options = BrokerOptions {
        data_bytes: 32 << 10,
        consume_window: 64 << 10,
        consume_budget: 64 << 10,
        ..BrokerOptions::default()
    };
    let broker = TestBroker::with(options).await;
    bulky(&broker, "events", 100, 8 << 10).await;
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut consumer = broker.consumer().await;
        consumer.writer.feed(&Message::Subscribe(subscription_to(1, "events", 0, Position::Beginning)));
        consumer.flush().await.unwrap();
        stuck.push(consumer);
    }
    let mut reader = broker.consumer().await;
    reader.subscribe(1, "events", 0, Position::Beginning).await;
    assert_eq!(reader.recv_values(100).await.len(), 100);
    // The stuck ones still get everything, once they read.
    for mut consumer in stuck {
        assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
        assert_eq!(consumer.recv_values(100).await.len(), 100);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_stuck_reader_still_has_its_frames_read() {
    let broker = TestBroker::start().await;
    bulky(&broker, "events", 40, 64 << 10).await;
    broker.create("quiet", 1).await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    // 64 KiB of pipe and 2 MiB of window are soon full, and nobody reads: yet this arrives and is carried out.
    consumer.send(Message::Unsubscribe(Unsubscribe { subscription: 1 })).await;
    consumer.send(Message::Subscribe(subscription_to(2, "quiet", 0, Position::End))).await;
    let mut bytes = 0;
    loop {
        match consumer.recv().await {
            Message::Data(data) => bytes += data.entries.len(),
            Message::SubscriptionEnded(ended) => assert_eq!(ended.fault, None),
            Message::Subscribed(subscribed) => {
                assert_eq!(subscribed.subscription, 2);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(bytes <= 40 * (65 << 10));
    broker.stop().await;
}

/// Entries of 600 KiB, where nobody's turn has room for one: they are read one at a time beyond the budget.
#[tokio::test(start_paused = true)]
async fn large_batches_outside_of_the_budget_pass_one_at_a_time_and_who_does_not_take_his_is_cut_off() {
    let options = BrokerOptions { consume_budget: 1 << 20, ..BrokerOptions::default() };
    let most = (1 << 20) + (700 << 10);
    let broker = TestBroker::with(options).await;
    bulky(&broker, "small", 40, 50 << 10).await;
    bulky(&broker, "large", 10, 600 << 10).await;
    let mut admin = broker.admin().await;
    let mut greedy = broker.consumer().await;
    greedy.subscribe(1, "small", 0, Position::Beginning).await;
    let mut held = 0;
    eventually("the budget is spent", async || {
        held = show(&mut admin).await.consume.now;
        held > 900 << 10
    })
    .await;
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let mut consumer = broker.consumer().await;
        consumer.subscribe(1, "large", 0, Position::Beginning).await;
        stuck.push(consumer);
    }
    eventually("one of them is in the lane", async || {
        let now = show(&mut admin).await.consume.now;
        assert!(now <= most, "{now} of {most}");
        now > held
    })
    .await;
    // Those before it do not read, and have to give way in turn.
    let start = tokio::time::Instant::now();
    let mut reader = broker.consumer().await;
    reader.subscribe(1, "large", 0, Position::Beginning).await;
    let mut found = 0;
    while found < 10 {
        let data = tokio::time::timeout(Duration::from_mins(1), reader.reader.next()).await;
        match data.unwrap().unwrap().unwrap() {
            Message::Data(data) => found += values(data.entries).len(),
            Message::Ping(ping) => reader.send(Message::Pong(Pong { nonce: ping.nonce })).await,
            other => panic!("{other:?}"),
        }
        let now = show(&mut admin).await.consume.now;
        assert!(now <= most, "{now} of {most}");
    }
    assert!(start.elapsed() <= Duration::from_secs(25), "{:?}", start.elapsed());
    // Who holds the budget, and is in nobody's way, is left alone.
    assert_eq!(greedy.recv_values(40).await.len(), 40);
    drop(stuck);
    eventually("all is given back", async || show(&mut admin).await.consume.now == 0).await;
    broker.stop().await;
}
