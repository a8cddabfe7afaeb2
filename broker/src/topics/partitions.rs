//! The partitions of one topic, all of them at once.

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use sealstream_protocol::message::admin;
use uuid::Uuid;

use super::catalogue::Topic;
use super::shards::Shards;
use crate::log::{CommitError, Partition, PartitionId};

/// 16 partitions are opened or deleted at the same time: enough to keep the writers of all shards busy.
const AT_ONCE: usize = 16;

/// Opens all partitions of a topic, making those that are not there, and tells them how they are kept. All are tried;
/// the first error is returned.
pub(super) async fn open(shards: &Shards, topic: &Topic) -> Result<(), CommitError> {
    shards.all().for_each(|shard| shard.name_topic(topic.id, &topic.name));
    let options = topic.partition_options();
    let opened: Vec<_> = stream::iter(topic.partition_ids())
        .map(|id| async move { shards.of(&id).open_partition(id, options).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    opened.into_iter().try_for_each(|partition| partition.map(drop))
}

/// Deletes all partitions of a topic. Stops at the first error; deleting again is harmless.
pub(super) async fn delete(shards: &Shards, topic: Uuid, partitions: u32) -> Result<(), CommitError> {
    stream::iter((0..partitions).map(|index| PartitionId { topic, index }))
        .map(Ok)
        .try_for_each_concurrent(AT_ONCE, |id| async move { shards.of(&id).delete(id).await })
        .await
}

/// A partition as an answer to a describe. One that could not be opened takes no batches, and shows as read-only.
pub(super) fn describe(index: u32, partition: Option<Partition>) -> admin::Partition {
    match partition {
        Some(partition) => admin::Partition {
            index,
            start: partition.start,
            end: partition.durable_end,
            epoch: partition.epoch,
            bytes: partition.bytes,
            read_only: partition.read_only,
        },
        None => admin::Partition { index, start: 0, end: 0, epoch: 0, bytes: 0, read_only: true },
    }
}
