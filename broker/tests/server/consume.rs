//! Consume sessions: positions, following, fairness, and readers that stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::log::memory::MemoryStore;
use sealstream_broker::log::{LogEngine as _, PartitionId, ShardId};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::batch::Codec;
use sealstream_protocol::message::admin::DeleteTopic;
use sealstream_protocol::message::consume::{
    Membership, Position, Subscribe, SubscriptionEnded, Unsubscribe,
};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use uuid::Uuid;

use crate::harness::{TestBroker, Wire, assert_code, batch, subscription_to, values};

/// A topic with `batches` batches of one record in its only partition, their values 0, 1, 2 …
async fn filled(broker: &TestBroker, topic: &str, batches: u64) {
    broker.create(topic, 1).await;
    let mut producer = broker.producer(topic).await;
    append(&mut producer, Uuid::new_v4(), 0..batches).await;
}

async fn append(producer: &mut Wire, id: Uuid, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        producer.produce(sequence, 0, batch(id, sequence, &sequence.to_string())).await;
        producer.recv_ack().await;
    }
}

async fn refused(consumer: &mut Wire, request: Subscribe) -> Fault {
    let subscription = request.subscription;
    consumer.send(Message::Subscribe(request)).await;
    match consumer.recv().await {
        Message::SubscriptionEnded(SubscriptionEnded { subscription: id, fault: Some(fault) }) => {
            assert_eq!(id, subscription);
            fault
        }
        other => panic!("a refusal was due: {other:?}"),
    }
}

