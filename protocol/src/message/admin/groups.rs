//! Consumer groups as an operator sees them: listed, described, sought, deleted.

use bytes::BytesMut;
use uuid::Uuid;

use crate::message::codec::{Field, TagWriter, read_tag, read_tags, structure};
use crate::message::consume::Position;
use crate::message::error::DecodeError;
use crate::wire::Reader;

/// Asks for groups in the order of their names; the answer is a [`GroupList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListGroups {
    /// Only names after this one; empty starts at the first.
    pub after: String,
    /// At most so many; 0 leaves it to the broker.
    pub limit: u32,
}

/// Asks for a group, its members and partitions; the answer is a [`GroupDescription`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroup {
    /// The group.
    pub name: String,
}

/// Commits a place in partitions of a topic, in either direction; the answer is a [`GroupSought`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekGroup {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Which partitions; all of the topic if there are none.
    pub partitions: Vec<u32>,
    /// Where, in each of them.
    pub to: Position,
    /// Whether partitions that a member has are taken from it: without, they are `GroupInUse`.
    pub force: bool,
}

/// Forgets a group and what it has committed; the answer is a [`GroupDeleted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroup {
    /// The group.
    pub name: String,
    /// Whether its members, if it has any, are fenced: without, it is `GroupInUse`.
    pub force: bool,
}

/// The answer to [`ListGroups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupList {
    /// In the order of their names.
    pub groups: Vec<GroupSummary>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// A group in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// The name.
    pub name: String,
    /// How many members it has, those within their grace included.
    pub members: u32,
    /// How many partitions its members want to read, or it has a committed offset of.
    pub partitions: u32,
    /// Tag 1: since when it has no members, in milliseconds since the Unix epoch; `None`: it has some.
    pub idle_since_ms: Option<i64>,
}

/// The answer to [`DescribeGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group in short.
    pub group: GroupSummary,
    /// The names that members and partitions point at.
    pub topics: Vec<String>,
    /// In the order of their ids.
    pub members: Vec<GroupMember>,
    /// Those that members want to read, and those with a committed offset.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that it chose.
    pub id: Uuid,
    /// Who it is; at most 255 bytes of it.
    pub identity: String,
    /// Of its stream, or of its last one; empty if that is unknown since the broker's start.
    pub address: String,
    /// As its Hello named it.
    pub client: String,
    /// Whether it has a stream; if not, it is within its grace.
    pub connected: bool,
    /// What it wants to read: indices of [`GroupDescription::topics`].
    pub topics: Vec<u32>,
}

/// A partition as a group has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPartition {
    /// Index of [`GroupDescription::topics`].
    pub topic: u32,
    /// The topic's id.
    pub topic_id: Uuid,
    /// From 0.
    pub partition: u32,
    /// The first offset that can be read.
    pub start: u64,
    /// The durable end.
    pub end: u64,
    /// Tag 1: the committed next offset and its log epoch; `None` if nothing was ever committed.
    pub committed: Option<(u64, u32)>,
    /// Tag 2: who has it; `None` if nobody has.
    pub owner: Option<Owner>,
    /// Tag 3: what the owner's last heartbeat said: the next offset to read.
    pub position: Option<u64>,
}

/// Who has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The member.
    pub member: Uuid,
    /// The assignment's epoch.
    pub epoch: u32,
    /// Whether it is being taken from the member.
    pub revoking: bool,
}

/// The answer to [`SeekGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSought {
    /// Of each partition that was asked for, by number.
    pub offsets: Vec<SoughtOffset>,
}

/// Where a group goes on in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoughtOffset {
    /// The partition.
    pub partition: u32,
    /// The next offset to read.
    pub offset: u64,
}

/// The answer to [`DeleteGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDeleted {}

impl GroupPartition {
    /// How many records the group is behind: all that there are, at the most, where nothing is committed.
    pub fn lag(&self) -> u64 {
        let next = self.committed.map_or(self.start, |(offset, _)| offset.max(self.start));
        self.end.saturating_sub(next)
    }
}

structure!(ListGroups { after, limit });
structure!(DescribeGroup { name });
structure!(SeekGroup { group, topic, partitions, to, force });
structure!(DeleteGroup { name, force });
structure!(GroupList { groups, more });
structure!(GroupSummary { name, members, partitions } tags { 1: idle_since_ms });
structure!(GroupDescription { group, topics, members, partitions });
structure!(GroupMember { id, identity, address, client, connected, topics });
structure!(GroupPartition { topic, topic_id, partition, start, end } tags { 1: committed, 2: owner, 3: position });
structure!(plain Owner { member, epoch, revoking });
structure!(GroupSought { offsets });
structure!(plain SoughtOffset { partition, offset });
structure!(GroupDeleted {});
