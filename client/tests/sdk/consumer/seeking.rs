//! Reading on from elsewhere.

use std::time::Duration;

use futures_util::StreamExt as _;
use sealstream_client::consumer::{ConsumerBuilder, OnOutOfRange};
use sealstream_client::{Position, SeekError};
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::timeout;

use super::{data, ended, entry, error, fault, offset, open, subscribe, subscribed};
use crate::fake::{Fake, Peer};

/// The old subscription is taken back and another asked for, in whatever order.
async fn moved(peer: &mut Peer, old: u32) -> (u32, Position) {
    let mut taken_back = false;
    let mut asked = None;
    while !taken_back || asked.is_none() {
        match peer.hear().await {
            Message::Unsubscribe(unsubscribe) => {
                assert_eq!(unsubscribe.subscription, old);
                taken_back = true;
            }
            Message::Subscribe(subscribe) => asked = Some((subscribe.subscription, subscribe.position)),
            other => panic!("neither Unsubscribe nor Subscribe: {other:?}"),
        }
    }
    asked.unwrap()
}

#[tokio::test(start_paused = true)]
async fn after_a_seek_the_next_record_is_the_one_there_whatever_was_read_ahead() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 1_000).await;
    data(&mut peer, asked.subscription, entry(0, 10, 1)).await;
    for expected in 0..3 {
        assert_eq!(offset(&mut consumer).await, expected);
    }
    // In the buffer, behind what is in hand.
    data(&mut peer, asked.subscription, entry(10, 10, 1)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    consumer.seek(0, Position::Offset(500)).unwrap();
    let (subscription, position) = moved(&mut peer, asked.subscription).await;
    assert_eq!(position, Position::Offset(500));
    // The broker had this on its way.
    data(&mut peer, asked.subscription, entry(20, 10, 1)).await;
    subscribed(&mut peer, subscription, 500, 1_000).await;
    data(&mut peer, subscription, entry(500, 2, 1)).await;
    assert_eq!(offset(&mut consumer).await, 500);
    assert_eq!(offset(&mut consumer).await, 501);
    assert!(timeout(Duration::from_secs(5), consumer.next()).await.is_err(), "nothing of before comes after");
}

#[tokio::test(start_paused = true)]
async fn a_seek_moves_one_partition_and_leaves_the_others() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 2, |builder| builder).await;
    assert_eq!(consumer.partitions().collect::<Vec<_>>(), [0, 1]);
    let asked = [subscribe(&mut peer).await, subscribe(&mut peer).await];
    for subscription in asked.iter().map(|asked| asked.subscription) {
        subscribed(&mut peer, subscription, 0, 1_000).await;
    }
    data(&mut peer, asked[1].subscription, entry(0, 3, 1)).await;
    assert_eq!(offset(&mut consumer).await, 0);
    consumer.seek(0, Position::End).unwrap();
    let (subscription, _) = moved(&mut peer, asked[0].subscription).await;
    subscribed(&mut peer, subscription, 900, 900).await;
    assert_eq!(offset(&mut consumer).await, 1, "partition 1 goes on");
    data(&mut peer, subscription, entry(900, 1, 1)).await;
    assert_eq!(offset(&mut consumer).await, 2);
    assert_eq!(offset(&mut consumer).await, 900);
    let not_read = consumer.seek(2, Position::Beginning).unwrap_err();
    assert_eq!(not_read, SeekError::NotRead { topic: "t".to_owned(), partition: 2 });
}

#[tokio::test(start_paused = true)]
async fn what_was_read_to_its_end_is_read_again_after_a_seek() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, ConsumerBuilder::until_end).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 2).await;
    data(&mut peer, asked.subscription, entry(0, 2, 1)).await;
    assert_eq!(consumer.by_ref().count().await, 2);
    assert!(consumer.next().await.is_none(), "it stays at its end");
    consumer.seek(0, Position::Beginning).unwrap();
    let mut peer = fake.session().await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 3).await;
    data(&mut peer, asked.subscription, entry(0, 3, 1)).await;
    assert_eq!(consumer.by_ref().count().await, 3, "to its end of now");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_failed_cannot_seek() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let choice = OnOutOfRange::Error;
    let (mut consumer, mut peer) =
        open(&mut fake, &client, 1, |builder| builder.on_out_of_range(choice)).await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::OutOfRange).offset(5)).await;
    error(&mut consumer).await;
    assert!(matches!(consumer.seek(0, Position::Beginning), Err(SeekError::Ended { .. })));
}
