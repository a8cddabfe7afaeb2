//! What can go wrong with consuming.

use sealstream_protocol::message::{Fault, FaultClass};

use crate::admin::AdminError;
use crate::bounds::OptionError;
use crate::error::SessionError;

/// A consumer cannot read on from elsewhere: see [`Consumer::seek`](super::Consumer::seek).
///
/// ```no_run
/// # fn example(mut consumer: sealstream_client::Consumer) {
/// use sealstream_client::Position;
///
/// if let Err(error) = consumer.seek(7, Position::Beginning) {
///     eprintln!("{error}");
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeekError {
    /// The partition is not one that it reads.
    #[error("this consumer does not read partition {partition} of topic {topic}")]
    NotRead {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
    },
    /// It has given an error, after which it is at its end.
    #[error("the consumer of topic {topic} has ended with an error: open another")]
    Ended {
        /// The topic.
        topic: String,
    },
}

/// Why records cannot be had. After an error the stream is at its end; what was read before it was delivered.
///
/// ```
/// use sealstream_client::ConsumeError;
///
/// let error = ConsumeError::TopicGone { topic: "orders".to_owned() };
/// assert!(!error.is_retryable(), "{error}");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// There is no session with a broker.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The topic could not be looked up.
    #[error(transparent)]
    Lookup(#[from] AdminError),
    /// An option has a value that it cannot have.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The topic has no such partition.
    #[error("topic {topic} has no partition {partition}: it has {partitions}, from 0")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The broker does not let the partition be read.
    #[error("cannot read topic {topic} partition {partition}: {fault}")]
    Refused {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What the broker said.
        fault: Fault,
    },
    /// The topic was deleted, and perhaps made again: its records are gone.
    #[error("topic {topic} was deleted while it was read; one of that name today is another topic")]
    TopicGone {
        /// The topic.
        topic: String,
    },
    /// The log does not hold the offset: it was deleted by retention, or was never there. A consumer that is opened with
    /// [`on_out_of_range`](super::ConsumerBuilder::on_out_of_range) goes on by itself.
    #[error(
        "topic {topic} partition {partition} does not hold offset {offset}{}",
        nearest.map_or(": start elsewhere".to_owned(), |n| format!("; the nearest is {n}: start there"))
    )]
    OutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The offset asked for.
        offset: u64,
        /// The nearest that is there, if the broker told.
        nearest: Option<u64>,
    },
    /// The log was cut below what was read of it: records that were delivered from this offset on are not in the log
    /// any more, and others may be in their place.
    #[error(
        "topic {topic} partition {partition} was cut, or restored from a copy: what was read from offset {offset} on is no longer in its log, and \
         other records may take its place: start again from that offset, or from the beginning"
    )]
    Diverged {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Where what was read and the log part.
        offset: u64,
    },
    /// What arrived is not what was stored: the broker served damage, or a record that cannot be read. A broker that finds the damage
    /// itself says so: [`Refused`](Self::Refused) by [`FaultCode::Storage`](sealstream_protocol::message::FaultCode::Storage).
    #[error(
        "topic {topic} partition {partition} holds something at offset {offset} that cannot be read: {reason}; `sealstream log verify` on the \
         broker's machine says whether its log is damaged; to read what lies behind it, start at a later offset"
    )]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset that could not be read.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

impl ConsumeError {
    /// Whether reading on from the same offset may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Session(error) => error.is_retryable(),
            Self::Lookup(error) => error.is_retryable(),
            Self::Refused { fault, .. } => fault.class != FaultClass::Caller,
            _ => false,
        }
    }
}
