//! What a producer makes of refusals, and of answers that cannot be.

use std::time::Duration;

use sealstream_client::producer::OpenProducerError;
use sealstream_client::{DeliveryError, Record, RetryPolicy, SendError};
use sealstream_protocol::message::produce::{Ack, OpenRefused};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::{Instant, timeout};

use super::{number, open, open_with, values};
use crate::fake::{Fake, Peer};

fn fault(code: FaultCode) -> Fault {
    Fault::new(code, "because")
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_an_error_at_once() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = fake.session().await;
        let Message::OpenTopic(open) = peer.hear().await else { panic!("not OpenTopic") };
        assert_eq!(open.name, "t");
        let fault = fault(FaultCode::UnknownTopic);
        peer.say(Message::OpenRefused(OpenRefused { handle: open.handle, fault })).await;
        peer.finish().await;
        peer
    };
    let (opened, _peer) = tokio::join!(client.producer("t").open(), play);
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenProducerError::Refused { .. }), "{error}");
    assert!(!error.is_retryable() && error.to_string().contains("topic t"), "{error}");
    assert!(!fake.has_stream(), "it tried again");
}

#[tokio::test(start_paused = true)]
async fn more_partitions_than_a_topic_can_have_are_not_believed() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let error = tokio::select! {
        opened = client.producer("t").open() => opened.unwrap_err(),
        () = async {
            loop {
                let mut peer = fake.produce_session(u32::MAX).await;
                assert_eq!(peer.reader.next().await.ok().flatten(), None);
            }
        } => unreachable!(),
    };
    assert!(error.to_string().contains("breaks the protocol"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_gets_the_batch_and_all_behind_it_again_in_order_when_it_asked_to() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.batch_records(1)).await;
    for value in ["a", "b", "c"] {
        let _delivery = producer.send(Record::new(value)).await.unwrap();
    }
    let batches = [peer.batch().await, peer.batch().await, peer.batch().await];
    let busy = fault(FaultCode::Busy).retry_after(Duration::from_secs(2));
    peer.refuse(batches[0].request, busy).await;
    for behind in &batches[1..] {
        peer.refuse(behind.request, fault(FaultCode::OutOfSequence).offset(0)).await;
    }
    let refused = Instant::now();
    for (offset, first) in (7..).zip(&batches) {
        let again = peer.batch().await;
        assert!(refused.elapsed() >= Duration::from_secs(2), "after {:?}", refused.elapsed());
        assert_eq!((number(&again), values(&again)), (number(first), values(first)));
        assert!(again.request > batches[2].request, "a request of its own");
        peer.ack(again.request, offset).await;
    }
    producer.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_producer_whose_quota_is_spent_waits_as_long_as_told_however_often_and_loses_nothing() {
    let mut fake = Fake::start().await;
    // Less than the broker asks for: how long batches wait is their deadline's matter.
    let policy = RetryPolicy::default().retry_for(Duration::from_secs(1));
    let client = fake.builder().retry(policy).build().unwrap();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.batch_records(1)).await;
    for value in ["a", "b"] {
        let _delivery = producer.send(Record::new(value)).await.unwrap();
    }
    let asked = Duration::from_secs(8);
    let mut waits = Vec::new();
    let mut batches = [peer.batch().await, peer.batch().await];
    for _ in 0..6 {
        peer.refuse(batches[0].request, fault(FaultCode::QuotaExceeded).retry_after(asked)).await;
        peer.refuse(batches[1].request, fault(FaultCode::OutOfSequence).offset(0)).await;
        let refused = Instant::now();
        let again = [peer.batch().await, peer.batch().await];
        let waited = refused.elapsed();
        assert!(waited >= asked && waited < asked * 2, "after {waited:?}");
        for (batch, before) in again.iter().zip(&batches) {
            assert_eq!((number(batch), values(batch)), (number(before), values(before)));
        }
        waits.push(waited.as_millis());
        batches = again;
    }
    waits.dedup();
    assert!(waits.len() > 1, "jitter: {waits:?}");
    for (offset, batch) in (0..).zip(&batches) {
        peer.ack(batch.request, offset).await;
    }
    producer.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_refused_for_good_leaves_its_successors_to_a_new_producer_id() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.batch_records(1)).await;
    let mut deliveries = Vec::new();
    for value in ["a", "b", "c", "d"] {
        deliveries.push(producer.send(Record::new(value)).await.unwrap());
    }
    let mut batches = Vec::new();
    for _ in 0..4 {
        batches.push(peer.batch().await);
    }
    // The second is refused for good while the first waits for its time; what follows them must not overtake it.
    peer.refuse(batches[0].request, fault(FaultCode::Busy)).await;
    peer.refuse(batches[1].request, fault(FaultCode::InvalidBatch)).await;
    for behind in &batches[2..] {
        peer.refuse(behind.request, fault(FaultCode::OutOfSequence).offset(0)).await;
    }
    let first = peer.batch().await;
    assert_eq!(number(&first), number(&batches[0]));
    let early = timeout(Duration::from_secs(1), peer.batch()).await;
    assert!(early.is_err(), "the first is not settled yet");
    peer.ack(first.request, 0).await;
    for (sequence, value) in [(0, "c"), (1, "d")] {
        let again = peer.batch().await;
        assert_eq!(values(&again), [value]);
        let (id, number_now) = number(&again);
        assert_eq!(number_now, sequence);
        assert_ne!(id, number(&batches[0]).0);
        peer.ack(again.request, sequence + 1).await;
    }
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(delivery.await);
    }
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok() && outcomes[3].is_ok());
    let error = outcomes[1].as_ref().unwrap_err();
    assert!(!error.maybe_stored() && !error.is_retryable(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_disk_is_asked_again_under_the_same_number() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let first = peer.batch().await;
    peer.refuse(first.request, fault(FaultCode::Storage)).await;
    let again = peer.batch().await;
    assert_eq!(number(&again), number(&first));
    let ack = Ack { request: again.request, base_offset: 3, epoch: 2, duplicate: true };
    peer.say(Message::Ack(ack)).await;
    assert_eq!(delivery.await.unwrap().offset, 3);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_producer_begins_afresh() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let _delivery = producer.send(Record::new("a")).await.unwrap();
    let stored = peer.batch().await;
    peer.ack(stored.request, 0).await;
    let delivery = producer.send(Record::new("b")).await.unwrap();
    let forgotten = peer.batch().await;
    assert_eq!(number(&forgotten).1, 1);
    peer.refuse(forgotten.request, fault(FaultCode::UnknownProducer)).await;
    let again = peer.batch().await;
    assert_eq!((number(&again).1, values(&again)), (0, values(&forgotten)));
    assert_ne!(number(&again).0, number(&forgotten).0);
    peer.ack(again.request, 1).await;
    delivery.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_producer_does_not_repeat_what_may_be_stored() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.batch_records(1)).await;
    let _delivery = producer.send(Record::new("a")).await.unwrap();
    let stored = peer.batch().await;
    peer.ack(stored.request, 0).await;
    let doubtful = producer.send(Record::new("b")).await.unwrap();
    peer.batch().await;
    drop(peer);
    let mut peer = fake.produce_session(1).await;
    let fresh = producer.send(Record::new("c")).await.unwrap();
    for _ in 0..2 {
        let behind = peer.batch().await;
        peer.refuse(behind.request, fault(FaultCode::UnknownProducer)).await;
    }
    let again = peer.batch().await;
    assert_eq!(values(&again), ["c"], "what was never in doubt goes on");
    peer.ack(again.request, 1).await;
    fresh.await.unwrap();
    let error = doubtful.await.unwrap_err();
    assert!(matches!(error, DeliveryError::Indeterminate), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_ends_the_producer_and_says_so() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 2).await;
    let delivery = producer.send(Record::new("a").partition(0)).await.unwrap();
    let produce = peer.batch().await;
    peer.refuse(produce.request, fault(FaultCode::TopicGone)).await;
    let error = delivery.await.unwrap_err();
    assert!(error.to_string().contains("topic-gone"), "{error}");
    assert_eq!(peer.hear_or_end().await, None);
    let error = producer.send(Record::new("b").partition(1)).await.unwrap_err();
    assert!(matches!(&error, SendError::Closed(_)) && error.to_string().contains("topic-gone"), "{error}");
}

