//! Bad weather: hostile clients that keep to the format, too much of everything, and disks that fail. Each has its coded
//! answer, and nobody else notices.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::disk::simulated::{Fault, Injection, Operation, SimulatedDisk};
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::message::admin::{CreateTopic, TopicOptions};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::hello::{Ping, SessionKind};
use sealstream_protocol::message::produce::{OpenTopic, Produce};
use sealstream_protocol::message::{FaultClass, FaultCode, Message};
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;

use crate::harness::{Bystander, TestBroker, assert_code, batch, eventually, greeting, subscription_to};

/// Topics asked for: a million is the same a hundred times over, for none of it is remembered.
const MANY_TOPICS: u32 = 10_000;

/// Sessions that do nothing.
const IDLE_SESSIONS: usize = 10_000;

#[tokio::test]
async fn whatever_order_batches_come_in_the_log_has_them_in_theirs() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut bystander = Bystander::beside(&broker).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut stored, mut request) = (0, 0);
    while stored < 50 {
        // Replayed and reordered: what was stored, what is due, what is not yet.
        let mut sequences: Vec<u64> = (0..60).collect();
        sequences.shuffle(&mut random);
        for sequence in sequences {
            producer.produce(request, 0, batch(id, sequence, &sequence.to_string())).await;
            match producer.recv().await {
                Message::Ack(ack) if ack.duplicate => assert_eq!(ack.base_offset, sequence),
                Message::Ack(ack) => {
                    assert_eq!((ack.base_offset, sequence), (stored, stored));
                    stored += 1;
                }
                // Before its first batch it is a stranger.
                Message::ProduceRefused(refused) if stored == 0 => {
                    let code = refused.fault.code_known();
                    let codes = [FaultCode::UnknownProducer, FaultCode::OutOfSequence];
                    assert!(code.is_some_and(|code| codes.contains(&code)), "{}", refused.fault);
                }
                Message::ProduceRefused(refused) => {
                    assert_code(&refused.fault, FaultCode::OutOfSequence);
                    // Of one that is stored for long it is only known that it is.
                    assert!(
                        sequence + 16 < stored || refused.fault.offset == Some(stored),
                        "{}",
                        refused.fault
                    );
                }
                other => panic!("{other:?}"),
            }
            request += 1;
        }
        bystander.assert_served().await;
    }
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    let values = consumer.recv_values(usize::try_from(stored).unwrap()).await;
    assert!(values.iter().enumerate().all(|(offset, value)| *value == offset.to_string()));
    broker.stop().await;
}

#[tokio::test]
async fn topics_without_number_are_asked_for_and_none_of_it_is_kept() {
    let broker = TestBroker::with(BrokerOptions { max_partitions: 3, ..BrokerOptions::default() }).await;
    let mut bystander = Bystander::beside(&broker).await;
    let mut producer = broker.session(SessionKind::Produce).await;
    let mut consumer = broker.consumer().await;
    for number in 0..MANY_TOPICS {
        let name = format!("topic-{number}");
        // One handle for all of them: a refused one is free again.
        producer.send(Message::OpenTopic(OpenTopic { handle: 1, name: name.clone(), id: None })).await;
        let Message::OpenRefused(refused) = producer.recv().await else { panic!() };
        assert_code(&refused.fault, FaultCode::UnknownTopic);
        consumer.send(Message::Subscribe(subscription_to(1, &name, 0, Position::Beginning))).await;
        let Message::SubscriptionEnded(ended) = consumer.recv().await else { panic!() };
        assert_code(&ended.fault.unwrap(), FaultCode::UnknownTopic);
    }
    let mut admin = broker.admin().await;
    let create = |number: u32| {
        let (name, options) = (format!("topic-{number}"), TopicOptions::default());
        Message::CreateTopic(CreateTopic { name, partitions: 1, if_not_exists: false, options })
    };
    for number in 0..2 {
        admin.send(create(number)).await;
        assert!(matches!(admin.recv().await, Message::Topic(_)));
    }
    admin.send(create(2)).await;
    let Message::RequestRefused(fault) = admin.recv().await else { panic!("a topic too many was made") };
    assert_code(&fault, FaultCode::InvalidRequest);
    bystander.assert_served().await;
    broker.stop().await;
}

