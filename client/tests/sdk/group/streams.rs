//! Sessions that are cut, fall silent, or are fenced.

use std::time::Duration;

use sealstream_client::group::{GroupError, GroupEvent, JoinError};
use sealstream_client::{Position, RetryPolicy};
use sealstream_protocol::message::group::Assign;
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{Broker, GRACE, assert_nothing, assignment, commit, event, hear_commit, named, offset, progress};
use crate::consumer::{data, entry, fault};

#[tokio::test(start_paused = true)]
async fn a_cut_within_the_grace_moves_nothing_and_reading_goes_on_meanwhile() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let assigned = vec![assignment(0, 5, Some((10, 3)))];
    let (mut consumer, group, first) = broker.open(&client, assigned.clone(), |builder| builder).await;
    let (mut peer, asked) = broker.subscribe(10).await;
    data(&mut peer, asked.subscription, entry(10, 1, 3)).await;
    assert_eq!(offset(&mut consumer).await, 10);
    let mut events = consumer.events();
    drop(group);
    assert_eq!(event(&mut events).await, GroupEvent::Disconnected);
    data(&mut peer, asked.subscription, entry(11, 1, 3)).await;
    assert_eq!(offset(&mut consumer).await, 11, "without a session of the group");
    let (mut group, second) = broker.join(assigned).await;
    assert_eq!(second, first, "the same member");
    assert_eq!(event(&mut events).await, GroupEvent::Reconnected { member: first.member });
    assert_eq!(hear_commit(&mut group).await.progress, [progress(0, 5, 11, 3)]);
    let quiet = timeout(Duration::from_secs(1), events.next()).await;
    assert!(quiet.is_err(), "nothing is assigned or lost: {quiet:?}");
    data(&mut peer, asked.subscription, entry(12, 1, 3)).await;
    assert_eq!(offset(&mut consumer).await, 12, "by the subscription that there was");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_out_once_the_grace_is_over_until_the_group_is_heard() {
    let mut broker = Broker::start().await;
    let patient = RetryPolicy::default().retry_for(Duration::from_mins(1));
    let client = broker.builder().retry(patient).build().unwrap();
    let (mut consumer, group, peer, _) = broker.reading(&client, 3, |builder| builder).await;
    assert_eq!(offset(&mut consumer).await, 10);
    let mut events = consumer.events();
    let lost = Instant::now();
    drop(group);
    assert_eq!(event(&mut events).await, GroupEvent::Disconnected);
    let suspended = tokio::select! {
        suspended = event(&mut events) => suspended,
        () = broker.turn_away() => unreachable!(),
    };
    assert_eq!(suspended, GroupEvent::Suspended);
    let waited = lost.elapsed();
    assert!(waited <= GRACE && waited > GRACE / 2, "{waited:?}");
    assert_nothing(&mut consumer).await;
    drop(peer);
    let (_group, _) = broker.join(vec![assignment(0, 5, Some((10, 3)))]).await;
    let (mut peer, asked) = broker.subscribe(11).await;
    assert_eq!((asked.position, asked.epoch), (Position::Offset(11), Some(3)));
    data(&mut peer, asked.subscription, entry(11, 1, 3)).await;
    assert_eq!(offset(&mut consumer).await, 11);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_among_all_that_a_resumed_member_has_is_lost() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let assigned = vec![assignment(0, 5, None), assignment(1, 5, None), assignment(2, 5, None)];
    let (consumer, group, _) = broker.open(&client, assigned, |builder| builder).await;
    let mut events = consumer.events();
    drop(group);
    let again = vec![assignment(0, 5, None), assignment(1, 6, None)];
    let (_group, _) = broker.join(again).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match event(&mut events).await {
            GroupEvent::Lost(lost) => seen.push(("lost", lost)),
            GroupEvent::Assigned(assigned) if assigned.len() == 1 => seen.push(("assigned", assigned)),
            _ => {}
        }
    }
    assert_eq!(seen, [("lost", vec![named(1, 5), named(2, 5)]), ("assigned", vec![named(1, 6)])]);
    assert_eq!(consumer.assignment(), [named(0, 5), named(1, 6)]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_is_left_in_time_to_come_back_within_the_grace() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let assigned = vec![assignment(0, 5, None)];
    let (_consumer, silent, first) = broker.open(&client, assigned.clone(), |builder| builder).await;
    let start = Instant::now();
    let (_group, second) = broker.join(assigned).await;
    assert_eq!(second.member, first.member);
    assert!(start.elapsed() < GRACE * 3 / 4, "{:?}", start.elapsed());
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_fenced_joins_as_another_and_reads_from_where_the_group_is() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let assigned = vec![assignment(0, 5, Some((10, 3)))];
    let (mut consumer, mut group, first) = broker.open(&client, assigned, |builder| builder).await;
    let (mut peer, asked) = broker.subscribe(10).await;
    data(&mut peer, asked.subscription, entry(10, 3, 3)).await;
    assert_eq!(offset(&mut consumer).await, 10);
    let mut events = consumer.events();
    group.say(Message::Error(fault(FaultCode::MemberFenced))).await;
    group.finish().await;
    assert_eq!(event(&mut events).await, GroupEvent::Disconnected);
    assert_eq!(event(&mut events).await, GroupEvent::Lost(vec![named(0, 5)]));
    assert_nothing(&mut consumer).await;
    let (_group, second) = broker.join(vec![assignment(0, 7, Some((10, 3)))]).await;
    assert_ne!(second.member, first.member);
    assert_eq!(event(&mut events).await, GroupEvent::Reconnected { member: second.member });
    let (mut peer, asked) = broker.subscribe(10).await;
    assert_eq!(asked.group.unwrap().member, second.member);
    data(&mut peer, asked.subscription, entry(10, 1, 3)).await;
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!((record.offset, record.assignment), (10, 7), "at least once");
}

