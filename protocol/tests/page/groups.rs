//! The values that the vectors of consumer groups are made of.

use sealstream_protocol::message::admin::{
    DeleteGroup, DescribeGroup, GroupDeleted, GroupDescription, GroupList, GroupMember, GroupPartition,
    GroupSought, GroupSummary, ListGroups, Owner, SeekGroup, SoughtOffset,
};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::{
    Assign, Assignment, Commit, Committed, Heartbeat, JoinGroup, Joined, LeaveGroup, Left, NO_PLACE,
    Progress, Released, Revoke, TopicPartition,
};
use sealstream_protocol::message::{Fault, FaultCode, Message};

use crate::samples::{MEMBER, TIME, TOPIC};

pub(crate) fn administration() -> Vec<(&'static str, Message)> {
    let group = GroupSummary { name: "billing".into(), members: 1, partitions: 12, idle_since_ms: None };
    let idle = GroupSummary { name: "old".into(), members: 0, partitions: 0, idle_since_ms: Some(TIME) };
    let member = GroupMember {
        id: MEMBER,
        identity: "dns:billing.example.org".into(),
        address: "192.0.2.7:50123".into(),
        client: "billing-7".into(),
        connected: true,
        topics: vec![0],
    };
    let owned = GroupPartition {
        topic: 0,
        topic_id: TOPIC,
        partition: 0,
        start: 100,
        end: 2500,
        committed: Some((1002, 3)),
        owner: Some(Owner { member: MEMBER, epoch: 8, revoking: false }),
        position: Some(1100),
    };
    let untouched =
        GroupPartition { partition: 1, committed: None, owner: None, position: None, ..owned.clone() };
    let description = GroupDescription {
        group: group.clone(),
        topics: vec!["orders".into()],
        members: vec![member],
        partitions: vec![owned, untouched],
    };
    let seek = SeekGroup {
        group: "billing".into(),
        topic: "orders".into(),
        partitions: vec![0, 5],
        to: Position::Time(TIME),
        force: true,
    };
    let all = SeekGroup { partitions: vec![], to: Position::Beginning, force: false, ..seek.clone() };
    let offsets = vec![SoughtOffset { partition: 0, offset: 990 }, SoughtOffset { partition: 5, offset: 0 }];
    vec![
        ("list-groups", Message::ListGroups(ListGroups { after: String::new(), limit: 0 })),
        ("describe-group", Message::DescribeGroup(DescribeGroup { name: "billing".into() })),
        ("seek-group", Message::SeekGroup(seek)),
        ("seek-group-everywhere", Message::SeekGroup(all)),
        ("delete-group", Message::DeleteGroup(DeleteGroup { name: "billing".into(), force: false })),
        ("group-list", Message::GroupList(GroupList { groups: vec![group, idle], more: false })),
        ("group-description", Message::GroupDescription(description)),
        ("group-sought", Message::GroupSought(GroupSought { offsets })),
        ("group-deleted", Message::GroupDeleted(GroupDeleted {})),
    ]
}

pub(crate) fn membership() -> Vec<(&'static str, Message)> {
    let at = |partition| TopicPartition { topic: TOPIC, partition };
    let progress = vec![
        Progress { at: at(0), epoch: 8, offset: 1002, log_epoch: 3 },
        Progress { at: at(5), epoch: 2, offset: 0, log_epoch: 0 },
    ];
    let assignments = vec![
        Assignment { name: "orders".into(), at: at(0), epoch: 8, committed: Some((1002, 3)) },
        Assignment { name: "orders".into(), at: at(5), epoch: 2, committed: None },
    ];
    let without_a_place = vec![Progress { at: at(5), epoch: 2, offset: NO_PLACE, log_epoch: 0 }];
    let stale = Fault::new(FaultCode::StaleEpoch, "orders/5 has moved on: its epoch is 3");
    let topics = vec!["orders".into(), "payments".into()];
    vec![
        ("join-group", Message::JoinGroup(JoinGroup { group: "billing".into(), member: MEMBER, topics })),
        ("joined", Message::Joined(Joined { heartbeat_ms: 3000, grace_ms: 10_000, missing: None })),
        (
            "joined-with-a-topic-missing",
            Message::Joined(Joined {
                heartbeat_ms: 3000,
                grace_ms: 10_000,
                missing: Some(vec!["payments".into()]),
            }),
        ),
        ("heartbeat", Message::Heartbeat(Heartbeat { progress: progress.clone() })),
        ("heartbeat-without-partitions", Message::Heartbeat(Heartbeat { progress: vec![] })),
        ("assign", Message::Assign(Assign { assignments: assignments.clone(), more: None })),
        ("assign-with-more-to-come", Message::Assign(Assign { assignments, more: Some(true) })),
        ("assign-of-nothing", Message::Assign(Assign { assignments: vec![], more: None })),
        ("revoke", Message::Revoke(Revoke { deadline_ms: 10_000, partitions: vec![(at(0), 8), (at(5), 2)] })),
        ("revoke-of-what-is-gone", Message::Revoke(Revoke { deadline_ms: 0, partitions: vec![(at(0), 8)] })),
        ("released-without-a-place", Message::Released(Released { progress: without_a_place })),
        ("released", Message::Released(Released { progress: progress.clone() })),
        ("commit", Message::Commit(Commit { request: 4, progress })),
        ("committed", Message::Committed(Committed { request: 4, refused: vec![] })),
        ("committed-in-part", Message::Committed(Committed { request: 5, refused: vec![(at(5), stale)] })),
        ("leave-group", Message::LeaveGroup(LeaveGroup {})),
        ("left", Message::Left(Left {})),
    ]
}
