//! Where a consumer stands in one partition: what to ask for, what to make of what comes, when it is done.
//!
//! Pure: no I/O, no clock.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealstream_protocol::entry::Entries;
use sealstream_protocol::message::consume::{Position, Subscribe, Subscribed};
use sealstream_protocol::message::{Fault, FaultClass, FaultCode};
use tokio::time::Instant;

use super::error::ConsumeError;
use super::options::{OnDiverged, OnOutOfRange};
use super::reading::{Reading, Terms};
use super::record::ConsumedBatch;
use crate::backoff::{Retries, RetryPolicy};
use crate::error::{elsewhere, retry_after};

/// See the module.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(super) reading: Arc<Reading>,
    /// Where to start, until the broker has said which offset that is.
    position: Position,
    /// The next offset.
    next: Option<u64>,
    /// The log epoch of the last record below it that was seen.
    epoch: Option<u32>,
    /// Where to stop.
    end: Option<u64>,
    /// The subscription of this session, while there is one.
    pub(super) subscription: Option<u32>,
    /// Not subscribed again before this.
    pub(super) resume_at: Option<Instant>,
    /// Where the broker says that the partition is.
    pub(super) elsewhere: Option<String>,
    /// How often it was sent on since the last record.
    pub(super) hops: u32,
    retries: Retries,
}

/// What a Data frame held.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) batches: Vec<ConsumedBatch>,
    /// What is wrong with the rest of it.
    pub(super) error: Option<ConsumeError>,
}

impl Cursor {
    /// Begins at `position`. `epoch` is the log epoch of the record below it, where that is known.
    pub(crate) fn new(
        reading: Arc<Reading>,
        position: Position,
        epoch: Option<u32>,
        policy: RetryPolicy,
    ) -> Self {
        Self {
            reading,
            position,
            next: None,
            epoch,
            end: None,
            subscription: None,
            resume_at: None,
            elsewhere: None,
            hops: 0,
            retries: Retries::new(policy),
        }
    }

    pub(super) fn partition(&self) -> u32 {
        self.reading.partition
    }

    /// The reading's number.
    pub(super) fn id(&self) -> u64 {
        self.reading.id
    }

    fn terms(&self) -> &Terms {
        &self.reading.terms
    }

    /// Whether everything up to the end was read.
    pub(super) fn is_done(&self) -> bool {
        matches!((self.next, self.end), (Some(next), Some(end)) if next >= end)
    }

    /// Whether to subscribe now.
    pub(super) fn wants_subscription(&self, now: Instant) -> bool {
        self.subscription.is_none() && self.elsewhere.is_none() && self.resume_at.is_none_or(|at| at <= now)
    }

    /// Asks for what comes next.
    pub(super) fn subscribe(&mut self, subscription: u32) -> Subscribe {
        self.subscription = Some(subscription);
        self.resume_at = None;
        Subscribe {
            subscription,
            topic: self.terms().topic.to_string(),
            partition: self.partition(),
            position: self.next.map_or(self.position, Position::Offset),
            topic_id: Some(self.terms().topic_id),
            epoch: self.epoch,
            group: self.reading.membership.clone(),
        }
    }

    /// The broker has said where the records start.
    pub(super) fn subscribed(&mut self, subscribed: &Subscribed) -> Result<(), String> {
        if let Some(next) = self.next
            && subscribed.offset != next
        {
            return Err(format!("subscribed at offset {next} and answered with {}", subscribed.offset));
        }
        self.next = Some(subscribed.offset);
        self.reading.started(subscribed.offset);
        if self.terms().until_end {
            self.end.get_or_insert(subscribed.end);
        }
        Ok(())
    }

    /// Takes the entries of a Data frame, in order and without a gap; `None` before the broker has said where they
    /// start.
    pub(super) fn take(&mut self, entries: Bytes) -> Option<Taken> {
        self.next?;
        let mut taken = Taken::default();
        for entry in Entries::new(entries) {
            if self.is_done() {
                break;
            }
            let next = self.next.unwrap_or_default();
            let checked = entry.map_err(|error| error.to_string()).and_then(|entry| {
                let base = entry.header.base_offset;
                let after = base.checked_add(u64::from(entry.batch.header().count));
                match after.filter(|after| base <= next && *after > next) {
                    Some(after) => Ok((entry, after)),
                    None => Err(format!("an entry that begins at offset {base} came in its place")),
                }
            });
            match checked {
                Ok((entry, after)) => {
                    self.next = Some(after);
                    self.epoch = Some(entry.header.log_epoch);
                    taken.batches.push(ConsumedBatch {
                        partition: self.partition(),
                        entry: entry.header,
                        batch: entry.batch,
                        from: next,
                    });
                }
                Err(reason) => {
                    taken.error = Some(self.corrupt(next, reason));
                    break;
                }
            }
        }
        if !taken.batches.is_empty() {
            self.retries.succeeded();
            self.hops = 0;
        }
        Some(taken)
    }