#[tokio::test]
async fn a_subscription_starts_where_it_is_told_to() {
    let clock = Arc::new(ManualClock::at(1_000));
    let broker = TestBroker::over(BrokerOptions::default(), &MemoryStore::new(1), clock.clone()).await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..4 {
        append(&mut producer, id, sequence..sequence + 1).await;
        clock.advance(1_000);
    }
    let mut consumer = broker.consumer().await;
    let cases = [
        (Position::Beginning, 0),
        (Position::Offset(2), 2),
        (Position::Offset(4), 4),
        (Position::End, 4),
        (Position::Time(0), 0),
        (Position::Time(2_500), 2),
        (Position::Time(3_000), 2),
        (Position::Time(9_000), 4),
    ];
    for (number, (position, offset)) in (0..).zip(cases) {
        let subscribed = consumer.subscribe(number, "events", 0, position).await;
        assert_eq!((subscribed.offset, subscribed.start, subscribed.end), (offset, 0, 4), "{position:?}");
        if offset < 4 {
            let found = values(consumer.recv_data().await.entries);
            assert_eq!(found.first(), Some(&(offset, offset.to_string())), "{position:?}");
        }
        consumer.send(Message::Unsubscribe(Unsubscribe { subscription: number })).await;
        while !matches!(consumer.recv().await, Message::SubscriptionEnded(_)) {}
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_offset_inside_a_batch_brings_the_whole_batch() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    let batch = crate::harness::batch_of(Codec::None, Uuid::new_v4(), 0, &["a", "b", "c"]);
    producer.produce(1, 0, batch.into_bytes()).await;
    producer.recv_ack().await;
    let mut consumer = broker.consumer().await;
    assert_eq!(consumer.subscribe(1, "events", 0, Position::Offset(2)).await.offset, 2);
    let found = values(consumer.recv_data().await.entries);
    assert_eq!(found.last(), Some(&(2, "c".to_owned())));
    assert_eq!(found.len(), 3);
    broker.stop().await;
}

#[tokio::test]
async fn a_follower_gets_what_is_written_later_and_nothing_twice() {
    let broker = TestBroker::start().await;
    filled(&broker, "events", 3).await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    assert_eq!(consumer.recv_values(3).await, ["0", "1", "2"]);
    consumer.assert_silent().await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..20 {
        producer.produce(sequence, 0, batch(id, sequence, "late")).await;
        let found = values(consumer.recv_data().await.entries);
        assert_eq!(found, [(3 + sequence, "late".to_owned())]);
    }
    consumer.assert_silent().await;
    broker.stop().await;
}

#[tokio::test]
async fn each_subscription_that_cannot_be_is_refused_alone() {
    let broker = TestBroker::start().await;
    filled(&broker, "events", 3).await;
    let mut consumer = broker.consumer().await;
    let ask = || subscription_to(1, "events", 0, Position::Beginning);
    let fault = refused(&mut consumer, Subscribe { topic: "nothing".into(), ..ask() }).await;
    assert_code(&fault, FaultCode::UnknownTopic);
    let fault = refused(&mut consumer, Subscribe { partition: 1, ..ask() }).await;
    assert_code(&fault, FaultCode::UnknownPartition);
    let fault = refused(&mut consumer, Subscribe { topic_id: Some(Uuid::new_v4()), ..ask() }).await;
    assert_code(&fault, FaultCode::TopicGone);
    let fault = refused(&mut consumer, Subscribe { position: Position::Offset(9), ..ask() }).await;
    assert_code(&fault, FaultCode::OutOfRange);
    assert_eq!(fault.offset, Some(3));
    let group = Some(Membership { group: "g".into(), member: Uuid::new_v4(), epoch: 1 });
    assert_code(&refused(&mut consumer, Subscribe { group, ..ask() }).await, FaultCode::StaleEpoch);
    let epoch = consumer.subscribe(1, "events", 0, Position::Beginning).await.epoch;
    assert_eq!(consumer.recv_values(3).await.len(), 3);
    let ahead = Subscribe { subscription: 2, epoch: Some(epoch + 1), position: Position::Offset(3), ..ask() };
    assert_code(&refused(&mut consumer, ahead).await, FaultCode::Diverged);
    broker.stop().await;
}

#[tokio::test]
async fn a_reader_of_what_was_cut_is_told_where_histories_part() {
    let broker = TestBroker::start().await;
    filled(&broker, "events", 2).await;
    let mut consumer = broker.consumer().await;
    let epoch = consumer.subscribe(1, "events", 0, Position::End).await.epoch;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    let hold = broker.engine.hold_durability();
    producer.produce(1, 0, batch(id, 0, "cut")).await;
    producer.assert_silent().await;
    hold.fail("the disk failed");
    producer.recv_refusal().await;
    producer.produce(2, 0, batch(id, 0, "new")).await;
    producer.recv_ack().await;
    // Saw offset 2 in the old epoch, which now holds another record.
    let request = Subscribe { epoch: Some(epoch), ..subscription_to(2, "events", 0, Position::Offset(3)) };
    consumer.send(Message::Subscribe(request)).await;
    loop {
        match consumer.recv().await {
            Message::Data(_) => {}
            Message::SubscriptionEnded(ended) => {
                assert_code(&ended.fault.clone().unwrap(), FaultCode::Diverged);
                assert_eq!(ended.fault.unwrap().offset, Some(2));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_number_that_is_taken_ends_the_session() {
    let broker = TestBroker::start().await;
    filled(&broker, "events", 0).await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    consumer.send(Message::Subscribe(subscription_to(1, "events", 0, Position::End))).await;
    assert_code(&consumer.recv_error().await, FaultCode::BadHandle);
    broker.stop().await;
}

#[tokio::test]
async fn nothing_follows_the_end_of_a_subscription_and_its_number_is_free() {
    let broker = TestBroker::start().await;
    filled(&broker, "events", 200).await;
    let mut consumer = broker.consumer().await;
    for _ in 0..20 {
        consumer.writer.feed(&Message::Subscribe(subscription_to(1, "events", 0, Position::Beginning)));
        consumer.writer.feed(&Message::Unsubscribe(Unsubscribe { subscription: 1 }));
    }
    consumer.flush().await.unwrap();
    for _ in 0..20 {
        assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
        let ended = loop {
            match consumer.recv().await {
                Message::Data(_) => {}
                Message::SubscriptionEnded(ended) => break ended,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ended, SubscriptionEnded { subscription: 1, fault: None });
    }
    // Taken off already: nothing to answer.
    consumer.send(Message::Unsubscribe(Unsubscribe { subscription: 1 })).await;
    consumer.assert_silent().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_deleted_under_its_readers_ends_their_subscriptions_and_no_others() {
    let broker = TestBroker::start().await;
    filled(&broker, "events", 1).await;
    filled(&broker, "other", 1).await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::End).await;
    consumer.subscribe(2, "other", 0, Position::End).await;
    let mut admin = broker.admin().await;
    admin.send(Message::DeleteTopic(DeleteTopic { name: "events".into() })).await;
    assert!(matches!(admin.recv().await, Message::TopicDeleted(_)));
    let Message::SubscriptionEnded(ended) = consumer.recv().await else { panic!() };
    assert_eq!(ended.subscription, 1);
    assert_code(&ended.fault.unwrap(), FaultCode::TopicGone);
    let mut producer = broker.producer("other").await;
    append(&mut producer, Uuid::new_v4(), 0..1).await;
    assert_eq!(consumer.recv_data().await.subscription, 2);
    broker.stop().await;
}

#[tokio::test]
async fn a_reader_whose_records_were_let_go_of_is_told_the_nearest() {
    let broker = TestBroker::start().await;
    let topic = broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    append(&mut producer, Uuid::new_v4(), 0..5).await;
    let id = PartitionId { topic: topic.id, index: 0 };
    let shard = broker.engine.open_shard(ShardId::of_partition(&id, 4), 1).await.unwrap();
    shard.trim(id, 3, None).await.unwrap();
    let mut consumer = broker.consumer().await;
    let fault = refused(&mut consumer, subscription_to(1, "events", 0, Position::Offset(1))).await;
    assert_code(&fault, FaultCode::OutOfRange);
    assert_eq!(fault.offset, Some(3));
    assert_eq!(consumer.subscribe(1, "events", 0, Position::Beginning).await.offset, 3);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_ends_its_side_gets_what_was_on_its_way_and_a_clean_end() {
    let broker = TestBroker::start().await;
    filled(&broker, "events", 10).await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    assert_eq!(consumer.recv_values(10).await.len(), 10);
    let Wire { mut reader, mut writer, .. } = consumer;
    writer.finish(Duration::from_secs(10)).await.unwrap();
    assert_eq!(reader.next().await.unwrap(), None);
    broker.stop().await;
}

/// Many partitions behind one session, written to in turn: every record arrives, each partition's in order.
#[tokio::test]
async fn hundreds_of_subscriptions_share_a_session() {
    const PARTITIONS: u32 = 300;
    let broker = TestBroker::start().await;
    broker.create("events", PARTITIONS).await;
    let mut consumer = broker.consumer().await;
    for partition in 0..PARTITIONS {
        consumer.subscribe(partition, "events", partition, Position::Beginning).await;
    }
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..3 {
        for partition in 0..PARTITIONS {
            producer.produce(sequence, partition, batch(id, sequence, &sequence.to_string())).await;
        }
        for _ in 0..PARTITIONS {
            producer.recv_ack().await;
        }
    }
    let mut found: HashMap<u32, Vec<String>> = HashMap::new();
    while found.values().map(Vec::len).sum::<usize>() < 3 * PARTITIONS as usize {
        let data = consumer.recv_data().await;
        let values = values(data.entries).into_iter().map(|(_, value)| value);
        found.entry(data.subscription).or_default().extend(values);
    }
    assert!(found.values().all(|values| values == &["0", "1", "2"]));
    broker.stop().await;
}
