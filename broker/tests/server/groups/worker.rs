//! A member that works: reads what it is assigned, takes note of it, and commits it; and does what a storm has it do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sealstream_protocol::message::consume::{Data, Membership, Position, Subscribe, Unsubscribe};
use sealstream_protocol::message::group::{
    Assign, Assignment, Commit, Heartbeat, LeaveGroup, NO_PLACE, Progress, Released, Revoke, TopicPartition,
};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::member::join_of;
use super::storm::{Door, Seen};
use crate::harness::{Wire, subscription_to, values};

/// How long a member tries to come to a broker: one that is killed meanwhile may never answer.
const COMING: Duration = Duration::from_secs(2);

/// What a storm has a member do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Its streams break, and it comes again.
    Cut,
    /// It says nothing for longer than its grace.
    Stall,
    Leave,
}

/// A partition that it has.
struct Held {
    topic: Uuid,
    epoch: u32,
    subscription: u32,
    /// The next offset; `NO_PLACE` before anything was read or committed.
    next: u64,
}

pub(super) struct Worker {
    id: Uuid,
    door: watch::Receiver<Door>,
    seen: Arc<Mutex<Seen>>,
    held: HashMap<u32, Held>,
    subscriptions: u32,
}

/// Both sessions of a member.
struct Streams {
    group: Wire,
    consume: Wire,
}

impl Worker {
    pub(super) fn new(id: Uuid, door: watch::Receiver<Door>, seen: Arc<Mutex<Seen>>) -> Self {
        Self { id, door, seen, held: HashMap::new(), subscriptions: 0 }
    }

    /// Until it is told to leave, or killed.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let Ok(Some(mut streams)) = tokio::time::timeout(COMING, self.connect()).await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            match self.work(&mut streams, &mut orders).await {
                Some(Order::Leave) => return,
                Some(Order::Cut | Order::Stall) | None => {}
            }
        }
    }

    async fn connect(&mut self) -> Option<Streams> {
        let door = self.door.borrow().clone();
        let group = door.session(SessionKind::Group).await?;
        let consume = door.session(SessionKind::Consume).await?;
        let mut streams = Streams { group, consume };
        say(&mut streams.group, join_of("g", self.id, &["events"])).await?;
        self.held.clear();
        Some(streams)
    }

    /// Works until its streams break (`None`), or an order ends it.
    async fn work(&mut self, streams: &mut Streams, orders: &mut mpsc::Receiver<Order>) -> Option<Order> {
        let mut beats = tokio::time::interval(Duration::from_millis(150));
        let mut joined = false;
        loop {
            tokio::select! {
                order = orders.recv() => match order.unwrap_or(Order::Leave) {
                    Order::Cut => return Some(Order::Cut),
                    Order::Stall => tokio::time::sleep(Duration::from_millis(1_300)).await,
                    Order::Leave => {
                        if joined {
                            say(&mut streams.group, Message::LeaveGroup(LeaveGroup {})).await;
                        }
                        return Some(Order::Leave);
                    }
                },
                _ = beats.tick() => {
                    if joined {
                        say(&mut streams.group, Message::Heartbeat(Heartbeat { progress: vec![] })).await?;
                    }
                }
                message = streams.group.reader.next() => match message.ok()?? {
                    Message::Joined(_) => joined = true,
                    Message::Assign(assign) => self.take(streams, assign).await?,
                    Message::Revoke(revoke) => self.give_up(streams, revoke).await?,
                    Message::Committed(committed) => {
                        let late = [FaultCode::StaleEpoch, FaultCode::MemberFenced, FaultCode::ShuttingDown];
                        for (at, fault) in committed.refused {
                            let code = fault.code_known().expect("a code of this version");
                            assert!(late.contains(&code) || code == FaultCode::Busy, "{at:?}: {fault}");
                        }
                    }
                    Message::Ping(_) | Message::Pong(_) => {}
                    Message::Error(_) | Message::GoAway(_) => return None,
                    other => panic!("unexpected: {other:?}"),
                },
                message = streams.consume.reader.next() => match message.ok()?? {
                    Message::Data(data) => self.read(streams, data).await?,
                    Message::Subscribed(_)
                    | Message::SubscriptionEnded(_)
                    | Message::Ping(_)
                    | Message::Pong(_) => {}
                    Message::Error(_) | Message::GoAway(_) => return None,
                    other => panic!("unexpected: {other:?}"),
                },
            }
        }
    }

    async fn take(&mut self, streams: &mut Streams, assign: Assign) -> Option<()> {
        for Assignment { at, epoch, committed, .. } in assign.assignments {
            let owner = *self
                .seen
                .lock()
                .expect("nobody panicked")
                .owners
                .entry((at.partition, epoch))
                .or_insert(self.id);
            assert_eq!(owner, self.id, "partition {} has two owners in epoch {epoch}", at.partition);
            self.subscriptions += 1;
            let next = committed.map_or(NO_PLACE, |(offset, _)| offset);
            let held = Held { topic: at.topic, epoch, subscription: self.subscriptions, next };
            self.held.insert(at.partition, held);
            let position = committed.map_or(Position::Beginning, |(offset, _)| Position::Offset(offset));
            let group = Some(Membership { group: "g".into(), member: self.id, epoch });
            let plain = subscription_to(self.subscriptions, "events", at.partition, position);
            let epoch = committed.map(|(_, log_epoch)| log_epoch).filter(|log_epoch| *log_epoch > 0);
            let topic_id = Some(at.topic);
            say(&mut streams.consume, Message::Subscribe(Subscribe { group, epoch, topic_id, ..plain }))
                .await?;
        }
        Some(())
    }

    async fn give_up(&mut self, streams: &mut Streams, revoke: Revoke) -> Option<()> {
        let mut progress = Vec::new();
        for (at, epoch) in revoke.partitions {
            if self.held.get(&at.partition).is_none_or(|held| held.epoch != epoch) {
                continue;
            }
            let Some(Held { subscription, next, .. }) = self.held.remove(&at.partition) else { continue };
            say(&mut streams.consume, Message::Unsubscribe(Unsubscribe { subscription })).await?;
            progress.push(Progress { at, epoch, offset: next, log_epoch: 0 });
        }
        if revoke.deadline_ms > 0 {
            say(&mut streams.group, Message::Released(Released { progress })).await?;
        }
        Some(())
    }

    /// Takes note of every record, then commits: at least once.
    async fn read(&mut self, streams: &mut Streams, data: Data) -> Option<()> {
        let found = self.held.iter_mut().find(|(_, held)| held.subscription == data.subscription);
        let Some((partition, held)) = found.map(|(partition, held)| (*partition, held)) else {
            return Some(());
        };
        for (offset, _) in values(data.entries) {
            let expected = if held.next == NO_PLACE { 0 } else { held.next };
            if offset >= expected {
                assert_eq!(offset, expected, "nothing is left out");
                self.seen.lock().expect("nobody panicked").delivered.insert((partition, offset));
                held.next = offset + 1;
            }
        }
        let (epoch, offset) = (held.epoch, held.next);
        let at = TopicPartition { topic: held.topic, partition };
        let progress = vec![Progress { at, epoch, offset, log_epoch: 0 }];
        say(&mut streams.group, Message::Commit(Commit { request: offset, progress })).await
    }
}

/// Says something; `None` if nobody is there any more.
async fn say(wire: &mut Wire, message: Message) -> Option<()> {
    wire.writer.feed(&message);
    wire.writer.flush().await.ok()
}
