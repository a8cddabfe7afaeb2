//! What using, seeing, moving and deleting a group takes.

use sealstream_broker::access::Action;
use sealstream_protocol::message::admin::{DeleteGroup, DescribeGroup, ListGroups, SeekGroup};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::JoinGroup;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::timeout;
use uuid::Uuid;

use super::{EVERY, PROMISE, World, allow, assert_forbidden, deny};
use crate::harness::{Wire, assert_code};

async fn join(world: &World, topics: &[&str]) -> Wire {
    let mut wire = world.broker.session(SessionKind::Group).await;
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    wire.send(Message::JoinGroup(JoinGroup { group: "g".into(), member: Uuid::new_v4(), topics })).await;
    wire
}

async fn joined(world: &World, topics: &[&str]) -> Wire {
    let mut wire = join(world, topics).await;
    assert!(matches!(wire.recv().await, Message::Joined(_)));
    assert!(matches!(wire.recv().await, Message::Assign(_)));
    wire
}

#[tokio::test]
async fn a_member_needs_to_consume_each_of_its_topics_for_as_long_as_it_is_one() {
    let world = World::new().await;
    world.broker.create("open", 1).await;
    world.broker.create("closed", 1).await;
    world.publish([allow("anonymous", &[Action::Consume], &["open"])]);
    let fault = join(&world, &["open", "closed"]).await.recv_error().await;
    assert_forbidden(&fault, "anonymous", "closed");
    let mut member = joined(&world, &["open"]).await;
    // Other rules, and the same rights.
    world.publish([
        allow("anonymous", &[Action::Consume], &["open"]),
        allow("anonymous", &[Action::Produce], &["closed"]),
    ]);
    member.assert_silent().await;
    world.publish([allow("anonymous", &[Action::Produce], &["closed"])]);
    let fault = timeout(PROMISE, member.recv_error()).await.unwrap();
    assert_forbidden(&fault, "anonymous", "open");
    world.broker.stop().await;
}

#[tokio::test]
async fn seeing_moving_and_deleting_a_group_take_what_they_touch() {
    let world = World::new().await;
    world.broker.create("open", 1).await;
    let _member = joined(&world, &["open"]).await;
    let list = || Message::ListGroups(ListGroups { after: String::new(), limit: 0 });
    let describe = || Message::DescribeGroup(DescribeGroup { name: "g".into() });
    let seek = |force| {
        let (group, topic, to) = ("g".into(), "open".into(), Position::Beginning);
        Message::SeekGroup(SeekGroup { group, topic, partitions: vec![], to, force })
    };
    let delete = || Message::DeleteGroup(DeleteGroup { name: "g".into(), force: true });
    let mut admin = world.broker.admin().await;
    let mut refused = async |request: Message| {
        admin.send(request).await;
        match admin.recv().await {
            Message::RequestRefused(fault) => Some(fault),
            _ => None,
        }
    };
    world.publish([allow("anonymous", &[Action::Consume], &["open"])]);
    assert_eq!(refused(describe()).await, None);
    // Not for want of a right: a member has the partition.
    assert_code(&refused(seek(false)).await.unwrap(), FaultCode::GroupInUse);
    for request in [list(), seek(true), delete()] {
        assert_forbidden(&refused(request).await.unwrap(), "anonymous", "the broker itself");
    }
    world.publish([allow("anonymous", &EVERY, &["*"]), deny("anonymous", &EVERY, &["open"])]);
    for request in [describe(), seek(true)] {
        assert_forbidden(&refused(request).await.unwrap(), "anonymous", "open");
    }
    for request in [list(), delete()] {
        assert_eq!(refused(request).await, None);
    }
    world.broker.stop().await;
}
