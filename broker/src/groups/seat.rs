//! What passes between a member's session and its group.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::actor::Command;
use super::change::StreamId;
use super::commits::CommitRefusal;
use super::error::GroupError;
use super::{Place, Report};
use crate::log::PartitionId;

/// Who joins a group, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) member: Uuid,
    pub(crate) identity: Arc<str>,
    /// Where it comes from, and how its Hello named it: for people.
    pub(crate) address: String,
    pub(crate) client: String,
    pub(crate) topics: BTreeSet<String>,
}

/// A partition that a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) name: Arc<str>,
    pub(crate) partition: PartitionId,
    pub(crate) epoch: u32,
    pub(crate) committed: Option<Place>,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The first: all that it has. Later: what it has in addition.
    Assign(Vec<Granted>),
    /// What it shall release within a time; nothing left of it: what is gone already.
    Revoke { within: Duration, partitions: Vec<(PartitionId, u32)> },
    /// Its stream is over.
    End(Why),
}

/// Why a member's stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The member came again, on another stream.
    Replaced,
    /// It was not heard for the grace.
    Silent,
    /// The group was deleted.
    Deleted,
}

/// A member's stream in its group. Dropped, the stream is lost, and the member has its grace.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) member: Uuid,
    pub(super) stream: StreamId,
    /// Ends early when the member does not take what it is told.
    pub(crate) events: mpsc::Receiver<Event>,
    /// Topics that it asked for and that are not there.
    pub(crate) missing: Vec<String>,
    /// Its end tells the group.
    pub(super) _present: oneshot::Sender<Infallible>,
}

/// A commit that was taken: those refused, once the others are durable.
pub(crate) type CommitAnswer = oneshot::Receiver<Vec<(PartitionId, CommitRefusal)>>;

impl Seat {
    /// The member was heard, whatever it said.
    pub(crate) async fn heard(&self) {
        self.send(Command::Heard { member: self.member, stream: self.stream }).await;
    }

    /// A heartbeat.
    pub(crate) async fn heartbeat(&self, reports: Vec<Report>) {
        self.send(Command::Heartbeat { member: self.member, stream: self.stream, reports }).await;
    }

    /// Gives partitions up.
    pub(crate) async fn release(&self, reports: Vec<Report>) -> Result<(), GroupError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Release { member: self.member, stream: self.stream, reports, reply }).await;
        answer.await.unwrap_or(Err(GroupError::Stopping))
    }

    /// Commits; the order of calls is the order of the commits.
    pub(crate) async fn commit(&self, reports: Vec<Report>) -> CommitAnswer {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Commit { member: self.member, stream: self.stream, reports, reply }).await;
        answer
    }

    /// Leaves the group.
    pub(crate) async fn leave(&self) -> Result<(), GroupError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Leave { member: self.member, stream: self.stream, reply }).await;
        answer.await.unwrap_or(Err(GroupError::Stopping))
    }

    /// A group that is gone takes nothing, which its session learns by the end of its events.
    async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}
