//! What clients are told when the log or the topics say no: whose fault it is, the topic and partition, the remedy.

use std::time::Duration;

use sealstream_protocol::message::{Fault, FaultClass, FaultCode};

use crate::access::TokenError;
use crate::log::{CommitError, DurabilityError, PartitionId, ReadError, Refusal};
use crate::topics::{FindTopicError, Topic, TopicError};

/// 100 ms: a full queue is worked off in a few rounds of fdatasync, each of 5 to 20 ms.
pub(super) const BUSY_RETRY: Duration = Duration::from_millis(100);

/// 5 s: room on a disk comes from retention or from an operator, neither of them at once.
pub(super) const DISK_RETRY: Duration = Duration::from_secs(5);

/// A partition as texts name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a Topic,
    pub(super) partition: u32,
    /// Whether the topic is still there: if not, nothing else matters.
    pub(super) topic_is_there: bool,
}

impl Place<'_> {
    fn name(&self) -> String {
        format!("partition {} of topic {:?}", self.partition, self.topic.name)
    }

    /// A partition that the log does not know: its topic was deleted, or it could not be opened.
    fn not_open(&self) -> Fault {
        if self.topic_is_there {
            let text = format!("{} could not be opened: the broker's log says why", self.name());
            Fault::new(FaultCode::Storage, text)
        } else {
            gone(self.topic)
        }
    }

    /// Why a batch was not committed, or perhaps not.
    pub(super) fn commit(&self, error: &CommitError) -> Fault {
        let name = self.name();
        match error {
            CommitError::Refused { refusal, .. } => self.refusal(refusal),
            CommitError::Busy => {
                let text = format!("{name}: the queue of its shard is full: send the batch again");
                Fault::new(FaultCode::Busy, text).retry_after(BUSY_RETRY)
            }
            CommitError::DiskFull => {
                let text = format!(
                    "{name}: no space left on the broker's disk: free some there, delete topics, or shorten their retention; batches are \
                     taken again once there is room for them and for log.reserve"
                );
                Fault::new(FaultCode::DiskFull, text).retry_after(DISK_RETRY)
            }
            CommitError::Storage(reason) => {
                let text =
                    format!("{name}: the broker's disk failed, the batch may or may not be stored: {reason}");
                Fault::new(FaultCode::Storage, text)
            }
            CommitError::Fenced => {
                // With one broker to a data directory nobody else can be named yet: ask here again.
                let text = format!("{name} has a new owner: connect again");
                Fault::new(FaultCode::NotOwner, text).class(FaultClass::RetryLater).retry_after(DISK_RETRY)
            }
            CommitError::Closed => super::session::shutting_down(),
        }
    }

    fn refusal(&self, refusal: &Refusal) -> Fault {
        let name = self.name();
        match refusal {
            Refusal::NotOpen(_) => self.not_open(),
            Refusal::ReadOnly(_) => {
                let text = format!(
                    "{name} takes no batches: its log is corrupt; an operator can look with `log verify`"
                );
                Fault::new(FaultCode::ReadOnly, text)
            }
            Refusal::OutOfSequence { expected } => self.out_of_sequence(*expected),
            Refusal::TooOld { expected } => {
                let text = format!(
                    "{name}: this batch was stored so long ago that its offset is forgotten; sequence {expected} is next"
                );
                Fault::new(FaultCode::OutOfSequence, text).class(FaultClass::Caller).offset(*expected)
            }
            Refusal::UnknownProducer => {
                let text = format!(
                    "{name}: nothing is known of this producer: begin again with a new id and sequence 0"
                );
                Fault::new(FaultCode::UnknownProducer, text)
            }
            Refusal::ProducerFenced => {
                let text =
                    format!("{name}: this producer id belongs to another identity: take a new random id");
                Fault::new(FaultCode::ProducerFenced, text)
            }
            other @ (Refusal::WrongOffset { .. } | Refusal::VersionMismatch { .. }) => {
                tracing::error!(partition = name, refusal = %other, "an append was refused for what it did not ask");
                Fault::new(FaultCode::Internal, format!("{name}: {other}"))
            }
        }
    }

    /// A batch before it is missing.
    pub(super) fn out_of_sequence(&self, expected: u64) -> Fault {
        let text =
            format!("{}: sequence {expected} is awaited: send it and what follows it again", self.name());
        Fault::new(FaultCode::OutOfSequence, text).offset(expected)
    }

    /// A batch that was in the log did not become durable.
    pub(super) fn durability(&self, error: &DurabilityError) -> Fault {
        let text = format!("{}: the batch may or may not be stored: {}", self.name(), error.reason);
        Fault::new(FaultCode::Storage, text)
    }

    /// No part of the broker's memory became free for a batch in time.
    pub(super) fn no_memory(&self) -> Fault {
        let text = format!("{}: too many batches are waiting in this broker: send it again", self.name());
        Fault::new(FaultCode::Busy, text).retry_after(BUSY_RETRY)
    }

    /// Why the log could not be read for a reader that stands at `offset`.
    pub(super) fn read(&self, offset: u64, error: &ReadError) -> Fault {
        let name = self.name();
        match error {
            ReadError::NotOpen(_) => self.not_open(),
            ReadError::OutOfRange { start, end } => {
                let text = format!(
                    "{name} holds the offsets from {start} to {end}, not {offset}: go on at the nearest"
                );
                Fault::new(FaultCode::OutOfRange, text).offset(offset.clamp(*start, (*end).max(*start)))
            }
            ReadError::Diverged { offset } => {
                let text =
                    format!("{name} was cut at offset {offset} and then written anew: read again from there");
                Fault::new(FaultCode::Diverged, text).offset(*offset)
            }
            // Said aloud by the log, and not for each who asks.
            ReadError::Damaged { offset, behind, .. } => {
                tracing::debug!(partition = name, %error, "a read met damage");
                let behind = behind.map_or(String::new(), |behind| {
                    format!(", and behind the damage from offset {behind} on")
                });
                let text = format!(
                    "{name}: {error}; it can be read up to there{behind}; `sealstream log verify` on the broker's machine says how far it is \
                     sound, and a copy restores it"
                );
                // It does not heal by itself: who repeats it is told the same.
                Fault::new(FaultCode::Storage, text).class(FaultClass::Caller).offset(*offset)
            }
            ReadError::Storage { .. } => {
                tracing::debug!(partition = name, %error, "a read failed");
                Fault::new(FaultCode::Storage, format!("{name}: {error}"))
            }
        }
    }
}

