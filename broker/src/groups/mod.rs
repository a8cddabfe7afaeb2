//! Consumer groups: who of a group's members reads which partition, and how far the group has come.
//!
//! ```text
//! Groups (registry) ── one actor a group ──► Group (pure: members, assignment, epochs, committed offsets)
//!                          │      ▲              inputs and time go in, a Change comes out
//!                          │      └ topics as they change, ticks, streams that are lost
//!                          ├──► the group's shard: record and offsets, in one commit
//!                          └──► sessions: Assign, Revoke, the end; and subscriptions: a tenure is over
//! ```
//!
//! # States
//!
//! ```text
//! member      connected ── its stream is lost ──► within its grace ── joins again ──► connected
//!                 │                                     └── not heard for the grace ──► out: what it has is free
//!                 └── leaves, or is not heard for the grace ──► out
//! partition   free ── granted, under the next epoch ──► owned ── another shall have it ──► revoking ── released,
//!               ▲                                         │                                   │   or its deadline
//!               └─────────── its owner is out ────────────┴───────────────────────────────────┘
//! group       made by its first member ─► with members ─► idle ─► expired, or deleted: gone with its offsets
//! ```
//!
//! # What is durable, and when
//!
//! A group has one record in the shard of its name, `group/<name>`: its members, who owns which partition under which epoch, and
//! the last epoch given. An actor makes a change of it durable before anybody is told of it, together with the offsets that
//! belong to it (those of a Released, those that are forgotten); a change that cannot be made durable did not happen. Hence a
//! broker that starts again finds every member within its grace, and no epoch is given twice. That a partition is being revoked
//! is not in the record: who asks for it after a restart gets it by a new Revoke.
//!
//! # Bounds
//!
//! [`Rules`] has them: groups, members of a group, topics of a member, partitions of a group, and the times. An actor's queue of
//! commands holds [`COMMANDS`]; what a member has not read of its events is at most [`EVENTS`], beyond which its stream is
//! cut; a session has at most 32 commits under way.

mod access;
mod actor;
mod balance;
mod change;
mod commits;
mod describe;
mod error;
mod group;
#[cfg(test)]
mod model_tests;
mod record;
mod registry;
mod rules;
mod seat;
#[cfg(test)]
mod tests;

pub(crate) use commits::CommitRefusal;
pub(crate) use error::GroupError;
pub use error::LoadGroupsError;
pub(crate) use registry::{Groups, Lives};
pub(crate) use rules::Rules;
pub(crate) use seat::{Event, Granted, Joining, Seat, Why};

use crate::log::PartitionId;

/// 256 commands that wait for a group's actor: at the most one a member, and its heartbeats, while a disk syncs.
pub(crate) const COMMANDS: usize = 256;

/// 64 events that a member has not been sent yet: each is a change of the group, of which there are few a second.
pub(crate) const EVENTS: usize = 64;

/// A place in a partition: the next offset to read, and the log epoch of the record before it, 0 where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) log_epoch: u32,
}

impl Place {
    /// Whether a commit of `self` would take a group back that has committed `other`: unless the log was cut in between.
    fn is_behind(self, other: Self) -> bool {
        let cut = other.log_epoch > 0 && self.log_epoch > other.log_epoch;
        self.offset < other.offset && !cut
    }
}

/// What a member says of a partition: under which epoch it has it, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: u32,
    /// `None`: it has no place yet.
    pub(crate) place: Option<Place>,
}

/// A topic as groups see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) id: uuid::Uuid,
    pub(crate) partitions: u32,
}

/// Which topics there are.
pub(crate) trait Shapes {
    fn shape(&self, topic: &str) -> Option<Shape>;
}

impl Shapes for crate::topics::Catalogue {
    fn shape(&self, topic: &str) -> Option<Shape> {
        self.get(topic).map(|topic| Shape { id: topic.id, partitions: topic.partitions })
    }
}
