//! What operators see and do: list, describe, seek, delete.

use sealstream_broker::log::LogEngine;
use sealstream_protocol::message::admin::{
    DeleteGroup, DescribeGroup, GroupDescription, GroupSummary, ListGroups, SeekGroup, SoughtOffset,
};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::Heartbeat;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use uuid::Uuid;

use super::member::{Member, recv_ended};
use crate::harness::{TestBroker, assert_code, batch};

pub(super) async fn list<E: LogEngine + 'static>(broker: &TestBroker<E>) -> Vec<GroupSummary> {
    let mut admin = broker.admin().await;
    admin.send(Message::ListGroups(ListGroups { after: String::new(), limit: 0 })).await;
    match admin.recv().await {
        Message::GroupList(list) => list.groups,
        other => panic!("{other:?}"),
    }
}

async fn ask(broker: &TestBroker, request: Message) -> Result<Message, Fault> {
    let mut admin = broker.admin().await;
    admin.send(request).await;
    match admin.recv().await {
        Message::RequestRefused(fault) => Err(fault),
        answer => Ok(answer),
    }
}

pub(super) async fn describe(broker: &TestBroker, group: &str) -> GroupDescription {
    match ask(broker, Message::DescribeGroup(DescribeGroup { name: group.into() })).await {
        Ok(Message::GroupDescription(description)) => description,
        other => panic!("{other:?}"),
    }
}

fn seek(to: Position, force: bool, partitions: Vec<u32>) -> Message {
    Message::SeekGroup(SeekGroup { group: "g".into(), topic: "events".into(), partitions, to, force })
}

/// A topic of two partitions with five records in the first.
async fn filled() -> TestBroker {
    let broker = TestBroker::start().await;
    broker.create("events", 2).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..5 {
        producer.produce(sequence, 0, batch(id, sequence, "x")).await;
        producer.recv_ack().await;
    }
    broker
}

#[tokio::test]
async fn a_description_shows_members_lag_owners_and_epochs() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events", "later"]).await;
    assert!(member.commit(vec![member.progress(0, 2)]).await.is_empty());
    let progress = vec![member.progress(0, 4)];
    member.wire.send(Message::Heartbeat(Heartbeat { progress })).await;
    member.wire.assert_silent().await;
    let shown = describe(&broker, "g").await;
    assert_eq!(shown.topics, ["events", "later"]);
    assert_eq!((shown.group.members, shown.group.partitions, shown.group.idle_since_ms), (1, 2, None));
    let [of] = &shown.members[..] else { panic!("one member") };
    assert_eq!((of.id, &*of.identity, &*of.client, of.connected), (member.id, "anonymous", "test", true));
    assert!(of.address.starts_with("127.0.0.1:"), "{}", of.address);
    assert_eq!(of.topics, [0, 1]);
    let [first, second] = &shown.partitions[..] else { panic!("two partitions") };
    assert_eq!((first.committed, first.end, first.position, first.lag()), (Some((2, 1)), 5, Some(4), 3));
    assert_eq!(
        first.owner.map(|owner| (owner.member, owner.epoch)),
        Some((member.id, member.partitions()[0].1))
    );
    assert_eq!((second.committed, second.lag()), (None, 0));
    member.leave().await;
    let shown = describe(&broker, "g").await;
    assert!(shown.members.is_empty() && shown.group.idle_since_ms.is_some());
    let [only] = &shown.partitions[..] else { panic!("what was committed") };
    assert_eq!(shown.group.partitions, 1, "a list counts what a description shows");
    assert_eq!((only.committed, only.owner, only.lag()), (Some((2, 1)), None, 3));
    broker.stop().await;
}