/// The topic has no partition of this number.
pub(super) fn unknown_partition(topic: &Topic, partition: u32) -> Fault {
    let text =
        format!("topic {:?} has the partitions 0 to {}, not {partition}", topic.name, topic.partitions - 1);
    Fault::new(FaultCode::UnknownPartition, text)
}

/// The topic was deleted.
pub(super) fn gone(topic: &Topic) -> Fault {
    FindTopicError::Gone { name: topic.name.clone(), id: topic.id }.into()
}

/// Where `id` is, for texts.
pub(super) fn place<'a>(topics: &crate::topics::Topics, topic: &'a Topic, id: PartitionId) -> Place<'a> {
    Place { topic, partition: id.index, topic_is_there: topics.is_there(topic) }
}

impl From<FindTopicError> for Fault {
    fn from(error: FindTopicError) -> Self {
        let code = match error {
            FindTopicError::Unknown { .. } => FaultCode::UnknownTopic,
            FindTopicError::Gone { .. } => FaultCode::TopicGone,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        let text = error.to_string();
        match error {
            TokenError::BadName(_) | TokenError::BadIdentity(_) | TokenError::NoLife | TokenError::NoRoom => {
                Self::new(FaultCode::InvalidRequest, text)
            }
            TokenError::Exists(_) => Self::new(FaultCode::TokenExists, text),
            TokenError::Unknown(_) => Self::new(FaultCode::UnknownToken, text),
            TokenError::Conflict(_) => Self::new(FaultCode::Busy, text).retry_after(BUSY_RETRY),
            TokenError::NotMade { .. } | TokenError::NotForGood { .. } => Self::new(FaultCode::Storage, text),
            TokenError::Log { source, .. } => of_commit(&source, text),
        }
    }
}

/// Why a change of metadata was not committed.
fn of_commit(error: &CommitError, text: String) -> Fault {
    match error {
        CommitError::Busy => Fault::new(FaultCode::Busy, text).retry_after(BUSY_RETRY),
        CommitError::DiskFull => Fault::new(FaultCode::DiskFull, text).retry_after(DISK_RETRY),
        CommitError::Closed => super::session::shutting_down(),
        CommitError::Storage(_) | CommitError::Fenced | CommitError::Refused { .. } => {
            Fault::new(FaultCode::Storage, text)
        }
    }
}

impl From<TopicError> for Fault {
    fn from(error: TopicError) -> Self {
        let text = error.to_string();
        match error {
            TopicError::NotFound(error) => error.into(),
            TopicError::BadName(_)
            | TopicError::FewerPartitions { .. }
            | TopicError::PartitionsTwice
            | TopicError::SegmentBytes { .. }
            | TopicError::TooManyPartitions { .. }
            | TopicError::NoRoom { .. } => Self::new(FaultCode::InvalidRequest, text),
            TopicError::Exists { .. } => Self::new(FaultCode::TopicExists, text),
            TopicError::Conflict { .. } => Self::new(FaultCode::Busy, text).retry_after(BUSY_RETRY),
            TopicError::NotDurable { .. } => Self::new(FaultCode::Storage, text),
            TopicError::Log { source, .. } => of_commit(&source, text),
        }
    }
}
