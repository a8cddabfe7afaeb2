//! Any message of consumer groups.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use sealstream_protocol::message::{Message, admin, group};

use crate::messages::{fault, position, text, uuid};

fn place() -> impl Strategy<Value = group::TopicPartition> {
    (uuid(), any::<u32>()).prop_map(|(topic, partition)| group::TopicPartition { topic, partition })
}

fn progress() -> impl Strategy<Value = Vec<group::Progress>> {
    let one = (place(), any::<u32>(), any::<u64>(), any::<u32>())
        .prop_map(|(at, epoch, offset, log_epoch)| group::Progress { at, epoch, offset, log_epoch });
    vec(one, 0..4)
}

fn assignment() -> impl Strategy<Value = group::Assignment> {
    (text(), place(), any::<u32>(), of(any::<(u64, u32)>()))
        .prop_map(|(name, at, epoch, committed)| group::Assignment { name, at, epoch, committed })
}

fn group_summary() -> impl Strategy<Value = admin::GroupSummary> {
    (text(), any::<u32>(), any::<u32>(), of(any::<i64>())).prop_map(
        |(name, members, partitions, idle_since_ms)| admin::GroupSummary {
            name,
            members,
            partitions,
            idle_since_ms,
        },
    )
}

fn group_member() -> impl Strategy<Value = admin::GroupMember> {
    (uuid(), text(), text(), text(), any::<bool>(), vec(any::<u32>(), 0..3)).prop_map(
        |(id, identity, address, client, connected, topics)| admin::GroupMember {
            id,
            identity,
            address,
            client,
            connected,
            topics,
        },
    )
}

fn group_partition() -> impl Strategy<Value = admin::GroupPartition> {
    let owner = (uuid(), any::<u32>(), any::<bool>()).prop_map(|(member, epoch, revoking)| admin::Owner {
        member,
        epoch,
        revoking,
    });
    let place = (any::<(u32, u32)>(), uuid());
    (place, any::<(u64, u64)>(), of(any::<(u64, u32)>()), of(owner), of(any::<u64>())).prop_map(
        |(((topic, partition), topic_id), (start, end), committed, owner, position)| admin::GroupPartition {
            topic,
            topic_id,
            partition,
            start,
            end,
            committed,
            owner,
            position,
        },
    )
}

pub(crate) fn administration() -> impl Strategy<Value = Message> {
    prop_oneof![
        (text(), any::<u32>())
            .prop_map(|(after, limit)| Message::ListGroups(admin::ListGroups { after, limit })),
        text().prop_map(|name| Message::DescribeGroup(admin::DescribeGroup { name })),
        (text(), text(), vec(any::<u32>(), 0..3), position(), any::<bool>()).prop_map(
            |(group, topic, partitions, to, force)| Message::SeekGroup(admin::SeekGroup {
                group,
                topic,
                partitions,
                to,
                force
            })
        ),
        (text(), any::<bool>())
            .prop_map(|(name, force)| Message::DeleteGroup(admin::DeleteGroup { name, force })),
        (vec(group_summary(), 0..3), any::<bool>())
            .prop_map(|(groups, more)| Message::GroupList(admin::GroupList { groups, more })),
        (group_summary(), vec(text(), 0..3), vec(group_member(), 0..3), vec(group_partition(), 0..3))
            .prop_map(|(group, topics, members, partitions)| Message::GroupDescription(
                admin::GroupDescription { group, topics, members, partitions }
            )),
        vec(any::<(u32, u64)>(), 0..3).prop_map(|offsets| Message::GroupSought(admin::GroupSought {
            offsets: offsets
                .into_iter()
                .map(|(partition, offset)| admin::SoughtOffset { partition, offset })
                .collect()
        })),
        Just(Message::GroupDeleted(admin::GroupDeleted {})),
    ]
}

pub(crate) fn membership() -> impl Strategy<Value = Message> {
    prop_oneof![
        (text(), uuid(), vec(text(), 0..3)).prop_map(|(group, member, topics)| Message::JoinGroup(
            group::JoinGroup { group, member, topics }
        )),
        (any::<(u32, u32)>(), of(vec(text(), 0..3))).prop_map(|((heartbeat_ms, grace_ms), missing)| {
            Message::Joined(group::Joined { heartbeat_ms, grace_ms, missing })
        }),
        progress().prop_map(|progress| Message::Heartbeat(group::Heartbeat { progress })),
        (vec(assignment(), 0..3), of(any::<bool>()))
            .prop_map(|(assignments, more)| Message::Assign(group::Assign { assignments, more })),
        (any::<u32>(), vec((place(), any::<u32>()), 0..3)).prop_map(|(deadline_ms, partitions)| {
            Message::Revoke(group::Revoke { deadline_ms, partitions })
        }),
        progress().prop_map(|progress| Message::Released(group::Released { progress })),
        (any::<u64>(), progress())
            .prop_map(|(request, progress)| Message::Commit(group::Commit { request, progress })),
        (any::<u64>(), vec((place(), fault()), 0..3))
            .prop_map(|(request, refused)| { Message::Committed(group::Committed { request, refused }) }),
        Just(Message::LeaveGroup(group::LeaveGroup {})),
        Just(Message::Left(group::Left {})),
    ]
}
