//! The reading half: the client's frames, and the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sealstream_client::wire::WireError;
use sealstream_protocol::message::consume::{Subscribe, SubscriptionEnded, Unsubscribe};
use sealstream_protocol::message::hello::Pong;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use sealstream_transport::BoxFuture;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::feed::{Feed, Key};
use super::subscribe::{Subscription, subscribe};
use super::turns::{Turn, Turns};
use crate::access::Action;
use crate::log::{ReadError, ReadOutcome};
use crate::quotas::{Allowance, Resource};
use crate::server::admission::ByteBudget;
use crate::server::broker::Core;
use crate::server::lane::Stay;
use crate::server::rights::Rights;
use crate::server::session::heart::Heart;
use crate::server::session::inlet::Inlet;
use crate::server::session::{End, shutting_down, unexpected};
use crate::server::trace::{Trace, number};
use crate::server::writing::{Entries, Item, Permits};

/// 4,096 subscriptions a session: at about 500 bytes each, 2 MiB.
const MAX_SUBSCRIPTIONS: usize = 4096;

/// 1 s between two looks at a quota that is spent, however long it takes: it may have been raised.
const PACE_LOOK: Duration = Duration::from_secs(1);

/// A read of the log that is under way.
type Reading = BoxFuture<'static, Read>;

/// What a read of the log gave.
struct Read {
    key: Key,
    outcome: Result<ReadOutcome, ReadError>,
    permits: Permits,
    trace: Trace,
}

/// Entries that the quota does not cover yet. Its subscription has its place for the next turn already.
struct Paced {
    item: Item,
    bytes: u64,
    subscription: u32,
    key: Key,
    trace: Trace,
}

pub(super) struct Incoming<'a> {
    core: &'a Core,
    heart: &'a Heart,
    rights: &'a Rights,
    feed: Feed,
    turns: Turns,
    /// The session's stay in the lane, if it has had one.
    stay: Option<Stay>,
    allowance: &'a mut Allowance,
    paced: Option<Paced>,
    frames: mpsc::Sender<Item>,
}

/// The writing half is gone.
struct Unheard;

impl<'a> Incoming<'a> {
    pub(super) fn new(
        core: &'a Core,
        heart: &'a Heart,
        rights: &'a Rights,
        allowance: &'a mut Allowance,
        window: ByteBudget,
        frames: mpsc::Sender<Item>,
    ) -> Self {
        let turns = Turns::new(window, core.consume_budget.clone(), core.options.data_bytes);
        Self { core, heart, rights, feed: Feed::default(), turns, stay: None, allowance, paced: None, frames }
    }

    /// Reads until the client ends its side or breaks a rule, or the broker goes.
    pub(super) async fn read(mut self, inlet: &mut Inlet) -> End {
        let mut reading: Option<Reading> = None;
        let mut rules = self.rights.watch();
        Box::pin(self.allowance.warm(Resource::Consumed)).await;
        loop {
            let taken = tokio::select! {
                biased;
                () = self.core.draining.cancelled() => {
                    let _ = self.send(Item::frame(Message::GoAway(shutting_down()))).await;
                    return End::Drained;
                }
                // Before anything that is read: the sender is the broker's, and outlives the session.
                Ok(()) = rules.changed() => self.follow_the_rules().await,
                next = self.heart.next(inlet) => match next {
                    Ok(message) => {
                        // Nothing is left of the frame but what it says.
                        drop(inlet.take_charge());
                        // Large and rare: a session that waits does not hold it.
                        match Box::pin(self.frame(message)).await {
                            Ok(taken) => taken,
                            Err(fault) => return End::Failed(fault),
                        }
                    }
                    Err(end) => return end,
                },
                read = read_on(&mut reading) => {
                    reading = None;
                    self.deliver(read).await
                }
                () = covered(self.allowance, self.paced.as_ref()) => {
                    self.go_on().await
                }
                turn = self.turns.next(),
                    if reading.is_none() && self.paced.is_none() && self.feed.has_turn() =>
                {
                    reading = self.start(turn);
                    Ok(())
                }
                () = self.turns.overstayed(self.stay.as_ref()) => {
                    tracing::info!("a consumer does not take a large batch that has others wait: its session is cut off");
                    // The stream is full of it: no reason would arrive.
                    return End::Broken(WireError::TimedOut);
                }
                stale = self.feed.wake() => match stale {
                    Some(key) => self.end_stale(key).await,
                    None => Ok(()),
                },
            };
            if let Err(Unheard) = taken {
                return End::Finished;
            }
        }
    }

