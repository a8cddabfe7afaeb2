//! Logs that do not hold what the group would read next.

use sealstream_client::consumer::{OnDiverged, OnOutOfRange};
use sealstream_client::group::GroupError;
use sealstream_client::{ConsumeError, Position};
use sealstream_protocol::message::FaultCode;
use sealstream_protocol::message::hello::SessionKind;

use super::{Broker, assert_nothing, assignment, hear_commit, offset, progress};
use crate::consumer::{data, ended, entry, fault, subscribe, subscribed};

#[tokio::test(start_paused = true)]
async fn an_offset_below_the_start_is_an_error_for_its_partition_alone_until_it_is_sought() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let assigned = vec![assignment(0, 5, Some((10, 3))), assignment(1, 5, Some((20, 3)))];
    let (mut consumer, _group, _) = broker.open(&client, assigned, |builder| builder).await;
    let mut peer = broker.session(SessionKind::Consume).await;
    let mut asked = [subscribe(&mut peer).await, subscribe(&mut peer).await];
    asked.sort_by_key(|asked| asked.partition);
    ended(&mut peer, asked[0].subscription, fault(FaultCode::OutOfRange).offset(100)).await;
    subscribed(&mut peer, asked[1].subscription, 20, 100).await;
    let error = consumer.next().await.unwrap().unwrap_err();
    let GroupError::Partition(ConsumeError::OutOfRange { partition, offset: at, nearest, .. }) = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*partition, *at, *nearest), (0, 10, Some(100)));
    assert!(!error.is_final());
    data(&mut peer, asked[1].subscription, entry(20, 1, 3)).await;
    assert_eq!(offset(&mut consumer).await, 20, "the other goes on");
    assert_nothing(&mut consumer).await;
    consumer.seek("t", 0, Position::Beginning).unwrap();
    let again = subscribe(&mut peer).await;
    assert_eq!((again.partition, again.position, again.epoch), (0, Position::Beginning, None));
    subscribed(&mut peer, again.subscription, 100, 200).await;
    data(&mut peer, again.subscription, entry(100, 1, 3)).await;
    assert_eq!(offset(&mut consumer).await, 100);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_asks_for_it_goes_on_at_the_earliest_record_and_where_histories_part() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _) = broker
        .open(&client, vec![assignment(0, 5, Some((10, 3)))], |builder| {
            builder.on_out_of_range(OnOutOfRange::Earliest).on_diverged(OnDiverged::Resume)
        })
        .await;
    let mut peer = broker.session(SessionKind::Consume).await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::OutOfRange).offset(100)).await;
    let asked = subscribe(&mut peer).await;
    assert_eq!(asked.position, Position::Offset(100));
    subscribed(&mut peer, asked.subscription, 100, 200).await;
    data(&mut peer, asked.subscription, entry(100, 2, 3)).await;
    assert_eq!(offset(&mut consumer).await, 100);
    assert_eq!(offset(&mut consumer).await, 101);
    ended(&mut peer, asked.subscription, fault(FaultCode::Diverged).offset(101)).await;
    let asked = subscribe(&mut peer).await;
    assert_eq!((asked.position, asked.epoch), (Position::Offset(101), None));
    subscribed(&mut peer, asked.subscription, 101, 200).await;
    data(&mut peer, asked.subscription, entry(101, 1, 4)).await;
    assert_eq!(offset(&mut consumer).await, 101, "another record of the same offset");
    assert_nothing(&mut consumer).await;
    // The offset of before, in the log as it is now.
    assert_eq!(hear_commit(&mut group).await.progress.last(), Some(&progress(0, 5, 102, 4)));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_cut_is_an_error_that_says_where() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, _group, _) =
        broker.open(&client, vec![assignment(0, 5, Some((10, 3)))], |builder| builder).await;
    let mut peer = broker.session(SessionKind::Consume).await;
    let asked = subscribe(&mut peer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::Diverged).offset(8)).await;
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(matches!(error, GroupError::Partition(ConsumeError::Diverged { offset: 8, .. })), "{error}");
}
