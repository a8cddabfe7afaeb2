//! The reading half: checks, permits, and the order of the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealstream_protocol::batch::{Batch, BatchError, BatchHeader, Codec};
use sealstream_protocol::message::hello::Pong;
use sealstream_protocol::message::produce::{OpenRefused, OpenTopic, Produce, ProduceRefused, TopicOpened};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::sync::{mpsc, watch};
use tracing::Instrument as _;
use tracing::field::Empty;
use uuid::Uuid;

use super::gaps::Gaps;
use super::lanes::{Pending, Stage, Tally};
use super::outgoing::Item;
use crate::access::{Action, Rules};
use crate::log::{At, Op, PartitionId, Source};
use crate::quotas::{Allowance, Resource, Spent};
use crate::server::TopicMeter;
use crate::server::admission::{self, ByteBudget};
use crate::server::broker::Core;
use crate::server::faults;
use crate::server::lane::Charge;
use crate::server::rights::Rights;
use crate::server::session::heart::Heart;
use crate::server::session::inlet::Inlet;
use crate::server::session::{End, unexpected};
use crate::server::trace::{Trace, number};
use crate::topics::Topic;

/// 1 KiB of the window for every frame that will be answered, besides its batch: what is kept for an answer, its text
/// included. A window of 8 MiB thus holds at most 8,192 answers, however small the batches.
const ANSWER_BYTES: u32 = 1 << 10;

/// 16 KiB of LZ4 hold at most 4 MiB, which are checked in a few milliseconds: not worth another thread.
const CHECKED_INLINE: usize = 16 << 10;

/// 4,096 topics a session; a handle costs about 100 bytes.
const MAX_HANDLES: usize = 4096;

/// 1 s without a batch after the broker said that it is going: what was under way has come.
const GOING_QUIET: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Incoming<'a> {
    core: &'a Core,
    heart: &'a Heart,
    source: Source,
    rights: &'a Rights,
    /// Says that what was decided of the handles is to be decided again.
    rules: watch::Receiver<Arc<Rules>>,
    allowance: &'a mut Allowance,
    /// Batches that the quota did not cover. Those behind them are told so without being charged for it.
    held_back: Gaps,
    window: ByteBudget,
    handles: HashMap<u32, Handle>,
    answers: mpsc::Sender<Item>,
}

/// What a handle stands for.
#[derive(Debug)]
struct Handle {
    topic: Arc<Topic>,
    meter: Arc<TopicMeter>,
    /// Why batches for it are refused, since the rules that let it be opened have changed.
    forbidden: Option<Fault>,
}

/// Where a batch goes.
struct Target {
    topic: Arc<Topic>,
    id: PartitionId,
    meter: Arc<TopicMeter>,
    forbidden: Option<Fault>,
}

/// The writing half is gone.
struct Unheard;

impl<'a> Incoming<'a> {
    pub(super) fn new(
        core: &'a Core,
        heart: &'a Heart,
        identity: u64,
        rights: &'a Rights,
        allowance: &'a mut Allowance,
        window: ByteBudget,
        answers: mpsc::Sender<Item>,
    ) -> Self {
        let source = Source::Producer { identity };
        let rules = rights.watch();
        let (held_back, handles) = (Gaps::default(), HashMap::new());
        Self { core, heart, source, rights, rules, allowance, held_back, window, handles, answers }
    }

