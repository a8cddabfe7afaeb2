//! Topics through Admin sessions, and what survives a restart.

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::{ManualClock, SystemClock};
use sealstream_broker::log::memory::MemoryStore;
use sealstream_broker::log::{CommitError, LogEngine as _, PartitionId, ShardId};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::message::admin::{
    AlterTopic, CreateTopic, DeleteTopic, DescribeTopic, Durability, ListTopics, Topic, TopicDescription,
    TopicOptions,
};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::produce::OpenTopic;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use uuid::Uuid;

use crate::harness::{TestBroker, Wire, assert_code, batch, eventually};

fn create(name: &str) -> CreateTopic {
    CreateTopic { name: name.into(), partitions: 0, if_not_exists: false, options: TopicOptions::default() }
}

async fn refused(wire: &mut Wire, request: Message) -> Fault {
    wire.send(request).await;
    match wire.recv().await {
        Message::RequestRefused(fault) => fault,
        other => panic!("a refusal was due: {other:?}"),
    }
}

async fn topic(wire: &mut Wire, request: Message) -> Topic {
    wire.send(request).await;
    match wire.recv().await {
        Message::Topic(topic) => topic,
        other => panic!("a topic was due: {other:?}"),
    }
}

async fn delete(wire: &mut Wire, name: &str) -> Uuid {
    wire.send(Message::DeleteTopic(DeleteTopic { name: name.into() })).await;
    match wire.recv().await {
        Message::TopicDeleted(deleted) => deleted.id,
        other => panic!("{other:?}"),
    }
}

async fn describe(wire: &mut Wire, name: &str) -> TopicDescription {
    wire.send(Message::DescribeTopic(DescribeTopic { name: name.into() })).await;
    match wire.recv().await {
        Message::TopicDescription(description) => description,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_topic_is_made_with_the_defaults_where_its_maker_is_silent() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    let made = topic(&mut admin, Message::CreateTopic(create("events"))).await;
    assert_eq!((made.partitions, made.durability, made.retention_ms), (1, Durability::Disk, 0));
    let options = TopicOptions {
        durability: Some(Durability::Memory),
        retention_ms: Some(5),
        retention_bytes: Some(6),
        segment_bytes: Some(2 << 20),
        segment_ms: Some(7),
        partitions: None,
    };
    let request = CreateTopic { partitions: 3, options, ..create("other") };
    let made = topic(&mut admin, Message::CreateTopic(request)).await;
    assert_eq!((made.partitions, made.durability), (3, Durability::Memory));
    assert_eq!((made.retention_ms, made.retention_bytes), (5, 6));
    assert_eq!((made.segment_bytes, made.segment_ms), (2 << 20, 7));
    broker.stop().await;
}

#[tokio::test]
async fn a_second_topic_of_a_name_is_refused_unless_the_first_will_do() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    let first = admin.create("events", 2).await;
    assert_code(&refused(&mut admin, Message::CreateTopic(create("events"))).await, FaultCode::TopicExists);
    let again = CreateTopic { if_not_exists: true, partitions: 9, ..create("events") };
    assert_eq!(topic(&mut admin, Message::CreateTopic(again)).await, first);
    broker.stop().await;
}