    /// The broker has ended the subscription. An error is the reading's end.
    pub(super) fn ended(&mut self, fault: Option<Fault>, now: Instant) -> Result<(), ConsumeError> {
        self.subscription = None;
        let Some(fault) = fault else { return Ok(()) };
        let topic = self.terms().topic.to_string();
        let partition = self.partition();
        match fault.code_known() {
            Some(FaultCode::TopicGone) => return Err(ConsumeError::TopicGone { topic }),
            Some(FaultCode::OutOfRange) => return self.out_of_range(&fault, now),
            Some(FaultCode::Diverged) => return self.diverged(&fault, now),
            _ => {}
        }
        match fault.class {
            FaultClass::Caller => return Err(ConsumeError::Refused { topic, partition, fault }),
            FaultClass::RetryElsewhere => self.elsewhere = elsewhere(&fault).map(str::to_owned),
            FaultClass::RetryLater | FaultClass::Broker => {}
        }
        self.give_time(fault, now)
    }

    /// The log does not hold what comes next: retention was faster, or it was never there.
    fn out_of_range(&mut self, fault: &Fault, now: Instant) -> Result<(), ConsumeError> {
        let (next, position) = match self.terms().on_out_of_range {
            OnOutOfRange::Error => {
                let (topic, partition) = (self.terms().topic.to_string(), self.partition());
                let offset = self.asked();
                return Err(ConsumeError::OutOfRange { topic, partition, offset, nearest: fault.offset });
            }
            OnOutOfRange::Earliest => (fault.offset, Position::Beginning),
            OnOutOfRange::Latest => (None, Position::End),
        };
        self.jump(next, position, fault, now);
        Ok(())
    }

    /// The log was cut below what was read of it.
    fn diverged(&mut self, fault: &Fault, now: Instant) -> Result<(), ConsumeError> {
        if let (OnDiverged::Resume, Some(parting)) = (self.terms().on_diverged, fault.offset) {
            self.jump(Some(parting), Position::Offset(parting), fault, now);
            return Ok(());
        }
        let (topic, partition) = (self.terms().topic.to_string(), self.partition());
        let offset = fault.offset.unwrap_or_else(|| self.asked());
        Err(ConsumeError::Diverged { topic, partition, offset })
    }

    /// Goes on elsewhere in the log, with nothing known of what is below.
    fn jump(&mut self, next: Option<u64>, position: Position, fault: &Fault, now: Instant) {
        let (topic, partition) = (&*self.terms().topic, self.partition());
        tracing::warn!(topic, partition, %fault, "going on over a gap");
        self.next = next;
        self.position = position;
        self.epoch = None;
        self.wait(None, now);
    }

    /// The session is gone: everything is asked for again in the next one.
    pub(super) fn session_lost(&mut self) {
        self.subscription = None;
    }

    /// The partition has been moved to another session; `after` holds it back.
    pub(super) fn moved(&mut self, after: Option<Instant>) {
        self.elsewhere = None;
        self.subscription = None;
        self.resume_at = after;
    }

    /// Damage at `offset`.
    pub(super) fn corrupt(&self, offset: u64, reason: String) -> ConsumeError {
        ConsumeError::Corrupt {
            topic: self.terms().topic.to_string(),
            partition: self.partition(),
            offset,
            reason,
        }
    }

    /// Subscribes again later, unless the time for it is up.
    fn give_time(&mut self, fault: Fault, now: Instant) -> Result<(), ConsumeError> {
        if let Some(delay) = self.retries.after_failure(retry_after(&fault), now) {
            // Once until it succeeds, and aloud: nothing comes meanwhile.
            if self.retries.failures() == 1 && fault.class != FaultClass::RetryElsewhere {
                let (topic, partition) = (&*self.terms().topic, self.partition());
                tracing::warn!(topic, partition, %fault, "cannot read a partition for now: trying again");
            }
            self.resume_at = Some(now + delay);
            return Ok(());
        }
        let (topic, partition) = (self.terms().topic.to_string(), self.partition());
        Err(ConsumeError::Refused { topic, partition, fault })
    }

    fn wait(&mut self, hint: Option<Duration>, now: Instant) {
        self.resume_at = Some(now + self.retries.pause(hint, now));
    }

    /// The offset that was asked for, as far as it was one.
    fn asked(&self) -> u64 {
        match (self.next, self.position) {
            (Some(next), _) => next,
            (None, Position::Offset(offset)) => offset,
            (None, _) => 0,
        }
    }
}