#[tokio::test]
async fn ten_thousand_idle_sessions_delay_nobody() {
    let sessions = IDLE_SESSIONS + 2;
    let broker = TestBroker::with(BrokerOptions { max_sessions: sessions, ..BrokerOptions::default() }).await;
    let admin = broker.admin().await;
    drop(admin);
    let mut bystander = Bystander::beside(&broker).await;
    let mut idle = Vec::new();
    while idle.len() < IDLE_SESSIONS {
        let kind = [SessionKind::Admin, SessionKind::Produce, SessionKind::Consume][idle.len() % 3];
        // Those of the set-up may still be leaving.
        if let Ok(session) = broker.try_session(greeting(kind)).await {
            idle.push(session);
        }
    }
    bystander.assert_served().await;
    assert!(broker.try_session(greeting(SessionKind::Admin)).await.is_err(), "one too many");
    bystander.assert_served().await;
    drop(idle);
    eventually("the places are free again", async || {
        broker.try_session(greeting(SessionKind::Admin)).await.is_ok()
    })
    .await;
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_a_byte_a_second_costs_nobody_anything_but_itself() {
    let options =
        BrokerOptions { consume_window: 32 << 10, consume_budget: 64 << 10, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..40 {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(0, None, &[b'x'; 8 << 10], &[]).unwrap();
        producer.produce(sequence, 0, builder.build(id, sequence).into_bytes()).await;
        producer.recv_ack().await;
    }
    let mut bystander = Bystander::beside(&broker).await;
    let mut slow = broker.consumer().await;
    slow.writer.feed(&Message::Subscribe(subscription_to(1, "events", 0, Position::Beginning)));
    slow.flush().await.unwrap();
    let mut recv = slow.reader.into_inner();
    // An hour of it: longer than any idle deadline, for it is slow, not gone, and says so.
    for second in 0..3_600 {
        assert_eq!(recv.read(&mut [0; 1]).await.unwrap(), 1, "cut off after {second} s");
        tokio::time::advance(Duration::from_secs(1)).await;
        if second % 20 == 0 {
            slow.writer.feed(&Message::Ping(Ping { nonce: second }));
            slow.writer.flush().await.unwrap();
            bystander.assert_served().await;
        }
    }
    broker.stop().await;
}

/// A broker whose log is on a disk that does as it is told.
async fn on_a_disk() -> (SimulatedDisk, TestBroker<SegmentedEngine>) {
    let disk = SimulatedDisk::new(1);
    let mount = disk.mount();
    let options = SegmentedOptions { shards: 1, segment_bytes: 64 << 10, ..SegmentedOptions::default() };
    let open = move || SegmentedEngine::open_on(mount, Arc::new(SystemClock), "data".into(), options);
    let engine = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
    let broker = TestBroker::on(BrokerOptions::default(), Arc::new(engine), Arc::new(SystemClock)).await;
    (disk, broker)
}

/// A batch of 16 KiB.
fn bulky(id: Uuid, sequence: u64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, &[b'x'; 16 << 10], &[]).unwrap();
    builder.build(id, sequence).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_batches_and_serves_readers_until_there_is_room_again() {
    let (disk, broker) = on_a_disk().await;
    broker.create("events", 1).await;
    let mut bystander = Bystander::beside(&broker).await;
    bystander.assert_served().await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    disk.set_capacity(Some(disk.used() + (100 << 10)));
    let mut stored = 0;
    let refused = loop {
        producer.produce(stored, 0, bulky(id, stored)).await;
        match producer.recv().await {
            Message::Ack(ack) => assert_eq!(ack.base_offset, stored),
            Message::ProduceRefused(refused) => break refused,
            other => panic!("{other:?}"),
        }
        stored += 1;
        assert!(stored < 1_000, "the disk is never full");
    };
    assert!(
        matches!(refused.fault.code_known(), Some(FaultCode::DiskFull | FaultCode::Storage)),
        "{}",
        refused.fault
    );
    bystander.assert_reads(&broker).await;
    disk.set_capacity(None);
    // The same batch again: it goes on by itself, and nothing is there twice.
    eventually("the batch is taken", async || {
        producer.produce(stored, 0, bulky(id, stored)).await;
        matches!(producer.recv().await, Message::Ack(ack) if ack.base_offset == stored)
    })
    .await;
    bystander.assert_served().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_turns_read_only_refuses_batches_and_serves_readers() {
    let (disk, broker) = on_a_disk().await;
    broker.create("events", 1).await;
    let mut bystander = Bystander::beside(&broker).await;
    bystander.assert_served().await;
    for operation in
        [Operation::Write, Operation::Create, Operation::Allocate, Operation::Rename, Operation::Remove]
    {
        disk.inject(Injection::new(Fault::Io).on(operation).always());
    }
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    let fault = producer.recv_refusal().await.fault;
    assert_eq!((fault.code_known(), fault.class), (Some(FaultCode::Storage), FaultClass::Broker), "{fault}");
    bystander.assert_reads(&broker).await;
    // An operator has made it writable again: no restart is needed.
    disk.clear_faults();
    eventually("the batch is taken", async || {
        let again = batch(Uuid::new_v4(), 0, "x");
        producer.writer.feed(&Message::Produce(Produce {
            request: 2,
            handle: 1,
            partition: 0,
            batch: again,
        }));
        producer.flush().await.unwrap();
        matches!(producer.recv().await, Message::Ack(_))
    })
    .await;
    bystander.assert_served().await;
    broker.stop().await;
}
