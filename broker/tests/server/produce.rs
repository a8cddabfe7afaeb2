//! Produce sessions: order, durability, gaps, duplicates, and what waits for what.

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::log::{CommitError, PartitionId};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::batch::Codec;
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::produce::{OpenTopic, Produce};
use sealstream_protocol::message::{FaultClass, FaultCode, Message};
use uuid::Uuid;

use crate::gated::Gated;
use crate::harness::{TestBroker, Wire, assert_code, batch, batch_of};

async fn one_topic(partitions: u32) -> TestBroker {
    let broker = TestBroker::start().await;
    broker.create("events", partitions).await;
    broker
}

#[tokio::test]
async fn acks_leave_in_order_and_only_after_the_data_is_durable() {
    let broker = one_topic(1).await;
    let mut producer = broker.producer("events").await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    let id = Uuid::new_v4();
    let hold = broker.engine.hold_durability();
    for sequence in 0..20 {
        producer.produce(100 + sequence, 0, batch(id, sequence, "x")).await;
    }
    producer.assert_silent().await;
    consumer.assert_silent().await;
    hold.release();
    for sequence in 0..20 {
        let ack = producer.recv_ack().await;
        assert_eq!((ack.request, ack.base_offset, ack.duplicate), (100 + sequence, sequence, false));
    }
    assert_eq!(consumer.recv_values(20).await.len(), 20);
    broker.stop().await;
}

#[tokio::test]
async fn what_does_not_become_durable_is_refused_as_perhaps_stored_and_can_be_sent_again() {
    let broker = one_topic(1).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    let hold = broker.engine.hold_durability();
    producer.produce(1, 0, batch(id, 0, "a")).await;
    producer.produce(2, 0, batch(id, 1, "b")).await;
    producer.assert_silent().await;
    hold.fail("the disk is on fire");
    for request in [1, 2] {
        let refused = producer.recv_refusal().await;
        assert_eq!(refused.request, request);
        assert_code(&refused.fault, FaultCode::Storage);
        assert_eq!(refused.fault.class, FaultClass::Broker);
        assert!(refused.fault.text.contains("the disk is on fire"), "{}", refused.fault);
    }
    producer.produce(3, 0, batch(id, 0, "a")).await;
    producer.produce(4, 0, batch(id, 1, "b")).await;
    assert_eq!(producer.recv_ack().await.base_offset, 0);
    assert_eq!(producer.recv_ack().await.base_offset, 1);
    broker.stop().await;
}

#[tokio::test]
async fn a_slow_partition_delays_nobody_elses_acks() {
    const SLOW: u32 = 1;
    let engine = Arc::new(Gated::new(MemoryEngine::new(4), SLOW));
    let broker = TestBroker::on(BrokerOptions::default(), engine.clone(), Arc::new(SystemClock)).await;
    broker.create("events", 3).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..5 {
        for partition in 0..3 {
            producer.produce(u64::from(partition), partition, batch(id, sequence, "x")).await;
        }
    }
    for _ in 0..10 {
        assert_ne!(producer.recv_ack().await.request, u64::from(SLOW));
    }
    producer.assert_silent().await;
    engine.open();
    for offset in 0..5 {
        let ack = producer.recv_ack().await;
        assert_eq!((ack.request, ack.base_offset), (u64::from(SLOW), offset));
    }
    broker.stop().await;
}

