//! A member of a group: takes what it is assigned, reads it, commits it, releases it when asked, and writes everything down.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::Limits;
use sealstream_protocol::entry::Entries;
use sealstream_protocol::message::consume::{Data, Membership, Position, Subscribe, Unsubscribe};
use sealstream_protocol::message::group::{
    Assign, Assignment, Commit, Committed, Heartbeat, JoinGroup, LeaveGroup, NO_PLACE, Progress, Released,
    Revoke, TopicPartition,
};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::world::{Line, PARTITIONS, TOPIC, World};
use crate::record::{Action, GroupAction, Operation, Time, Told, now};

/// A group, by its number and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) number: u32,
    pub(super) name: &'static str,
}

/// How often a member looks whether it has done its part.
const LOOK: Duration = Duration::from_millis(2);

/// How often it beats: ten times in the shortest grace.
const BEAT: Duration = Duration::from_millis(20);

/// Passes of a member in one life at the most: their numbers go on in the next.
const PASSES: u32 = 1_000_000;

/// A partition that it has.
struct Held {
    topic: Uuid,
    epoch: u32,
    subscription: u32,
    /// The next offset and the log epoch before it.
    place: Option<(u64, u32)>,
}

/// A commit that is not answered.
struct Committing {
    begun: Time,
    progress: Vec<Progress>,
}

pub(super) struct Member {
    number: u32,
    group: Group,
    world: Arc<World>,
    held: BTreeMap<u32, Held>,
    passes: u32,
    requests: u64,
    committing: HashMap<u64, Committing>,
    /// How many records it was given.
    pub(super) given: usize,
    /// When it last heard anything.
    heard: Instant,
}

/// Both sessions of a member.
pub(super) struct Streams {
    group: Line,
    consume: Line,
}

impl Member {
    /// One that is known by its number, in all lives.
    pub(super) fn new(world: &Arc<World>, number: u32, group: Group) -> Self {
        Self {
            number,
            group,
            world: Arc::clone(world),
            held: BTreeMap::new(),
            passes: world.life * PASSES,
            requests: 0,
            committing: HashMap::new(),
            given: 0,
            heard: Instant::now(),
        }
    }

    fn id(&self) -> Uuid {
        Uuid::from_u128(self.number.into())
    }

    /// How many partitions it has.
    pub(super) fn has(&self) -> usize {
        self.held.len()
    }

    /// Whether everything is committed, and nothing has been heard for a while.
    pub(super) fn is_quiet(&self) -> bool {
        self.committing.is_empty() && self.heard.elapsed() > 4 * LOOK
    }

    /// Comes until it is let in, and works until it has done its part; `None` if something failed on purpose before.
    pub(super) async fn stay(&mut self, mut done: impl FnMut(&Self) -> bool) -> Option<Streams> {
        loop {
            if let Some(mut streams) = self.join().await
                && self.work(&mut streams, &mut done).await.is_some()
            {
                return Some(streams);
            }
            self.forget_commits();
            if self.world.is_lost() {
                return None;
            }
            sleep(LOOK).await;
        }
    }

    /// Opens both sessions and joins, which begins a new stream of the member.
    pub(super) async fn join(&mut self) -> Option<Streams> {
        let group = self.world.open(SessionKind::Group).await?;
        let consume = self.world.open(SessionKind::Consume).await?;
        let mut streams = Streams { group, consume };
        let begun = now();
        let (name, topics) = (self.group.name.to_owned(), vec![TOPIC.to_owned()]);
        let join = Message::JoinGroup(JoinGroup { group: name, member: self.id(), topics });
        let joined = streams.group.ask(join).await;
        let told = if let Some(Message::Joined(_)) = joined { Told::Done } else { Told::Unknown };
        self.note(begun, 0, GroupAction::Joined { told });
        joined?;
        self.held.clear();
        self.heard = Instant::now();
        loop {
            let world = Arc::clone(&self.world);
            match world.unless_lost(streams.group.hear()).await? {
                Message::Assign(assign) => {
                    let more = assign.more == Some(true);
                    self.take(&mut streams, assign, Some(begun)).await?;
                    if !more {
                        return Some(streams);
                    }
                }
                other => panic!("all that it has was due: {other:?}"),
            }
        }
    }