#[tokio::test]
async fn bad_topics_are_refused_by_name_and_the_session_goes_on() {
    let options =
        BrokerOptions { max_partitions_per_topic: 4, max_partitions: 6, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    let mut admin = broker.admin().await;
    for name in ["", ".", "..", "a b", "tab\there", "bell\u{7}", "grün", &"x".repeat(256)] {
        let fault = refused(&mut admin, Message::CreateTopic(create(name))).await;
        assert_code(&fault, FaultCode::InvalidRequest);
        assert!(!fault.text.contains('\u{7}'), "control characters are not repeated: {fault}");
    }
    let many = CreateTopic { partitions: 5, ..create("many") };
    assert_code(&refused(&mut admin, Message::CreateTopic(many)).await, FaultCode::InvalidRequest);
    admin.create("four", 4).await;
    let beyond = CreateTopic { partitions: 3, ..create("three") };
    assert_code(&refused(&mut admin, Message::CreateTopic(beyond)).await, FaultCode::InvalidRequest);
    admin.create("two", 2).await;
    broker.stop().await;
}

#[tokio::test]
async fn topics_are_listed_page_by_page_in_the_order_of_their_names() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    for name in ["c", "a", "d", "b"] {
        admin.create(name, 1).await;
    }
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        admin.send(Message::ListTopics(ListTopics { after: after.clone(), limit: 3 })).await;
        let Message::TopicList(list) = admin.recv().await else { panic!() };
        let names: Vec<_> = list.topics.into_iter().map(|topic| topic.name).collect();
        after.clone_from(names.last().unwrap());
        pages.push(names);
        if !list.more {
            break;
        }
    }
    assert_eq!(pages, [vec!["a", "b", "c"], vec!["d"]]);
    broker.stop().await;
}

#[tokio::test]
async fn a_description_shows_what_each_partition_holds() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    admin.create("events", 2).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 1, batch(Uuid::new_v4(), 0, "hello")).await;
    producer.recv_ack().await;
    let description = describe(&mut admin, "events").await;
    let ends: Vec<_> =
        description.partitions.iter().map(|partition| (partition.index, partition.end)).collect();
    assert_eq!(ends, [(0, 0), (1, 1)]);
    assert!(description.partitions[1].bytes > 0);
    let unknown = Message::DescribeTopic(DescribeTopic { name: "nothing".into() });
    assert_code(&refused(&mut admin, unknown).await, FaultCode::UnknownTopic);
    broker.stop().await;
}

#[tokio::test]
async fn an_alteration_changes_what_it_names_and_outlives_a_restart() {
    let store = MemoryStore::new(4);
    let broker = TestBroker::over(BrokerOptions::default(), &store, Arc::new(SystemClock)).await;
    let mut admin = broker.admin().await;
    let made = admin.create("events", 2).await;
    let options = TopicOptions { retention_bytes: Some(1 << 20), ..TopicOptions::default() };
    let altered = topic(&mut admin, Message::AlterTopic(AlterTopic { name: "events".into(), options })).await;
    assert_eq!(altered, Topic { retention_bytes: 1 << 20, ..made });
    broker.stop().await;

    let broker = TestBroker::over(BrokerOptions::default(), &store, Arc::new(SystemClock)).await;
    let mut admin = broker.admin().await;
    assert_eq!(describe(&mut admin, "events").await.topic, altered);
    broker.stop().await;
}

