//! The writing half: answers, as soon as they are known, together where several are.

use futures_util::FutureExt as _;
use sealstream_client::wire::{FrameWriter, WireError};
use sealstream_protocol::message::produce::{Ack, ProduceRefused};
use sealstream_protocol::message::{Fault, Message};
use tokio::sync::mpsc;

use super::gaps::Gaps;
use super::lanes::{Lanes, Pending, Refused, Settled, Tally};
use crate::log::{CommitError, Outcome, Refusal};
use crate::quotas::Allowance;
use crate::server::admission;
use crate::server::broker::Core;
use crate::server::faults;
use crate::server::session::heart::Heart;
use crate::server::session::shutting_down;

/// What the reading half hands over. Small: room for 32 of them is there while a session lasts.
pub(super) enum Item {
    /// A frame to be written, and its part of the window.
    Frame(Box<(Message, Option<admission::Bytes>)>),
    /// A batch to be answered.
    Batch(Box<Pending>),
}

impl Item {
    /// A frame to be written, and its part of the window.
    pub(super) fn frame(message: Message, share: Option<admission::Bytes>) -> Self {
        Self::Frame(Box::new((message, share)))
    }
}

pub(super) struct Outgoing<'a> {
    core: &'a Core,
    writer: &'a mut FrameWriter,
    heart: &'a Heart,
    /// Takes back what was spent for batches that are not stored.
    allowance: &'a Allowance,
    lanes: &'a mut Lanes,
    gaps: Gaps,
    /// Parts of the window whose answers the transport has not taken yet.
    unwritten: Vec<admission::Bytes>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(
        core: &'a Core,
        writer: &'a mut FrameWriter,
        heart: &'a Heart,
        allowance: &'a Allowance,
        lanes: &'a mut Lanes,
    ) -> Self {
        Self { core, writer, heart, allowance, lanes, gaps: Gaps::default(), unwritten: Vec::new() }
    }

    /// Writes answers until nothing more comes in and every batch is answered.
    pub(super) async fn write(&mut self, items: &mut mpsc::Receiver<Item>) -> Result<(), WireError> {
        let mut reading = true;
        let mut told = false;
        while reading || !self.lanes.is_empty() || self.writer.needs_flush() {
            // In this order: all answers that are known are in the buffer before it is written.
            tokio::select! {
                biased;
                Some(settled) = self.lanes.next() => self.answer(settled),
                item = items.recv(), if reading => match item {
                    Some(item) => self.take(item),
                    None => reading = false,
                },
                () = self.core.draining.cancelled(), if !told => {
                    told = true;
                    self.writer.feed(&Message::GoAway(shutting_down()));
                }
                written = self.writer.flush(), if self.writer.needs_flush() => {
                    written?;
                    self.unwritten.clear();
                    self.heart.sent();
                }
            }
        }
        Ok(())
    }

    /// Queues the answers that are known already, and waits for nothing.
    pub(super) fn answer_known(&mut self, items: &mut mpsc::Receiver<Item>) {
        while let Ok(item) = items.try_recv() {
            self.take(item);
        }
        while let Some(Some(settled)) = self.lanes.next().now_or_never() {
            self.answer(settled);
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Batch(pending) => self.lanes.push(*pending),
            Item::Frame(frame) => {
                let (message, share) = *frame;
                self.writer.feed(&message);
                self.unwritten.extend(share);
            }
        }
    }

    fn answer(&mut self, mut settled: Settled) {
        let request = settled.request;
        let spent = std::mem::take(&mut settled.spent);
        if settled.outcome.as_ref().is_err_and(Refused::is_definite) {
            self.allowance.refund(spent);
        }
        let message = match self.judge(&settled) {
            Ok((base_offset, epoch, duplicate)) => {
                self.count(&settled, duplicate);
                let trace = settled.tally.trace;
                trace.number("offset", base_offset);
                trace.done(if duplicate { "duplicate" } else { "stored" });
                Message::Ack(Ack { request, base_offset, epoch, duplicate })
            }
            Err(fault) => {
                self.core.meters.refused(fault.code_known());
                settled.tally.trace.refused(&fault);
                Message::ProduceRefused(ProduceRefused { request, fault })
            }
        };
        self.writer.feed(&message);
        self.unwritten.push(settled.window);
    }

    fn count(&self, settled: &Settled, duplicate: bool) {
        let Tally { meter, records, bytes, since, .. } = &settled.tally;
        self.core.meters.acknowledged(settled.topic.durability, since.elapsed(), duplicate);
        if !duplicate {
            meter.produced_batches.add(1);
            meter.produced_records.add(*records);
            meter.produced_bytes.add(*bytes);
        }
    }

    /// Base offset, epoch and whether it is a duplicate; or why not.
    fn judge(&mut self, settled: &Settled) -> Result<(u64, u32, bool), Fault> {
        let Settled { topic, partition, sequence, outcome, .. } = settled;
        let place = || faults::place(&self.core.topics, topic, *partition);
        match outcome {
            Ok(outcome) => {
                if let Some((producer, sequence)) = *sequence {
                    self.gaps.stored(*partition, producer, sequence);
                }
                match *outcome {
                    Outcome::Appended { base_offset, epoch } => Ok((base_offset, epoch, false)),
                    Outcome::Duplicate { base_offset, epoch } => Ok((base_offset, epoch, true)),
                    Outcome::OffsetCommitted | Outcome::OffsetsForgotten | Outcome::MetaPut { .. } => {
                        unreachable!("an append came out as {outcome:?}")
                    }
                }
            }
            Err(refused) => {
                let fault = match (refused, self.missing_before(settled)) {
                    (
                        Refused::Commit(CommitError::Refused { refusal: Refusal::UnknownProducer, .. }),
                        Some(missing),
                    ) => place().out_of_sequence(missing),
                    (Refused::Early(fault), _) => fault.clone(),
                    (Refused::Commit(error), _) => place().commit(error),
                    (Refused::Durability(error), _) => place().durability(error),
                };
                // What comes behind a gap makes no gap of its own.
                if let (Some((producer, sequence)), None) = (*sequence, self.missing_before(settled)) {
                    self.gaps.refused(*partition, producer, sequence);
                }
                Err(fault)
            }
        }
    }

    /// The sequence before this batch's that was refused and not stored since.
    fn missing_before(&self, settled: &Settled) -> Option<u64> {
        let (producer, sequence) = settled.sequence?;
        self.gaps.missing(settled.partition, producer).filter(|missing| *missing < sequence)
    }
}
