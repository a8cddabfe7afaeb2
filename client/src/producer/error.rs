//! What can go wrong with producing: opening, sending, delivering.

use std::time::Duration;

use sealstream_protocol::message::{Fault, FaultClass};

use crate::error::SessionError;

/// Why a producer could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenProducerError {
    /// There is no session with a broker.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The broker does not let this topic be produced to.
    #[error("cannot produce to topic {topic}: {fault}")]
    Refused {
        /// The topic.
        topic: String,
        /// What the broker said.
        fault: Fault,
    },
}

impl OpenProducerError {
    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Session(error) => error.is_retryable(),
            Self::Refused { fault, .. } => fault.class != FaultClass::Caller,
        }
    }
}

/// Why a record was not taken. Nothing of it was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The record can never be sent.
    #[error(
        "a record of up to {size} bytes as encoded exceeds the broker's limit of {limit}: make it smaller"
    )]
    TooLarge {
        /// An upper bound of its encoded size, in bytes.
        size: usize,
        /// What a batch may hold, in bytes.
        limit: usize,
    },
    /// The topic has no such partition.
    #[error("partition {partition} does not exist: the topic has {partitions}, from 0")]
    UnknownPartition {
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The producer was closed, or failed for good.
    #[error("the producer is closed: {0}")]
    Closed(DeliveryError),
}

/// Why a record was not taken at once. Nothing of it was sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The window is full: wait for deliveries, or use [`send`](super::Producer::send), which waits.
    #[error("the producer's window is full")]
    WindowFull,
    /// It would not be taken later either.
    #[error(transparent)]
    Refused(#[from] SendError),
}

/// Why a record was not delivered, as far as the producer knows. Cheap to clone: all records of a batch share it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The broker refused the batch for good.
    #[error("refused: {fault}{}", doubt(*.maybe_stored))]
    Refused {
        /// What the broker said.
        fault: Fault,
        /// Whether an earlier attempt, whose answer was lost, may have stored it.
        maybe_stored: bool,
    },
    /// The delivery timeout passed.
    #[error("not delivered within {after:?}{}{}", refusal_of(.refusal.as_deref()), doubt(*.maybe_stored))]
    TimedOut {
        /// The delivery timeout.
        after: Duration,
        /// Why the broker took none of the partition's batches when it last answered, if it did not.
        refusal: Option<Box<Fault>>,
        /// Whether an attempt whose answer is missing may have stored it.
        maybe_stored: bool,
    },
    /// A batch before it in its partition failed while the answer to this one was missing: sending it again could
    /// store it twice.
    #[error("a batch before it failed, and whether this one was stored is unknown")]
    Indeterminate,
    /// The session with the broker was lost for good.
    #[error("{source}{}", doubt(*.maybe_stored))]
    Session {
        /// Why.
        source: SessionError,
        /// Whether an attempt whose answer is missing may have stored it.
        maybe_stored: bool,
    },
    /// The producer was closed or dropped before the record was delivered.
    #[error("the producer was closed before the record was delivered{}", doubt(*.maybe_stored))]
    Closed {
        /// Whether an attempt whose answer is missing may have stored it.
        maybe_stored: bool,
    },
}

impl DeliveryError {
    /// Whether sending the record again may succeed. If it [may be stored](Self::maybe_stored) already, it may then
    /// be there twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { fault, .. } => fault.class != FaultClass::Caller,
            Self::TimedOut { .. } | Self::Indeterminate => true,
            Self::Session { source, .. } => source.is_retryable(),
            Self::Closed { .. } => false,
        }
    }

    /// Whether the record may be stored all the same.
    pub fn maybe_stored(&self) -> bool {
        match self {
            Self::Refused { maybe_stored, .. }
            | Self::TimedOut { maybe_stored, .. }
            | Self::Session { maybe_stored, .. }
            | Self::Closed { maybe_stored } => *maybe_stored,
            Self::Indeterminate => true,
        }
    }

    /// The same, of a batch whose outcome is in doubt or not.
    pub(super) fn with_doubt(mut self, in_doubt: bool) -> Self {
        match &mut self {
            Self::Refused { maybe_stored, .. }
            | Self::TimedOut { maybe_stored, .. }
            | Self::Session { maybe_stored, .. }
            | Self::Closed { maybe_stored } => *maybe_stored = in_doubt,
            Self::Indeterminate => {}
        }
        self
    }
}

fn refusal_of(refusal: Option<&Fault>) -> String {
    refusal.map(|fault| format!("; the broker said last: {fault}")).unwrap_or_default()
}

fn doubt(maybe_stored: bool) -> &'static str {
    if maybe_stored { "; an earlier attempt may have stored it" } else { "" }
}