    /// Acts on a frame; the outer error ends the session.
    async fn frame(&mut self, message: Message) -> Result<Result<(), Unheard>, Fault> {
        match message {
            Message::Subscribe(request) => self.subscribe(request).await,
            Message::Unsubscribe(Unsubscribe { subscription }) => {
                // Unknown: it has just ended for a reason of its own, and that was the answer.
                match self.feed.remove(subscription) {
                    Some(_) => Ok(self.end(subscription, None).await),
                    None => Ok(Ok(())),
                }
            }
            Message::Ping(ping) => {
                Ok(self.send(Item::frame(Message::Pong(Pong { nonce: ping.nonce }))).await)
            }
            Message::Pong(_) => Ok(Ok(())),
            other => Err(unexpected(&other, "Consume")),
        }
    }

    async fn subscribe(&mut self, request: Subscribe) -> Result<Result<(), Unheard>, Fault> {
        let id = request.subscription;
        if self.feed.has(id) {
            let text =
                format!("subscription {id} is there already: choose another number, or take it off first");
            return Err(Fault::new(FaultCode::BadHandle, text));
        }
        if self.feed.len() >= MAX_SUBSCRIPTIONS {
            let text =
                format!("a session holds at most {MAX_SUBSCRIPTIONS} subscriptions: open another session");
            return Ok(self.end(id, Some(Fault::new(FaultCode::InvalidRequest, text))).await);
        }
        // Before it is looked for: who may not use it is not told whether it is there.
        if let Err(fault) = self.rights.demand(Action::Consume, &request.topic) {
            return Ok(self.end(id, Some(fault)).await);
        }
        match self.heart.while_busy(subscribe(self.core, self.rights.identity(), request)).await {
            Ok((subscription, subscribed)) => {
                tracing::debug!(
                    topic = subscription.topic.name,
                    partition = subscription.partition.index,
                    offset = subscribed.offset,
                    "subscribed"
                );
                self.feed.add(subscription);
                Ok(self.send(Item::frame(Message::Subscribed(subscribed))).await)
            }
            Err(fault) => Ok(self.end(id, Some(fault)).await),
        }
    }

    /// Ends every subscription that the rules, which have changed, do not allow any more.
    async fn follow_the_rules(&mut self) -> Result<(), Unheard> {
        // Once for each topic: it may have a thousand partitions.
        let mut decided = HashMap::new();
        for (id, topic) in self.feed.topics() {
            let answer =
                decided.entry(topic.id).or_insert_with(|| self.rights.demand(Action::Consume, &topic.name));
            if let Err(fault) = answer {
                self.feed.remove(id);
                let fault = fault.clone();
                self.end(id, Some(fault)).await?;
            }
        }
        Ok(())
    }

    /// Begins the turn of whoever is next.
    fn start(&mut self, turn: Turn) -> Option<Reading> {
        let (key, subscription) = self.feed.next_turn()?;
        let (shard, partition, from) =
            (Arc::clone(&subscription.shard), subscription.partition, subscription.next);
        let turns = self.turns.clone();
        let mut trace = traced(subscription);
        Some(Box::pin(async move {
            let read = turns.read(turn, &*shard, partition, from);
            let (outcome, permits) = read.instrument(trace.span()).await;
            trace.step("read_us");
            Read { key, outcome, permits, trace }
        }))
    }

