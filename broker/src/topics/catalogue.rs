//! An immutable snapshot of all topics.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use sealstream_protocol::message::admin;
use uuid::Uuid;

use super::error::LoadTopicsError;
use super::record::{TOPICS, TopicRecord};
use super::shards::Shards;
use crate::log::{Durability, PartitionId, PartitionOptions};

/// A topic as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) partitions: u32,
    pub(crate) durability: Durability,
    pub(crate) retention_ms: u64,
    pub(crate) retention_bytes: u64,
    /// 0: as the broker has it.
    pub(crate) segment_bytes: u64,
    /// 0: for ever.
    pub(crate) segment_ms: u64,
    pub(crate) created_ms: i64,
    /// The version of its record.
    pub(super) version: u64,
}

impl Topic {
    pub(super) fn of_record(record: TopicRecord, version: u64) -> Self {
        Self {
            name: record.name,
            id: record.id,
            partitions: record.partitions,
            durability: record.durability.into(),
            retention_ms: record.retention_ms,
            retention_bytes: record.retention_bytes,
            segment_bytes: record.segment_bytes,
            segment_ms: record.segment_ms,
            created_ms: record.created_ms,
            version,
        }
    }

    pub(super) fn to_record(&self) -> TopicRecord {
        TopicRecord {
            name: self.name.clone(),
            id: self.id,
            partitions: self.partitions,
            durability: self.durability.into(),
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            created_ms: self.created_ms,
        }
    }

    pub(crate) fn to_message(&self) -> admin::Topic {
        admin::Topic {
            name: self.name.clone(),
            id: self.id,
            partitions: self.partitions,
            durability: self.durability,
            retention_ms: self.retention_ms,
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            created_ms: self.created_ms,
        }
    }

    /// The partition of this number, if the topic has it.
    pub(crate) fn partition(&self, index: u32) -> Option<PartitionId> {
        (index < self.partitions).then_some(PartitionId { topic: self.id, index })
    }

    /// All partitions, by number.
    pub(crate) fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        let topic = self.id;
        (0..self.partitions).map(move |index| PartitionId { topic, index })
    }

    /// How the log keeps its partitions.
    pub(crate) fn partition_options(&self) -> PartitionOptions {
        PartitionOptions {
            durability: self.durability,
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
        }
    }
}

/// All topics at one moment, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    by_name: BTreeMap<String, Arc<Topic>>,
}

impl Catalogue {
    /// What the metadata shard holds.
    pub(super) fn read(shards: &Shards) -> Result<Self, LoadTopicsError> {
        let mut catalogue = Self::default();
        for (key, stored) in shards.metadata().meta_with_prefix(TOPICS) {
            let record = TopicRecord::decode(&key, &stored.value)?;
            catalogue.insert(Arc::new(Topic::of_record(record, stored.version)));
        }
        Ok(catalogue)
    }

    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name.get(name).cloned()
    }

    /// All topics in the order of their names.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// The topics whose names come after `name`.
    pub(crate) fn after<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Topic>> + use<'a> {
        self.by_name.range::<str, _>((Bound::Excluded(name), Bound::Unbounded)).map(|(_, topic)| topic)
    }

    /// How many partitions all topics have together.
    pub(super) fn partitions(&self) -> u32 {
        self.topics().fold(0, |sum, topic| sum.saturating_add(topic.partitions))
    }
}
