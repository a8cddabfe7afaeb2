//! The server over the engine that keeps files.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions, verify};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::message::admin::{
    AlterTopic, CreateTopic, DeleteTopic, DescribeTopic, Durability, Topic, TopicDescription, TopicOptions,
};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::{FaultClass, FaultCode, Message};
use uuid::Uuid;

use crate::harness::{PATIENCE, TestBroker, Wire, assert_code, batch, eventually, values};

type FileBroker = TestBroker<SegmentedEngine>;

async fn start(dir: &Path, options: SegmentedOptions) -> FileBroker {
    let opening = async {
        loop {
            match SegmentedEngine::open(dir.to_owned(), options) {
                Ok(engine) => return engine,
                // A broker that was dropped holds the directory until the last of its tasks is gone.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let engine = tokio::time::timeout(PATIENCE, opening).await.unwrap();
    let options = BrokerOptions { retention_interval: Duration::from_millis(5), ..BrokerOptions::default() };
    TestBroker::on(options, Arc::new(engine), Arc::new(SystemClock)).await
}

async fn create(broker: &FileBroker, name: &str, options: TopicOptions) {
    let mut admin = broker.admin().await;
    let request = CreateTopic { name: name.into(), partitions: 2, if_not_exists: false, options };
    admin.send(Message::CreateTopic(request)).await;
    assert!(matches!(admin.recv().await, Message::Topic(_)));
    admin.finish().await;
}

async fn append(producer: &mut Wire, id: Uuid, sequences: std::ops::Range<u64>) {
    for sequence in sequences.clone() {
        producer.produce(sequence, 0, batch(id, sequence, &sequence.to_string())).await;
    }
    for sequence in sequences {
        let ack = producer.recv_ack().await;
        assert_eq!((ack.request, ack.base_offset), (sequence, sequence));
    }
}

async fn read(broker: &FileBroker, topic: &str, expected: u64) {
    let mut consumer = broker.consumer().await;
    let subscribed = consumer.subscribe(1, topic, 0, Position::Beginning).await;
    assert_eq!(subscribed.end, expected);
    let mut found = Vec::new();
    while (found.len() as u64) < expected {
        found.extend(values(consumer.recv_data().await.entries));
    }
    assert_eq!(found, (0..expected).map(|n| (n, n.to_string())).collect::<Vec<_>>());
    consumer.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_clean_stop_and_after_an_unclean_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), SegmentedOptions::default()).await;
    let kept = |durability| TopicOptions { durability: Some(durability), ..TopicOptions::default() };
    create(&broker, "disk", kept(Durability::Disk)).await;
    create(&broker, "memory", kept(Durability::Memory)).await;
    let id = Uuid::new_v4();
    for topic in ["disk", "memory"] {
        let mut producer = broker.producer(topic).await;
        append(&mut producer, id, 0..16).await;
        producer.finish().await;
    }
    broker.stop().await;

    let broker = start(dir.path(), SegmentedOptions::default()).await;
    for topic in ["disk", "memory"] {
        read(&broker, topic, 16).await;
        let mut producer = broker.producer(topic).await;
        append(&mut producer, id, 16..32).await;
    }
    // Neither drained nor sealed.
    drop(broker);

    let broker = start(dir.path(), SegmentedOptions::default()).await;
    for topic in ["disk", "memory"] {
        read(&broker, topic, 32).await;
        let mut producer = broker.producer(topic).await;
        producer.produce(1, 0, batch(id, 31, "31")).await;
        assert!(producer.recv_ack().await.duplicate);
        append(&mut producer, id, 32..33).await;
        producer.finish().await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_keeps_no_more_than_its_retention_and_nothing_once_deleted() {
    const SEGMENT: u64 = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentedOptions { segment_bytes: SEGMENT, ..SegmentedOptions::default() };
    let broker = start(dir.path(), options).await;
    let kept = TopicOptions { retention_bytes: Some(SEGMENT), ..TopicOptions::default() };
    create(&broker, "events", kept).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..100 {
        producer.produce(sequence, 0, batch(id, sequence, &"x".repeat(8 << 10))).await;
        producer.recv_ack().await;
    }
    let mut admin = broker.admin().await;
    eventually("the oldest segments are gone", async || {
        admin.send(Message::DescribeTopic(DescribeTopic { name: "events".into() })).await;
        let Message::TopicDescription(description) = admin.recv().await else { panic!() };
        let partition = &description.partitions[0];
        assert_eq!(partition.end, 100);
        partition.start > 80
    })
    .await;
    let files = || walk(dir.path()).into_iter().filter(|path| path.contains("partitions/")).count();
    assert!(files() > 0);
    admin.send(Message::DeleteTopic(DeleteTopic { name: "events".into() })).await;
    assert!(matches!(admin.recv().await, Message::TopicDeleted(_)));
    eventually("the files are gone", async || files() == 0).await;
    broker.stop().await;
}

/// The one segment of a partition.
fn segment(dir: &Path, topic: &Topic, partition: u32) -> PathBuf {
    let name = format!("partitions/{}-{partition}/{:020}.log", topic.id, 0);
    let found = walk(dir).into_iter().find(|path| path.ends_with(&name));
    found.unwrap().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_middle_of_a_segment_makes_one_partition_read_only_and_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), SegmentedOptions::default()).await;
    create(&broker, "events", TopicOptions::default()).await;
    create(&broker, "other", TopicOptions::default()).await;
    let id = Uuid::new_v4();
    let events = describe(&broker, "events").await.topic;
    for topic in ["events", "other"] {
        let mut producer = broker.producer(topic).await;
        // One after the other: each entry says that the one before it is durable.
        for sequence in 0..20 {
            append(&mut producer, id, sequence..sequence + 1).await;
        }
        producer.produce(99, 1, batch(id, 0, "neighbour")).await;
        producer.recv_ack().await;
        producer.finish().await;
    }
    let bytes = describe(&broker, "events").await.partitions[0].bytes;
    drop(broker);

    let damaged = segment(dir.path(), &events, 0);
    // Not under a broker that still holds it.
    let gone = async {
        while verify(dir.path(), false, &mut |_| {}).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert!(
        !damaged.with_file_name("checkpoint").exists(),
        "what a checkpoint covers is not read at a start"
    );
    let mut content = std::fs::read(&damaged).unwrap();
    content[usize::try_from(bytes / 2).unwrap()] ^= 1;
    std::fs::write(&damaged, content).unwrap();
    let broker = start(dir.path(), SegmentedOptions::default()).await;
    let read_only: Vec<_> =
        describe(&broker, "events").await.partitions.iter().map(|partition| partition.read_only).collect();
    assert_eq!(read_only, [true, false]);
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(id, 20, "refused")).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::ReadOnly);
    producer.produce(2, 1, batch(id, 1, "taken")).await;
    assert_eq!(producer.recv_ack().await.base_offset, 1);
    // What lies before it is served, and then the reader is told.
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    let mut found = Vec::new();
    let fault = loop {
        match consumer.recv().await {
            Message::Data(data) => found.extend(values_until_damage(data.entries)),
            Message::SubscriptionEnded(ended) => break ended.fault.unwrap(),
            other => panic!("{other:?}"),
        }
        assert!(found.len() < 20, "damage was served: {found:?}");
    };
    assert_code(&fault, FaultCode::Storage);
    assert_eq!(
        (fault.class, fault.offset),
        (FaultClass::Caller, Some(found.len() as u64)),
        "it does not heal: {fault}"
    );
    assert!(fault.text.contains("behind the damage from offset"), "{fault}");
    assert!(found.len() >= 5, "{found:?}");
    consumer.subscribe(2, "events", 1, Position::Beginning).await;
    assert_eq!(consumer.recv_values(2).await, ["neighbour", "taken"]);
    read(&broker, "other", 20).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_waits_for_no_reader_and_holds_no_file_for_one() {
    const SEGMENT: u64 = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentedOptions { segment_bytes: SEGMENT, cache_bytes: 0, ..SegmentedOptions::default() };
    let broker = start(dir.path(), options).await;
    create(&broker, "events", TopicOptions::default()).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    let send = async |producer: &mut Wire, sequences: std::ops::Range<u64>| {
        for sequence in sequences {
            producer.produce(sequence, 0, batch(id, sequence, &"x".repeat(8 << 10))).await;
            producer.recv_ack().await;
        }
    };
    send(&mut producer, 0..1_000).await;
    // Reads a little, and then nothing any more: windows and transport fill up, far below the end.
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    let first = consumer.recv_data().await;
    assert_eq!(values(first.entries)[0].0, 0);

    let mut admin = broker.admin().await;
    let options = TopicOptions { retention_bytes: Some(SEGMENT), ..TopicOptions::default() };
    admin.send(Message::AlterTopic(AlterTopic { name: "events".into(), options })).await;
    assert!(matches!(admin.recv().await, Message::Topic(_)));
    eventually("retention has passed the reader", async || {
        describe(&broker, "events").await.partitions[0].start > 900
    })
    .await;
    eventually("no file is held that is gone from its directory", async || held_files(dir.path()) == 0).await;
    // The reader gets what was read for it, and then where to go on.
    let mut last = 0;
    let fault = loop {
        match consumer.recv().await {
            Message::Data(data) => last = values(data.entries).last().unwrap().0,
            Message::SubscriptionEnded(ended) => break ended.fault.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_code(&fault, FaultCode::OutOfRange);
    let nearest = fault.offset.unwrap();
    assert!(last + 1 < nearest && nearest > 900, "{last} and {nearest}");
    assert_eq!(consumer.subscribe(2, "events", 0, Position::Offset(nearest)).await.offset, nearest);
    broker.stop().await;
}

/// How many open files of this process lie beneath `dir`, and have no name any more.
fn held_files(dir: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.filter(|path| path.starts_with(dir) && path.to_string_lossy().ends_with("(deleted)")).count()
}

/// The records of entries, up to the first that a client would refuse.
fn values_until_damage(entries: bytes::Bytes) -> Vec<u64> {
    let entries = sealstream_protocol::entry::Entries::new(entries);
    entries.map_while(Result::ok).map(|entry| entry.header.base_offset).collect()
}

async fn describe(broker: &FileBroker, name: &str) -> TopicDescription {
    let mut admin = broker.admin().await;
    admin.send(Message::DescribeTopic(DescribeTopic { name: name.into() })).await;
    let Message::TopicDescription(description) = admin.recv().await else { panic!() };
    admin.finish().await;
    description
}

/// All files beneath a directory.
fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}
