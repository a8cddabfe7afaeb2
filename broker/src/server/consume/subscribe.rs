//! From a Subscribe to the place in the log where its records start.

use std::sync::Arc;

use sealstream_protocol::message::consume::{Membership, Position, Subscribe, Subscribed};
use sealstream_protocol::message::{Fault, FaultCode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::{Partition, PartitionId, ReadError, Shard};
use crate::server::TopicMeter;
use crate::server::broker::Core;
use crate::server::faults::{self, Place};
use crate::topics::{Topic, Topics};

/// A partition that is being read.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The client's number for it.
    pub(super) id: u32,
    pub(super) topic: Arc<Topic>,
    pub(super) meter: Arc<TopicMeter>,
    pub(super) partition: PartitionId,
    pub(super) shard: Arc<dyn Shard>,
    /// The next offset to read.
    pub(super) next: u64,
    /// The durable end as it moves.
    pub(super) end: watch::Receiver<u64>,
    /// Cancelled once the assignment is over under which a member of a group reads.
    pub(super) tenure: Option<CancellationToken>,
}

impl Subscription {
    /// What the client is told when a read failed.
    pub(super) fn fault(&self, topics: &Topics, error: &ReadError) -> Fault {
        faults::place(topics, &self.topic, self.partition).read(self.next, error)
    }

    /// Whether the assignment is over under which it was made.
    pub(super) fn is_stale(&self) -> bool {
        self.tenure.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// What the client is told when the assignment is over.
    pub(super) fn stale(&self) -> Fault {
        let (partition, topic) = (self.partition.index, &self.topic.name);
        let text = format!(
            "partition {partition} of topic {topic:?} is not this member's any more: stop reading it"
        );
        Fault::new(FaultCode::StaleEpoch, text)
    }
}

/// Finds topic and partition and the offset to start at; for a member of a group, only under the epoch that is current.
pub(super) async fn subscribe(
    core: &Core,
    identity: &Arc<str>,
    request: Subscribe,
) -> Result<(Subscription, Subscribed), Fault> {
    let topics = &*core.topics;
    let topic = topics.find(&request.topic, request.topic_id)?;
    let id = topic
        .partition(request.partition)
        .ok_or_else(|| faults::unknown_partition(&topic, request.partition))?;
    let tenure = match request.group {
        Some(Membership { group, member, epoch }) => {
            Some(core.groups.claim(&group, (member, Arc::clone(identity)), id, epoch).await?)
        }
        None => None,
    };
    let shard = Arc::clone(topics.shards().of(&id));
    let place = faults::place(topics, &topic, id);
    let not_open = || place.read(0, &ReadError::NotOpen(id));
    // Watched before it is looked at: what is appended in between wakes the subscription.
    let end = shard.watch(id).ok_or_else(not_open)?;
    let stands = shard.partition(id).ok_or_else(not_open)?;
    // Who was further than a log that was cut, or than a restored copy, learns that, and not that it waits for what will come. A damaged
    // log shows less than was in it.
    if let (Position::Offset(offset), Some(epoch)) = (request.position, request.epoch)
        && offset > stands.durable_end
        && !stands.read_only
    {
        shard.check_epoch(id, offset, epoch).await.map_err(|error| place.read(offset, &error))?;
    }
    let offset = start(&*shard, id, &stands, request.position, place).await?;
    if let Some(epoch) = request.epoch {
        shard.check_epoch(id, offset, epoch).await.map_err(|error| place.read(offset, &error))?;
    }
    let subscribed = Subscribed {
        subscription: request.subscription,
        topic_id: topic.id,
        offset,
        start: stands.start,
        end: stands.durable_end,
        epoch: stands.epoch,
    };
    let subscription = Subscription {
        id: request.subscription,
        partition: id,
        shard,
        next: offset,
        end,
        tenure,
        meter: core.meters.topic(&topic.name),
        topic: Arc::clone(&topic),
    };
    Ok((subscription, subscribed))
}

/// The offset of a position.
pub(in crate::server) async fn start(
    shard: &dyn Shard,
    id: PartitionId,
    stands: &Partition,
    position: Position,
    place: Place<'_>,
) -> Result<u64, Fault> {
    let Partition { start, durable_end: end, .. } = *stands;
    match position {
        Position::Beginning => Ok(start),
        Position::End => Ok(end),
        Position::Offset(offset) if (start..=end).contains(&offset) => Ok(offset),
        Position::Offset(offset) => Err(place.read(offset, &ReadError::OutOfRange { start, end })),
        // It may have moved beyond the end that was looked at, which the client is told as the end.
        Position::Time(time) => {
            let offset = shard.offset_at(id, time).await.map_err(|error| place.read(start, &error))?;
            Ok(offset.clamp(start, end))
        }
    }
}
