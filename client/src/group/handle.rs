//! What can be asked of a membership while its records are taken elsewhere.

use std::sync::Arc;

use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::{JoinGroup, Progress};
use tokio::sync::{mpsc, oneshot};

use super::book::{Book, Mark, PER_FRAME};
use super::error::CommitError;
use super::event::{AssignedPartition, GroupEvents};
use super::record::GroupPosition;
use super::shared::{Order, Shared};

/// The partition is not assigned to this member.
///
/// ```no_run
/// # async fn example(consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// if let Err(error) = consumer.pause("orders", 3) {
///     println!("{error}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic} partition {partition} is not assigned to this member")]
#[non_exhaustive]
pub struct NotAssigned {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
}

/// Commits, pauses and listens for a [`GroupConsumer`](super::GroupConsumer), from any task. Cheap to clone; it does not
/// keep the consumer in its group.
///
/// ```no_run
/// # async fn example(consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// let handle = consumer.handle().clone();
/// let watcher = async move {
///     println!("{} partitions of {}", handle.assignment().len(), handle.group());
/// };
/// # watcher.await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GroupHandle {
    pub(super) shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    group: Arc<str>,
    topics: Arc<[String]>,
    missing: Arc<[String]>,
}

impl GroupHandle {
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: mpsc::Sender<Order>,
        join: JoinGroup,
        missing: Vec<String>,
    ) -> Self {
        let (group, topics) = (join.group.into(), join.topics.into());
        Self { shared, orders, group, topics, missing: missing.into() }
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The topics that the member reads.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Those of them that did not exist when the member joined. Their partitions are assigned once they do.
    pub fn missing_topics(&self) -> &[String] {
        &self.missing
    }

    /// What is assigned to the member now, in order.
    pub fn assignment(&self) -> Vec<AssignedPartition> {
        self.shared.book().assignment()
    }

    /// What happens to the membership from now on.
    pub fn events(&self) -> GroupEvents {
        GroupEvents { receiver: self.shared.subscribe() }
    }

    /// Commits these positions, and waits until they are durable. The last of several for one partition counts. What the
    /// broker refuses for now is tried again within the client's retry policy, as is all of it after a lost session.
    ///
    /// If it is dropped the positions may be committed or not.
    pub async fn commit_positions(
        &self,
        positions: impl IntoIterator<Item = GroupPosition>,
    ) -> Result<(), CommitError> {
        let mut all = std::collections::HashMap::new();
        {
            let mut book = self.shared.book();
            for GroupPosition { topic, partition, offset, epoch, assignment } in positions {
                let mark = Mark { offset, epoch };
                match book.progress(&topic, partition, assignment, mark) {
                    Some(progress) => all.insert(progress.at.clone(), progress),
                    None => return Err(CommitError::NotAssigned { topic, partition }),
                };
            }
        }
        self.commit_progress(all.into_values().collect()).await
    }

    /// Hands nothing more of a partition out until it is [resumed](Self::resume). What was read ahead of it is thrown away,
    /// and read again then. It stays the member's; if it moves away and comes back it is not paused any more.
    pub fn pause(&self, topic: &str, partition: u32) -> Result<(), NotAssigned> {
        self.ask(topic, partition, |book| book.set_paused(topic, partition, true))
    }

    /// Goes on with a partition that was paused, or that stands still after an error, where it was.
    pub fn resume(&self, topic: &str, partition: u32) -> Result<(), NotAssigned> {
        self.ask(topic, partition, |book| book.set_paused(topic, partition, false))
    }

    /// Reads a partition on from `position`, whatever was read before; one that stands still after an error gets going.
    /// Nothing is committed by it. To move a whole group, whose members are many, there is `sealstream group seek`.
    pub fn seek(&self, topic: &str, partition: u32, position: Position) -> Result<(), NotAssigned> {
        self.ask(topic, partition, |book| book.seek(topic, partition, position))
    }

    fn ask(
        &self,
        topic: &str,
        partition: u32,
        change: impl FnOnce(&mut Book) -> Option<()>,
    ) -> Result<(), NotAssigned> {
        self.shared.change(change).ok_or_else(|| NotAssigned { topic: topic.to_owned(), partition })
    }

    /// Commits in frames that hold it, one after the other.
    pub(super) async fn commit_progress(&self, progress: Vec<Progress>) -> Result<(), CommitError> {
        for some in progress.chunks(PER_FRAME) {
            let (answer, answered) = oneshot::channel();
            let order = Order { progress: some.to_vec(), answer };
            let ended = || CommitError::Ended(self.shared.failure());
            self.orders.send(order).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())??;
        }
        Ok(())
    }
}