    /// Works until it has done its part; `None` if its streams break before.
    pub(super) async fn work(
        &mut self,
        streams: &mut Streams,
        done: &mut impl FnMut(&Self) -> bool,
    ) -> Option<()> {
        let mut looks = tokio::time::interval(LOOK);
        let mut beats = tokio::time::interval(BEAT);
        while !done(self) {
            tokio::select! {
                biased;
                message = streams.group.hear() => self.obey(streams, message?).await?,
                message = streams.consume.hear() => match message? {
                    Message::Data(data) => self.read(streams, data).await?,
                    Message::Subscribed(_) => {}
                    Message::SubscriptionEnded(ended) => {
                        // Where it is its own still, it could not be read: it comes again.
                        let mine = self.held.values().any(|held| held.subscription == ended.subscription);
                        let fault = ended.fault.and_then(|fault| fault.code_known());
                        if mine && fault != Some(FaultCode::StaleEpoch) {
                            return None;
                        }
                    }
                    other => panic!("unexpected: {other:?}"),
                },
                _ = looks.tick() => {}
                _ = beats.tick() => {
                    streams.group.say(Message::Heartbeat(Heartbeat { progress: self.progress() })).await?;
                }
            }
        }
        Some(())
    }

    async fn obey(&mut self, streams: &mut Streams, message: Message) -> Option<()> {
        match message {
            Message::Assign(assign) => self.take(streams, assign, None).await,
            Message::Revoke(revoke) => self.give_up(streams, revoke).await,
            Message::Committed(committed) => {
                self.note_committed(committed);
                Some(())
            }
            Message::Pong(_) => Some(()),
            other => panic!("unexpected: {other:?}"),
        }
    }

    async fn take(&mut self, streams: &mut Streams, assign: Assign, begun: Option<Time>) -> Option<()> {
        self.heard = Instant::now();
        for Assignment { at, epoch, committed, .. } in assign.assignments {
            let offset = committed.map(|(offset, _)| offset);
            let action = GroupAction::Assigned { epoch, committed: offset, complete: begun.is_some() };
            self.note(begun.unwrap_or_else(now), at.partition, action);
            self.passes += 1;
            let subscription = self.passes;
            let position = offset.map_or(Position::Beginning, Position::Offset);
            let group = Some(Membership { group: self.group.name.into(), member: self.id(), epoch });
            let log_epoch = committed.map(|(_, log_epoch)| log_epoch).filter(|log_epoch| *log_epoch > 0);
            let subscribe = Subscribe {
                subscription,
                topic: TOPIC.into(),
                partition: at.partition,
                position,
                topic_id: Some(at.topic),
                epoch: log_epoch,
                group,
            };
            self.held.insert(at.partition, Held { topic: at.topic, epoch, subscription, place: committed });
            streams.consume.say(Message::Subscribe(subscribe)).await?;
        }
        Some(())
    }

    async fn give_up(&mut self, streams: &mut Streams, revoke: Revoke) -> Option<()> {
        self.heard = Instant::now();
        let mut progress = Vec::new();
        for (at, epoch) in revoke.partitions {
            if self.held.get(&at.partition).is_none_or(|held| held.epoch != epoch) {
                continue;
            }
            let Some(held) = self.held.remove(&at.partition) else { continue };
            progress.push(progress_of(at.partition, &held));
            let subscription = held.subscription;
            streams.consume.say(Message::Unsubscribe(Unsubscribe { subscription })).await?;
        }
        if revoke.deadline_ms == 0 {
            return Some(());
        }
        // Nobody answers a release: it commits, or not.
        for Progress { at, epoch, offset, .. } in &progress {
            if *offset != NO_PLACE {
                let (epoch, offset, told) = (*epoch, *offset, Told::Unknown);
                self.note(now(), at.partition, GroupAction::Commit { epoch, offset, told });
            }
        }
        streams.group.say(Message::Released(Released { progress })).await
    }

    fn progress(&self) -> Vec<Progress> {
        self.held.iter().map(|(partition, held)| progress_of(*partition, held)).collect()
    }

    /// Takes note of every record, then commits: at least once.
    async fn read(&mut self, streams: &mut Streams, data: Data) -> Option<()> {
        self.heard = Instant::now();
        let found = self.held.iter().find(|(_, held)| held.subscription == data.subscription);
        let Some((&partition, held)) = found else { return Some(()) };
        let (epoch, pass) = (held.epoch, held.subscription);
        let mut place = None;
        for (offset, log_epoch, value) in records(data) {
            self.note(now(), partition, GroupAction::Given { pass, epoch, offset, value });
            self.given += 1;
            place = Some((offset + 1, log_epoch));
        }
        self.held.get_mut(&partition)?.place = place;
        let progress = vec![progress_of(partition, &self.held[&partition])];
        self.commit(&mut streams.group, progress).await
    }

