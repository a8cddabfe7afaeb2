//! Records that a program cannot work off.

use std::time::Duration;

use sealstream_client::group::{
    DeadLetters, DeadLettersBuilder, GroupConsumer, GroupRecord, MAX_BACKOFF, ProcessError, Processed,
    headers,
};
use sealstream_client::{Client, Position, Producer, RecordMetadata};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Batch;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::produce::Produce;
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::timeout;

use super::{Broker, hear, hear_commit, offset, progress};
use crate::consumer::{data, entry, fault, subscribed};
use crate::fake::Peer;

/// A producer of the topic that records are put aside in, and the broker's side of it.
async fn aside(broker: &mut Broker, client: &Client) -> (Producer, Peer) {
    let (producer, peer) = tokio::join!(client.producer("t.failed").open(), async {
        let mut peer = broker.session(SessionKind::Produce).await;
        peer.open_topic(1).await;
        peer
    });
    (producer.unwrap(), peer)
}

/// The headers of the one record in a batch, and its value.
fn letter(produce: Produce) -> (Vec<(String, String)>, String) {
    let batch = Batch::from_stored(produce.batch).unwrap();
    let record = batch.records(&Limits::default()).unwrap().next().unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = record.headers.map(|header| (header.name().to_owned(), text(&header.value))).collect();
    (headers, text(&record.value))
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_every_attempt_is_done_with_once_it_is_stored_aside() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (producer, mut store) = aside(&mut broker, &client).await;
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 2, |builder| builder).await;
    let dead_letters = DeadLetters::builder(producer).attempts(3).build().unwrap();
    let mut tried = 0;
    let work = async |_: &GroupRecord| -> Result<(), String> {
        tried += 1;
        Err(format!("no luck, {tried}"))
    };
    let play = async {
        let produce = store.batch().await;
        let quiet = timeout(Duration::from_secs(5), hear_commit(&mut group)).await;
        assert!(quiet.is_err(), "committed before it was stored: {quiet:?}");
        store.ack(produce.request, 70).await;
        letter(produce)
    };
    let (processed, (found, value)) = tokio::join!(consumer.process(&dead_letters, work), play);
    let stored = RecordMetadata::new(0, 70);
    let expected = Processed::DeadLettered { attempts: 3, error: "no luck, 3".to_owned(), stored };
    assert_eq!(processed.unwrap().unwrap(), expected);
    let expected = [
        (headers::GROUP, "g"),
        (headers::TOPIC, "t"),
        (headers::PARTITION, "0"),
        (headers::OFFSET, "10"),
        (headers::ERROR, "no luck, 3"),
        (headers::ATTEMPTS, "3"),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(value, "10");
    assert_eq!(hear_commit(&mut group).await.progress, [progress(0, 5, 11, 3)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_succeeds_is_the_last_and_commits_the_record() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (producer, _store) = aside(&mut broker, &client).await;
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 2, |builder| builder).await;
    let dead_letters = DeadLetters::builder(producer).build().unwrap();
    let mut tried = 0;
    let processed = consumer
        .process(&dead_letters, async |_| {
            tried += 1;
            if tried < 2 { Err("not yet") } else { Ok(()) }
        })
        .await;
    assert_eq!(processed.unwrap().unwrap(), Processed::Done { attempts: 2 });
    assert_eq!(hear_commit(&mut group).await.progress, [progress(0, 5, 11, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_stored_aside_comes_again() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (producer, mut store) = aside(&mut broker, &client).await;
    let (mut consumer, _group, mut peer, _) = broker.reading(&client, 2, |builder| builder).await;
    let dead_letters = DeadLetters::builder(producer).attempts(1).build().unwrap();
    let (processed, ()) =
        tokio::join!(consumer.process(&dead_letters, async |_| Err::<(), _>("no luck")), async {
            let produce = store.batch().await;
            store.refuse(produce.request, fault(FaultCode::InvalidBatch)).await;
        });
    let error = processed.unwrap().unwrap_err();
    assert!(matches!(error, ProcessError::Delivery { offset: 10, .. }), "{error}");
    let again = subscribe_again(&mut peer, &mut consumer).await;
    data(&mut peer, again, entry(10, 2, 3)).await;
    assert_eq!(offset(&mut consumer).await, 10);
}

#[tokio::test(start_paused = true)]
async fn work_that_is_dropped_leaves_its_record_to_come_again_and_uncommitted() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (producer, _store) = aside(&mut broker, &client).await;
    let (mut consumer, mut group, mut peer, _) = broker.reading(&client, 2, |builder| builder).await;
    let dead_letters = DeadLetters::builder(producer).build().unwrap();
    let work = consumer.process(&dead_letters, async |_| std::future::pending::<Result<(), String>>().await);
    assert!(timeout(Duration::from_secs(2), work).await.is_err());
    let quiet = timeout(Duration::from_secs(5), hear(&mut group)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let again = subscribe_again(&mut peer, &mut consumer).await;
    data(&mut peer, again, entry(10, 2, 3)).await;
    assert_eq!(offset(&mut consumer).await, 10);
}

#[tokio::test(start_paused = true)]
async fn records_are_not_put_aside_where_the_group_reads_them_again() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (producer, _store) = aside(&mut broker, &client).await;
    let (mut consumer, _group, _) =
        broker.open(&client, Vec::new(), |builder| builder.topic("t.failed")).await;
    let dead_letters = DeadLetters::builder(producer).build().unwrap();
    let error = consumer.process(&dead_letters, async |_| Ok::<(), String>(())).await.unwrap().unwrap_err();
    assert!(matches!(&error, ProcessError::OwnTopic { topic } if topic == "t.failed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn options_out_of_bounds_are_refused_and_the_bounds_themselves_are_not() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (producer, _store) = aside(&mut broker, &client).await;
    let builder = || DeadLetters::builder(producer.clone());
    let refused = |builder: DeadLettersBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(refused(builder().attempts(0)), "the option attempts is 0: it must be at least 1");
    assert_eq!(
        refused(builder().backoff(MAX_BACKOFF + Duration::from_secs(1))),
        "the option backoff is 31s: it must be no longer than 30s"
    );
    builder().attempts(u32::MAX).backoff(MAX_BACKOFF).build().unwrap();
    builder().attempts(1).backoff(Duration::ZERO).build().unwrap();
}

/// The subscription with which the partition begins again at offset 10, while the program asks for what comes.
async fn subscribe_again(peer: &mut Peer, consumer: &mut GroupConsumer) -> u32 {
    let again = async {
        loop {
            match peer.hear().await {
                Message::Unsubscribe(_) => {}
                Message::Subscribe(again) => break again,
                other => panic!("neither Unsubscribe nor Subscribe: {other:?}"),
            }
        }
    };
    let again = tokio::select! {
        again = again => again,
        record = consumer.next() => panic!("nothing was sent yet: {record:?}"),
    };
    assert_eq!(again.position, Position::Offset(10));
    subscribed(peer, again.subscription, 10, 100).await;
    again.subscription
}
