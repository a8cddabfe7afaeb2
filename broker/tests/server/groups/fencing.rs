//! Members that are late, silent or replaced: what they have ends everywhere.

use std::time::Duration;

use sealstream_protocol::message::admin::DeleteTopic;
use sealstream_protocol::message::consume::{Membership, Position};
use sealstream_protocol::message::group::Heartbeat;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use uuid::Uuid;

use super::member::{Member, impatient, join_of, recv_ended};
use super::operators::describe;
use crate::harness::{PATIENCE, TestBroker, assert_code, batch, subscription_to};

#[tokio::test]
async fn a_cut_within_the_grace_moves_nothing() {
    let broker = TestBroker::start().await;
    broker.create("events", 4).await;
    let mut first = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let mut second = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    first.recv_revoke().await;
    first.release(&[(2, 0), (3, 0)]).await;
    second.recv_assign().await;
    let (id, had) = (first.id, first.partitions());
    // A subscription of its own lives on: the member is the same.
    let mut consumer = broker.consumer().await;
    consumer.send(Message::Subscribe(first.subscription("events", 0))).await;
    assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
    for _ in 0..3 {
        drop(first);
        first = Member::join(&broker, "g", id, &["events"]).await;
        assert_eq!(first.partitions(), had);
    }
    second.wire.assert_silent().await;
    consumer.assert_silent().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_newer_stream_fences_the_older_one() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut old = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let new = Member::join(&broker, "g", old.id, &["events"]).await;
    assert_code(&old.wire.recv_error().await, FaultCode::MemberFenced);
    assert_eq!(new.partitions(), old.partitions());
    broker.stop().await;
}

#[tokio::test]
async fn a_silent_member_is_out_and_stops_reading() {
    let broker = TestBroker::with(impatient()).await;
    broker.create("events", 2).await;
    let mut silent = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let mut consumer = broker.consumer().await;
    for partition in [0, 1] {
        consumer.send(Message::Subscribe(silent.subscription("events", partition))).await;
        assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
    }
    silent.release(&[(1, 0)]).await;
    silent.recv_assign().await;
    assert_code(&recv_ended(&mut consumer, 1).await, FaultCode::StaleEpoch);
    // From here on it says nothing: what it hears is the end.
    assert_code(&silent.wire.recv_error().await, FaultCode::MemberFenced);
    assert_code(&recv_ended(&mut consumer, 0).await, FaultCode::StaleEpoch);
    let again = Member::join(&broker, "g", silent.id, &["events"]).await;
    assert!(again.partitions().iter().zip(silent.partitions()).all(|(new, old)| new.1 > old.1));
    broker.stop().await;
}

#[tokio::test]
async fn who_does_not_release_in_time_is_fenced_by_epoch_everywhere() {
    let broker = TestBroker::with(impatient()).await;
    broker.create("events", 2).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 1, batch(Uuid::new_v4(), 0, "x")).await;
    producer.recv_ack().await;
    let mut late = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let mut consumer = broker.consumer().await;
    consumer.send(Message::Subscribe(late.subscription("events", 1))).await;
    assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
    assert_eq!(consumer.recv_values(1).await, ["x"]);

    let mut next = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let revoked = late.recv_revoke().await;
    assert_eq!((revoked.deadline_ms, revoked.partitions[0].0.partition), (400, 1));
    // Both beat; the one does not release.
    let beat = || Message::Heartbeat(Heartbeat { progress: vec![] });
    let waiting = async {
        loop {
            tokio::time::sleep(Duration::from_millis(150)).await;
            next.wire.writer.feed(&beat());
            next.wire.flush().await.unwrap();
        }
    };
    let gone = tokio::select! {
        gone = late.recv_revoke() => gone,
        () = waiting => unreachable!("it beats for ever"),
    };
    assert_eq!((gone.deadline_ms, &gone.partitions), (0, &revoked.partitions));
    let got = next.recv_assign().await;
    assert!(got[0].at.partition == 1 && got[0].epoch > revoked.partitions[0].1);
    assert_code(&recv_ended(&mut consumer, 1).await, FaultCode::StaleEpoch);
    consumer.send(Message::Subscribe(late.subscription("events", 1))).await;
    assert_code(&recv_ended(&mut consumer, 1).await, FaultCode::StaleEpoch);
    assert_code(&late.commit(vec![late.progress(1, 1)]).await[0], FaultCode::StaleEpoch);
    // And the next one reads on.
    consumer.send(Message::Subscribe(next.subscription("events", 1))).await;
    assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
    broker.stop().await;
}

/// Its group does not wait for it, nor keep what it does not read.
#[tokio::test]
async fn a_member_that_does_not_read_is_cut_off_and_may_come_again() {
    let broker = TestBroker::start().await;
    let mut deaf = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let mut admin = broker.admin().await;
    let cut = async {
        while describe(&broker, "g").await.members[0].connected {
            for _ in 0..20 {
                admin.create("events", 1).await;
                admin.send(Message::DeleteTopic(DeleteTopic { name: "events".into() })).await;
                assert!(matches!(admin.recv().await, Message::TopicDeleted(_)));
            }
            deaf.wire.send(Message::Heartbeat(Heartbeat { progress: vec![] })).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("what it does not read is bounded");
    let fault = loop {
        match deaf.wire.recv().await {
            Message::Assign(_) | Message::Revoke(_) => {}
            Message::Error(fault) => break fault,
            other => panic!("{other:?}"),
        }
    };
    assert_code(&fault, FaultCode::Busy);
    admin.create("events", 1).await;
    let again = Member::join(&broker, "g", deaf.id, &["events"]).await;
    assert_eq!(again.partitions().len(), 1);
    broker.stop().await;
}

#[tokio::test]
async fn only_a_member_under_its_epoch_subscribes() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let (id, epoch) = (member.id, member.partitions()[0].1);
    let mut consumer = broker.consumer().await;
    let wrong = [("h", id, epoch), ("g", Uuid::new_v4(), epoch), ("g", id, epoch + 1), ("g", id, 0)];
    for (group, member, epoch) in wrong {
        let mut subscribe = subscription_to(1, "events", 0, Position::Beginning);
        subscribe.group = Some(Membership { group: group.into(), member, epoch });
        consumer.send(Message::Subscribe(subscribe)).await;
        assert_code(&recv_ended(&mut consumer, 1).await, FaultCode::StaleEpoch);
    }
    broker.stop().await;
}

#[tokio::test]
async fn the_order_of_a_session_is_kept() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut early = broker.session(SessionKind::Group).await;
    early.send(Message::Heartbeat(Heartbeat { progress: vec![] })).await;
    assert_code(&early.recv_error().await, FaultCode::UnexpectedFrame);
    let mut twice = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    twice.wire.send(join_of("g", twice.id, &["events"])).await;
    assert_code(&twice.wire.recv_error().await, FaultCode::UnexpectedFrame);
    let mut unnamed = broker.session(SessionKind::Group).await;
    unnamed.send(join_of("", Uuid::new_v4(), &["events"])).await;
    assert_code(&unnamed.recv_error().await, FaultCode::InvalidRequest);
    let mut without = broker.session(SessionKind::Group).await;
    without.send(join_of("g", Uuid::new_v4(), &[])).await;
    assert_code(&without.recv_error().await, FaultCode::InvalidRequest);
    broker.stop().await;
}
