//! Members of groups against brokers that assign, revoke, cut and fence.

mod committing;
mod dead_letters;
mod gaps;
mod moving;
mod streams;

use std::collections::VecDeque;
use std::time::Duration;

use sealstream_client::group::{
    AssignedPartition, GroupConsumer, GroupConsumerBuilder, GroupEvent, GroupEvents,
};
use sealstream_client::{Client, ClientBuilder};
use sealstream_protocol::message::consume::Subscribe;
use sealstream_protocol::message::group::{
    Assign, Assignment, Commit, Committed, JoinGroup, Joined, Left, Progress, Released, Revoke,
    TopicPartition,
};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{Fault, Message};
use tokio::time::timeout;

use crate::consumer::{data, entry, subscribed};
use crate::fake::{Fake, PATIENCE, Peer, TOPIC};

/// How long the broker of these tests keeps a member that it does not hear.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A broker by hand, whose sessions are told apart by their kind.
pub(crate) struct Broker {
    pub(crate) fake: Fake,
    waiting: VecDeque<(SessionKind, Peer)>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self { fake: Fake::start().await, waiting: VecDeque::new() }
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        self.fake.builder()
    }

    /// The next session of a kind, welcomed.
    pub(crate) async fn session(&mut self, kind: SessionKind) -> Peer {
        if let Some(index) = self.waiting.iter().position(|(its, _)| *its == kind) {
            return self.waiting.remove(index).unwrap().1;
        }
        loop {
            let mut peer = Peer::new(self.fake.stream().await);
            let hello = peer.welcome(|_| {}).await;
            if hello.session == kind {
                return peer;
            }
            self.waiting.push_back((hello.session, peer));
        }
    }

    /// Drops every stream that comes.
    pub(crate) async fn turn_away(&mut self) {
        loop {
            drop(self.fake.stream().await);
        }
    }

    /// The next Group session, joined, with these partitions.
    pub(crate) async fn join(&mut self, assignments: Vec<Assignment>) -> (Peer, JoinGroup) {
        let mut peer = self.session(SessionKind::Group).await;
        let Message::JoinGroup(join) = peer.hear().await else { panic!("not JoinGroup") };
        peer.say(joined()).await;
        peer.say(Message::Assign(Assign { assignments, more: None })).await;
        (peer, join)
    }

    /// A member of the group g that reads t, what its broker has of it, and who it is.
    pub(crate) async fn open(
        &mut self,
        client: &Client,
        assignments: Vec<Assignment>,
        change: impl FnOnce(GroupConsumerBuilder) -> GroupConsumerBuilder,
    ) -> (GroupConsumer, Peer, JoinGroup) {
        let builder = change(client.group_consumer("g").topic("t"));
        let (consumer, (peer, join)) = tokio::join!(builder.open(), self.join(assignments));
        (consumer.unwrap(), peer, join)
    }

    /// A member with partition 0 under epoch 5, from offset 10 on, and its Consume session with `count` records sent in it.
    pub(crate) async fn reading(
        &mut self,
        client: &Client,
        count: u64,
        change: impl FnOnce(GroupConsumerBuilder) -> GroupConsumerBuilder,
    ) -> (GroupConsumer, Peer, Peer, Subscribe) {
        let (consumer, group, _) = self.open(client, vec![assignment(0, 5, Some((10, 3)))], change).await;
        let (peer, asked) = self.subscribe(10).await;
        let mut peer = peer;
        data(&mut peer, asked.subscription, entry(10, count, 3)).await;
        (consumer, group, peer, asked)
    }

    /// The next Consume session, its first subscription answered with `offset`.
    pub(crate) async fn subscribe(&mut self, offset: u64) -> (Peer, Subscribe) {
        let mut peer = self.session(SessionKind::Consume).await;
        let asked = crate::consumer::subscribe(&mut peer).await;
        subscribed(&mut peer, asked.subscription, offset, 1_000).await;
        (peer, asked)
    }
}

fn joined() -> Message {
    let grace_ms = u32::try_from(GRACE.as_millis()).unwrap();
    Message::Joined(Joined { heartbeat_ms: 3_000, grace_ms, missing: None })
}

pub(crate) fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC, partition }
}

/// A partition of t.
pub(crate) fn assignment(partition: u32, epoch: u32, committed: Option<(u64, u32)>) -> Assignment {
    Assignment { name: "t".to_owned(), at: at(partition), epoch, committed }
}

pub(crate) fn progress(partition: u32, epoch: u32, offset: u64, log_epoch: u32) -> Progress {
    Progress { at: at(partition), epoch, offset, log_epoch }
}

pub(crate) fn named(partition: u32, epoch: u32) -> AssignedPartition {
    AssignedPartition { topic: "t".into(), partition, assignment: epoch }
}

pub(crate) fn revoke(partition: u32, epoch: u32, deadline: Duration) -> Message {
    let deadline_ms = u32::try_from(deadline.as_millis()).unwrap();
    Message::Revoke(Revoke { deadline_ms, partitions: vec![(at(partition), epoch)] })
}

/// The next frame of a Group session that is no heartbeat.
pub(crate) async fn hear(peer: &mut Peer) -> Message {
    loop {
        match peer.hear().await {
            Message::Heartbeat(_) => {}
            message => return message,
        }
    }
}

pub(crate) async fn hear_commit(peer: &mut Peer) -> Commit {
    match hear(peer).await {
        Message::Commit(commit) => commit,
        other => panic!("not a commit: {other:?}"),
    }
}

pub(crate) async fn hear_released(peer: &mut Peer) -> Released {
    match hear(peer).await {
        Message::Released(released) => released,
        other => panic!("not released: {other:?}"),
    }
}

/// Answers a commit: all of it is durable.
pub(crate) async fn commit(peer: &mut Peer, commit: &Commit) {
    peer.say(Message::Committed(Committed { request: commit.request, refused: Vec::new() })).await;
}

/// Answers a commit: its first position is refused.
pub(crate) async fn refuse(peer: &mut Peer, commit: &Commit, fault: Fault) {
    let refused = vec![(commit.progress[0].at.clone(), fault)];
    peer.say(Message::Committed(Committed { request: commit.request, refused })).await;
}

/// Lets a member leave: answers its commits, and says goodbye. What it committed.
pub(crate) async fn let_leave(peer: &mut Peer) -> Vec<Progress> {
    let mut committed = Vec::new();
    loop {
        match hear(peer).await {
            Message::Commit(asked) => {
                commit(peer, &asked).await;
                committed.extend(asked.progress);
            }
            Message::LeaveGroup(_) => break,
            other => panic!("neither Commit nor LeaveGroup: {other:?}"),
        }
    }
    peer.say(Message::Left(Left {})).await;
    peer.finish().await;
    committed
}

/// The offset of the next record, which must be its value.
pub(crate) async fn offset(consumer: &mut GroupConsumer) -> u64 {
    let next = timeout(PATIENCE, consumer.next()).await.expect("a record in time");
    let record = next.expect("not the end").expect("a record");
    assert_eq!(record.value, record.offset.to_string());
    record.offset
}

/// That nothing is handed out, however long one waits.
pub(crate) async fn assert_nothing(consumer: &mut GroupConsumer) {
    let handed = timeout(Duration::from_secs(2), consumer.next()).await;
    assert!(handed.is_err(), "{handed:?}");
}

pub(crate) async fn event(events: &mut GroupEvents) -> GroupEvent {
    timeout(PATIENCE, events.next()).await.expect("an event in time").expect("the consumer lives")
}