    /// Reads until the client ends its side, breaks a rule, or has fallen quiet after it was told that the broker goes.
    pub(super) async fn read(mut self, inlet: &mut Inlet) -> End {
        Box::pin(self.allowance.warm(Resource::Produced)).await;
        loop {
            let message = match self.next(inlet).await {
                Ok(message) => message,
                Err(end) => return end,
            };
            let charge = inlet.take_charge();
            // Large and short: a session that waits for its client does not hold them.
            let taken = match message {
                Message::Produce(produce) => match self.share_of_window(&produce, &charge).await {
                    Ok(share) => Box::pin(self.produce(produce, charge, share)).await,
                    Err(fault) => return End::Failed(fault),
                },
                Message::OpenTopic(open) => {
                    drop(charge);
                    Box::pin(self.open(open)).await
                }
                Message::Ping(ping) => {
                    drop(charge);
                    Box::pin(self.answer(Message::Pong(Pong { nonce: ping.nonce }))).await
                }
                Message::Pong(_) => Ok(()),
                other => return End::Failed(unexpected(&other, "Produce")),
            };
            if let Err(Unheard) = taken {
                return End::Finished;
            }
        }
    }

    /// A part of the window for a batch, whose frame holds `charge` while it waits; the error ends the session.
    async fn share_of_window(&self, produce: &Produce, charge: &Charge) -> Result<admission::Bytes, Fault> {
        let bytes = bytes_of(&produce.batch).saturating_add(ANSWER_BYTES);
        if let Some(share) = self.window.try_take(bytes) {
            return Ok(share);
        }
        let window = self.heart.while_busy(self.window.take(bytes));
        Box::pin(self.core.arrivals.holding(charge, window)).await
    }

    async fn next(&self, inlet: &mut Inlet) -> Result<Message, End> {
        let draining = &self.core.draining;
        if !draining.is_cancelled() {
            tokio::select! {
                biased;
                next = self.heart.next(inlet) => return next,
                () = draining.cancelled() => {}
            }
        }
        match tokio::time::timeout(GOING_QUIET, self.heart.next(inlet)).await {
            Ok(next) => next,
            Err(_) => Err(End::Drained),
        }
    }

    async fn open(&mut self, open: OpenTopic) -> Result<(), Unheard> {
        let OpenTopic { handle, name, id } = open;
        assert!(
            self.core.options.panic_topic.as_ref() != Some(&name),
            "a drill: {name:?} is the topic to panic at"
        );
        let found = match self.heart.while_busy(self.allowance.request()).await {
            Ok(()) => self.topic_for(handle, &name, id),
            Err(denied) => Err(denied.into()),
        };
        let answer = match found {
            Ok(topic) => {
                let opened = TopicOpened { handle, id: topic.id, partitions: topic.partitions };
                let meter = self.core.meters.topic(&topic.name);
                self.handles.insert(handle, Handle { topic, meter, forbidden: None });
                Message::TopicOpened(opened)
            }
            Err(fault) => Message::OpenRefused(OpenRefused { handle, fault }),
        };
        self.answer(answer).await
    }

    fn topic_for(&self, handle: u32, name: &str, id: Option<uuid::Uuid>) -> Result<Arc<Topic>, Fault> {
        if let Some(taken) = self.handles.get(&handle) {
            let topic = &taken.topic;
            if id == Some(topic.id) && name == topic.name {
                // Asked again, for the number of its partitions: it may have grown.
                self.rights.demand(Action::Produce, name)?;
                return Ok(self.core.topics.find(name, id)?);
            }
            let text = format!("handle {handle} stands for topic {:?} already: choose another", topic.name);
            return Err(Fault::new(FaultCode::BadHandle, text));
        }
        if self.handles.len() >= MAX_HANDLES {
            let text = format!("a session opens at most {MAX_HANDLES} topics: open another session");
            return Err(Fault::new(FaultCode::InvalidRequest, text));
        }
        // Before it is looked for: who may not use it is not told whether it is there.
        self.rights.demand(Action::Produce, name)?;
        Ok(self.core.topics.find(name, id)?)
    }

    /// Decides of every handle again, if the rules have changed since: without a change one load of an atomic.
    fn follow_the_rules(&mut self) {
        if !self.rules.has_changed().unwrap_or(false) {
            return;
        }
        self.rules.mark_unchanged();
        for Handle { topic, forbidden, .. } in self.handles.values_mut() {
            *forbidden = self.rights.demand(Action::Produce, &topic.name).err();
        }
    }

