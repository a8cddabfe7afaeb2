//! One partition's batches from their sequence to their end: what is sent, in which order, what an answer means.
//!
//! Pure: no I/O, no clock. It keeps the promise that every record is stored once and in order, or reported as failed,
//! by these rules:
//!
//! - Batches are numbered when they are first sent, and none is numbered while one [`MAX_UNANSWERED`] numbers below
//!   is not settled: as many as the broker remembers, so that a repeat of any of them is recognised.
//! - A batch whose answer was lost with its session is *in doubt*: it is sent again under the same number. Only an
//!   acknowledgement ends the doubt, for a broker goes on with what it had read of a session that was cut.
//! - After a refusal that time may cure, nothing more is sent until all that was sent is answered (the broker answers
//!   `OutOfSequence` to whatever followed); then everything goes out again in order.
//! - A batch that is refused for good leaves a *gap* that the broker waits to be filled, for ever. What follows it
//!   was not stored and cannot be stored under its old numbers, whatever still lies in some old connection: so it is
//!   numbered afresh under a new producer id once all before the gap is settled. Filling the gap with another batch
//!   instead would be wrong: a copy of a later batch that is still under way in an old session could then be taken.
//! - If the batch that left the gap was in doubt itself, those behind it that are in doubt too may be stored, and are
//!   reported as such rather than sent again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use sealstream_protocol::batch::Batch;
use sealstream_protocol::message::{Fault, FaultClass, FaultCode};
use tokio::time::Instant;
use tracing::field::{Empty, display};
use tracing::{Span, debug_span};
use uuid::Uuid;

use super::delivery::Outcome;
use super::error::DeliveryError;
use super::ticket::{Full, Settlement, Ticket};
use crate::backoff::{Retries, RetryPolicy};
use crate::error::{elsewhere, retry_after};

/// Batches of one partition that may be unanswered: the protocol has a broker remember the last 64.
pub const MAX_UNANSWERED: usize = 64;

/// How often it is told that the broker takes nothing. After so long without a refusal it is another time.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// A batch with a number.
#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    batch: Batch,
    /// The request under which it was sent in this session, while that is unanswered.
    request: Option<u64>,
    /// Whether it may be stored although no answer says so.
    in_doubt: bool,
    /// From its number to its end, for whoever traces.
    span: Span,
}

impl Flight {
    fn end(self, outcome: Outcome, out: &mut Vec<Settlement>) {
        match &outcome {
            Ok(base_offset) => self.span.record("offset", base_offset),
            Err(error) => self.span.record("error", display(error)),
        };
        out.push(Settlement { ticket: self.ticket, outcome });
    }
}

/// Where numbers stop to be of use: see the module.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The first flight behind it.
    at: usize,
    /// Whether what left the gap was in doubt.
    in_doubt: bool,
}

/// What was said of a time in which the broker refuses batches again and again.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Its beginning.
    since: Instant,
    /// When it was told last.
    at: Instant,
    /// The last refusal.
    refused: Instant,
}

/// What an answer asks of the driver.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing more.
    Done,
    /// No such request is unanswered: the broker breaks the protocol.
    Unknown,
    /// The topic is gone, and with it everything that the producer could do.
    Fatal(DeliveryError),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    partition: u32,
    producer: Uuid,
    next_sequence: u64,
    flights: VecDeque<Flight>,
    gap: Option<Gap>,
    /// Whether what was refused is to be sent again, once all that was sent is answered.
    rewind: bool,
    /// Not before this.
    resume_at: Option<Instant>,
    retries: Retries,
    /// That the broker takes nothing, as it was told last.
    told: Option<Told>,
    /// Why the broker took nothing, when it last answered: what is told of batches whose time is up.
    refusal: Option<Box<Fault>>,
    /// Where the broker says that the partition is.
    elsewhere: Option<String>,
    /// How often it was sent on since the last batch that was stored.
    pub(super) hops: u32,
}

impl Lane {
    pub(super) fn new(partition: u32, policy: RetryPolicy) -> Self {
        Self {
            partition,
            producer: Uuid::new_v4(),
            next_sequence: 0,
            flights: VecDeque::new(),
            gap: None,
            rewind: false,
            resume_at: None,
            retries: Retries::new(policy),
            told: None,
            refusal: None,
            elsewhere: None,
            hops: 0,
        }
    }

    pub(super) fn partition(&self) -> u32 {
        self.partition
    }

    /// Whether there are batches that are not settled.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether it takes a further batch.
    pub(super) fn has_room(&self) -> bool {
        // Counted by numbers: a batch that is still unsettled while later ones are stored grows old too.
        let span = self.flights.front().map_or(0, |first| self.next_sequence - first.batch.header().sequence);
        span < MAX_UNANSWERED as u64 && self.gap.is_none() && !self.rewind && self.elsewhere.is_none()
    }

