//! What a consumer makes of sessions that end, stall, or move elsewhere.

use std::time::Duration;

use sealstream_client::{ConsumeError, Position};
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::{Instant, timeout};

use super::{data, describe, ended, entry, error, fault, offset, open, subscribe, subscribed};
use crate::fake::{Fake, Peer, TOPIC};

#[tokio::test(start_paused = true)]
async fn a_cut_session_is_resumed_at_the_next_offset_with_the_epoch_seen() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) =
        open(&mut fake, &client, 1, sealstream_client::consumer::ConsumerBuilder::until_end).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 6).await;
    data(&mut peer, asked.subscription, entry(0, 3, 8)).await;
    assert_eq!(offset(&mut consumer).await, 0);
    drop(peer);
    let mut peer = fake.session().await;
    let asked = subscribe(&mut peer).await;
    assert_eq!((asked.position, asked.epoch, asked.topic_id), (Position::Offset(3), Some(8), Some(TOPIC)));
    // The log has grown meanwhile; the end is the one of the first subscription.
    subscribed(&mut peer, asked.subscription, 3, 60).await;
    data(&mut peer, asked.subscription, entry(3, 3, 9)).await;
    for expected in 1..6 {
        assert_eq!(offset(&mut consumer).await, expected);
    }
    let end = async {
        while peer.hear_or_end().await.is_some() {}
        peer.finish().await;
    };
    let (end, ()) = tokio::join!(consumer.next(), end);
    assert!(end.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_cut_is_not_lost_while_the_program_is_busy() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder.buffer_bytes(1)).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    data(&mut peer, asked.subscription, entry(0, 2, 1)).await;
    data(&mut peer, asked.subscription, entry(2, 2, 1)).await;
    // The second frame waits for room; the stream breaks under it, and the pings find out.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(peer);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(offset(&mut consumer).await, 0);
    for expected in 1..4 {
        assert_eq!(offset(&mut consumer).await, expected);
    }
    let mut peer = fake.session().await;
    assert_eq!(subscribe(&mut peer).await.position, Position::Offset(4));
}

#[tokio::test(start_paused = true)]
async fn an_idle_consumer_keeps_its_session_alive() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    let quiet = timeout(Duration::from_mins(5), peer.hear_or_end()).await;
    assert!(quiet.is_err(), "nothing but pings: {quiet:?}");
    data(&mut peer, asked.subscription, entry(0, 1, 1)).await;
    assert_eq!(offset(&mut consumer).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_is_left_at_the_idle_deadline() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (_consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    subscribe(&mut peer).await;
    let silent = Instant::now();
    let mut next = fake.session().await;
    assert!(silent.elapsed() >= Duration::from_secs(29), "{:?}", silent.elapsed());
    assert!(silent.elapsed() < Duration::from_secs(35), "{:?}", silent.elapsed());
    assert_eq!(subscribe(&mut next).await.position, Position::Beginning);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_away_is_read_to_its_end_and_left_alone_for_as_long_as_it_asks() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    let restarting = fault(FaultCode::ShuttingDown).retry_after(Duration::from_secs(3));
    peer.say(Message::GoAway(restarting)).await;
    data(&mut peer, asked.subscription, entry(0, 2, 1)).await;
    peer.finish().await;
    let left = Instant::now();
    let mut peer = fake.session().await;
    assert!(left.elapsed() >= Duration::from_secs(3), "{:?}", left.elapsed());
    assert_eq!(subscribe(&mut peer).await.position, Position::Offset(2));
    assert_eq!(offset(&mut consumer).await, 0);
    assert_eq!(offset(&mut consumer).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_busy_partition_is_asked_for_again_and_does_not_hold_up_the_others() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 2, |builder| builder).await;
    let asked = [subscribe(&mut peer).await, subscribe(&mut peer).await];
    let busy = fault(FaultCode::Busy).retry_after(Duration::from_secs(5));
    ended(&mut peer, asked[0].subscription, busy).await;
    subscribed(&mut peer, asked[1].subscription, 0, 0).await;
    data(&mut peer, asked[1].subscription, entry(0, 1, 1)).await;
    assert_eq!(consumer.next().await.unwrap().unwrap().partition, 1);
    let refused = Instant::now();
    let again = subscribe(&mut peer).await;
    assert!(refused.elapsed() >= Duration::from_secs(5), "{:?}", refused.elapsed());
    assert_eq!(again.partition, 0);
    assert_ne!(again.subscription, asked[0].subscription);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_moves_is_followed_and_the_others_stay() {
    let mut fake = Fake::start().await;
    let mut owner = Fake::start_in(fake.network.clone()).await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 2, |builder| builder).await;
    let asked = [subscribe(&mut peer).await, subscribe(&mut peer).await];
    subscribed(&mut peer, asked[0].subscription, 0, 0).await;
    ended(&mut peer, asked[1].subscription, fault(FaultCode::NotOwner).url(owner.url())).await;
    let mut other = owner.session().await;
    let moved = subscribe(&mut other).await;
    assert_eq!(moved.partition, 1);
    subscribed(&mut other, moved.subscription, 0, 0).await;
    data(&mut other, moved.subscription, entry(0, 1, 1)).await;
    assert_eq!(consumer.next().await.unwrap().unwrap().partition, 1);
    data(&mut peer, asked[0].subscription, entry(0, 1, 1)).await;
    assert_eq!(consumer.next().await.unwrap().unwrap().partition, 0);
    // The owner dies: home knows better where the partition is now.
    drop(other);
    drop(owner);
    let back = subscribe(&mut peer).await;
    assert_eq!((back.partition, back.position), (1, Position::Offset(1)));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_cannot_be_reached_again_ends_the_stream_in_bounded_time() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    data(&mut peer, asked.subscription, entry(0, 1, 1)).await;
    assert_eq!(offset(&mut consumer).await, 0);
    drop(peer);
    drop(fake);
    let lost = Instant::now();
    let error = error(&mut consumer).await;
    assert!(matches!(error, ConsumeError::Session(_)) && error.is_retryable(), "{error}");
    assert!(lost.elapsed() < Duration::from_secs(15), "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_welcomes_and_cuts_at_once_is_not_asked_in_a_hot_loop() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (opened, ()) = tokio::join!(client.consumer("t").open(), describe(&mut fake, 1));
    let mut consumer = opened.unwrap();
    let mut sessions = 0;
    let error = tokio::select! {
        error = error(&mut consumer) => error,
        () = async {
            loop {
                let mut peer = Peer::new(fake.stream().await);
                sessions += 1;
                peer.welcome(|_| {}).await;
                let asked = subscribe(&mut peer).await;
                subscribed(&mut peer, asked.subscription, 0, 0).await;
            }
        } => unreachable!(),
    };
    assert!(matches!(error, ConsumeError::Session(_)), "{error}");
    assert!(sessions < 30, "{sessions} sessions in ten seconds");
}