    /// Takes a batch, which holds `charge` until the log has it or it is refused, and `share` of the window until it is answered.
    async fn produce(
        &mut self,
        produce: Produce,
        charge: Charge,
        share: admission::Bytes,
    ) -> Result<(), Unheard> {
        let since = Instant::now();
        let Produce { request, handle, partition, batch } = produce;
        let bytes = bytes_of(&batch);
        // Behind the wait for the window, and so as late as can be.
        self.follow_the_rules();
        let Target { topic, id, meter, forbidden } = match self.target(handle, partition) {
            Ok(target) => target,
            Err(fault) => {
                drop((batch, charge));
                let refused = Message::ProduceRefused(ProduceRefused { request, fault });
                return self.send(Item::frame(refused, Some(share))).await;
            }
        };
        // Of a batch that fails validation the header is all there is to say whose sequence now has a gap.
        let header = BatchHeader::parse(&batch).ok();
        let sequence = header.map(|header| (header.producer_id, header.sequence));
        let records: u64 = header.map_or(0, |header| header.count.into());
        let mut trace = traced(&topic, partition, records, bytes);
        let span = trace.span();
        let taken = async {
            let admitted = self.admit(bytes, &topic, id, sequence, forbidden).await;
            trace.step("quota_us");
            let spent = match admitted {
                Ok(spent) => spent,
                Err(fault) => {
                    drop(batch);
                    // In its lane as any other refusal: what comes behind it must not be stored before it.
                    return (Stage::Refused(fault), Spent::default());
                }
            };
            let stage = match self.validate(batch, &topic, partition).await {
                Ok(batch) => {
                    trace.step("checked_us");
                    self.commit(batch, bytes, &topic, id, &mut trace).await
                }
                Err(fault) => Stage::Refused(fault),
            };
            (stage, spent)
        };
        let (stage, spent) = taken.instrument(span).await;
        // The log has the batch, as a part of the broker's budget for that, or it is gone.
        drop(charge);
        let tally = Tally { meter, records, bytes: bytes.into(), since, trace };
        let pending = Pending { request, topic, partition: id, sequence, stage, spent, window: share, tally };
        self.send(Item::Batch(Box::new(pending))).await
    }

    /// Whether a batch may be stored, by the rules and by the quota that it is charged to.
    async fn admit(
        &mut self,
        bytes: u32,
        topic: &Topic,
        id: PartitionId,
        sequence: Option<(Uuid, u64)>,
        forbidden: Option<Fault>,
    ) -> Result<Spent, Fault> {
        match forbidden {
            Some(fault) => Err(fault),
            None => self.spend(bytes, topic, id, sequence).await,
        }
    }

    /// Charges a batch to the quota, unless it could not be stored for a batch before it that was not covered.
    async fn spend(
        &mut self,
        bytes: u32,
        topic: &Topic,
        id: PartitionId,
        sequence: Option<(Uuid, u64)>,
    ) -> Result<Spent, Fault> {
        if let Some((producer, sequence)) = sequence
            && let Some(missing) = self.held_back.missing(id, producer).filter(|missing| *missing < sequence)
        {
            return Err(faults::place(&self.core.topics, topic, id).out_of_sequence(missing));
        }
        let spent = self.heart.while_busy(self.allowance.produce(bytes.into())).await;
        if let Some((producer, sequence)) = sequence {
            match &spent {
                Ok(_) => self.held_back.stored(id, producer, sequence),
                Err(_) => self.held_back.refused(id, producer, sequence),
            }
        }
        Ok(spent?)
    }

