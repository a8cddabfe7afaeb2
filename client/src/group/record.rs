//! What a group's consumer gives: records and batches, and where they came from.

use std::ops::Deref;
use std::sync::Arc;

use uuid::Uuid;

use crate::consumer::{ConsumedBatch, ConsumerRecord};

/// A record, and the assignment under which it was read. Everything of a [`ConsumerRecord`] can be had of it.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(record) = consumer.next().await.transpose()? {
///     // What tells it from every other, for a program that stores its effect.
///     let place = (record.topic_id, record.partition, record.offset);
///     println!("{place:?}: {:?}", record.value);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// Tells the topic from another of the same name: an earlier or a later one.
    pub topic_id: Uuid,
    /// The epoch of the assignment under which it was read. A record may come under several, and comes to one member
    /// only under each: topic, partition and offset tell whether it was seen before.
    pub assignment: u32,
    /// The record.
    pub record: ConsumerRecord,
}

impl GroupRecord {
    /// A record as a group's consumer gives it, for tests of what a program does with one. What is to be different, say in its
    /// fields.
    ///
    /// ```
    /// use sealstream_client::{ConsumerRecord, GroupRecord};
    ///
    /// let record = GroupRecord::new("orders", ConsumerRecord::new(0, 10, "pears"));
    /// assert_eq!(record.next_position().offset, 11);
    /// ```
    pub fn new(topic: impl Into<Arc<str>>, record: ConsumerRecord) -> Self {
        Self { topic: topic.into(), topic_id: Uuid::nil(), assignment: 0, record }
    }

    /// Where to read on after this record: what to [commit](super::GroupConsumer::commit_positions) when it, and
    /// everything before it in its partition, is done.
    pub fn next_position(&self) -> GroupPosition {
        GroupPosition {
            topic: self.topic.clone(),
            partition: self.record.partition,
            offset: self.record.offset + 1,
            epoch: self.record.epoch,
            assignment: Some(self.assignment),
        }
    }
}

impl Deref for GroupRecord {
    type Target = ConsumerRecord;

    fn deref(&self) -> &ConsumerRecord {
        &self.record
    }
}

/// A batch, and the assignment under which it was read. Everything of a [`ConsumedBatch`] can be had of it.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// while let Some(batch) = consumer.next_batch().await.transpose()? {
///     println!("{} records of {}/{}", batch.record_count(), batch.topic, batch.partition);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupBatch {
    /// The topic.
    pub topic: Arc<str>,
    /// Tells the topic from another of the same name: an earlier or a later one.
    pub topic_id: Uuid,
    /// The epoch of the assignment under which it was read.
    pub assignment: u32,
    /// The batch.
    pub batch: ConsumedBatch,
}

impl GroupBatch {
    /// Where to read on after this batch.
    pub fn next_position(&self) -> GroupPosition {
        self.position(self.batch.next_offset())
    }

    /// Where to read on after the first records of this batch: `offset` is that of the first one not done.
    pub fn position(&self, offset: u64) -> GroupPosition {
        GroupPosition {
            topic: self.topic.clone(),
            partition: self.batch.partition,
            offset,
            epoch: self.batch.entry.log_epoch,
            assignment: Some(self.assignment),
        }
    }
}

impl Deref for GroupBatch {
    type Target = ConsumedBatch;

    fn deref(&self) -> &ConsumedBatch {
        &self.batch
    }
}

/// A place to read on at.
///
/// ```no_run
/// # async fn example(mut consumer: sealstream_client::GroupConsumer) -> Result<(), Box<dyn std::error::Error>> {
/// let Some(record) = consumer.next().await.transpose()? else { return Ok(()) };
/// consumer.commit_positions([record.next_position()]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupPosition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The next offset to read.
    pub offset: u64,
    /// The log epoch of the record before it; 0 if that is not known.
    pub epoch: u32,
    /// The epoch of the assignment: the commit is refused once the partition has changed hands. `None` is whichever
    /// holds now.
    pub assignment: Option<u32>,
}

impl GroupPosition {
    /// A place that a program has from elsewhere, under whichever assignment holds when it is committed.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32, offset: u64) -> Self {
        Self { topic: topic.into(), partition, offset, epoch: 0, assignment: None }
    }
}
