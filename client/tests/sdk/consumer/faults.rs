//! What a consumer makes of logs that were cut, trimmed, deleted or damaged.

use bytes::Bytes;
use sealstream_client::consumer::{OnDiverged, OnOutOfRange};
use sealstream_client::{ConsumeError, Position};
use sealstream_protocol::message::{FaultCode, Message};

use super::{data, ended, entry, error, fault, offset, open, subscribe, subscribed};
use crate::fake::Fake;

#[tokio::test(start_paused = true)]
async fn a_log_that_was_cut_is_an_error_that_names_the_offset() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    data(&mut peer, asked.subscription, entry(0, 5, 1)).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::Diverged).offset(3)).await;
    for expected in 0..5 {
        assert_eq!(offset(&mut consumer).await, expected);
    }
    let error = error(&mut consumer).await;
    assert!(matches!(error, ConsumeError::Diverged { offset: 3, partition: 0, .. }), "{error}");
    assert!(error.to_string().contains("offset 3"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_is_gone_is_an_error_that_names_the_nearest() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) =
        open(&mut fake, &client, 1, |builder| builder.start(Position::Offset(7))).await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::OutOfRange).offset(100)).await;
    let error = error(&mut consumer).await;
    assert!(matches!(error, ConsumeError::OutOfRange { offset: 7, nearest: Some(100), .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_asks_for_it_goes_on_at_the_earliest_record_and_where_histories_part() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| {
        builder
            .start(Position::Offset(7))
            .on_out_of_range(OnOutOfRange::Earliest)
            .on_diverged(OnDiverged::Resume)
    })
    .await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::OutOfRange).offset(100)).await;
    let asked = subscribe(&mut peer).await;
    assert_eq!((asked.position, asked.epoch), (Position::Offset(100), None));
    subscribed(&mut peer, asked.subscription, 100, 100).await;
    data(&mut peer, asked.subscription, entry(100, 3, 1)).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::Diverged).offset(101)).await;
    let asked = subscribe(&mut peer).await;
    assert_eq!((asked.position, asked.epoch), (Position::Offset(101), None));
    subscribed(&mut peer, asked.subscription, 101, 101).await;
    data(&mut peer, asked.subscription, entry(101, 1, 2)).await;
    for expected in [100, 101, 102, 101] {
        assert_eq!(offset(&mut consumer).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_asks_for_the_latest_goes_on_at_the_end_and_still_fails_where_the_log_was_cut() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| {
        builder.start(Position::Offset(7)).on_out_of_range(OnOutOfRange::Latest)
    })
    .await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::OutOfRange).offset(100)).await;
    let asked = subscribe(&mut peer).await;
    assert_eq!((asked.position, asked.epoch), (Position::End, None));
    subscribed(&mut peer, asked.subscription, 500, 500).await;
    data(&mut peer, asked.subscription, entry(500, 1, 1)).await;
    assert_eq!(offset(&mut consumer).await, 500);
    ended(&mut peer, asked.subscription, fault(FaultCode::Diverged).offset(400)).await;
    let error = error(&mut consumer).await;
    assert!(matches!(error, ConsumeError::Diverged { offset: 400, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_is_an_error_even_if_there_is_a_new_one() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 2, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::TopicGone)).await;
    let error = error(&mut consumer).await;
    assert!(matches!(&error, ConsumeError::TopicGone { topic } if topic == "t"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_entry_is_an_error_behind_the_records_before_it() {
    let damages: [fn(&mut [u8]); 3] =
        [|bytes| bytes[20] ^= 1, |bytes| *bytes.last_mut().unwrap() ^= 1, |bytes| bytes[0] = b'X'];
    for damage in damages {
        let mut fake = Fake::start().await;
        let client = fake.client();
        let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
        let asked = subscribe(&mut peer).await;
        subscribed(&mut peer, asked.subscription, 0, 0).await;
        let mut bad = entry(2, 2, 1).to_vec();
        damage(&mut bad);
        data(&mut peer, asked.subscription, [entry(0, 2, 1), Bytes::from(bad)].concat()).await;
        for expected in 0..2 {
            assert_eq!(offset(&mut consumer).await, expected);
        }
        let error = error(&mut consumer).await;
        assert!(matches!(error, ConsumeError::Corrupt { offset: 2, .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_leave_something_out_or_come_again_are_not_passed_on() {
    for base in [3, 0, u64::MAX - 1] {
        let mut fake = Fake::start().await;
        let client = fake.client();
        let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
        let asked = subscribe(&mut peer).await;
        subscribed(&mut peer, asked.subscription, 0, 0).await;
        data(&mut peer, asked.subscription, entry(0, 2, 1)).await;
        let out_of_place =
            super::entry_of(base, ["x".to_owned(), "y".to_owned()], 1, sealstream_client::Codec::None);
        data(&mut peer, asked.subscription, out_of_place).await;
        for expected in 0..2 {
            assert_eq!(offset(&mut consumer).await, expected);
        }
        let error = error(&mut consumer).await;
        assert!(matches!(error, ConsumeError::Corrupt { offset: 2, .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_partition_is_an_error_that_names_it() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::Forbidden)).await;
    let error = error(&mut consumer).await;
    assert!(!error.is_retryable() && error.to_string().contains("topic t partition 0"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_a_subscription_that_there_is_not_ends_the_session_and_harms_nothing() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 0, 0).await;
    data(&mut peer, asked.subscription, entry(0, 2, 1)).await;
    data(&mut peer, asked.subscription + 9, entry(0, 2, 1)).await;
    match peer.hear().await {
        Message::Error(fault) => assert_eq!(fault.code_known(), Some(FaultCode::UnexpectedFrame), "{fault}"),
        other => panic!("not told off: {other:?}"),
    }
    peer.finish().await;
    let mut peer = fake.session().await;
    let asked = subscribe(&mut peer).await;
    assert_eq!(asked.position, Position::Offset(2));
    subscribed(&mut peer, asked.subscription, 2, 2).await;
    data(&mut peer, asked.subscription, entry(2, 1, 1)).await;
    for expected in 0..3 {
        assert_eq!(offset(&mut consumer).await, expected);
    }
}