#[tokio::test]
async fn after_a_refusal_everything_is_out_of_sequence_until_the_gap_is_filled() {
    let broker = one_topic(1).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    producer.produce(0, 0, batch(id, 0, "0")).await;
    producer.recv_ack().await;
    broker.engine.fail_next_commit(CommitError::Busy);
    for sequence in 1..4 {
        producer.produce(sequence, 0, batch(id, sequence, "x")).await;
    }
    assert_code(&producer.recv_refusal().await.fault, FaultCode::Busy);
    for _ in 2..4 {
        let fault = producer.recv_refusal().await.fault;
        assert_code(&fault, FaultCode::OutOfSequence);
        assert_eq!((fault.class, fault.offset), (FaultClass::RetryLater, Some(1)));
    }
    for sequence in 1..4 {
        producer.produce(sequence, 0, batch(id, sequence, &sequence.to_string())).await;
        assert_eq!(producer.recv_ack().await.base_offset, sequence);
    }
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    assert_eq!(consumer.recv_values(4).await, ["0", "1", "2", "3"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_producer_whose_very_first_batch_was_refused_is_no_stranger() {
    let broker = one_topic(2).await;
    let mut producer = broker.producer("events").await;
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    broker.engine.fail_next_commit(CommitError::Busy);
    for sequence in 0..3 {
        producer.produce(sequence, 0, batch(id, sequence, "x")).await;
    }
    // The retry of the first is sent before the answers are read: those of the others must not be mixed up with it.
    producer.produce(10, 0, batch(id, 0, "0")).await;
    producer.produce(11, 0, batch(other, 5, "x")).await;
    producer.produce(12, 1, batch(id, 1, "x")).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::Busy);
    let mut rest = Vec::new();
    for _ in 0..5 {
        rest.push(match producer.recv().await {
            Message::Ack(ack) => (ack.request, None),
            Message::ProduceRefused(refused) => (refused.request, refused.fault.code_known()),
            other => panic!("{other:?}"),
        });
    }
    rest.sort_unstable_by_key(|(request, _)| *request);
    let expected = [
        (1, Some(FaultCode::OutOfSequence)),
        (2, Some(FaultCode::OutOfSequence)),
        (10, None),
        (11, Some(FaultCode::UnknownProducer)),
        (12, Some(FaultCode::UnknownProducer)),
    ];
    assert_eq!(rest, expected);
    broker.stop().await;
}

#[tokio::test]
async fn a_batch_sent_again_after_a_reconnect_is_a_duplicate_with_the_same_offset() {
    let broker = one_topic(1).await;
    let id = Uuid::new_v4();
    let mut first = broker.producer("events").await;
    for sequence in 0..3 {
        first.produce(sequence, 0, batch(id, sequence, "x")).await;
        first.recv_ack().await;
    }
    drop(first);
    let mut second = broker.producer("events").await;
    for sequence in 1..4 {
        second.produce(sequence, 0, batch(id, sequence, "x")).await;
        let ack = second.recv_ack().await;
        assert_eq!((ack.base_offset, ack.duplicate), (sequence, sequence < 3));
    }
    broker.stop().await;
}

#[tokio::test]
async fn the_ack_of_a_duplicate_awaits_the_original() {
    let broker = one_topic(1).await;
    let id = Uuid::new_v4();
    let hold = broker.engine.hold_durability();
    let mut first = broker.producer("events").await;
    first.produce(1, 0, batch(id, 0, "x")).await;
    first.assert_silent().await;
    drop(first);
    let mut second = broker.producer("events").await;
    second.produce(2, 0, batch(id, 0, "x")).await;
    second.assert_silent().await;
    hold.release();
    let ack = second.recv_ack().await;
    assert_eq!((ack.request, ack.base_offset, ack.duplicate), (2, 0, true));
    broker.stop().await;
}

#[tokio::test]
async fn two_producers_share_a_partition_without_a_gap() {
    let broker = one_topic(1).await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let (mut first, mut second) = (broker.producer("events").await, broker.producer("events").await);
    for sequence in 0..50 {
        first.produce(sequence, 0, batch(a, sequence, "a")).await;
        second.produce(sequence, 0, batch(b, sequence, "b")).await;
    }
    let mut offsets = Vec::new();
    for _ in 0..50 {
        offsets.push(first.recv_ack().await.base_offset);
        offsets.push(second.recv_ack().await.base_offset);
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    broker.stop().await;
}

#[tokio::test]
async fn handles_and_partitions_that_are_not_there_are_refused_one_by_one() {
    let broker = one_topic(2).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    let produce = |handle, partition| Produce { request: 7, handle, partition, batch: batch(id, 0, "x") };
    producer.send(Message::Produce(produce(9, 0))).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::BadHandle);
    producer.send(Message::Produce(produce(1, 2))).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::UnknownPartition);
    producer.send(Message::OpenTopic(OpenTopic { handle: 1, name: "events".into(), id: None })).await;
    let Message::OpenRefused(refused) = producer.recv().await else { panic!() };
    assert_code(&refused.fault, FaultCode::BadHandle);
    producer.send(Message::OpenTopic(OpenTopic { handle: 2, name: "nothing".into(), id: None })).await;
    let Message::OpenRefused(refused) = producer.recv().await else { panic!() };
    assert_code(&refused.fault, FaultCode::UnknownTopic);
    producer.send(Message::Produce(produce(1, 1))).await;
    assert_eq!(producer.recv_ack().await.request, 7);
    broker.stop().await;
}

#[tokio::test]
async fn a_corrupt_partition_takes_no_batches_and_its_neighbour_does() {
    let broker = one_topic(2).await;
    let topic = broker.create("other", 2).await;
    assert!(broker.engine.store().make_read_only(PartitionId { topic: topic.id, index: 0 }));
    let mut producer = broker.producer("other").await;
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::ReadOnly);
    producer.produce(2, 1, batch(Uuid::new_v4(), 0, "x")).await;
    producer.recv_ack().await;
    broker.stop().await;
}