#[tokio::test]
async fn partitions_are_added_at_once_for_everybody_and_never_removed() {
    let store = MemoryStore::new(4);
    let limits = BrokerOptions { max_partitions_per_topic: 6, max_partitions: 9, ..BrokerOptions::default() };
    let broker = TestBroker::over(limits.clone(), &store, Arc::new(SystemClock)).await;
    let mut admin = broker.admin().await;
    let made = admin.create("events", 2).await;
    admin.create("other", 4).await;
    let mut producer = broker.producer("events").await;
    let writer = Uuid::new_v4();
    producer.produce(1, 1, batch(writer, 0, "before")).await;
    producer.recv_ack().await;
    producer.produce(2, 3, batch(writer, 0, "too soon")).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::UnknownPartition);

    let alter = |partitions| {
        let options = TopicOptions { partitions: Some(partitions), ..TopicOptions::default() };
        Message::AlterTopic(AlterTopic { name: "events".into(), options })
    };
    let grown = topic(&mut admin, alter(4)).await;
    assert_eq!(grown, Topic { partitions: 4, ..made.clone() });
    // Fewer, more than a topic may have, and more than all may have together.
    for refused_count in [0, 1, 3, 7, 6] {
        let fault = refused(&mut admin, alter(refused_count)).await;
        assert_code(&fault, FaultCode::InvalidRequest);
    }
    assert_eq!(topic(&mut admin, alter(4)).await, grown);
    let twice = TopicOptions { partitions: Some(2), ..TopicOptions::default() };
    let twice = Message::CreateTopic(CreateTopic { options: twice, ..create("twice") });
    assert_code(&refused(&mut admin, twice).await, FaultCode::InvalidRequest);

    // A session that was there before can write to them, and asks under the same handle how many there are.
    producer.produce(3, 3, batch(Uuid::new_v4(), 0, "after")).await;
    assert_eq!(producer.recv_ack().await.base_offset, 0);
    let ask = |name: &str, id| Message::OpenTopic(OpenTopic { handle: 1, name: name.into(), id: Some(id) });
    producer.send(ask("events", made.id)).await;
    let Message::TopicOpened(opened) = producer.recv().await else { panic!() };
    assert_eq!((opened.handle, opened.id, opened.partitions), (1, made.id, 4));
    producer.send(ask("other", made.id)).await;
    let Message::OpenRefused(taken) = producer.recv().await else { panic!() };
    assert_code(&taken.fault, FaultCode::BadHandle);
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 3, Position::Beginning).await;
    assert_eq!(consumer.recv_values(1).await, ["after"]);
    broker.stop().await;

    let broker = TestBroker::over(limits, &store, Arc::new(SystemClock)).await;
    let mut admin = broker.admin().await;
    let description = describe(&mut admin, "events").await;
    assert_eq!(description.topic, grown);
    let ends: Vec<_> = description.partitions.iter().map(|partition| partition.end).collect();
    assert_eq!(ends, [0, 1, 0, 1]);
    broker.stop().await;
}

#[tokio::test]
async fn a_segment_of_an_impossible_size_is_refused_and_one_of_the_brokers_own_is_not() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    let with = |bytes| TopicOptions { segment_bytes: Some(bytes), ..TopicOptions::default() };
    for bytes in [1, (1 << 20) - 1, (1 << 30) + 1, u64::MAX] {
        let made = Message::CreateTopic(CreateTopic { options: with(bytes), ..create("events") });
        assert_code(&refused(&mut admin, made).await, FaultCode::InvalidRequest);
    }
    admin.create("events", 1).await;
    for bytes in [1 << 20, 1 << 30, 0] {
        let alter = AlterTopic { name: "events".into(), options: with(bytes) };
        assert_eq!(topic(&mut admin, Message::AlterTopic(alter)).await.segment_bytes, bytes);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_made_again_is_another_one_and_empty() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    let first = admin.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "old")).await;
    producer.recv_ack().await;

    assert_eq!(delete(&mut admin, "events").await, first.id);
    let mut late = broker.session(sealstream_protocol::message::hello::SessionKind::Produce).await;
    let open = |id| Message::OpenTopic(OpenTopic { handle: 5, name: "events".into(), id });
    late.send(open(None)).await;
    let Message::OpenRefused(refused) = late.recv().await else { panic!() };
    assert_code(&refused.fault, FaultCode::UnknownTopic);
    late.send(open(Some(first.id))).await;
    let Message::OpenRefused(refused) = late.recv().await else { panic!() };
    assert_code(&refused.fault, FaultCode::TopicGone);

    let second = admin.create("events", 1).await;
    assert_ne!(second.id, first.id);
    late.send(open(Some(first.id))).await;
    let Message::OpenRefused(refused) = late.recv().await else { panic!() };
    assert_code(&refused.fault, FaultCode::TopicGone);
    // Whoever holds a handle of the first does not write into the second.
    producer.produce(2, 0, batch(Uuid::new_v4(), 0, "astray")).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::TopicGone);
    let mut consumer = broker.consumer().await;
    assert_eq!(consumer.subscribe(1, "events", 0, Position::Beginning).await.end, 0);
    broker.stop().await;
}

