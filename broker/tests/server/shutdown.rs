//! Shutting down in order, and at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::MemoryStore;
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use sealstream_transport::Transport as _;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::{PATIENCE, TestBroker, Wire, assert_code, batch, eventually};

async fn recv_go_away(wire: &mut Wire) {
    match wire.recv().await {
        Message::GoAway(fault) => assert_code(&fault, FaultCode::ShuttingDown),
        other => panic!("GoAway was due: {other:?}"),
    }
}

#[tokio::test]
async fn idle_sessions_are_told_and_ended() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut admin = broker.admin().await;
    let mut producer = broker.producer("events").await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    let stopping = broker.running.shutdown(PATIENCE);
    let told = async {
        for wire in [&mut admin, &mut producer, &mut consumer] {
            recv_go_away(wire).await;
        }
        for wire in [&mut admin, &mut producer, &mut consumer] {
            wire.recv_end().await;
        }
    };
    let (stopped, ()) = tokio::join!(stopping, told);
    assert!(stopped.unwrap().in_time);
}

#[tokio::test]
async fn what_is_in_flight_is_answered_before_the_end() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    let hold = broker.engine.hold_durability();
    let id = Uuid::new_v4();
    producer.produce(1, 0, batch(id, 0, "before")).await;
    producer.assert_silent().await;
    let stopping = broker.running.shutdown(PATIENCE);
    let told = async {
        recv_go_away(&mut producer).await;
        // Was under way when the news arrived.
        producer.produce(2, 0, batch(id, 1, "after")).await;
        producer.assert_silent().await;
        hold.release();
        assert_eq!(producer.recv_ack().await.request, 1);
        assert_eq!(producer.recv_ack().await.request, 2);
        producer.finish().await;
    };
    let (stopped, ()) = tokio::join!(stopping, told);
    assert!(stopped.unwrap().in_time);
}

#[tokio::test]
async fn a_session_that_hangs_is_cut_off_at_the_deadline() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    let _hold = broker.engine.hold_durability();
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    producer.assert_silent().await;
    let stopped = broker.running.shutdown(Duration::from_millis(50)).await.unwrap();
    assert!(!stopped.in_time);
}

#[tokio::test]
async fn a_second_call_ends_the_first_at_once() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    let _hold = broker.engine.hold_durability();
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    producer.assert_silent().await;
    let first = broker.running.shutdown(Duration::from_hours(1));
    let second = async {
        recv_go_away(&mut producer).await;
        broker.running.shutdown(Duration::from_hours(1)).await
    };
    let (first, second) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(first, second) }).await.unwrap();
    assert!(!first.unwrap().in_time);
    assert!(!second.unwrap().in_time);
}

#[tokio::test]
async fn nobody_is_let_in_any_more() {
    let broker = TestBroker::start().await;
    let outbound = broker.connect().await;
    let stream = outbound.open().await.unwrap();
    broker.running.shutdown(PATIENCE).await.unwrap();
    drop(stream);
    assert!(broker.network.connect(&crate::harness::server(broker.addr())).await.is_err());
}

/// Four producers write as fast as they can while the broker stops: whatever was acknowledged is there afterwards, once
/// and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_loses_nothing_that_was_acknowledged() {
    const PRODUCERS: u32 = 4;
    let store = MemoryStore::new(2);
    let broker = TestBroker::over(BrokerOptions::default(), &store, Arc::new(SystemClock)).await;
    broker.create("events", PRODUCERS).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut producers = JoinSet::new();
    for partition in 0..PRODUCERS {
        let mut wire = broker.producer("events").await;
        let acknowledged = Arc::clone(&acknowledged);
        producers.spawn(async move {
            let id = Uuid::new_v4();
            let mut acked = Vec::new();
            let mut sent = 0;
            let mut going = false;
            loop {
                if !going && sent - (acked.len() as u64) < 8 {
                    wire.writer.feed(&Message::Produce(sealstream_protocol::message::produce::Produce {
                        request: sent,
                        handle: 1,
                        partition,
                        batch: batch(id, sent, &sent.to_string()),
                    }));
                    sent += 1;
                    if wire.flush().await.is_err() {
                        break;
                    }
                    continue;
                }
                match wire.reader.next().await {
                    Ok(Some(Message::Ack(ack))) => {
                        acked.push(ack.base_offset);
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Some(Message::GoAway(_))) => going = true,
                    Ok(Some(Message::Ping(_))) => {}
                    Ok(Some(other)) => panic!("{other:?}"),
                    Ok(None) | Err(_) => break,
                }
                if going && sent == acked.len() as u64 {
                    wire.finish().await;
                    break;
                }
            }
            (partition, acked)
        });
    }
    eventually("the load is on", async || acknowledged.load(Ordering::Relaxed) > 200).await;
    let stopped = broker.running.shutdown(PATIENCE).await.unwrap();
    assert!(stopped.in_time);
    let acked = producers.join_all().await;
    drop(broker);

    let broker = TestBroker::over(BrokerOptions::default(), &store, Arc::new(SystemClock)).await;
    for (partition, acked) in acked {
        let mut consumer = broker.session(SessionKind::Consume).await;
        let end = consumer.subscribe(1, "events", partition, Position::Beginning).await.end;
        assert!(end >= acked.len() as u64);
        let values = consumer.recv_values(usize::try_from(end).unwrap()).await;
        let expected: Vec<_> = (0..end).map(|sequence| sequence.to_string()).collect();
        assert_eq!(values, expected);
        assert_eq!(acked, (0..acked.len() as u64).collect::<Vec<_>>());
    }
    broker.stop().await;
}
