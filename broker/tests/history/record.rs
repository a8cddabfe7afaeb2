//! What is written down while clients run: each operation with the time it was begun and the time it ended.

use std::collections::{BTreeMap, BTreeSet};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds of the machine's monotonic clock: the same for all of its processes.
pub(crate) type Time = u64;

/// Now.
pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// Who. What one client begins, it begins one after the other, though several may be under way.
    pub(crate) client: u32,
    pub(crate) begun: Time,
    pub(crate) ended: Time,
    pub(crate) partition: u32,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Appends a value that no other append has.
    Append { value: u64, outcome: Outcome },
    /// A reader is given a value. Within a pass, offsets follow each other.
    Read { pass: u32, offset: u64, value: u64 },
    /// Commits the next offset to read.
    Commit { offset: u64, done: bool },
    /// Asks for the committed offset.
    Committed { offset: Option<u64> },
    /// Something with a group, by its number. What concerns the whole of it has partition 0.
    Group(u32, GroupAction),
}

impl Action {
    /// What a reader is given, in a group or not: its pass, the offset and the value.
    pub(crate) fn read(&self) -> Option<(u32, u64, u64)> {
        match *self {
            Self::Read { pass, offset, value }
            | Self::Group(_, GroupAction::Given { pass, offset, value, .. }) => Some((pass, offset, value)),
            _ => None,
        }
    }
}

/// What is done with a group. A deleted group that is made again is another one, with another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GroupAction {
    /// A member joins: there is the group from then on.
    Joined { told: Told },
    /// The member is told that it has the partition, and how far the group is. `complete` if the answer to a join said so,
    /// which was begun when the join was; otherwise the news may have been under way for long.
    Assigned { epoch: u32, committed: Option<u64>, complete: bool },
    /// The member is given a record of a partition that it has.
    Given { pass: u32, epoch: u32, offset: u64, value: u64 },
    /// Commits the next offset to read.
    Commit { epoch: u32, offset: u64, told: Told },
    /// Asks how far the group is.
    Asked { committed: Option<u64> },
    /// An operator moves the group.
    Sought { offset: u64, told: Told },
    /// An operator deletes it.
    Deleted { told: Told },
    /// An operator asks whether there is such a group.
    Listed { there: bool },
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    Done,
    Refused,
    /// It may have happened, or may happen until the life of the broker ends.
    Unknown,
}

/// What the client was told of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It is stored, at this offset.
    At(u64),
    /// It is not stored, and never will be.
    Refused,
    /// It may be stored or not: a time-out, a lost answer.
    Unknown,
}

/// All operations, and the log as it was read from its start when all was over: offset and value, by partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    pub(crate) log: BTreeMap<u32, Vec<(u64, u64)>>,
    /// When a life of the broker was over: what was still under way then never happens any more.
    pub(crate) deaths: Vec<Time>,
    /// Groups that came to the end of every partition.
    pub(crate) finished: BTreeSet<u32>,
}
