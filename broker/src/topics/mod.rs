//! Topics: what there is, how it is kept, and how it comes and goes.
//!
//! ```text
//! topic/<name>      record: id, partitions, settings       in the metadata shard, one compare-and-set value each
//! deleting/<uuid>   record of a topic whose partitions are yet to be deleted
//! Catalogue         immutable snapshot of all topics        read by every session without a lock
//! ```
//!
//! Changes happen one at a time, and survive a crash at any point:
//! - *create* writes the record, then makes the partitions. Found without its partitions at the next start, a topic
//!   gets them then: opening a partition makes it.
//! - *delete* replaces the record by a note of what is to be deleted, in one commit: from then on the name is free, and
//!   a topic made under it is another one, with another id. Then the partitions go, then the note. Whatever note is
//!   left, by a crash or a failing disk, [`housekeeping`] takes up again.
//! - *alter* writes the record, then tells the partitions; they are told again at every start.

mod catalogue;
mod change;
mod error;
pub(crate) mod housekeeping;
mod partitions;
mod record;
mod shards;

use std::sync::Arc;

use sealstream_protocol::limits::{MAX_PARTITIONS, MAX_TOPICS_IN_LIST};
use sealstream_protocol::message::admin::{self, ListTopics, TopicList};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

pub(crate) use catalogue::{Catalogue, Topic};
pub(crate) use error::LoadTopicsError;
pub(crate) use error::{FindTopicError, TopicError};
pub(crate) use shards::Shards;

use crate::log::clock::Clock;
use crate::server::{BrokerOptions, TopicDefaults};

/// What bounds the topics that can be made, and how those are kept whose maker does not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicRules {
    pub(crate) defaults: TopicDefaults,
    pub(crate) max_partitions_per_topic: u32,
    pub(crate) max_partitions: u32,
}

impl TopicRules {
    pub(crate) fn of(options: &BrokerOptions) -> Self {
        Self {
            defaults: options.topic_defaults,
            max_partitions_per_topic: options.max_partitions_per_topic.min(MAX_PARTITIONS),
            max_partitions: options.max_partitions,
        }
    }
}

/// All topics of the broker.
#[derive(Debug)]
pub(crate) struct Topics {
    shards: Shards,
    rules: TopicRules,
    clock: Arc<dyn Clock>,
    /// Changes happen one at a time: whoever holds this may write records and publish.
    turn: Mutex<()>,
    catalogue: watch::Sender<Arc<Catalogue>>,
}

impl Topics {
    /// Reads all records and opens all partitions.
    pub(crate) async fn load(
        shards: Shards,
        rules: TopicRules,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LoadTopicsError> {
        let catalogue = Catalogue::read(&shards)?;
        for topic in catalogue.topics() {
            if let Err(error) = partitions::open(&shards, topic).await {
                tracing::error!(topic = topic.name, %error, "a partition cannot be opened and is not served");
            }
        }
        let (catalogue, _) = watch::channel(Arc::new(catalogue));
        Ok(Self { shards, rules, clock, turn: Mutex::new(()), catalogue })
    }

    /// The topics as they stand.
    pub(crate) fn snapshot(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.borrow())
    }

    /// The topics as they change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.catalogue.subscribe()
    }

    /// Where partitions are.
    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The topic of this name, which must have this `id` if one is given.
    pub(crate) fn find(&self, name: &str, id: Option<Uuid>) -> Result<Arc<Topic>, FindTopicError> {
        let found = self.snapshot().get(name);
        match (found, id) {
            (Some(topic), Some(id)) if topic.id != id => {
                Err(FindTopicError::Gone { name: name.to_owned(), id })
            }
            (Some(topic), _) => Ok(topic),
            (None, Some(id)) => Err(FindTopicError::Gone { name: name.to_owned(), id }),
            (None, None) => Err(FindTopicError::Unknown { name: name.to_owned() }),
        }
    }

    /// Whether the topic of this id is still there.
    pub(crate) fn is_there(&self, topic: &Topic) -> bool {
        self.snapshot().get(&topic.name).is_some_and(|found| found.id == topic.id)
    }

    /// A page of topics in the order of their names.
    pub(crate) fn list(&self, request: &ListTopics) -> TopicList {
        let limit = match request.limit {
            0 => MAX_TOPICS_IN_LIST,
            asked => asked.min(MAX_TOPICS_IN_LIST),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let snapshot = self.snapshot();
        let mut after = snapshot.after(&request.after);
        let topics = after.by_ref().take(limit).map(|topic| topic.to_message()).collect();
        TopicList { topics, more: after.next().is_some() }
    }

    /// A topic and its partitions as they stand.
    pub(crate) fn describe(&self, name: &str) -> Result<admin::TopicDescription, FindTopicError> {
        let topic = self.find(name, None)?;
        let partitions = topic
            .partition_ids()
            .map(|id| partitions::describe(id.index, self.shards.of(&id).partition(id)))
            .collect();
        Ok(admin::TopicDescription { topic: topic.to_message(), partitions })
    }

    fn publish(&self, change: impl FnOnce(&mut Catalogue)) {
        self.catalogue.send_modify(|current| {
            let mut next = Catalogue::clone(current);
            change(&mut next);
            *current = Arc::new(next);
        });
    }
}