#[tokio::test]
async fn groups_are_listed_in_pages() {
    let broker = filled().await;
    let mut members = Vec::new();
    for group in ["c", "a", "b"] {
        members.push(Member::join(&broker, group, Uuid::new_v4(), &["events"]).await);
    }
    let page = |after: &str| Message::ListGroups(ListGroups { after: after.into(), limit: 2 });
    let Ok(Message::GroupList(first)) = ask(&broker, page("")).await else { panic!("a list was due") };
    assert_eq!(first.groups.iter().map(|group| &*group.name).collect::<Vec<_>>(), ["a", "b"]);
    assert!(first.more);
    let Ok(Message::GroupList(last)) = ask(&broker, page("b")).await else { panic!("a list was due") };
    assert_eq!((last.groups.len(), &*last.groups[0].name, last.more), (1, "c", false));
    broker.stop().await;
}

#[tokio::test]
async fn a_seek_moves_an_idle_group_either_way_and_its_next_member_starts_there() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert!(member.commit(vec![member.progress(0, 4)]).await.is_empty());
    member.leave().await;
    for (to, offset) in [
        (Position::Beginning, 0),
        (Position::End, 5),
        (Position::Offset(3), 3),
        (Position::Time(i64::MAX), 5),
        (Position::Time(0), 0),
        (Position::Offset(2), 2),
    ] {
        let Ok(Message::GroupSought(sought)) = ask(&broker, seek(to, false, vec![0])).await else {
            panic!("{to:?} was due")
        };
        assert_eq!(sought.offsets, [SoughtOffset { partition: 0, offset }], "{to:?}");
    }
    let member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert_eq!(member.has[0].committed, Some((2, 0)));
    for (request, code) in [
        (seek(Position::Offset(6), true, vec![]), FaultCode::OutOfRange),
        (seek(Position::End, true, vec![2]), FaultCode::UnknownPartition),
        (seek(Position::End, false, vec![]), FaultCode::GroupInUse),
    ] {
        assert_code(&ask(&broker, request).await.unwrap_err(), code);
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_forced_seek_ends_the_epoch_of_whoever_reads() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert!(member.commit(vec![member.progress(0, 4)]).await.is_empty());
    let mut consumer = broker.consumer().await;
    consumer.send(Message::Subscribe(member.subscription("events", 0))).await;
    assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
    let old = member.progress(0, 5);
    ask(&broker, seek(Position::Offset(1), true, vec![0])).await.unwrap();
    let gone = member.recv_revoke().await;
    assert_eq!((gone.deadline_ms, gone.partitions[0].1), (0, old.epoch));
    member.has.retain(|has| has.at.partition != 0);
    let got = member.recv_assign().await;
    assert_eq!(got[0].committed, Some((1, 0)));
    assert!(got[0].epoch > old.epoch);
    assert_code(&recv_ended(&mut consumer, 0).await, FaultCode::StaleEpoch);
    // What it had read before does not undo the seek.
    assert_code(&member.commit(vec![old]).await[0], FaultCode::StaleEpoch);
    broker.stop().await;
}

#[tokio::test]
async fn a_group_with_members_is_deleted_only_by_force_which_fences_them() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert!(member.commit(vec![member.progress(0, 4)]).await.is_empty());
    let mut consumer = broker.consumer().await;
    consumer.send(Message::Subscribe(member.subscription("events", 1))).await;
    assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
    let delete = |force| Message::DeleteGroup(DeleteGroup { name: "g".into(), force });
    assert_code(&ask(&broker, delete(false)).await.unwrap_err(), FaultCode::GroupInUse);
    assert!(matches!(ask(&broker, delete(true)).await, Ok(Message::GroupDeleted(_))));
    assert_code(&member.wire.recv_error().await, FaultCode::MemberFenced);
    assert_code(&recv_ended(&mut consumer, 1).await, FaultCode::StaleEpoch);
    assert_code(&ask(&broker, delete(true)).await.unwrap_err(), FaultCode::UnknownGroup);
    let anew = Member::join(&broker, "g", member.id, &["events"]).await;
    assert!(anew.has.iter().all(|has| has.committed.is_none()));
    broker.stop().await;
}
