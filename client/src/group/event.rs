//! What happens to a membership, for whoever listens.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use uuid::Uuid;

use super::error::RefusedCommit;

/// Events that a listener may be behind by: several reassignments; one who is slower is told how many it missed.
pub(super) const EVENTS: usize = 256;

/// A partition as it is assigned to a member.
///
/// ```no_run
/// # async fn example(consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// for partition in consumer.assignment() {
///     println!("{}/{} under epoch {}", partition.topic, partition.partition, partition.assignment);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssignedPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The assignment's epoch: rises each time that the partition changes hands.
    pub assignment: u32,
}

/// What happened.
///
/// ```no_run
/// # async fn example(consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::group::GroupEvent;
///
/// let mut events = consumer.events();
/// while let Some(event) = events.next().await {
///     match event {
///         GroupEvent::Assigned(partitions) => println!("{} partitions more", partitions.len()),
///         GroupEvent::Revoked { within, .. } => println!("some shall move within {within:?}"),
///         GroupEvent::Lost(partitions) => println!("{} are another's", partitions.len()),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// These partitions are read from now on.
    Assigned(Vec<AssignedPartition>),
    /// These shall move: nothing more of them is handed out. What was handed out can be finished, and committed, for
    /// so long.
    Revoked {
        /// Which.
        partitions: Vec<AssignedPartition>,
        /// Until they are given up, finished or not.
        within: Duration,
    },
    /// These were given up in peace, and how far they were finished is committed with it.
    Released(Vec<AssignedPartition>),
    /// These belong to others, without a word: what was finished and not committed is delivered again there.
    Lost(Vec<AssignedPartition>),
    /// The group's session is lost. The member keeps its partitions, and goes on, for the group's grace.
    Disconnected,
    /// The group has not been heard for the whole grace: nothing is handed out until it is.
    Suspended,
    /// There is a session again, as this member: another than before if that one was out.
    Reconnected {
        /// The member.
        member: Uuid,
    },
    /// Positions were not committed by themselves. What is still assigned is tried again with the next interval.
    CommitFailed(Vec<RefusedCommit>),
    /// The listener was too slow for so many events.
    Missed(u64),
}

/// The events of one consumer from the moment on at which this was made. See
/// [`GroupConsumer::events`](super::GroupConsumer::events).
///
/// ```no_run
/// # async fn example(consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// let mut events = consumer.events();
/// if let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GroupEvents {
    pub(super) receiver: broadcast::Receiver<GroupEvent>,
}

impl GroupEvents {
    /// The next event; `None` once the consumer and its handles are gone. Cancellation safe.
    pub async fn next(&mut self) -> Option<GroupEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(GroupEvent::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
