//! Group sessions: membership of a consumer group, apart from the data so that control never queues behind it.

use bytes::BytesMut;
use uuid::Uuid;

use super::codec::{Field, TagWriter, read_tag, read_tags, structure};
use super::error::DecodeError;
use crate::wire::Reader;

/// Joins a group, or resumes a membership and fences its old stream; answered by [`Joined`], or by an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroup {
    /// The group: made by its first member.
    pub group: String,
    /// Random, chosen by the member, bound to its identity.
    pub member: Uuid,
    /// What the member wants to read.
    pub topics: Vec<String>,
}

/// The member is in; an [`Assign`] with all that it has follows at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// How often the broker wants a heartbeat, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long a lost stream keeps its member, in milliseconds.
    pub grace_ms: u32,
    /// Tag 1: topics among those asked for that do not exist now; `None`: all exist.
    pub missing: Option<Vec<String>>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Uuid,
    /// The partition.
    pub partition: u32,
}

/// A partition and the next offset to read in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where.
    pub at: TopicPartition,
    /// The assignment's epoch.
    pub epoch: u32,
    /// The next offset to read; [`NO_PLACE`] if the member has none yet.
    pub offset: u64,
    /// The log epoch of the record before it; 0 if there is none, or it is not known.
    pub log_epoch: u32,
}

/// The offset of a [`Progress`] that has no place in its partition: it commits nothing.
pub const NO_PLACE: u64 = u64::MAX;

/// The member is alive, and this far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The partitions assigned to it.
    pub progress: Vec<Progress>,
}

/// A partition now belongs to the member, under an epoch of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The topic's name.
    pub name: String,
    /// Where.
    pub at: TopicPartition,
    /// Rises each time the partition changes hands.
    pub epoch: u32,
    /// Tag 1: the committed next offset and its log epoch; `None` if nothing was ever committed.
    pub committed: Option<(u64, u32)>,
}

/// Partitions that now belong to the member: the first after [`Joined`] has all of them, each later one adds to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    /// Which.
    pub assignments: Vec<Assignment>,
    /// Tag 1: whether the rest of the same list is in the next `Assign`; `None`: this is the end of it.
    pub more: Option<bool>,
}

/// Partitions that the member shall finish with and release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// How long it has, in milliseconds; then they move without it. 0: they are gone already.
    pub deadline_ms: u32,
    /// Which, each with the epoch that ends.
    pub partitions: Vec<(TopicPartition, u32)>,
}

/// The member has stopped reading revoked partitions, and commits how far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Which, and how far.
    pub progress: Vec<Progress>,
}

/// Commits the next offsets to read; answered by [`Committed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Chosen by the client: comes back in the answer.
    pub request: u64,
    /// Which partitions, and how far.
    pub progress: Vec<Progress>,
}

/// The answer to [`Commit`]: durable but for those refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The commit's.
    pub request: u64,
    /// Those that were refused, and why.
    pub refused: Vec<(TopicPartition, super::Fault)>,
}

/// Leaves at once: the partitions move without a grace; answered by [`Left`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroup {}

/// The answer to [`LeaveGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {}

structure!(JoinGroup { group, member, topics });
structure!(Joined { heartbeat_ms, grace_ms } tags { 1: missing });
structure!(plain TopicPartition { topic, partition });
structure!(Progress { at, epoch, offset, log_epoch });
structure!(Heartbeat { progress });
structure!(Assignment { name, at, epoch } tags { 1: committed });
structure!(Assign { assignments } tags { 1: more });
structure!(Revoke { deadline_ms, partitions });
structure!(Released { progress });
structure!(Commit { request, progress });
structure!(Committed { request, refused });
structure!(LeaveGroup {});
structure!(Left {});
