//! Records as they come, as long as nothing goes wrong.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use sealstream_client::{Codec, ConsumeError, Position};
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::timeout;

use super::{data, describe, entry, entry_of, offset, open, subscribe, subscribed};
use crate::fake::{Fake, TOPIC};

#[tokio::test(start_paused = true)]
async fn records_come_in_order_from_where_they_were_asked_for() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) =
        open(&mut fake, &client, 1, |builder| builder.start(Position::Offset(12))).await;
    let asked = subscribe(&mut peer).await;
    assert_eq!((asked.topic.as_str(), asked.partition), ("t", 0));
    assert_eq!((asked.position, asked.topic_id, asked.epoch), (Position::Offset(12), Some(TOPIC), None));
    subscribed(&mut peer, asked.subscription, 12, 12).await;
    // The first entry begins below the offset that was asked for.
    let mut entries = BytesMut::from(&entry(10, 4, 3)[..]);
    entries.extend_from_slice(&entry_of(14, ["14".to_owned(), "15".to_owned()], 4, Codec::Lz4));
    data(&mut peer, asked.subscription, entries.freeze()).await;
    let first = consumer.next().await.unwrap().unwrap();
    assert_eq!((first.offset, first.partition, first.epoch, first.append_time), (12, 0, 3, 5));
    assert_eq!((first.timestamp, first.key, first.headers.len()), (1_000, None, 0));
    for expected in 13..16 {
        assert_eq!(offset(&mut consumer).await, expected);
    }
    assert!(timeout(Duration::from_secs(5), consumer.next()).await.is_err(), "it waits for more");
    data(&mut peer, asked.subscription, entry(16, 1, 4)).await;
    assert_eq!(consumer.next().await.unwrap().unwrap().epoch, 4);
}

#[tokio::test(start_paused = true)]
async fn a_batch_tells_what_of_it_was_asked_for() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) =
        open(&mut fake, &client, 1, |builder| builder.start(Position::Offset(12))).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 12, 20).await;
    data(&mut peer, asked.subscription, entry(10, 5, 1)).await;
    let batch = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((batch.first_offset(), batch.next_offset(), batch.record_count()), (12, 15, 3));
    assert_eq!(batch.records().map(|record| record.unwrap().offset).collect::<Vec<_>>(), [12, 13, 14]);
    data(&mut peer, asked.subscription, entry(15, 2, 1)).await;
    let batch = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((batch.first_offset(), batch.record_count()), (15, 2));
}

#[tokio::test(start_paused = true)]
async fn reading_to_the_end_stops_at_the_end_of_each_partition() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 3, |builder| {
        builder.until_end().start_partition(1, Position::Time(77)).start_partition(2, Position::End)
    })
    .await;
    let asked = [subscribe(&mut peer).await, subscribe(&mut peer).await, subscribe(&mut peer).await];
    assert_eq!(asked[0].position, Position::Beginning);
    assert_eq!(asked[1].position, Position::Time(77));
    assert_eq!(asked[2].position, Position::End);
    subscribed(&mut peer, asked[0].subscription, 0, 4).await;
    subscribed(&mut peer, asked[1].subscription, 8, 9).await;
    subscribed(&mut peer, asked[2].subscription, 30, 30).await;
    // The last partition is at its end at once, and more than was asked for comes of the first.
    data(&mut peer, asked[0].subscription, entry(0, 2, 1)).await;
    data(&mut peer, asked[0].subscription, [entry(2, 2, 1), entry(4, 3, 1)].concat()).await;
    data(&mut peer, asked[0].subscription, entry(7, 3, 1)).await;
    data(&mut peer, asked[1].subscription, entry(8, 1, 1)).await;
    let play = async {
        let mut taken_back = Vec::new();
        while let Some(message) = peer.hear_or_end().await {
            let Message::Unsubscribe(unsubscribe) = message else { panic!("not Unsubscribe: {message:?}") };
            taken_back.push(unsubscribe.subscription);
        }
        peer.finish().await;
        taken_back.sort_unstable();
        taken_back
    };
    let (records, taken_back) = tokio::join!((&mut consumer).collect::<Vec<_>>(), play);
    let offsets: Vec<_> = records
        .into_iter()
        .map(|record| record.map(|record| (record.partition, record.offset)).unwrap())
        .collect();
    assert_eq!(offsets, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 8)]);
    assert_eq!(taken_back, asked.map(|asked| asked.subscription));
    assert!(consumer.next().await.is_none(), "the end stays the end");
}

#[tokio::test(start_paused = true)]
async fn only_the_partitions_asked_for_are_read_and_they_must_exist() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (_consumer, mut peer) = open(&mut fake, &client, 8, |builder| builder.partitions([5, 2, 5])).await;
    assert_eq!(subscribe(&mut peer).await.partition, 2);
    assert_eq!(subscribe(&mut peer).await.partition, 5);
    assert!(timeout(Duration::from_secs(5), peer.hear()).await.is_err(), "and no other");
    let builder = client.consumer("t").partitions([1, 8]);
    let (opened, ()) = tokio::join!(builder.open(), describe(&mut fake, 8));
    let error = opened.unwrap_err();
    assert!(matches!(error, ConsumeError::UnknownPartition { partition: 8, partitions: 8, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_an_error_at_once() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = fake.session().await;
        peer.hear().await;
        peer.say(Message::RequestRefused(super::fault(FaultCode::UnknownTopic))).await;
        peer
    };
    let (opened, _peer) = tokio::join!(client.consumer("t").open(), play);
    let error = opened.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("unknown-topic"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_does_not_read_holds_the_broker_back_and_keeps_its_session() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder.buffer_bytes(20_000)).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    let one = entry(0, 1000, 1).len();
    let mut next = 0;
    // The broker writes what it can for five minutes and hears pings all the while.
    let full = timeout(Duration::from_mins(5), async {
        loop {
            data(&mut peer, asked.subscription, entry(next, 1000, 1)).await;
            next += 1000;
        }
    })
    .await;
    assert!(full.is_err());
    // What the program may have ahead, what the pipe holds, and a frame in each hand.
    let most = 20_000 + 64 * 1024 + 4 * one;
    let taken = usize::try_from(next).unwrap() / 1000 * one;
    assert!(taken <= most, "{taken} bytes were taken by a program that reads nothing");
    assert!(!fake.has_stream(), "the session lives");
    for expected in 0..next {
        assert_eq!(offset(&mut consumer).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_larger_than_the_buffer_still_passes() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder.buffer_bytes(1)).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    for base in [0, 100] {
        data(&mut peer, asked.subscription, entry(base, 100, 1)).await;
    }
    for expected in 0..200 {
        assert_eq!(offset(&mut consumer).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_and_dropping_end_the_session_cleanly() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    for close in [true, false] {
        let (consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
        let asked = subscribe(&mut peer).await;
        subscribed(&mut peer, asked.subscription, 0, 0).await;
        let end = async {
            assert_eq!(peer.hear_or_end().await, None);
            peer.finish().await;
        };
        if close {
            tokio::join!(consumer.close(), end);
        } else {
            drop(consumer);
            end.await;
        }
    }
}