    /// Hands over what was read, and gives the subscription its place for the next turn.
    async fn deliver(&mut self, read: Read) -> Result<(), Unheard> {
        let Read { key, outcome, mut permits, trace } = read;
        let topics = &self.core.topics;
        let Some(subscription) = self.feed.get(key) else { return Ok(()) };
        if subscription.is_stale() {
            return self.end_stale(key).await;
        }
        let id = subscription.id;
        let read = match outcome {
            Ok(read) => read,
            Err(error) => {
                let fault = subscription.fault(topics, &error);
                trace.refused(&fault);
                self.feed.remove(id);
                return self.end(id, Some(fault)).await;
            }
        };
        if read.entries.is_empty() && subscription.end.has_changed().is_err() {
            // Nothing more can come: the partition was deleted after the read.
            let fault = subscription.fault(topics, &ReadError::NotOpen(subscription.partition));
            self.feed.remove(id);
            return self.end(id, Some(fault)).await;
        }
        let records = read.next.saturating_sub(subscription.next);
        subscription.next = read.next;
        let meter = Arc::clone(&subscription.meter);
        self.feed.requeue(key);
        if read.entries.is_empty() {
            trace.done("nothing new");
            return Ok(());
        }
        let bytes = read.entries.iter().map(bytes::Bytes::len).sum::<usize>();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        permits.shrink_to(bytes);
        self.stay = permits.budget.stay().or(self.stay.take());
        let entries = Entries { subscription: id, chunks: read.entries, permits };
        let item = Item::Entries(Box::new(entries));
        let bytes = u64::from(bytes);
        // What is paced is counted too: but for one that is taken off meanwhile it is handed over.
        meter.consumed_records.add(records);
        meter.consumed_bytes.add(bytes);
        trace.number("records", records);
        trace.number("bytes", bytes);
        if self.allowance.consume(bytes).is_err() {
            self.paced = Some(Paced { item, bytes, subscription: id, key, trace });
            return Ok(());
        }
        self.hand_over(item, trace).await
    }

    /// To the writing half, as soon as it has room: that waits for the client.
    async fn hand_over(&mut self, item: Item, mut trace: Trace) -> Result<(), Unheard> {
        self.send(item).await?;
        trace.step("handed_us");
        trace.done("read");
        Ok(())
    }

    /// The quota covers what was paced, and has been spent.
    async fn go_on(&mut self) -> Result<(), Unheard> {
        let Some(Paced { item, subscription, key, mut trace, .. }) = self.paced.take() else { return Ok(()) };
        trace.step("quota_us");
        // Taken off, and perhaps added again under its number: whoever reads it now is not to see the former's entries.
        if self.feed.key_of(subscription) == Some(key) { self.hand_over(item, trace).await } else { Ok(()) }
    }

    /// Its assignment is over, and it with it.
    async fn end_stale(&mut self, key: Key) -> Result<(), Unheard> {
        let Some(subscription) = self.feed.get(key) else { return Ok(()) };
        let (id, fault) = (subscription.id, subscription.stale());
        self.feed.remove(id);
        self.end(id, Some(fault)).await
    }

    async fn end(&mut self, subscription: u32, fault: Option<Fault>) -> Result<(), Unheard> {
        let ended = SubscriptionEnded { subscription, fault };
        self.send(Item::frame(Message::SubscriptionEnded(ended))).await
    }

    async fn send(&mut self, item: Item) -> Result<(), Unheard> {
        self.heart.while_busy(self.frames.send(item)).await.map_err(|_| Unheard)
    }
}

/// What is told of a read that begins now.
fn traced(subscription: &Subscription) -> Trace {
    Trace::new(tracing::debug_span!(
        "consume",
        topic = subscription.topic.name,
        partition = i64::from(subscription.partition.index),
        offset = number(subscription.next),
        records = Empty,
        bytes = Empty,
        read_us = Empty,
        quota_us = Empty,
        handed_us = Empty,
        outcome = Empty,
        otel.status_code = Empty
    ))
}

/// Resolves once the quota covered what is paced, and was spent for it; waits for ever if nothing is. Cancellation safe.
async fn covered(allowance: &mut Allowance, paced: Option<&Paced>) {
    let Some(paced) = paced else { return std::future::pending().await };
    loop {
        match allowance.consume(paced.bytes) {
            Ok(()) => return,
            Err(denied) => tokio::time::sleep(denied.retry_after.min(PACE_LOOK)).await,
        }
    }
}

/// What the read under way gives; waits for ever if there is none. Cancellation safe.
async fn read_on(reading: &mut Option<Reading>) -> Read {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