#[tokio::test]
async fn what_a_crash_left_of_a_deleted_topic_goes_at_the_next_start() {
    let store = MemoryStore::new(4);
    let clock = Arc::new(SystemClock);
    let broker = TestBroker::over(BrokerOptions::default(), &store, clock.clone()).await;
    let made = broker.create("events", 3).await;
    broker.stop().await;

    // A deletion that came as far as its note: what a broker leaves that dies right after its commit.
    let engine = sealstream_broker::log::memory::MemoryEngine::over(&store, clock.clone());
    let metadata = engine.open_shard(ShardId::METADATA, 1).await.unwrap();
    let record = metadata.meta("topic/events").unwrap();
    let put = |key: String, expected, value| sealstream_broker::log::Op::PutMeta { key, expected, value };
    let ops = vec![
        put("topic/events".into(), record.version, None),
        put(format!("deleting/{}", made.id), 0, Some(record.value)),
    ];
    metadata.commit(ops).await.unwrap().durable.await.unwrap();
    for id in 0..4 {
        engine.open_shard(ShardId(id), 1).await.unwrap();
    }
    engine.close().await.unwrap();

    let broker = TestBroker::over(BrokerOptions::default(), &store, clock).await;
    let mut admin = broker.admin().await;
    let unknown = Message::DescribeTopic(DescribeTopic { name: "events".into() });
    assert_code(&refused(&mut admin, unknown).await, FaultCode::UnknownTopic);
    let metadata = broker.engine.open_shard(ShardId::METADATA, 1).await.unwrap();
    eventually("the note is gone", async || metadata.meta_with_prefix("deleting/").is_empty()).await;
    for index in 0..3 {
        let id = PartitionId { topic: made.id, index };
        let shard = broker.engine.open_shard(ShardId::of_partition(&id, 4), 1).await.unwrap();
        assert_eq!(shard.partition(id), None);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_failing_disk_refuses_a_topic_and_leaves_its_name_free() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    broker.engine.fail_next_commit(CommitError::DiskFull);
    let fault = refused(&mut admin, Message::CreateTopic(create("events"))).await;
    assert_code(&fault, FaultCode::DiskFull);
    assert!(fault.retry_after_ms.is_some());
    admin.create("events", 1).await;
    broker.stop().await;
}

#[tokio::test]
async fn records_past_their_time_are_let_go_of() {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let options = BrokerOptions { retention_interval: Duration::from_millis(1), ..BrokerOptions::default() };
    let broker = TestBroker::over(options, &MemoryStore::new(1), clock.clone()).await;
    let mut admin = broker.admin().await;
    for (name, retention_ms) in [("short", 60_000), ("long", 0)] {
        let options = TopicOptions { retention_ms: Some(retention_ms), ..TopicOptions::default() };
        topic(&mut admin, Message::CreateTopic(CreateTopic { options, ..create(name) })).await;
    }
    let mut producer = broker.session(sealstream_protocol::message::hello::SessionKind::Produce).await;
    producer.open_topic(1, "short").await;
    producer.open_topic(2, "long").await;
    let writer = Uuid::new_v4();
    for sequence in 0..3 {
        for handle in [1, 2] {
            let batch = batch(writer, sequence, "x");
            let produce = sealstream_protocol::message::produce::Produce {
                request: sequence,
                handle,
                partition: 0,
                batch,
            };
            producer.send(Message::Produce(produce)).await;
            producer.recv_ack().await;
        }
        clock.advance(40_000);
    }
    // Written at 0, 40 and 80 s; it is 120 s now, and 60 s are kept.
    eventually("the oldest two are gone", async || {
        describe(&mut admin, "short").await.partitions[0].start == 2
    })
    .await;
    assert_eq!(describe(&mut admin, "long").await.partitions[0].start, 0);
    broker.stop().await;
}
