//! What is written down while clients run: each operation with the time it was begun and the time it ended.

use std::collections::BTreeMap;

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
}