#[tokio::test(start_paused = true)]
async fn a_given_member_id_that_another_process_uses_is_an_error_and_the_end() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let id = Uuid::from_u128(9);
    let (mut consumer, mut group, join) =
        broker.open(&client, Vec::new(), |builder| builder.member(id)).await;
    assert_eq!(join.member, id);
    group.say(Message::Error(fault(FaultCode::MemberFenced))).await;
    group.finish().await;
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, GroupError::Member(JoinError::Fenced { member, .. }) if *member == id),
        "{error}"
    );
    assert!(error.is_final() && !error.is_retryable());
    assert!(consumer.next().await.is_none());
    assert!(!broker.fake.has_stream(), "it fences nobody");
}

#[tokio::test(start_paused = true)]
async fn members_that_are_fenced_at_once_do_not_join_in_a_hot_loop() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (_consumer, mut group, _) = broker.open(&client, Vec::new(), |builder| builder).await;
    let mut sessions = 0;
    let storm = timeout(Duration::from_secs(10), async {
        loop {
            group.say(Message::Error(fault(FaultCode::MemberFenced))).await;
            group.finish().await;
            group = broker.session(sealstream_protocol::message::hello::SessionKind::Group).await;
            super::hear(&mut group).await;
            sessions += 1;
        }
    });
    assert!(storm.await.is_err());
    assert!(sessions < 30, "{sessions} sessions in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_away_is_told_what_is_finished_and_left_alone_for_as_long_as_it_asks() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) =
        broker.reading(&client, 3, |builder| builder.commit_every(Duration::from_hours(1))).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    let restarting = fault(FaultCode::ShuttingDown).retry_after(Duration::from_secs(3));
    group.say(Message::GoAway(restarting)).await;
    let asked = hear_commit(&mut group).await;
    assert_eq!(asked.progress, [progress(0, 5, 11, 3)]);
    commit(&mut group, &asked).await;
    assert_eq!(group.hear_or_end().await, None, "it ends its direction");
    group.finish().await;
    let left = Instant::now();
    broker.join(vec![assignment(0, 5, Some((11, 3)))]).await;
    assert!(left.elapsed() >= Duration::from_secs(3), "{:?}", left.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_may_not_be_joined_is_an_error_at_once() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let play = async {
        let mut peer = broker.session(sealstream_protocol::message::hello::SessionKind::Group).await;
        peer.hear().await;
        peer.say(Message::Error(fault(FaultCode::Forbidden))).await;
        peer.finish().await;
    };
    let (opened, ()) = tokio::join!(client.group_consumer("g").topic("t").open(), play);
    let error = opened.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("forbidden"), "{error}");
    let error = client.group_consumer("g").open().await.unwrap_err();
    assert!(matches!(error, JoinError::Topics { topics: 0 }), "{error}");
    let error = client.group_consumer("").topic("t").open().await.unwrap_err();
    assert!(matches!(error, JoinError::Name(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_reached_again_ends_the_records_in_bounded_time() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, group, peer, _) = broker.reading(&client, 1, |builder| builder).await;
    offset(&mut consumer).await;
    drop((group, peer, broker));
    let start = Instant::now();
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(error.is_final() && error.is_retryable(), "{error}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(consumer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_member_is_a_stream_that_wakes_for_what_comes_later_and_ends_with_the_membership() {
    use futures_util::StreamExt as _;

    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _) = broker.open(&client, Vec::new(), |builder| builder).await;
    let play = async {
        // The stream is being waited for by now.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let assign = Assign { assignments: vec![assignment(0, 5, Some((10, 3)))], more: None };
        group.say(Message::Assign(assign)).await;
        let (mut peer, asked) = broker.subscribe(10).await;
        data(&mut peer, asked.subscription, entry(10, 4, 3)).await;
        (group, peer)
    };
    let taking = consumer.by_ref().take(3).map(|record| record.unwrap().offset).collect::<Vec<_>>();
    let (offsets, (mut group, _peer)) = tokio::join!(taking, play);
    assert_eq!(offsets, [10, 11, 12]);
    // Asking for the next one has said that those before are done.
    assert_eq!(offset(&mut consumer).await, 13);
    let (closed, committed) = tokio::join!(consumer.close(), super::let_leave(&mut group));
    closed.unwrap();
    assert_eq!(committed.last().unwrap().offset, 13, "what was in hand is not done");
}