    async fn commit(&mut self, group: &mut Line, progress: Vec<Progress>) -> Option<()> {
        self.requests += 1;
        let request = self.requests;
        self.committing.insert(request, Committing { begun: now(), progress: progress.clone() });
        group.say(Message::Commit(Commit { request, progress })).await
    }

    fn note_committed(&mut self, Committed { request, refused }: Committed) {
        self.heard = Instant::now();
        let committing = self.committing.remove(&request).expect("an answer to a commit");
        for progress in committing.progress {
            let told = match refused.iter().find(|(at, _)| *at == progress.at) {
                None => Told::Done,
                Some((_, fault)) => match fault.code_known() {
                    // The group or its broker is going: nobody says what came of it.
                    Some(FaultCode::Storage | FaultCode::ShuttingDown) => Told::Unknown,
                    _ => Told::Refused,
                },
            };
            let (epoch, offset) = (progress.epoch, progress.offset);
            self.note(committing.begun, progress.at.partition, GroupAction::Commit { epoch, offset, told });
        }
    }

    /// The answers to what is under way are lost with the streams.
    fn forget_commits(&mut self) {
        for Committing { begun, progress } in std::mem::take(&mut self.committing).into_values() {
            for Progress { at, epoch, offset, .. } in progress {
                let told = Told::Unknown;
                self.note(begun, at.partition, GroupAction::Commit { epoch, offset, told });
            }
        }
    }

    /// Its streams are gone without a word.
    pub(super) fn lose(&mut self, streams: Streams) {
        drop(streams);
        self.forget_commits();
    }

    /// Comes again on new streams while the old ones are there, and tries to commit on the old one.
    pub(super) async fn replace(&mut self, mut old: Streams) -> Option<Streams> {
        self.forget_commits();
        let new = self.join().await?;
        let read = self.progress().into_iter().filter(|progress| progress.offset != NO_PLACE).collect();
        // It may be gone already.
        let _ = self.commit(&mut old.group, read).await;
        let late = self.requests;
        self.forget_commits();
        // All that it hears there is what was under way, and the end.
        let world = Arc::clone(&self.world);
        while let Some(message) = world.unless_lost(old.group.hear()).await {
            if let Message::Committed(Committed { request, refused }) = message {
                assert!(request != late || !refused.is_empty(), "an old stream is obeyed");
            }
        }
        Some(new)
    }

    /// Leaves in order.
    pub(super) async fn leave(&mut self, mut streams: Streams) -> Option<()> {
        // The broker may have answered, and stopped listening, before all is said.
        let _ = streams.group.say(Message::LeaveGroup(LeaveGroup {})).await;
        let world = Arc::clone(&self.world);
        loop {
            match world.unless_lost(streams.group.hear()).await {
                Some(Message::Left(_)) => break Some(()),
                Some(Message::Committed(committed)) => self.note_committed(committed),
                Some(Message::Assign(_) | Message::Revoke(_) | Message::Pong(_)) => {}
                Some(other) => panic!("unexpected: {other:?}"),
                None => break None,
            }
        }
    }

    fn note(&self, begun: Time, partition: u32, action: GroupAction) {
        assert!(partition < PARTITIONS);
        let action = Action::Group(self.group.number, action);
        self.world.notes.add(Operation { client: self.number, begun, ended: now(), partition, action });
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.forget_commits();
    }
}

fn progress_of(partition: u32, held: &Held) -> Progress {
    let (offset, log_epoch) = held.place.unwrap_or((NO_PLACE, 0));
    Progress { at: TopicPartition { topic: held.topic, partition }, epoch: held.epoch, offset, log_epoch }
}

/// The records of a Data frame: offset, log epoch and value.
pub(super) fn records(data: Data) -> Vec<(u64, u32, u64)> {
    let mut found = Vec::new();
    for entry in Entries::new(data.entries) {
        let entry = entry.unwrap();
        for record in entry.batch.records(&Limits::default()).unwrap() {
            let record = record.unwrap();
            let value = u64::from_le_bytes(record.value[..8].try_into().unwrap());
            let offset = entry.header.base_offset + u64::from(record.offset_delta);
            found.push((offset, entry.header.log_epoch, value));
        }
    }
    found
}