    /// Numbers a batch. The builder comes back for its buffer.
    pub(super) fn accept(&mut self, full: Full) -> sealstream_protocol::batch::BatchBuilder {
        let Full { ticket, mut builder } = full;
        let batch = builder.build(self.producer, self.next_sequence);
        self.next_sequence += 1;
        let span = debug_span!(
            "produce_batch",
            partition = self.partition,
            records = ticket.records,
            bytes = batch.bytes().len(),
            sequence = batch.header().sequence,
            offset = Empty,
            error = Empty,
        );
        self.flights.push_back(Flight { ticket, batch, request: None, in_doubt: false, span });
        builder
    }

    /// The next batch to send, if one may be sent now; say [`sent`](Self::sent) when it was.
    pub(super) fn next_to_send(&mut self, now: Instant, out: &mut Vec<Settlement>) -> Option<Bytes> {
        if self.elsewhere.is_some() {
            return None;
        }
        if self.rewind {
            if self.unanswered() > 0 || self.resume_at.is_some_and(|at| now < at) {
                return None;
            }
            self.rewind = false;
            self.resume_at = None;
        }
        self.renumber_behind_gap(out);
        Some(self.unsent()?.batch.bytes().clone())
    }

    /// The batch that [`next_to_send`](Self::next_to_send) gave was sent under this request.
    pub(super) fn sent(&mut self, request: u64) {
        if let Some(flight) = self.unsent() {
            flight.request = Some(request);
        }
    }

    /// The batch of this request is stored.
    pub(super) fn acked(&mut self, request: u64, base_offset: u64, out: &mut Vec<Settlement>) -> Verdict {
        let Some(index) = self.find(request) else { return Verdict::Unknown };
        self.retries.succeeded();
        self.refusal = None;
        self.hops = 0;
        self.settle(index, Ok(base_offset), out);
        Verdict::Done
    }

    /// The batch of this request was refused.
    pub(super) fn refused(
        &mut self,
        request: u64,
        fault: Fault,
        now: Instant,
        out: &mut Vec<Settlement>,
    ) -> Verdict {
        let Some(index) = self.find(request) else { return Verdict::Unknown };
        self.flights[index].request = None;
        match (FaultCode::from_number(fault.code), fault.class) {
            (Some(FaultCode::UnknownTopic | FaultCode::TopicGone), _) => {
                return Verdict::Fatal(DeliveryError::Refused { fault, maybe_stored: false });
            }
            // Stored so long ago that its offset is forgotten: it leaves no gap.
            (Some(FaultCode::OutOfSequence), FaultClass::Caller) => {
                self.settle(index, Err(DeliveryError::Refused { fault, maybe_stored: true }), out);
            }
            (Some(FaultCode::OutOfSequence), _) => self.out_of_sequence(index, fault.offset, now),
            (Some(FaultCode::UnknownProducer), _) => self.out_of_sequence(index, Some(0), now),
            (_, FaultClass::Caller) => self.refused_for_good(index, fault, out),
            (_, FaultClass::RetryElsewhere) => {
                self.elsewhere = elsewhere(&fault).map(str::to_owned);
                self.pause(&fault, now);
            }
            (_, class) => {
                self.flights[index].in_doubt |= class == FaultClass::Broker;
                self.pause(&fault, now);
            }
        }
        Verdict::Done
    }

    /// The session is gone: what it left unanswered is in doubt, and everything is sent again in the next one.
    pub(super) fn session_lost(&mut self) {
        for (index, flight) in self.flights.iter_mut().enumerate() {
            // Behind a gap that was certainly not stored nothing can have been.
            let safe = self.gap.is_some_and(|gap| index >= gap.at && !gap.in_doubt);
            flight.in_doubt |= flight.request.take().is_some() && !safe;
        }
        self.rewind = false;
    }

