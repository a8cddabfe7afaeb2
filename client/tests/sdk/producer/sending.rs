//! How records become batches, and how many may be on the way.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use sealstream_client::producer::{MAX_UNANSWERED, TrySendError};
use sealstream_client::{Codec, DeliveryError, Record, SendError};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Batch;
use sealstream_protocol::partition::for_key;
use tokio::time::{Instant, timeout};

use super::{number, open, open_with, values};
use crate::fake::Fake;

#[tokio::test(start_paused = true)]
async fn a_record_is_acknowledged_with_its_own_offset() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let first = producer.send(Record::new("a")).await.unwrap();
    let headers: [(&str, &[u8]); 1] = [("h", b"1")];
    let second = producer.send(Record::new("b").key("k").headers(&headers).timestamp(7)).await.unwrap();
    let produce = peer.batch().await;
    let batch = Batch::validate(produce.batch.clone(), &Limits::default()).unwrap();
    let records: Vec<_> = batch.records(&Limits::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(records[0].key, None);
    assert_eq!((records[1].key.as_deref(), records[1].timestamp), (Some(&b"k"[..]), 7));
    assert_eq!(records[1].headers.clone().next().unwrap().name(), "h");
    peer.ack(produce.request, 40).await;
    assert_eq!(first.await.unwrap().offset, 40);
    assert_eq!(second.await.unwrap().offset, 41);
}

#[tokio::test(start_paused = true)]
async fn a_record_waits_for_others_no_longer_than_it_may_linger() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let linger = Duration::from_millis(250);
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.linger(linger)).await;
    let sent = Instant::now();
    let _first = producer.send(Record::new("a")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _second = producer.send(Record::new("b")).await.unwrap();
    assert_eq!(values(&peer.batch().await), ["a", "b"]);
    let waited = sent.elapsed();
    assert!(waited >= linger && waited < linger + Duration::from_millis(50), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| {
        builder.linger(Duration::from_hours(1)).batch_records(3).batch_bytes(1000)
    })
    .await;
    for value in ["a", "b", "c", "d"] {
        let _delivery = producer.send(Record::new(value)).await.unwrap();
    }
    assert_eq!(values(&peer.batch().await), ["a", "b", "c"], "full by its records");
    let long = "x".repeat(930);
    let _delivery = producer.send(Record::new(&long)).await.unwrap();
    assert_eq!(values(&peer.batch().await), ["d"], "the next would not have fitted");
    let huge = "y".repeat(5_000);
    let _delivery = producer.send(Record::new(&huge)).await.unwrap();
    assert_eq!(values(&peer.batch().await), [long], "the next would not have fitted");
    assert_eq!(values(&peer.batch().await), [huge], "larger than a batch, and a batch of its own");
}

#[tokio::test(start_paused = true)]
async fn keys_choose_partitions_and_records_without_one_go_round_batch_by_batch() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 4, |builder| builder.batch_records(2)).await;
    let mut seen = HashSet::new();
    for _ in 0..4 {
        let first = producer.send(Record::new("1")).await.unwrap();
        let second = producer.send(Record::new("2")).await.unwrap();
        assert_eq!(first.partition(), second.partition(), "one batch");
        assert_eq!(peer.batch().await.partition, first.partition());
        seen.insert(first.partition());
    }
    assert_eq!(seen.len(), 4, "each partition had its turn");
    for key in ["", "a", "sensor-7"] {
        let delivery = producer.send(Record::new("v").key(key)).await.unwrap();
        assert_eq!(delivery.partition(), for_key(key.as_bytes(), 4));
    }
    assert_eq!(producer.send(Record::new("v").key("a").partition(2)).await.unwrap().partition(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_records_are_sent_as_they_would_be_one_by_one() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| {
        builder.batch_records(10).window_bytes(2_000).codec(Codec::Lz4)
    })
    .await;
    let all: Vec<String> = (0..500).map(|index| format!("value {index}")).collect();
    let records: Vec<_> = all.iter().map(Record::new).collect();
    let (sent, stored) =
        tokio::join!(async { producer.send_batch(&records).await.unwrap().await.unwrap() }, async {
            let mut stored = Vec::new();
            while stored.len() < 500 {
                let produce = peer.batch().await;
                peer.ack(produce.request, stored.len() as u64).await;
                stored.extend(values(&produce));
            }
            stored
        },);
    assert_eq!(stored, all);
    let offsets: Vec<u64> = sent.into_iter().flat_map(|range| range.offsets).collect();
    assert!(offsets.into_iter().eq(0..500));
}

