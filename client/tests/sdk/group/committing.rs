//! What is committed, and when.

use std::time::Duration;

use sealstream_client::group::{CommitError, GroupEvent};
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::{Instant, timeout};

use super::{
    Broker, assert_nothing, assignment, commit, event, hear_commit, let_leave, offset, progress, refuse,
};
use crate::consumer::{data, entry, fault};

#[tokio::test(start_paused = true)]
async fn a_record_is_committed_once_the_next_is_asked_for_and_not_before() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    assert_eq!(offset(&mut consumer).await, 10);
    let quiet = timeout(Duration::from_secs(5), hear_commit(&mut group)).await;
    assert!(quiet.is_err(), "the record in hand is not done with: {quiet:?}");
    assert_eq!(offset(&mut consumer).await, 11);
    let asked = hear_commit(&mut group).await;
    assert_eq!(asked.progress, [progress(0, 5, 11, 3)]);
    commit(&mut group, &asked).await;
    assert_eq!(offset(&mut consumer).await, 12);
    assert_nothing(&mut consumer).await;
    assert_eq!(hear_commit(&mut group).await.progress, [progress(0, 5, 13, 3)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_twice_nor_while_nothing_is_new() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 2, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    let asked = hear_commit(&mut group).await;
    commit(&mut group, &asked).await;
    let quiet = timeout(Duration::from_mins(1), hear_commit(&mut group)).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test(start_paused = true)]
async fn where_a_group_begins_at_the_end_is_committed_before_anything_is_read() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (_consumer, mut group, _) = broker
        .open(&client, vec![assignment(0, 1, None)], |builder| {
            builder.start(sealstream_client::Position::End)
        })
        .await;
    let (_peer, asked) = broker.subscribe(77).await;
    assert_eq!(asked.position, sealstream_client::Position::End);
    assert_eq!(hear_commit(&mut group).await.progress, [progress(0, 1, 77, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_commits_itself_commits_what_it_was_given_and_nobody_else_does() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) =
        broker.reading(&client, 3, sealstream_client::group::GroupConsumerBuilder::commit_manually).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    let quiet = timeout(Duration::from_mins(1), hear_commit(&mut group)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let (committed, asked) = tokio::join!(consumer.commit(), async {
        let asked = hear_commit(&mut group).await;
        commit(&mut group, &asked).await;
        asked
    });
    committed.unwrap();
    assert_eq!(asked.progress, [progress(0, 5, 12, 3)]);
    let (closed, committed) = tokio::join!(consumer.close(), let_leave(&mut group));
    closed.unwrap();
    assert_eq!(committed, [], "leaving commits nothing of its own");
}

#[tokio::test(start_paused = true)]
async fn explicit_positions_are_committed_and_those_of_others_are_not_sent() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) =
        broker.reading(&client, 3, sealstream_client::group::GroupConsumerBuilder::commit_manually).await;
    let first = consumer.next().await.unwrap().unwrap();
    offset(&mut consumer).await;
    let (committed, asked) = tokio::join!(consumer.commit_positions([first.next_position()]), async {
        let asked = hear_commit(&mut group).await;
        commit(&mut group, &asked).await;
        asked
    });
    committed.unwrap();
    assert_eq!(asked.progress, [progress(0, 5, 11, 3)]);
    let mut elsewhere = first.next_position();
    elsewhere.partition = 9;
    let mut earlier = first.next_position();
    earlier.assignment = Some(4);
    for position in [elsewhere, earlier] {
        let error = consumer.commit_positions([position]).await.unwrap_err();
        assert!(matches!(error, CommitError::NotAssigned { .. }) && error.is_lost_assignment(), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_for_now_waits_as_long_as_the_broker_asks() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    offset(&mut consumer).await;
    let play = async {
        let asked = hear_commit(&mut group).await;
        let busy = fault(FaultCode::DiskFull).retry_after(Duration::from_secs(4));
        refuse(&mut group, &asked, busy).await;
        let refused = Instant::now();
        let again = hear_commit(&mut group).await;
        assert_eq!(again.progress, asked.progress);
        let waited = refused.elapsed();
        assert!(waited >= Duration::from_secs(4) && waited <= Duration::from_secs(7), "{waited:?}");
        commit(&mut group, &again).await;
    };
    let (committed, ()) = tokio::join!(consumer.commit(), play);
    committed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_under_an_epoch_that_is_over_loses_the_partition() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    let mut events = consumer.events();
    offset(&mut consumer).await;
    let (committed, ()) = tokio::join!(consumer.commit(), async {
        let asked = hear_commit(&mut group).await;
        refuse(&mut group, &asked, fault(FaultCode::StaleEpoch)).await;
    });
    let error = committed.unwrap_err();
    assert!(error.is_lost_assignment(), "{error}");
    assert_eq!(event(&mut events).await, GroupEvent::Lost(vec![super::named(0, 5)]));
    assert_eq!(consumer.assignment(), []);
    assert_nothing(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_not_answered_is_repeated_in_the_next_session() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    offset(&mut consumer).await;
    let (committed, _group) = tokio::join!(consumer.commit(), async {
        let asked = hear_commit(&mut group).await;
        drop(group);
        let (mut group, _) = broker.join(vec![assignment(0, 5, Some((10, 3)))]).await;
        let again = hear_commit(&mut group).await;
        assert_eq!(again.progress, asked.progress);
        commit(&mut group, &again).await;
        group
    });
    committed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_commits_what_is_finished_but_not_what_is_in_hand_and_leaves() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, mut peer, _) = broker.reading(&client, 3, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    let end = async {
        while peer.hear_or_end().await.is_some() {}
        peer.finish().await;
    };
    let (closed, committed, ()) = tokio::join!(consumer.close(), let_leave(&mut group), end);
    closed.unwrap();
    assert_eq!(committed, [progress(0, 5, 11, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_leaves_too() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    drop(consumer);
    assert_eq!(let_leave(&mut group).await, [progress(0, 5, 11, 3)]);
}

#[tokio::test(start_paused = true)]
async fn closing_without_a_broker_takes_bounded_time_and_says_what_is_not_committed() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    drop(group);
    drop(broker);
    let start = Instant::now();
    let error = consumer.close().await.unwrap_err();
    assert!(matches!(error, CommitError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_the_group_has_got_further_than_is_not_committed_again() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, mut peer, asked) = broker.reading(&client, 2, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    let commit = hear_commit(&mut group).await;
    refuse(&mut group, &commit, fault(FaultCode::CommitBehind).offset(12)).await;
    let quiet = timeout(Duration::from_secs(20), hear_commit(&mut group)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    data(&mut peer, asked.subscription, entry(12, 2, 3)).await;
    for expected in [12, 13] {
        assert_eq!(offset(&mut consumer).await, expected);
    }
    assert_eq!(hear_commit(&mut group).await.progress, [progress(0, 5, 13, 3)]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_say_how_far_the_member_is() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    loop {
        match group.hear().await {
            Message::Commit(asked) => commit(&mut group, &asked).await,
            Message::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.progress, [progress(0, 5, 11, 3)]);
                return;
            }
            other => panic!("neither Commit nor Heartbeat: {other:?}"),
        }
    }
}
