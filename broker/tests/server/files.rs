//! The server over the engine that keeps files.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{
    CreateTopic, DeleteTopic, DescribeTopic, Durability, TopicOptions,
};
use sealstream_protocol::message::consume::Position;
use uuid::Uuid;

use crate::harness::{PATIENCE, TestBroker, Wire, batch, eventually, values};

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