#[tokio::test(start_paused = true)]
async fn no_more_batches_of_a_partition_are_unanswered_than_a_broker_remembers() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 1, |builder| builder.batch_records(1)).await;
    for _ in 0..2 * MAX_UNANSWERED {
        let _delivery = producer.send(Record::new("v")).await.unwrap();
    }
    let mut requests = Vec::new();
    while let Ok(produce) = timeout(Duration::from_secs(5), peer.batch()).await {
        requests.push(produce.request);
    }
    assert_eq!(requests.len(), MAX_UNANSWERED);
    peer.ack(requests[0], 0).await;
    peer.batch().await;
    assert!(timeout(Duration::from_secs(5), peer.batch()).await.is_err(), "one answer, one batch");
}

#[tokio::test(start_paused = true)]
async fn the_brokers_window_is_respected_but_for_a_single_batch() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = crate::fake::Peer::new(fake.stream().await);
        peer.welcome(|welcome| welcome.window = 1_000).await;
        peer.open_topic(8).await;
        peer
    };
    let builder = client.producer("t").batch_records(1);
    let (producer, mut peer) = tokio::join!(builder.open(), play);
    let producer = producer.unwrap();
    let value = "x".repeat(600);
    for partition in 0..4 {
        let _delivery = producer.send(Record::new(&value).partition(partition)).await.unwrap();
    }
    let big = "y".repeat(5_000);
    let _delivery = producer.send(Record::new(&big).partition(4)).await.unwrap();
    for _ in 0..5 {
        let produce = peer.batch().await;
        assert!(timeout(Duration::from_secs(5), peer.batch()).await.is_err(), "a second would exceed it");
        peer.ack(produce.request, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_holds_senders_back_in_turn() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) =
        open_with(&mut fake, &client, 1, |builder| builder.window_bytes(300).linger(Duration::ZERO)).await;
    let value = "x".repeat(180);
    let first = producer.send(Record::new(&value)).await.unwrap();
    let error = producer.try_send(Record::new(&value)).unwrap_err();
    assert!(matches!(error, TrySendError::WindowFull), "{error}");
    let mut second = Box::pin(producer.send(Record::new(&value)));
    assert!((&mut second).now_or_never().is_none(), "it must wait");
    let mut third = Box::pin(producer.send(Record::new("tiny")));
    assert!((&mut third).now_or_never().is_none(), "it fits, but others wait before it");
    // Those who stop waiting were not sent.
    let cancelled = timeout(Duration::from_millis(1), producer.send(Record::new("cancelled"))).await;
    assert!(cancelled.is_err());
    let produce = peer.batch().await;
    peer.ack(produce.request, 0).await;
    first.await.unwrap();
    let _second = second.await.unwrap();
    let produce = peer.batch().await;
    assert_eq!(values(&produce), [value]);
    peer.ack(produce.request, 1).await;
    let _third = third.await.unwrap();
    assert_eq!(values(&peer.batch().await), ["tiny"]);
}

