//! A group at work: one task that takes commands, makes what they change durable, and then tells it.
//!
//! It does one thing at a time, but for commits, whose durability it awaits beside everything else: their order in the log is the
//! order in which they came. While the broker drains, it looks at the time no more: whoever leaves because the broker stops
//! keeps its place.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sealstream_protocol::message::admin::{GroupDescription, GroupSummary};
use sealstream_transport::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::change::{Change, StreamId};
use super::commits::CommitRefusal;
use super::error::GroupError;
use super::group::Group;
use super::record::{MAX_RECORD, encode, group_key};
use super::registry::Shared;
use super::seat::{Event, Joining, Seat, Why};
use super::{COMMANDS, EVENTS, Place, Report, describe};
use crate::log::{CommitError, OffsetCommit, Op, Outcome, PartitionId, Refusal, Shard};
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
    /// Partitions that are being read, by whom and under which epoch.
    tenures: HashMap<PartitionId, (Uuid, u32, CancellationToken)>,
    topics: watch::Receiver<Arc<Catalogue>>,
    summary: watch::Sender<GroupSummary>,
    /// Not before then is it tried again to make durable what time or topics have changed.
    patience: Option<Instant>,
    ended: bool,
}

/// Who talks to an actor.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) summary: watch::Receiver<GroupSummary>,
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
            tenures: HashMap::new(),
            topics,
            summary,
            patience: None,
            ended: false,
        };
        (actor, Entry { commands: sender, summary: shown })
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
                Wake::Topics | Wake::Time => self.tick().await,
            }
            // However much there is to obey, time is not forgotten.
            if self.due() <= Instant::now() {
                self.tick().await;
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
                self.commit((member, stream), &reports, reply)
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

    async fn join(&mut self, joining: Joining) -> Result<Seat, GroupError> {
        let before = self.group.clone();
        let (member, asked) = (joining.member, joining.topics.clone());
        let topics = Arc::clone(&self.topics.borrow_and_update());
        let joined = self.group.join(Instant::now(), joining, &*topics);
        let (stream, change) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                // A group that nobody came into is none.
                self.ended = self.version == 0;
                return Err(error);
            }
        };
        let (events, told) = mpsc::channel(EVENTS);
        let (present, absent) = oneshot::channel::<Infallible>();
        let commands = self.own.upgrade().ok_or(GroupError::Stopping)?;
        let replaced = self.seats.insert(member, (stream, events));
        if let Err(error) = self.make_durable(&before, &change).await {
            self.seats.remove(&member);
            self.seats.extend(replaced.map(|seat| (member, seat)));
            self.ended = self.version == 0;
            return Err(error);
        }
        self.lost.push(Box::pin(async move {
            let _ = absent.await; // it only ends
            (member, stream)
        }));
        if let Some((old, seat)) = replaced {
            // It may be full, or gone: then it ends with its channel.
            let _ = seat.try_send(Event::End(Why::Replaced));
            tracing::debug!(group = self.name, %member, stream = old, "a newer stream took a member over");
        }
        self.tell(&change);
        let missing = asked.into_iter().filter(|name| topics.get(name).is_none()).collect();
        Ok(Seat { commands, member, stream, events: told, missing, _present: present })
    }

    async fn leave(&mut self, member: Uuid, stream: StreamId) -> Result<(), GroupError> {
        if self.group.on(member, stream).is_none() {
            return Err(GroupError::NotAMember);
        }
        let before = self.group.clone();
        let topics = Arc::clone(&self.topics.borrow());
        let wall = self.shared.clock.now();
        let change = self.group.leave(Instant::now(), wall, member, stream, &*topics);
        self.carry_out(before, change).await
    }

    fn commit(
        &mut self,
        (member, stream): (Uuid, StreamId),
        reports: &[Report],
        reply: oneshot::Sender<Refused>,
    ) {
        let ends = self.shared.ends();
        let verdict = self.group.commit(Instant::now(), member, stream, reports, &ends);
        if verdict.taken.is_empty() {
            let _ = reply.send(verdict.refused); // nobody has to wait for it
            return;
        }
        let ops = verdict.taken.iter().map(|(partition, place)| self.offset_op(*partition, *place)).collect();
        let commit = self.shard.commit(ops);
        let (taken, refused) = (verdict.taken, verdict.refused);
        self.committing.push(Box::pin(async move {
            Committing { taken, refused, reply, result: until_durable(commit.await).await.map(drop) }
        }));
    }

    fn offset_op(&self, partition: PartitionId, place: Place) -> Op {
        let Place { offset, log_epoch } = place;
        Op::CommitOffset(OffsetCommit { group: self.name.clone(), partition, offset, log_epoch })
    }

    fn answer(&mut self, committing: Committing) {
        let Committing { taken, mut refused, reply, result } = committing;
        if let Err(error) = result {
            tracing::warn!(group = self.name, %error, "a commit of offsets failed");
            let mut error = Some(error);
            for (partition, _) in taken {
                let kept = self.shard.committed_offset(&self.name, partition);
                self.group.restore(partition, kept.map(|(offset, log_epoch)| Place { offset, log_epoch }));
                refused.push((partition, CommitRefusal::Log(error.take())));
            }
        }
        let _ = reply.send(refused); // its session may be gone
    }

    fn claim(
        &mut self,
        member: Uuid,
        identity: &str,
        partition: PartitionId,
        epoch: u32,
    ) -> Result<CancellationToken, GroupError> {
        match self.group.member(&member) {
            None => return Err(GroupError::StaleEpoch(epoch)),
            Some(found) if *found.identity != *identity => return Err(GroupError::OtherIdentity),
            Some(_) => {}
        }
        let owned = self.group.owner(partition);
        if owned.is_none_or(|owned| owned.member != member || owned.epoch != epoch) {
            return Err(GroupError::StaleEpoch(epoch));
        }
        let tenure =
            self.tenures.entry(partition).or_insert_with(|| (member, epoch, CancellationToken::new()));
        Ok(tenure.2.clone())
    }

    async fn delete(&mut self, force: bool) -> Result<(), GroupError> {
        let members = self.group.members.len();
        if members > 0 && !force {
            return Err(GroupError::InUse(format!(
                "the group has {members} members: stop them, or force it"
            )));
        }
        self.erase().await
    }

    /// Forgets the group, and lets go of whoever is in it.
    async fn erase(&mut self) -> Result<(), GroupError> {
        let record = Op::PutMeta { key: group_key(&self.name), expected: self.version, value: None };
        let offsets = Op::ForgetOffsets { group: self.name.clone(), partition: None };
        self.write(vec![record, offsets]).await?;
        for (_, seat) in self.seats.drain().map(|(_, seat)| seat) {
            let _ = seat.try_send(Event::End(Why::Deleted)); // full or gone: it ends with its channel
        }
        for (_, _, tenure) in self.tenures.drain().map(|(_, tenure)| tenure) {
            tenure.cancel();
        }
        self.ended = true;
        Ok(())
    }

    /// Makes a change durable and tells it; takes it back if that fails.
    async fn carry_out(&mut self, before: Group, change: Change) -> Result<(), GroupError> {
        self.make_durable(&before, &change).await?;
        self.tell(&change);
        Ok(())
    }

    async fn make_durable(&mut self, before: &Group, change: &Change) -> Result<(), GroupError> {
        if !change.is_durable_matter() {
            return Ok(());
        }
        let written = self.write_change(change).await;
        if written.is_err() {
            self.group = before.clone();
        }
        // A disk that stalls is nobody's silence.
        self.group.look(Instant::now());
        written
    }

    async fn write_change(&mut self, change: &Change) -> Result<(), GroupError> {
        let mut ops = Vec::with_capacity(1 + change.commits.len() + change.forgets.len());
        if change.dirty {
            let value = encode(&self.group);
            if value.len() > MAX_RECORD {
                return Err(GroupError::TooLarge(value.len()));
            }
            ops.push(Op::PutMeta { key: group_key(&self.name), expected: self.version, value: Some(value) });
        }
        ops.extend(change.commits.iter().map(|(partition, place)| self.offset_op(*partition, *place)));
        ops.extend(
            change
                .forgets
                .iter()
                .map(|partition| Op::ForgetOffsets { group: self.name.clone(), partition: Some(*partition) }),
        );
        self.write(ops).await
    }

    /// Commits, and waits until it is durable. The record, if it is among them, comes first.
    async fn write(&mut self, mut ops: Vec<Op>) -> Result<(), GroupError> {
        // Twice: after a failure of which it was not known what it left, the record may have another version.
        for _ in 0..2 {
            match until_durable(self.shard.commit(ops.clone()).await).await {
                Ok(outcomes) => {
                    if let Some(Outcome::MetaPut { version }) = outcomes.first() {
                        self.version = *version;
                    }
                    return Ok(());
                }
                Err(CommitError::Refused { refusal: Refusal::VersionMismatch { version }, .. }) => {
                    if let Some(Op::PutMeta { expected, .. }) = ops.first_mut() {
                        *expected = version;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(GroupError::Log(CommitError::Busy))
    }

    /// Tells a change that is durable: first to whoever reads what is not its own any more.
    fn tell(&mut self, change: &Change) {
        let group = &self.group;
        self.tenures.retain(|partition, (member, epoch, tenure)| {
            let holds =
                group.owner(*partition).is_some_and(|owned| owned.member == *member && owned.epoch == *epoch);
            if !holds {
                tenure.cancel();
            }
            holds
        });
        let now = Instant::now();
        for (member, stream, event) in change.events(&self.group, now) {
            let Some((_, seat)) = self.seats.get(&member).filter(|(current, _)| *current == stream) else {
                continue;
            };
            let ends = matches!(event, Event::End(_));
            let taken = seat.try_send(event).is_ok();
            if !taken {
                tracing::info!(group = self.name, %member, "a member does not take what it is told: its stream is cut");
                self.group.detach(now, member, stream);
            }
            if ends || !taken {
                self.seats.remove(&member);
            }
        }
    }
}

/// The outcomes of a commit, once it is durable.
async fn until_durable(
    committed: Result<crate::log::Committed, CommitError>,
) -> Result<Vec<Outcome>, CommitError> {
    let committed = committed?;
    committed.durable.await.map_err(|error| CommitError::Storage(error.reason))?;
    Ok(committed.outcomes)
}