/// Sends one record, lets the broker misbehave, and expects it to be told off and asked again.
async fn told_off_and_asked_again(
    misbehave: impl AsyncFnOnce(&mut Peer, sealstream_protocol::message::produce::Produce),
) {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let first = peer.batch().await;
    misbehave(&mut peer, first.clone()).await;
    match peer.hear().await {
        Message::Error(fault) => assert_eq!(fault.code_known(), Some(FaultCode::UnexpectedFrame), "{fault}"),
        other => panic!("not told off: {other:?}"),
    }
    peer.finish().await;
    let mut peer = fake.produce_session(1).await;
    let again = peer.batch().await;
    assert_eq!(number(&again), number(&first), "the same number");
    peer.ack(again.request, 9).await;
    assert_eq!(delivery.await.unwrap().offset, 9);
    producer.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_request_that_was_never_made_ends_the_session_and_harms_nothing() {
    told_off_and_asked_again(async |peer, produce| peer.ack(produce.request + 1, 0).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_another_kind_of_session_ends_the_session_and_harms_nothing() {
    told_off_and_asked_again(async |peer, _| {
        let data =
            sealstream_protocol::message::consume::Data { subscription: 1, entries: bytes::Bytes::new() };
        peer.say(Message::Data(data)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_oversized_frame_ends_the_session_and_harms_nothing() {
    told_off_and_asked_again(async |peer, _| {
        let too_long = vec![0_u8; 20 << 20];
        let data = sealstream_protocol::message::consume::Data { subscription: 1, entries: too_long.into() };
        peer.writer.feed(&Message::Data(data));
        // The client reads no further than its limit.
        let _ = timeout(Duration::from_secs(1), peer.writer.flush()).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_answer_to_a_request_ends_the_session_and_harms_nothing() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let produce = peer.batch().await;
    peer.ack(produce.request, 4).await;
    peer.ack(produce.request, 5).await;
    assert_eq!(delivery.await.unwrap().offset, 4, "the first counts");
    assert!(matches!(peer.hear().await, Message::Error(_)));
    peer.finish().await;
    let delivery = producer.send(Record::new("b")).await.unwrap();
    let mut peer = fake.produce_session(1).await;
    let next = peer.batch().await;
    assert_eq!((number(&next).1, values(&next)), (1, vec!["b".to_owned()]));
    peer.ack(next.request, 5).await;
    delivery.await.unwrap();
}
