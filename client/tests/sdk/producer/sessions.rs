//! What a producer makes of sessions that end, stall, or move elsewhere.

use std::time::Duration;

use sealstream_client::producer::REFRESH;
use sealstream_client::{DeliveryError, Record, SendError};
use sealstream_protocol::message::produce::TopicOpened;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::{Instant, timeout};

use super::{number, open, open_with, values};
use crate::fake::{Fake, TOPIC};

#[tokio::test(start_paused = true)]
async fn a_topic_that_gets_more_partitions_is_noticed_within_five_minutes_and_nothing_is_lost_meanwhile() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let began = Instant::now();
    let Message::OpenTopic(again) = peer.hear().await else { panic!("not OpenTopic") };
    assert!(began.elapsed() <= REFRESH + Duration::from_secs(1));
    assert_eq!((again.handle, &*again.name, again.id), (1, "t", Some(TOPIC)));
    assert_eq!(producer.partitions(), 1);
    peer.say(Message::TopicOpened(TopicOpened { handle: 1, id: TOPIC, partitions: 3 })).await;
    while producer.partitions() == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(producer.partitions(), 3);
    let record = Record::new("new").partition(2);
    let delivery = producer.send(record).await.unwrap();
    let produce = peer.batch().await;
    assert_eq!((produce.partition, number(&produce).1), (2, 0));
    peer.ack(produce.request, 7).await;
    assert_eq!(delivery.await.unwrap().offset, 7);
    // One that nobody asked for breaks the rules.
    peer.say(Message::TopicOpened(TopicOpened { handle: 1, id: TOPIC, partitions: 4 })).await;
    assert!(matches!(peer.hear().await, Message::Error(_)));
}

