//! What can go wrong with being a member of a group: joining, reading, committing.

use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::{Fault, FaultClass, FaultCode};
use sealstream_protocol::name::NameError;
use uuid::Uuid;

use super::options::MAX_TOPICS;
use crate::bounds::OptionError;
use crate::consumer::ConsumeError;
use crate::error::SessionError;

/// Why there is no membership, or no longer one.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// match client.group_consumer("billing").topic("orders").open().await {
///     Ok(consumer) => println!("joined {}", consumer.handle().group()),
///     Err(error) if error.is_retryable() => println!("later: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// An option has a value that it cannot have.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The group's name is not one.
    #[error("cannot use the group's name: {0}")]
    Name(NameError),
    /// There is nothing to read.
    #[error("a member of a group reads at least one topic and at most {MAX_TOPICS}: {topics} were given")]
    Topics {
        /// How many were given.
        topics: usize,
    },
    /// There is no session with the group's broker, or it says no: a missing permission, a name that no topic can have.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Another process is this very member now: it was given the same member id.
    #[error(
        "member {member} of group {group} was taken over by another stream: give each process a member id of its own"
    )]
    Fenced {
        /// The group.
        group: String,
        /// The member.
        member: Uuid,
    },
}

impl JoinError {
    /// Whether joining again may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Session(error) => error.is_retryable(),
            Self::Option(_) | Self::Name(_) | Self::Topics { .. } | Self::Fenced { .. } => false,
        }
    }
}

/// Why a group's records cannot be had.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// while let Some(record) = consumer.next().await {
///     match record {
///         Ok(record) => println!("{:?}", record.value),
///         // The consumer's end.
///         Err(error) if error.is_final() => return Err(error.into()),
///         // One partition stands still, the others go on.
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// One partition cannot be read on. It stands still, the others go on; what was finished of it is committed.
    /// [`GroupConsumer::seek`](super::GroupConsumer::seek) or [`resume`](super::GroupConsumer::resume) gets it going.
    #[error(transparent)]
    Partition(ConsumeError),
    /// Nothing can be read any more: the consumer is at its end.
    #[error(transparent)]
    Consume(ConsumeError),
    /// The membership is over: the consumer is at its end.
    #[error(transparent)]
    Member(#[from] JoinError),
}

impl GroupError {
    /// Whether it is the consumer's end: `next` gives `None` from here on.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Partition(_))
    }

    /// Whether the same may succeed later, by a new consumer if it is final.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Partition(error) | Self::Consume(error) => error.is_retryable(),
            Self::Member(error) => error.is_retryable(),
        }
    }
}

/// A partition whose commit was refused, and why.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::group::CommitError;
///
/// if let Err(CommitError::Refused(refused)) = consumer.commit().await {
///     for one in refused {
///         eprintln!("{}/{}: {}", one.topic, one.partition, one.fault);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedCommit {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// What the broker said; of class `Caller` with code `stale-epoch` if the partition belongs to another by now.
    pub fault: Fault,
}

/// Why positions are not committed. A record whose commit failed is delivered again, here or elsewhere.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// match consumer.commit().await {
///     Ok(()) => println!("durable"),
///     Err(error) if error.is_lost_assignment() => println!("others have them, and do it again: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A partition is not assigned to this member, or no longer under the epoch of the position. Nothing was sent.
    #[error(
        "topic {topic} partition {partition} is not assigned to this member (any more): its owner commits it"
    )]
    NotAssigned {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: u32,
    },
    /// The broker refused these; the others are durable.
    #[error("not committed: {}", list(.0))]
    Refused(Vec<RefusedCommit>),
    /// The membership ended, or the consumer was closed, before the answer came: whether they are committed is unknown.
    #[error("the membership ended before the commit was answered{}", reason(.0.as_ref()))]
    Ended(Option<JoinError>),
    /// The consumer was closed, and the broker did not answer within the client's close timeout.
    #[error("the broker did not answer within {after:?}: whether the positions are committed is unknown")]
    TimedOut {
        /// The close timeout.
        after: Duration,
    },
}

impl CommitError {
    /// Whether all of it is because partitions belong to others by now: nothing is lost by it, their owners deliver
    /// the records again.
    pub fn is_lost_assignment(&self) -> bool {
        match self {
            Self::NotAssigned { .. } => true,
            Self::Refused(refused) => refused.iter().all(|refused| is_stale(&refused.fault)),
            Self::Ended(_) | Self::TimedOut { .. } => false,
        }
    }
}

/// Whether the partition belongs to another by now.
pub(super) fn is_stale(fault: &Fault) -> bool {
    matches!(fault.code_known(), Some(FaultCode::StaleEpoch | FaultCode::MemberFenced))
}

/// Whether committing again may succeed. It is always safe: a position committed twice is committed.
pub(super) fn may_pass(fault: &Fault) -> bool {
    fault.class != FaultClass::Caller
}

fn list(refused: &[RefusedCommit]) -> String {
    let name = |RefusedCommit { topic, partition, fault }: &RefusedCommit| {
        format!("topic {topic} partition {partition}: {fault}")
    };
    refused.iter().map(name).collect::<Vec<_>>().join("; ")
}

fn reason(error: Option<&JoinError>) -> String {
    error.map(|error| format!(": {error}")).unwrap_or_default()
}