    fn target(&mut self, handle: u32, partition: u32) -> Result<Target, Fault> {
        let Handle { topic, meter, forbidden } = self.handles.get_mut(&handle).ok_or_else(|| {
            let text = format!("handle {handle} stands for no topic of this session: open one under it");
            Fault::new(FaultCode::BadHandle, text)
        })?;
        if topic.partition(partition).is_none() {
            // It may have been added since the topic was opened.
            *topic = self.core.topics.find(&topic.name, Some(topic.id))?;
        }
        let id = topic.partition(partition).ok_or_else(|| faults::unknown_partition(topic, partition))?;
        let (topic, meter) = (Arc::clone(topic), Arc::clone(meter));
        Ok(Target { topic, id, meter, forbidden: forbidden.clone() })
    }

    async fn validate(&self, bytes: Bytes, topic: &Topic, partition: u32) -> Result<Batch, Fault> {
        let limits = self.core.options.limits;
        let compressed = BatchHeader::parse(&bytes).is_ok_and(|header| header.codec == Codec::Lz4);
        let checked = if compressed && bytes.len() > CHECKED_INLINE {
            // Up to 32 MiB are decompressed, for tens of milliseconds: not on a thread that others wait for.
            let _place = self.heart.while_busy(self.core.decompressions.wait()).await;
            let check = tokio::task::spawn_blocking(move || Batch::validate(bytes, &limits));
            self.heart.while_busy(check).await.map_err(|error| {
                tracing::error!(%error, "validating a batch panicked");
                Fault::new(FaultCode::Internal, "the broker failed to validate the batch: its log says more")
            })?
        } else {
            Batch::validate(bytes, &limits)
        };
        checked.map_err(|error: BatchError| {
            let mut fault = Fault::from(&error);
            fault.text = format!("topic {:?}, partition {partition}: {}", topic.name, fault.text);
            fault
        })
    }

    /// Hands the batch to the log: this call fixes its place. Waits for its part of the broker's budget only.
    async fn commit(
        &self,
        batch: Batch,
        bytes: u32,
        topic: &Topic,
        id: PartitionId,
        trace: &mut Trace,
    ) -> Stage {
        let patience = self.core.options.produce_patience;
        let Some(share) = self.heart.while_busy(self.core.produce_budget.take_within(bytes, patience)).await
        else {
            return Stage::Refused(faults::place(&self.core.topics, topic, id).no_memory());
        };
        trace.step("memory_us");
        // It may have waited for seconds, and what is forbidden is not to be stored.
        if self.rules.has_changed().unwrap_or(false)
            && let Err(fault) = self.rights.demand(Action::Produce, &topic.name)
        {
            return Stage::Refused(fault);
        }
        let op = Op::Append { partition: id, at: At::Next, batch, source: self.source };
        Stage::Committing { commit: self.core.topics.shards().of(&id).commit(vec![op]), share }
    }

    async fn answer(&self, message: Message) -> Result<(), Unheard> {
        let share = match self.window.try_take(ANSWER_BYTES) {
            Some(share) => share,
            None => Box::pin(self.heart.while_busy(self.window.take(ANSWER_BYTES))).await,
        };
        self.send(Item::frame(message, Some(share))).await
    }

    async fn send(&self, item: Item) -> Result<(), Unheard> {
        self.heart.while_busy(self.answers.send(item)).await.map_err(|_| Unheard)
    }
}

/// What is told of a batch, from here until it is answered.
fn traced(topic: &Topic, partition: u32, records: u64, bytes: u32) -> Trace {
    Trace::new(tracing::debug_span!(
        "produce",
        topic = topic.name,
        partition = i64::from(partition),
        records = number(records),
        bytes = i64::from(bytes),
        quota_us = Empty,
        checked_us = Empty,
        memory_us = Empty,
        queued_us = Empty,
        written_us = Empty,
        synced_us = Empty,
        offset = Empty,
        outcome = Empty,
        otel.status_code = Empty
    ))
}

/// How large a batch is: no frame is of 4 GiB.
fn bytes_of(batch: &Bytes) -> u32 {
    u32::try_from(batch.len()).unwrap_or(u32::MAX)
}