    /// Fails what has passed its deadline. Says whether the session is of no more use to this lane, because its
    /// requests would be answered with nobody there to hear it.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration, out: &mut Vec<Settlement>) -> bool {
        let mut abandoned = false;
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            let in_doubt = self.flights[0].in_doubt || self.flights[0].request.is_some();
            abandoned |= self.flights[0].request.is_some();
            let refusal = self.refusal.clone();
            let error = DeliveryError::TimedOut { after: timeout, refusal, maybe_stored: in_doubt };
            self.settle(0, Err(error), out);
            let before = self.gap.is_some_and(|gap| gap.at == 0 && gap.in_doubt);
            self.gap = Some(Gap { at: 0, in_doubt: in_doubt || before });
            self.rewind = true;
        }
        abandoned
    }

    /// Fails everything. What comes later begins afresh.
    pub(super) fn fail(&mut self, error: &DeliveryError, out: &mut Vec<Settlement>) {
        while let Some(flight) = self.flights.pop_front() {
            let in_doubt = flight.in_doubt || flight.request.is_some();
            flight.end(Err(error.clone().with_doubt(in_doubt)), out);
        }
        self.begin_afresh();
        self.rewind = false;
        self.elsewhere = None;
    }

    /// When the first batch fails if it is not settled.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flights.front().map(|flight| flight.ticket.deadline)
    }

    /// When there is something to send again, if it waits for its time alone.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at.filter(|_| self.rewind && self.unanswered() == 0)
    }

    /// Where to move the partition to, once all that was sent is answered.
    pub(super) fn moves_to(&self) -> Option<&str> {
        self.elsewhere.as_deref().filter(|_| self.unanswered() == 0)
    }

    /// The partition has been moved to another session; `after` holds it back.
    pub(super) fn moved(&mut self, after: Option<Instant>) {
        self.elsewhere = None;
        self.rewind = after.is_some();
        self.resume_at = after;
    }

    /// Requests that are unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.flights.iter().filter(|flight| flight.request.is_some()).count()
    }

    fn find(&self, request: u64) -> Option<usize> {
        self.flights.iter().position(|flight| flight.request == Some(request))
    }

    /// The first batch that was not sent in this session, before any gap.
    ///
    /// Batches are sent in their order, and after a refusal none before all are answered: those under way come first.
    fn unsent(&mut self) -> Option<&mut Flight> {
        let end = self.gap.map_or(self.flights.len(), |gap| gap.at);
        let first = self.flights.partition_point(|flight| flight.request.is_some());
        debug_assert!(self.flights.range(first..).all(|flight| flight.request.is_none()));
        (first < end).then(|| &mut self.flights[first])
    }

    fn out_of_sequence(&mut self, index: usize, awaited: Option<u64>, now: Instant) {
        // The doubt stays, if there is any: this copy is not stored, but another may wait in a session that was cut.
        let sequence = self.flights[index].batch.header().sequence;
        self.rewind = true;
        // With unsettled batches before it, they are what the broker waits for. Without any, nothing that we still
        // have can fill the gap: the broker has lost what it had acknowledged.
        if index == 0 && awaited.is_some_and(|awaited| awaited < sequence) {
            tracing::warn!(partition = self.partition, ?awaited, sequence, "the broker forgot this producer");
            self.gap = Some(Gap { at: 0, in_doubt: false });
        }
        if index == 0 {
            self.wait(None, now);
        }
    }

    fn refused_for_good(&mut self, index: usize, fault: Fault, out: &mut Vec<Settlement>) {
        let in_doubt = self.flights[index].in_doubt;
        self.settle(index, Err(DeliveryError::Refused { fault, maybe_stored: in_doubt }), out);
        let gap = match self.gap {
            Some(gap) if gap.at < index => gap,
            Some(gap) => Gap { at: index, in_doubt: gap.in_doubt || in_doubt },
            None => Gap { at: index, in_doubt },
        };
        self.gap = Some(gap);
        self.rewind = true;
    }

    /// Waits before sending again, as long as the fault asks for.
    fn pause(&mut self, fault: &Fault, now: Instant) {
        self.rewind = true;
        self.tell(fault, now);
        self.refusal = Some(Box::new(fault.clone()));
        self.wait(retry_after(fault), now);
    }

    /// At the beginning of each bad time and then now and again, so that nobody waits in silence. A quota lets batches pass between two
    /// refusals: that is one time still.
    fn tell(&mut self, fault: &Fault, now: Instant) {
        let told = self.told.filter(|told| now < told.refused + TELL_AGAIN);
        let due = told.is_none_or(|told| now >= told.at + TELL_AGAIN);
        let since = told.map_or(now, |told| told.since);
        let at = told.filter(|_| !due).map_or(now, |told| told.at);
        self.told = Some(Told { since, at, refused: now });
        if !due {
            return;
        }
        let (partition, for_seconds) = (self.partition, told.map(|_| now.duration_since(since).as_secs()));
        if fault.code_known() == Some(FaultCode::QuotaExceeded) {
            tracing::warn!(partition, for_seconds, %fault, "a quota holds this producer back: it goes on as fast as that lets it");
        } else {
            tracing::warn!(partition, for_seconds, %fault, "the broker takes no batches; trying again until they have had their time");
        }
    }

    fn wait(&mut self, hint: Option<Duration>, now: Instant) {
        // How long to go on is the deadline's matter.
        let delay = self.retries.pause(hint, now);
        self.resume_at = self.resume_at.max(Some(now + delay));
    }

    fn settle(&mut self, index: usize, outcome: Result<u64, DeliveryError>, out: &mut Vec<Settlement>) {
        let Some(flight) = self.flights.remove(index) else { return };
        if let Some(gap) = &mut self.gap
            && index < gap.at
        {
            gap.at -= 1;
        }
        flight.end(outcome, out);
    }

    /// Gives what lies behind a gap new numbers, once nothing lies before it.
    fn renumber_behind_gap(&mut self, out: &mut Vec<Settlement>) {
        if self.gap.is_none_or(|gap| gap.at > 0) || self.unanswered() > 0 {
            return;
        }
        self.begin_afresh();
        for mut flight in std::mem::take(&mut self.flights) {
            if flight.in_doubt {
                flight.end(Err(DeliveryError::Indeterminate), out);
                continue;
            }
            flight.batch = flight.batch.renumbered(self.producer, self.next_sequence);
            self.next_sequence += 1;
            self.flights.push_back(flight);
        }
    }

    fn begin_afresh(&mut self) {
        self.producer = Uuid::new_v4();
        self.next_sequence = 0;
        self.gap = None;
    }
}