#[tokio::test(start_paused = true)]
async fn a_window_full_of_open_batches_does_not_wait_for_them_to_linger() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) =
        open_with(&mut fake, &client, 4, |builder| builder.linger(Duration::from_hours(1)).window_batches(2))
            .await;
    let _first = producer.send(Record::new("a").partition(0)).await.unwrap();
    let _second = producer.send(Record::new("b").partition(1)).await.unwrap();
    let third = producer.send(Record::new("c").partition(2));
    let answer = async {
        for _ in 0..2 {
            let produce = peer.batch().await;
            peer.ack(produce.request, 0).await;
        }
    };
    let (third, ()) = timeout(Duration::from_mins(1), async { tokio::join!(third, answer) }).await.unwrap();
    let _third = third.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_is_refused_at_once_with_the_limit() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = crate::fake::Peer::new(fake.stream().await);
        peer.welcome(|welcome| welcome.max_frame = 10_000).await;
        peer.open_topic(2).await;
        peer
    };
    let (producer, _peer) = tokio::join!(client.producer("t").open(), play);
    let producer = producer.unwrap();
    let error = producer.send(Record::new(&"x".repeat(10_000))).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { limit, .. } if limit < 10_000), "{error}");
    let error = producer.send(Record::new("v").partition(2)).await.unwrap_err();
    assert!(matches!(error, SendError::UnknownPartition { partition: 2, partitions: 2 }), "{error}");
    let some = [Record::new("good"), Record::new("bad").partition(9)];
    assert!(producer.send_batch(&some).await.is_err());
    producer.flush().await.expect("nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn flush_sends_at_once_waits_for_all_and_reports_a_failure_once() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let linger = Duration::from_hours(1);
    let (producer, mut peer) = open_with(&mut fake, &client, 2, |builder| builder.linger(linger)).await;
    producer.flush().await.expect("nothing to do");
    drop(producer.send(Record::new("a").partition(0)).await.unwrap());
    drop(producer.send(Record::new("b").partition(1)).await.unwrap());
    let play = async {
        let produce = peer.batch().await;
        peer.ack(produce.request, 0).await;
        let produce = peer.batch().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let fault = sealstream_protocol::message::FaultCode::Forbidden;
        peer.refuse(produce.request, sealstream_protocol::message::Fault::new(fault, "not yours")).await;
    };
    let (flushed, ()) = tokio::join!(producer.flush(), play);
    let error = flushed.unwrap_err();
    assert!(matches!(error.first, DeliveryError::Refused { maybe_stored: false, .. }), "{error}");
    assert_eq!((error.records, error.maybe_stored, error.from), (1, 0, 1), "the second record, and it alone");
    assert!(error.to_string().contains("not yours"));
    producer.flush().await.expect("reported already");
}

#[tokio::test(start_paused = true)]
async fn closing_delivers_what_was_sent_and_dropping_gives_it_up() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let clone = producer.clone();
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let play = async {
        let produce = peer.batch().await;
        peer.ack(produce.request, 5).await;
        assert_eq!(peer.hear_or_end().await, None, "a clean end");
        peer.finish().await;
    };
    let (closed, ()) = tokio::join!(producer.close(), play);
    closed.unwrap();
    assert_eq!(delivery.await.unwrap().offset, 5);
    assert!(matches!(clone.send(Record::new("b")).await, Err(SendError::Closed(_))));

    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let delivery = producer.send(Record::new("a")).await.unwrap();
    peer.batch().await;
    drop(producer);
    let error = delivery.await.unwrap_err();
    assert!(matches!(error, DeliveryError::Closed { maybe_stored: true }), "{error}");
    assert_eq!(peer.hear_or_end().await, None);
}

#[tokio::test(start_paused = true)]
async fn producers_number_their_batches_from_zero_under_ids_of_their_own() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let mut ids = HashSet::new();
    for _ in 0..2 {
        let (producer, mut peer) = open_with(&mut fake, &client, 2, |builder| builder.batch_records(1)).await;
        for sequence in 0..3 {
            for partition in 0..2 {
                let _delivery = producer.send(Record::new("v").partition(partition)).await.unwrap();
                let (id, number) = number(&peer.batch().await);
                assert_eq!(number, sequence);
                ids.insert(id);
            }
        }
    }
    assert_eq!(ids.len(), 4, "one for each producer and partition");
}
