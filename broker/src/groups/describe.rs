//! A group as an operator is shown it.

use std::collections::{BTreeMap, BTreeSet};

use sealstream_protocol::message::admin::{
    GroupDescription, GroupMember, GroupPartition, GroupSummary, Owner,
};
use uuid::Uuid;

use super::Shapes;
use super::change::partitions_of;
use super::group::{Group, Member};
use crate::log::PartitionId;
use crate::topics::Topics;

/// How many bytes of an identity are shown: those of 512 members fit a frame.
const MAX_IDENTITY: usize = 255;

/// The group in short. It counts the partitions that [`describe`] lists.
pub(super) fn summary(name: &str, group: &Group) -> GroupSummary {
    let wanted = group.wanted_names();
    let unwanted = group.names.iter().filter(|(_, name)| !wanted.contains(&***name)).map(|(topic, _)| *topic);
    let left = unwanted.map(|topic| group.committed_of(topic).count()).sum::<usize>();
    GroupSummary {
        name: name.to_owned(),
        members: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
        partitions: u32::try_from(group.wanted + left).unwrap_or(u32::MAX),
        idle_since_ms: group.idle_since,
    }
}

/// The group, its members, and its partitions as they stand in the log.
pub(super) fn describe(name: &str, group: &Group, topics: &Topics) -> GroupDescription {
    let catalogue = topics.snapshot();
    let wanted: BTreeSet<&str> =
        group.members.values().flat_map(|member| &member.topics).map(String::as_str).collect();
    let names: BTreeSet<&str> =
        wanted.iter().copied().chain(group.names.values().map(|name| &**name)).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let shard = topics.shards().of_group(name);
    let mut partitions: BTreeMap<(u32, u32), GroupPartition> = BTreeMap::new();
    let wanted = wanted.into_iter().filter_map(|name| catalogue.shape(name).map(|shape| (name, shape)));
    let wanted = wanted.flat_map(|(name, shape)| partitions_of(shape).map(move |id| (name, id)));
    let reached = group.committed.keys().chain(group.owned.keys());
    let reached = reached.filter_map(|id| Some((&**group.names.get(&id.topic)?, *id)));
    for (topic, id) in wanted.take(group.rules().max_partitions).chain(reached) {
        let topic = place(&names, topic);
        // As it is durable: a commit may be under way.
        let committed = shard.committed_offset(name, id);
        partitions.entry((topic, id.index)).or_insert_with(|| partition(topic, id, committed, group, topics));
    }
    let member = |(id, member): (&Uuid, &Member)| GroupMember {
        id: *id,
        identity: member.identity[..member.identity.floor_char_boundary(MAX_IDENTITY)].to_owned(),
        address: member.address.clone(),
        client: member.client.clone(),
        connected: member.stream.is_some(),
        topics: member.topics.iter().map(|name| place(&names, name)).collect(),
    };
    GroupDescription {
        group: summary(name, group),
        members: group.members.iter().map(member).collect(),
        partitions: partitions.into_values().collect(),
        topics: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn place(names: &[&str], name: &str) -> u32 {
    let place = names.binary_search(&name).expect("all names are in the table");
    u32::try_from(place).expect("a group's topics are bounded far below 4 thousand million")
}

fn partition(
    topic: u32,
    id: PartitionId,
    committed: Option<(u64, u32)>,
    group: &Group,
    topics: &Topics,
) -> GroupPartition {
    let log = topics.shards().of(&id).partition(id);
    let owned = group.owner(id);
    GroupPartition {
        topic,
        topic_id: id.topic,
        partition: id.index,
        start: log.map_or(0, |log| log.start),
        end: log.map_or(0, |log| log.durable_end),
        committed,
        owner: owned.map(|owned| Owner {
            member: owned.member,
            epoch: owned.epoch,
            revoking: owned.revoked.is_some(),
        }),
        position: owned.and_then(|owned| owned.position),
    }
}
