//! A member of a group, spoken frame by frame.

use std::time::Duration;

use sealstream_broker::log::LogEngine;
use sealstream_broker::server::{BrokerOptions, GroupOptions};
use sealstream_protocol::message::consume::{Membership, Position, Subscribe, SubscriptionEnded};
use sealstream_protocol::message::group::{
    Assignment, Commit, Committed, Heartbeat, JoinGroup, LeaveGroup, NO_PLACE, Progress, Released, Revoke,
};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{Fault, Message};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::harness::{PATIENCE, TestBroker, Wire, subscription_to};

/// Graces that pass within a test: a second, of which a third is a heartbeat.
pub(super) fn impatient() -> BrokerOptions {
    let groups = GroupOptions {
        grace: Duration::from_millis(900),
        heartbeat: Duration::from_millis(200),
        release: Duration::from_millis(400),
        ..GroupOptions::default()
    };
    BrokerOptions { groups, ..BrokerOptions::default() }
}

pub(super) struct Member {
    pub(super) wire: Wire,
    pub(super) id: Uuid,
    pub(super) group: String,
    /// What it was assigned and has not given up.
    pub(super) has: Vec<Assignment>,
    request: u64,
}

pub(super) fn join_of(group: &str, id: Uuid, topics: &[&str]) -> Message {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    Message::JoinGroup(JoinGroup { group: group.into(), member: id, topics })
}

impl Member {
    /// Joins, and takes what it is assigned first.
    pub(super) async fn join<E: LogEngine + 'static>(
        broker: &TestBroker<E>,
        group: &str,
        id: Uuid,
        topics: &[&str],
    ) -> Self {
        let mut wire = broker.session(SessionKind::Group).await;
        wire.send(join_of(group, id, topics)).await;
        match wire.recv().await {
            Message::Joined(_) => {}
            other => panic!("Joined was due: {other:?}"),
        }
        let mut member = Self { wire, id, group: group.into(), has: Vec::new(), request: 0 };
        member.recv_assign().await;
        member
    }

    /// The next frame, while heartbeats keep the member in.
    pub(super) async fn recv(&mut self) -> Message {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "nothing came");
            let beat = Instant::now() + Duration::from_millis(150);
            match timeout_at(beat, self.wire.recv()).await {
                Ok(message) => return message,
                Err(_) => self.wire.send(Message::Heartbeat(Heartbeat { progress: vec![] })).await,
            }
        }
    }

    /// What an Assign adds.
    pub(super) async fn recv_assign(&mut self) -> Vec<Assignment> {
        match self.recv().await {
            Message::Assign(assign) => {
                self.has.extend(assign.assignments.clone());
                assign.assignments
            }
            other => panic!("an Assign was due: {other:?}"),
        }
    }

    pub(super) async fn recv_revoke(&mut self) -> Revoke {
        match self.recv().await {
            Message::Revoke(revoke) => revoke,
            other => panic!("a Revoke was due: {other:?}"),
        }
    }

    /// The partitions that it has, with their epochs, in order.
    pub(super) fn partitions(&self) -> Vec<(u32, u32)> {
        let mut partitions: Vec<_> = self.has.iter().map(|has| (has.at.partition, has.epoch)).collect();
        partitions.sort_unstable();
        partitions
    }

    pub(super) fn progress(&self, partition: u32, offset: u64) -> Progress {
        let has = self.has.iter().find(|has| has.at.partition == partition).expect("it has the partition");
        Progress { at: has.at.clone(), epoch: has.epoch, offset, log_epoch: u32::from(offset != NO_PLACE) }
    }

    /// Gives up what was revoked, or anything else.
    pub(super) async fn release(&mut self, places: &[(u32, u64)]) {
        let progress = places.iter().map(|(partition, offset)| self.progress(*partition, *offset)).collect();
        self.has.retain(|has| !places.iter().any(|(partition, _)| *partition == has.at.partition));
        self.wire.send(Message::Released(Released { progress })).await;
    }

    /// Commits, and gives what was refused.
    pub(super) async fn commit(&mut self, progress: Vec<Progress>) -> Vec<Fault> {
        self.request += 1;
        let request = self.request;
        self.wire.send(Message::Commit(Commit { request, progress })).await;
        match self.recv().await {
            Message::Committed(Committed { request: answered, refused }) => {
                assert_eq!(answered, request);
                refused.into_iter().map(|(_, fault)| fault).collect()
            }
            other => panic!("Committed was due: {other:?}"),
        }
    }

    pub(super) async fn leave(mut self) {
        self.wire.send(Message::LeaveGroup(LeaveGroup {})).await;
        loop {
            match self.recv().await {
                Message::Left(_) => break,
                Message::Assign(_) | Message::Revoke(_) => {}
                other => panic!("Left was due: {other:?}"),
            }
        }
        self.wire.recv_end().await;
    }

    /// As its subscription to a partition of a topic.
    pub(super) fn subscription(&self, topic: &str, partition: u32) -> Subscribe {
        let epoch = self.progress(partition, 0).epoch;
        let group = Some(Membership { group: self.group.clone(), member: self.id, epoch });
        Subscribe { group, ..subscription_to(partition, topic, partition, Position::Beginning) }
    }
}

/// The fault with which a subscription ends; what was under way to it before does not matter.
pub(super) async fn recv_ended(consumer: &mut Wire, subscription: u32) -> Fault {
    loop {
        match consumer.recv().await {
            Message::SubscriptionEnded(SubscriptionEnded { subscription: id, fault: Some(fault) }) => {
                assert_eq!(id, subscription);
                return fault;
            }
            Message::Data(_) => {}
            other => panic!("an end was due: {other:?}"),
        }
    }
}
