//! A group at work: one task that takes commands, makes what they change durable, and then tells it.
//!
//! It does one thing at a time, but for commits, whose durability it awaits beside everything else: their order in the log is the
//! order in which they came. Whoever is told how far the group is, in an Assign or a description, is told what is durable. While the broker drains, it looks at the time no more: whoever leaves because the broker stops
//! keeps its place.

mod durable;
mod requests;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sealstream_protocol::message::admin::{GroupDescription, GroupSummary};
use sealstream_transport::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::groups::change::StreamId;
use crate::groups::commits::CommitRefusal;
use crate::groups::error::GroupError;
use crate::groups::group::Group;
use crate::groups::registry::Shared;
use crate::groups::seat::{Event, Joining, Seat};
use crate::groups::{COMMANDS, Place, Report, describe};
use crate::log::{CommitError, PartitionId, Shard};
use crate::meter::Count;
use crate::topics::Catalogue;

type Reply<T> = oneshot::Sender<Result<T, GroupError>>;

/// What a group is asked for.
pub(crate) enum Command {
    Join {
        joining: Joining,
        reply: Reply<Seat>,
    },
    Heard {
        member: Uuid,
        stream: StreamId,
    },
    Heartbeat {
        member: Uuid,
        stream: StreamId,
        reports: Vec<Report>,
    },
    Release {
        member: Uuid,
        stream: StreamId,
        reports: Vec<Report>,
        reply: Reply<()>,
    },
    Commit {
        member: Uuid,
        stream: StreamId,
        reports: Vec<Report>,
        reply: oneshot::Sender<Refused>,
    },
    Leave {
        member: Uuid,
        stream: StreamId,
        reply: Reply<()>,
    },
    /// The tenure under which a member reads a partition: cancelled when it is over.
    Claim {
        member: Uuid,
        identity: Arc<str>,
        partition: PartitionId,
        epoch: u32,
        reply: Reply<CancellationToken>,
    },
    Describe {
        reply: Reply<GroupDescription>,
    },
    Seek {
        topic: (String, Uuid),
        places: Vec<(PartitionId, Place)>,
        force: bool,
        reply: Reply<()>,
    },
    Delete {
        force: bool,
        reply: Reply<()>,
    },
}

pub(super) type Refused = Vec<(PartitionId, CommitRefusal)>;

/// A commit that waits for its durability.
struct Committing {
    taken: Vec<(PartitionId, Place)>,
    refused: Refused,
    reply: oneshot::Sender<Refused>,
    result: Result<(), CommitError>,
}

/// What wakes an actor.
enum Wake {
    Command(Option<Command>),
    Lost(Uuid, StreamId),
    Committed(Committing),
    Topics,
    Time,
    Stop,
}

pub(super) struct Actor {
    name: String,
    shared: Arc<Shared>,
    shard: Arc<dyn Shard>,
    group: Group,
    /// Of the record; 0 while there is none.
    version: u64,
    commands: mpsc::Receiver<Command>,
    /// For the seats that are handed out. Weak, so that the actor does not keep itself alive.
    own: mpsc::WeakSender<Command>,
    seats: HashMap<Uuid, (StreamId, mpsc::Sender<Event>)>,
    lost: FuturesUnordered<BoxFuture<'static, (Uuid, StreamId)>>,
    committing: FuturesUnordered<BoxFuture<'static, Committing>>,
    /// How many commits of a partition are under way, and whether one of these has failed.
    doubts: HashMap<PartitionId, (usize, bool)>,
    /// Partitions that are being read, by whom and under which epoch.
    tenures: HashMap<PartitionId, (Uuid, u32, CancellationToken)>,
    topics: watch::Receiver<Arc<Catalogue>>,
    summary: watch::Sender<GroupSummary>,
    rebalances: Arc<Count>,
    /// Not before then is it tried again to make durable what time or topics have changed.
    patience: Option<Instant>,
    ended: bool,
}

/// Who talks to an actor.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) summary: watch::Receiver<GroupSummary>,
    /// How often partitions were granted or taken away since the broker's start.
    pub(super) rebalances: Arc<Count>,
}

impl Actor {
    pub(super) fn new(name: String, shared: Arc<Shared>, group: Group, version: u64) -> (Self, Entry) {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let (summary, shown) = watch::channel(describe::summary(&name, &group));
        let topics = shared.topics.watch();
        let actor = Self {
            shard: Arc::clone(shared.topics.shards().of_group(&name)),
            name,
            shared,
            group,
            version,
            commands,
            own: sender.downgrade(),
            seats: HashMap::new(),
            lost: FuturesUnordered::new(),
            committing: FuturesUnordered::new(),
            doubts: HashMap::new(),
            tenures: HashMap::new(),
            topics,
            summary,
            rebalances: Arc::default(),
            patience: None,
            ended: false,
        };
        let rebalances = Arc::clone(&actor.rebalances);
        (actor, Entry { commands: sender, summary: shown, rebalances })
    }

