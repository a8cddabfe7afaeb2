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