#[tokio::test(start_paused = true)]
async fn unanswered_batches_are_sent_again_in_order_after_a_cut() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.batch_records(1)).await;
    for value in ["a", "b", "c"] {
        let _delivery = producer.send(Record::new(value)).await.unwrap();
    }
    let first = [peer.batch().await, peer.batch().await, peer.batch().await];
    peer.ack(first[0].request, 0).await;
    // Half an answer to the second, and no more.
    let mut bytes = bytes::BytesMut::new();
    Message::Pong(sealstream_protocol::message::hello::Pong { nonce: 1 }).encode(&mut bytes);
    let mut send = peer.writer.into_inner();
    tokio::io::AsyncWriteExt::write_all(&mut send, &bytes[..7]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(send);
    let mut peer = fake.session().await;
    let reopened = peer.open_topic(1).await;
    assert_eq!(reopened.id, Some(crate::fake::TOPIC), "the same topic, not another of its name");
    for (index, expected) in (1..).zip(&first[1..]) {
        let again = peer.batch().await;
        assert_eq!((number(&again), values(&again)), (number(expected), values(expected)));
        peer.ack(again.request, index).await;
    }
    producer.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_producer_keeps_its_session_alive() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let quiet = timeout(Duration::from_mins(5), peer.hear_or_end()).await;
    assert!(quiet.is_err(), "nothing but pings for five minutes: {quiet:?}");
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let produce = peer.batch().await;
    peer.ack(produce.request, 0).await;
    delivery.await.unwrap();
    assert!(!fake.has_stream(), "in the same session");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_is_left_at_the_idle_deadline() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let first = peer.batch().await;
    let silent = Instant::now();
    let mut next = fake.produce_session(1).await;
    let waited = silent.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_secs(35), "{waited:?}");
    let again = next.batch().await;
    assert_eq!(number(&again), number(&first));
    next.ack(again.request, 0).await;
    delivery.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_lives_and_never_answers_fails_the_delivery_in_time() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) =
        open_with(&mut fake, &client, 1, |builder| builder.delivery_timeout(Duration::from_secs(20))).await;
    let sent = Instant::now();
    let doubtful = producer.send(Record::new("a")).await.unwrap();
    let first = peer.batch().await;
    let (failed, ended) = tokio::join!(doubtful, async {
        // Pings are answered, batches are not.
        while let Ok(Some(message)) = peer.reader.next().await {
            if let Message::Ping(ping) = message {
                let pong = sealstream_protocol::message::hello::Pong { nonce: ping.nonce };
                peer.say(Message::Pong(pong)).await;
            }
        }
        sent.elapsed()
    });
    let error = failed.unwrap_err();
    assert!(matches!(error, DeliveryError::TimedOut { maybe_stored: true, .. }), "{error}");
    assert!(ended >= Duration::from_secs(20) && ended < Duration::from_secs(22), "{ended:?}");
    let delivery = producer.send(Record::new("b")).await.unwrap();
    let mut peer = fake.produce_session(1).await;
    let next = peer.batch().await;
    assert_eq!((number(&next).1, values(&next)), (0, vec!["b".to_owned()]));
    assert_ne!(number(&next).0, number(&first).0, "nothing may depend on what became of the first");
    peer.ack(next.request, 0).await;
    delivery.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_cannot_be_reached_fails_deliveries_in_time_and_not_the_producer() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, peer) =
        open_with(&mut fake, &client, 1, |builder| builder.delivery_timeout(Duration::from_secs(5))).await;
    drop(peer);
    let mut streams = Vec::new();
    let lost = producer.send(Record::new("a")).await.unwrap();
    let started = Instant::now();
    let error = tokio::select! {
        outcome = lost => outcome.unwrap_err(),
        () = async { loop { streams.push(fake.stream().await); } } => unreachable!(),
    };
    assert!(matches!(error, DeliveryError::TimedOut { maybe_stored: false, .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    streams.clear();
    let delivery = producer.send(Record::new("b")).await.unwrap();
    let mut peer = fake.produce_session(1).await;
    let produce = peer.batch().await;
    assert_eq!(values(&produce), ["b"]);
    peer.ack(produce.request, 0).await;
    delivery.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_away_gets_no_new_batches_and_owes_its_answers() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.batch_records(1)).await;
    let first = producer.send(Record::new("a")).await.unwrap();
    let produce = peer.batch().await;
    let fault = Fault::new(FaultCode::ShuttingDown, "restarting").retry_after(Duration::from_secs(4));
    peer.say(Message::GoAway(fault)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let second = producer.send(Record::new("b")).await.unwrap();
    assert!(timeout(Duration::from_secs(5), peer.hear_or_end()).await.is_err(), "no batch and no end yet");
    peer.ack(produce.request, 0).await;
    first.await.unwrap();
    assert_eq!(peer.hear_or_end().await, None, "a clean end once all is answered");
    peer.finish().await;
    let left = Instant::now();
    let mut peer = fake.produce_session(1).await;
    assert!(left.elapsed() >= Duration::from_secs(4), "{:?}", left.elapsed());
    let produce = peer.batch().await;
    assert_eq!(number(&produce).1, 1);
    peer.ack(produce.request, 1).await;
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_moves_is_followed_and_the_others_stay() {
    let mut fake = Fake::start().await;
    let mut owner = Fake::start_in(fake.network.clone()).await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 2, |builder| builder.batch_records(1)).await;
    let moved = producer.send(Record::new("a").partition(1)).await.unwrap();
    let produce = peer.batch().await;
    let first = number(&produce);
    peer.refuse(produce.request, Fault::new(FaultCode::NotOwner, "moved").url(owner.url())).await;
    let mut other = owner.produce_session(2).await;
    let produce = other.batch().await;
    assert_eq!((produce.partition, number(&produce)), (1, first));
    other.ack(produce.request, 0).await;
    moved.await.unwrap();
    for (partition, peer) in [(0, &mut peer), (1, &mut other)] {
        let delivery = producer.send(Record::new("b").partition(partition)).await.unwrap();
        let produce = peer.batch().await;
        assert_eq!(produce.partition, partition);
        peer.ack(produce.request, 1).await;
        delivery.await.unwrap();
    }
    // The owner dies: home knows better where the partition is now.
    drop(other);
    drop(owner);
    let delivery = producer.send(Record::new("c").partition(1)).await.unwrap();
    let produce = peer.batch().await;
    assert_eq!((produce.partition, number(&produce)), (1, (first.0, 2)));
    peer.ack(produce.request, 2).await;
    delivery.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_no_retry_can_cure_ends_the_producer() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, peer) = open(&mut fake, &client, 1).await;
    drop(peer);
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let mut peer = crate::fake::Peer::new(fake.stream().await);
    peer.hear().await;
    peer.say(Message::Error(Fault::new(FaultCode::Unauthenticated, "your certificate was revoked"))).await;
    let error = delivery.await.unwrap_err();
    assert!(matches!(error, DeliveryError::Session { maybe_stored: false, .. }), "{error}");
    assert!(!error.is_retryable());
    let error = producer.send(Record::new("b")).await.unwrap_err();
    assert!(matches!(&error, SendError::Closed(_)) && error.to_string().contains("revoked"), "{error}");
}
