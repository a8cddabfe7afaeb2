//! Partitions that come and go.

use std::time::Duration;

use sealstream_client::Position;
use sealstream_client::group::GroupEvent;
use sealstream_protocol::message::FaultCode;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::consume::Membership;
use sealstream_protocol::message::group::{Assign, Joined, NO_PLACE};
use sealstream_protocol::message::hello::SessionKind;
use tokio::time::{Instant, timeout};

use super::{
    Broker, assert_nothing, assignment, event, hear, hear_commit, hear_released, named, offset, progress,
    revoke,
};
use crate::consumer::{data, ended, entry, fault, subscribe, subscribed};
use crate::fake::TOPIC;

#[tokio::test(start_paused = true)]
async fn what_is_assigned_is_read_as_the_member_from_where_the_group_is() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let assigned = vec![assignment(0, 5, Some((10, 3))), assignment(1, 2, None)];
    let (mut consumer, _group, join) = broker.open(&client, assigned, |builder| builder).await;
    assert_eq!((join.group.as_str(), join.topics), ("g", vec!["t".to_owned()]));
    let mut peer = broker.session(SessionKind::Consume).await;
    let mut asked = [subscribe(&mut peer).await, subscribe(&mut peer).await];
    asked.sort_by_key(|asked| asked.partition);
    subscribed(&mut peer, asked[0].subscription, 10, 10).await;
    subscribed(&mut peer, asked[1].subscription, 0, 0).await;
    let member = |epoch| Some(Membership { group: "g".to_owned(), member: join.member, epoch });
    assert_eq!((asked[0].position, asked[0].epoch), (Position::Offset(10), Some(3)));
    assert_eq!((asked[0].topic_id, &asked[0].group), (Some(TOPIC), &member(5)));
    assert_eq!((asked[1].position, asked[1].epoch), (Position::Beginning, None));
    assert_eq!(asked[1].group, member(2));
    data(&mut peer, asked[1].subscription, entry(0, 1, 1)).await;
    let record = consumer.next().await.unwrap().unwrap();
    assert_eq!((&*record.topic, record.assignment, record.partition, record.offset), ("t", 2, 1, 0));
    assert_eq!(consumer.assignment(), [named(0, 5), named(1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_is_given_up_once_its_last_record_is_done_with_and_nothing_read_ahead_is_given() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, mut peer, asked) = broker.reading(&client, 3, |builder| builder).await;
    let mut events = consumer.events();
    offset(&mut consumer).await;
    group.say(revoke(0, 5, Duration::from_secs(20))).await;
    let within = Duration::from_secs(15);
    assert_eq!(event(&mut events).await, GroupEvent::Revoked { partitions: vec![named(0, 5)], within });
    let Message::Unsubscribe(over) = peer.hear().await else { panic!("it is read on") };
    assert_eq!(over.subscription, asked.subscription);
    let early = timeout(Duration::from_secs(5), hear(&mut group)).await;
    assert!(early.is_err(), "given up while a record is in hand: {early:?}");
    // Asking for the next says that the one in hand is done; there is none.
    assert_nothing(&mut consumer).await;
    assert_eq!(hear_released(&mut group).await.progress, [progress(0, 5, 11, 3)]);
    assert_eq!(event(&mut events).await, GroupEvent::Released(vec![named(0, 5)]));
    assert_eq!(consumer.assignment(), []);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_takes_too_long_loses_the_partition_with_what_it_has_finished() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) = broker.reading(&client, 3, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    let start = Instant::now();
    group.say(revoke(0, 5, Duration::from_millis(800))).await;
    let released = hear_released(&mut group).await;
    assert_eq!(released.progress, [progress(0, 5, 11, 3)]);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(550) && waited < Duration::from_millis(800), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_commits_itself_gives_up_a_partition_once_it_has_committed_all_it_has() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _peer, _) =
        broker.reading(&client, 3, sealstream_client::group::GroupConsumerBuilder::commit_manually).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    group.say(revoke(0, 5, Duration::from_secs(20))).await;
    let early = timeout(Duration::from_secs(5), hear(&mut group)).await;
    assert!(early.is_err(), "{early:?}");
    let (committed, ()) = tokio::join!(consumer.commit(), async {
        let asked = hear_commit(&mut group).await;
        assert_eq!(asked.progress, [progress(0, 5, 12, 3)]);
        super::commit(&mut group, &asked).await;
    });
    committed.unwrap();
    let released = hear_released(&mut group).await;
    assert_eq!(released.progress, [progress(0, 5, NO_PLACE, 0)], "all of it is committed already");
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_was_never_read_is_given_up_without_a_place() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (_consumer, mut group, _) =
        broker.open(&client, vec![assignment(0, 5, None)], |builder| builder).await;
    group.say(revoke(0, 5, Duration::from_secs(20))).await;
    assert_eq!(hear_released(&mut group).await.progress, [progress(0, 5, NO_PLACE, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_epoch_is_over_already_is_lost_and_may_come_again() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, mut peer, _) = broker.reading(&client, 3, |builder| builder).await;
    let mut events = consumer.events();
    offset(&mut consumer).await;
    group.say(revoke(0, 5, Duration::ZERO)).await;
    assert_eq!(event(&mut events).await, GroupEvent::Lost(vec![named(0, 5)]));
    assert_nothing(&mut consumer).await;
    let Message::Unsubscribe(_) = peer.hear().await else { panic!("it is read on") };
    let again = Assign { assignments: vec![assignment(0, 6, Some((500, 3)))], more: None };
    group.say(Message::Assign(again)).await;
    assert_eq!(event(&mut events).await, GroupEvent::Assigned(vec![named(0, 6)]));
    let (_peer, asked) = broker.subscribe(500).await;
    assert_eq!((asked.position, asked.group.unwrap().epoch), (Position::Offset(500), 6));
}

#[tokio::test(start_paused = true)]
async fn a_list_of_all_that_comes_in_two_frames_is_one_list() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (consumer, group, _) = broker.open(&client, vec![assignment(0, 1, None)], |builder| builder).await;
    let mut events = consumer.events();
    assert_eq!(event(&mut events).await, GroupEvent::Assigned(vec![named(0, 1)]));
    drop(group);
    assert_eq!(event(&mut events).await, GroupEvent::Disconnected);
    let mut group = broker.session(SessionKind::Group).await;
    hear(&mut group).await;
    group.say(Message::Joined(Joined { heartbeat_ms: 3_000, grace_ms: 10_000, missing: None })).await;
    let mut say = async |partition, more| {
        let assignments = vec![assignment(partition, 1, None)];
        group.say(Message::Assign(Assign { assignments, more })).await;
    };
    say(7, Some(true)).await;
    say(0, None).await;
    assert!(matches!(event(&mut events).await, GroupEvent::Reconnected { .. }));
    assert_eq!(event(&mut events).await, GroupEvent::Assigned(vec![named(7, 1)]), "and 0 was never lost");
}

#[tokio::test(start_paused = true)]
async fn a_paused_partition_is_not_handed_out_and_goes_on_where_it_was() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let assigned = vec![assignment(0, 5, Some((10, 3))), assignment(1, 5, Some((20, 3)))];
    let (mut consumer, _group, _) = broker.open(&client, assigned, |builder| builder).await;
    let mut peer = broker.session(SessionKind::Consume).await;
    let mut asked = [subscribe(&mut peer).await, subscribe(&mut peer).await];
    asked.sort_by_key(|asked| asked.partition);
    subscribed(&mut peer, asked[0].subscription, 10, 100).await;
    subscribed(&mut peer, asked[1].subscription, 20, 100).await;
    data(&mut peer, asked[0].subscription, entry(10, 3, 3)).await;
    assert_eq!(offset(&mut consumer).await, 10);
    consumer.pause("t", 0).unwrap();
    data(&mut peer, asked[1].subscription, entry(20, 1, 3)).await;
    assert_eq!(offset(&mut consumer).await, 20, "others go on");
    assert_nothing(&mut consumer).await;
    let Message::Unsubscribe(over) = peer.hear().await else { panic!("it is read on") };
    assert_eq!(over.subscription, asked[0].subscription);
    assert!(consumer.pause("t", 7).is_err(), "what is not the member's cannot be paused");
    consumer.resume("t", 0).unwrap();
    let again = subscribe(&mut peer).await;
    assert_eq!((again.partition, again.position, again.epoch), (0, Position::Offset(11), Some(3)));
    subscribed(&mut peer, again.subscription, 11, 100).await;
    data(&mut peer, again.subscription, entry(10, 3, 3)).await;
    assert_eq!(offset(&mut consumer).await, 11);
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_is_refused_for_its_epoch_stands_still_until_the_group_says_whose_it_is() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, group, mut peer, asked) = broker.reading(&client, 2, |builder| builder).await;
    offset(&mut consumer).await;
    offset(&mut consumer).await;
    ended(&mut peer, asked.subscription, fault(FaultCode::StaleEpoch)).await;
    assert_nothing(&mut consumer).await;
    drop(group);
    let (_group, _) = broker.join(vec![assignment(0, 5, Some((10, 3)))]).await;
    let (_peer, again) = broker.subscribe(12).await;
    assert_eq!(again.position, Position::Offset(12), "nothing is handed out twice");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_stops_at_the_end_does_so_once_all_that_it_has_is_read() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, _) =
        broker.open(&client, Vec::new(), sealstream_client::group::GroupConsumerBuilder::until_end).await;
    assert_nothing(&mut consumer).await;
    let assignments = vec![assignment(0, 5, Some((10, 3))), assignment(1, 5, Some((20, 3)))];
    group.say(Message::Assign(Assign { assignments, more: None })).await;
    let mut peer = broker.session(SessionKind::Consume).await;
    let mut asked = [subscribe(&mut peer).await, subscribe(&mut peer).await];
    asked.sort_by_key(|asked| asked.partition);
    subscribed(&mut peer, asked[0].subscription, 10, 12).await;
    subscribed(&mut peer, asked[1].subscription, 20, 20).await;
    data(&mut peer, asked[0].subscription, entry(10, 2, 3)).await;
    assert_eq!(offset(&mut consumer).await, 10);
    assert_eq!(offset(&mut consumer).await, 11);
    assert!(consumer.next().await.is_none());
    let (closed, committed) = tokio::join!(consumer.close(), super::let_leave(&mut group));
    closed.unwrap();
    assert_eq!(committed, [progress(0, 5, 12, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_rest_of_a_batch_is_given_as_a_batch() {
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, _group, _peer, _) = broker.reading(&client, 5, |builder| builder).await;
    assert_eq!(offset(&mut consumer).await, 10);
    let batch = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((batch.first_offset(), batch.next_offset(), batch.assignment), (11, 15, 5));
}