    /// Serves the group until it is gone, or the broker.
    pub(super) async fn run(mut self) {
        if self.version > 0 {
            // What came and went while nobody looked.
            self.tick().await;
        }
        while !self.ended {
            match self.wake().await {
                Wake::Command(Some(command)) => self.obey(command).await,
                Wake::Command(None) | Wake::Stop => break,
                Wake::Lost(member, stream) => {
                    self.seats.retain(|id, seat| *id != member || seat.0 != stream);
                    self.group.detach(Instant::now(), member, stream);
                }
                Wake::Committed(committing) => self.answer(committing),
                Wake::Topics => self.tick().await,
                Wake::Time => self.look().await,
            }
            // However much there is to obey, time is not forgotten.
            if self.due() <= Instant::now() {
                self.look().await;
            }
            self.summary.send_replace(describe::summary(&self.name, &self.group));
        }
        self.shared.forget(&self.name, &self.own);
    }

    async fn wake(&mut self) -> Wake {
        let due = self.due();
        let connected = self.group.is_connected();
        tokio::select! {
            biased;
            () = self.shared.draining.cancelled(), if !connected && self.committing.is_empty() => Wake::Stop,
            command = self.commands.recv() => Wake::Command(command),
            Some((member, stream)) = self.lost.next() => Wake::Lost(member, stream),
            Some(committing) = self.committing.next() => Wake::Committed(committing),
            Ok(()) = self.topics.changed(), if !self.shared.draining.is_cancelled() => Wake::Topics,
            () = sleep_until(due) => Wake::Time,
        }
    }

    /// When time is to be looked at again.
    fn due(&self) -> Instant {
        let idle = || Instant::now() + self.shared.idle_look;
        let due = self.group.due().unwrap_or_else(idle);
        let due = self.patience.map_or(due, |patience| due.max(patience));
        if self.shared.draining.is_cancelled() { due.max(idle()) } else { due }
    }

    /// Looks at the time, and does what is due.
    async fn look(&mut self) {
        self.group.look(Instant::now());
        if self.group.is_due(Instant::now()) || self.group.members.is_empty() || self.patience.is_some() {
            self.tick().await;
        }
    }

    async fn tick(&mut self) {
        if self.shared.draining.is_cancelled() {
            return;
        }
        if self.version == 0 && self.group.members.is_empty() {
            // Made for a member that has not come.
            self.ended = true;
            return;
        }
        let (now, wall) = (Instant::now(), self.shared.clock.now());
        if self.group.is_expired(wall) {
            match self.erase().await {
                Ok(()) => tracing::info!(group = self.name, "an idle group is forgotten"),
                Err(error) => self.be_patient(&error),
            }
            return;
        }
        let before = self.group.clone();
        let topics = Arc::clone(&self.topics.borrow_and_update());
        let change = self.group.tick(now, wall, &*topics);
        match self.carry_out(before, change).await {
            Ok(()) => self.patience = None,
            Err(error) => self.be_patient(&error),
        }
    }

    fn be_patient(&mut self, error: &GroupError) {
        tracing::warn!(group = self.name, %error, "a group could not be changed: trying again");
        self.patience = Some(Instant::now() + super::registry::RETRY);
    }

    async fn obey(&mut self, command: Command) {
        let now = Instant::now();
        self.group.look(now);
        // Nobody has to wait for what is refused, nor for what is done.
        match command {
            Command::Join { joining, reply } => {
                let _ = reply.send(self.join(joining).await);
            }
            Command::Heard { member, stream } => self.group.heard(now, member, stream),
            Command::Heartbeat { member, stream, reports } => {
                self.group.heartbeat(now, member, stream, &reports);
            }
            Command::Release { member, stream, reports, reply } => {
                let before = self.group.clone();
                let topics = Arc::clone(&self.topics.borrow());
                let shared = Arc::clone(&self.shared);
                let ends = shared.ends();
                let change = self.group.release(now, (member, stream), &reports, &ends, &*topics);
                let _ = reply.send(self.carry_out(before, change).await);
            }
            Command::Commit { member, stream, reports, reply } => {
                self.commit((member, stream), &reports, reply);
            }
            Command::Leave { member, stream, reply } => {
                let _ = reply.send(self.leave(member, stream).await);
            }
            Command::Claim { member, identity, partition, epoch, reply } => {
                let _ = reply.send(self.claim(member, &identity, partition, epoch));
            }
            Command::Describe { reply } => {
                let _ = reply.send(Ok(describe::describe(&self.name, &self.group, &self.shared.topics)));
            }
            Command::Seek { topic, places, force, reply } => {
                let before = self.group.clone();
                let topics = Arc::clone(&self.topics.borrow());
                let change = self.group.seek(now, (&topic.0, topic.1), &places, force, &*topics);
                let sought = match change {
                    Ok(change) => self.carry_out(before, change).await,
                    Err(error) => Err(error),
                };
                let _ = reply.send(sought);
            }
            Command::Delete { force, reply } => {
                let _ = reply.send(self.delete(force).await);
            }
        }
    }
}
