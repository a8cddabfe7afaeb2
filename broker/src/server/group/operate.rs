//! What an operator asks of groups: seen, moved, deleted.

use std::sync::Arc;

use bytes::BytesMut;
use sealstream_protocol::limits::MAX_CONTROL_FRAME;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{
    DeleteGroup, DescribeGroup, GroupDeleted, GroupDescription, GroupSought, SeekGroup, SoughtOffset,
};

use crate::groups::{GroupError, Place};
use crate::log::ReadError;
use crate::server::broker::Core;
use crate::server::consume::subscribe::start;
use crate::server::faults;

/// A group, its members and partitions.
pub(in crate::server) async fn describe(
    core: Arc<Core>,
    request: DescribeGroup,
) -> Result<GroupDescription, GroupError> {
    let description = core.groups.describe(&request.name).await?;
    let mut frame = BytesMut::new();
    Message::GroupDescription(description.clone()).encode(&mut frame);
    if frame.len() > MAX_CONTROL_FRAME as usize {
        return Err(GroupError::TooLarge(frame.len()));
    }
    Ok(description)
}

/// Moves a group to where a position lies now, in all partitions that are named, or in none.
pub(in crate::server) async fn seek(core: Arc<Core>, request: SeekGroup) -> Result<GroupSought, GroupError> {
    let SeekGroup { group, topic, mut partitions, to, force } = request;
    let topics = &*core.topics;
    let topic = topics.find(&topic, None)?;
    partitions.sort_unstable();
    partitions.dedup();
    if partitions.is_empty() {
        partitions.extend(0..topic.partitions);
    }
    let wrong = |fault| GroupError::Place(Box::new(fault));
    let mut places = Vec::with_capacity(partitions.len());
    for index in partitions {
        let id = topic.partition(index).ok_or_else(|| wrong(faults::unknown_partition(&topic, index)))?;
        let shard = topics.shards().of(&id);
        let place = faults::place(topics, &topic, id);
        let stands = shard.partition(id).ok_or_else(|| wrong(place.read(0, &ReadError::NotOpen(id))))?;
        let offset = start(&**shard, id, &stands, to, place).await.map_err(wrong)?;
        places.push((id, Place { offset, log_epoch: 0 }));
    }
    let offsets = places.iter().map(|(id, place)| SoughtOffset { partition: id.index, offset: place.offset });
    let offsets = offsets.collect();
    core.groups.seek(&group, (topic.name.clone(), topic.id), places, force).await?;
    Ok(GroupSought { offsets })
}

/// Forgets a group and what it has committed.
pub(in crate::server) async fn delete(
    core: Arc<Core>,
    request: DeleteGroup,
) -> Result<GroupDeleted, GroupError> {
    core.groups.delete(&request.name, request.force).await?;
    Ok(GroupDeleted {})
}