#[tokio::test]
async fn every_refusal_of_the_log_has_its_code_and_says_which_partition() {
    let cases = [
        (CommitError::Busy, FaultCode::Busy, FaultClass::RetryLater),
        (CommitError::DiskFull, FaultCode::DiskFull, FaultClass::RetryLater),
        (CommitError::Storage("EIO".into()), FaultCode::Storage, FaultClass::Broker),
        (CommitError::Fenced, FaultCode::NotOwner, FaultClass::RetryLater),
    ];
    let broker = one_topic(1).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for (error, code, class) in cases {
        broker.engine.fail_next_commit(error);
        producer.produce(1, 0, batch(id, 0, "x")).await;
        let fault = producer.recv_refusal().await.fault;
        assert_code(&fault, code);
        assert_eq!(fault.class, class, "{fault}");
        assert!(fault.text.contains("partition 0 of topic \"events\""), "{fault}");
    }
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_at_fault_is_told_even_while_the_disk_hangs() {
    let broker = one_topic(1).await;
    let mut producer = broker.producer("events").await;
    let _hold = broker.engine.hold_durability();
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    producer.send(Message::Hello(crate::harness::greeting(SessionKind::Produce))).await;
    assert_code(&producer.recv_error().await, FaultCode::UnexpectedFrame);
    broker.running.abort();
}

#[tokio::test]
async fn a_client_that_ends_its_side_still_gets_every_answer() {
    let broker = one_topic(1).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    let hold = broker.engine.hold_durability();
    for sequence in 0..10 {
        let batch = batch(id, sequence, "x");
        producer.writer.feed(&Message::Produce(Produce {
            request: sequence,
            handle: 1,
            partition: 0,
            batch,
        }));
    }
    producer.assert_silent().await;
    let Wire { mut reader, mut writer, .. } = producer;
    let (ended, ()) = tokio::join!(writer.finish(Duration::from_secs(10)), async { hold.release() });
    ended.unwrap();
    for sequence in 0..10 {
        let Some(Message::Ack(ack)) = reader.next().await.unwrap() else { panic!() };
        assert_eq!(ack.request, sequence);
    }
    assert_eq!(reader.next().await.unwrap(), None);
    broker.stop().await;
}

#[tokio::test]
async fn compressed_batches_are_stored_as_they_came() {
    let broker = one_topic(1).await;
    let mut producer = broker.producer("events").await;
    let values: Vec<_> = (0..1000).map(|n| format!("value {n}")).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let batch = batch_of(Codec::Lz4, Uuid::new_v4(), 0, &values).into_bytes();
    producer.produce(1, 0, batch.clone()).await;
    producer.recv_ack().await;
    let mut consumer = broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    let data = consumer.recv_data().await;
    assert!(data.entries.ends_with(&batch));
    assert_eq!(crate::harness::values(data.entries).len(), 1000);
    broker.stop().await;
}

#[tokio::test]
async fn a_restart_forgets_neither_the_producer_nor_its_sequence() {
    let store = MemoryStore::new(4);
    let id = Uuid::new_v4();
    let broker = TestBroker::over(BrokerOptions::default(), &store, Arc::new(SystemClock)).await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(id, 0, "x")).await;
    producer.recv_ack().await;
    producer.finish().await;
    broker.stop().await;
    let broker = TestBroker::over(BrokerOptions::default(), &store, Arc::new(SystemClock)).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(id, 0, "x")).await;
    assert!(producer.recv_ack().await.duplicate);
    producer.produce(2, 0, batch(id, 2, "x")).await;
    assert_eq!(producer.recv_refusal().await.fault.offset, Some(1));
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_deleted_under_a_producer_is_gone_for_it_and_for_nobody_else() {
    let broker = one_topic(1).await;
    broker.create("other", 1).await;
    let mut producer = broker.session(SessionKind::Produce).await;
    producer.open_topic(1, "events").await;
    producer.open_topic(2, "other").await;
    let mut admin = broker.admin().await;
    let delete = sealstream_protocol::message::admin::DeleteTopic { name: "events".into() };
    admin.send(Message::DeleteTopic(delete)).await;
    admin.recv().await;
    let id = Uuid::new_v4();
    for (handle, gone) in [(1, true), (2, false)] {
        let batch = batch(id, 0, "x");
        producer.send(Message::Produce(Produce { request: 1, handle, partition: 0, batch })).await;
        match producer.recv().await {
            Message::Ack(_) => assert!(!gone),
            Message::ProduceRefused(refused) => {
                assert!(gone);
                assert_code(&refused.fault, FaultCode::TopicGone);
            }
            other => panic!("{other:?}"),
        }
    }
    broker.stop().await;
}
