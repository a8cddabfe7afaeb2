//! Making, altering and deleting topics, each so that a crash at any point leaves something that the next start mends.

use std::sync::Arc;

use bytes::Bytes;
use sealstream_protocol::message::admin::{AlterTopic, CreateTopic, TopicOptions};
use sealstream_protocol::name;
use uuid::Uuid;

use super::catalogue::Topic;
use super::error::TopicError;
use super::record::{DELETING, TopicRecord, deleting_key, topic_key};
use super::{Topics, partitions};
use crate::log::{CommitError, Op, Outcome, Refusal};

/// 1 MiB: below it a busy partition would make thousands of files a minute.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;

/// 1 GiB: what retention lets go of at once, and what a copy of a live directory copies for each partition at most.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

impl Topics {
    /// Makes a topic.
    ///
    /// Not cancellation safe: dropped half-way, the topic may be stored and yet unknown until the next start. Run it in
    /// a task of its own.
    pub(crate) async fn create(&self, request: CreateTopic) -> Result<Arc<Topic>, TopicError> {
        let CreateTopic { name, partitions, if_not_exists, options } = request;
        check_segments(&options)?;
        if options.partitions.is_some() {
            return Err(TopicError::PartitionsTwice);
        }
        name::check_topic(&name).map_err(|error| TopicError::BadName(error.to_string()))?;
        let _turn = self.turn.lock().await;
        if let Some(topic) = self.snapshot().get(&name) {
            return if if_not_exists { Ok(topic) } else { Err(TopicError::Exists { name }) };
        }
        let defaults = self.rules.defaults;
        let mut topic = Topic {
            id: Uuid::new_v4(),
            partitions: self.partitions_for(0, partitions)?,
            durability: options.durability.unwrap_or(defaults.durability),
            retention_ms: options.retention_ms.unwrap_or(defaults.retention_ms),
            retention_bytes: options.retention_bytes.unwrap_or(defaults.retention_bytes),
            segment_bytes: options.segment_bytes.unwrap_or(defaults.segment_bytes),
            segment_ms: options.segment_ms.unwrap_or(defaults.segment_ms),
            created_ms: self.clock.now(),
            version: 0,
            name,
        };
        let mut ops = vec![put(topic_key(&topic.name), 0, Some(topic.to_record().encode()))];
        self.replace_half_made(&topic.name, &mut ops);
        topic.version = self.commit(&topic.name, ops).await?;
        if let Err(source) = partitions::open(&self.shards, &topic).await {
            self.give_up(&topic).await;
            return Err(TopicError::Log { name: topic.name, source });
        }
        let topic = Arc::new(topic);
        self.publish(|catalogue| catalogue.insert(Arc::clone(&topic)));
        tracing::info!(topic = topic.name, id = %topic.id, partitions = topic.partitions, "topic created");
        Ok(topic)
    }

    /// How many partitions a topic gets that `has` some and should have so many.
    fn partitions_for(&self, has: u32, asked: u32) -> Result<u32, TopicError> {
        let asked = if asked == 0 { self.rules.defaults.partitions } else { asked };
        let most = self.rules.max_partitions_per_topic;
        if asked > most {
            return Err(TopicError::TooManyPartitions { asked, most });
        }
        let (used, most) = (self.snapshot().partitions(), self.rules.max_partitions);
        let more = asked.saturating_sub(has);
        if more > 0 && used.saturating_add(more) > most {
            return Err(TopicError::NoRoom { asked: more, used, most });
        }
        Ok(asked)
    }

    /// Where an earlier creation failed half-way and could not be undone, its record is still there: the new one takes
    /// its place, and what partitions it has are noted for deletion.
    fn replace_half_made(&self, name: &str, ops: &mut Vec<Op>) {
        let key = topic_key(name);
        let Some(stored) = self.shards.metadata().meta(&key) else { return };
        if let Some(Op::PutMeta { expected, .. }) = ops.first_mut() {
            *expected = stored.version;
        }
        if let Ok(record) = TopicRecord::decode(&key, &stored.value) {
            ops.push(put(deleting_key(record.id), 0, Some(stored.value)));
        }
    }

    /// Takes a topic back whose partitions could not be made. If that fails too, the next creation of that name, or
    /// the next start, finds the record and goes on from there.
    async fn give_up(&self, topic: &Topic) {
        if let Err(error) = self.forget(topic).await {
            tracing::warn!(topic = topic.name, %error, "a topic that could not be made could not be taken back");
        }
    }

    /// Changes how a topic is kept, and adds partitions to it. Not cancellation safe, as [`create`](Self::create).
    pub(crate) async fn alter(&self, request: AlterTopic) -> Result<Arc<Topic>, TopicError> {
        let AlterTopic { name, options } = request;
        check_segments(&options)?;
        let _turn = self.turn.lock().await;
        let mut topic = Topic::clone(&*self.find(&name, None)?);
        topic.durability = options.durability.unwrap_or(topic.durability);
        topic.retention_ms = options.retention_ms.unwrap_or(topic.retention_ms);
        topic.retention_bytes = options.retention_bytes.unwrap_or(topic.retention_bytes);
        topic.segment_bytes = options.segment_bytes.unwrap_or(topic.segment_bytes);
        topic.segment_ms = options.segment_ms.unwrap_or(topic.segment_ms);
        if let Some(asked) = options.partitions {
            if asked < topic.partitions {
                return Err(TopicError::FewerPartitions { name, has: topic.partitions, asked });
            }
            topic.partitions = self.partitions_for(topic.partitions, asked)?;
        }
        let ops = vec![put(topic_key(&name), topic.version, Some(topic.to_record().encode()))];
        topic.version = self.commit(&name, ops).await?;
        let topic = Arc::new(topic);
        // Published once the partitions are there, so that nobody is sent to one that is not; and published if that fails too: what is
        // stored is what counts, and every start tells the partitions again.
        let opened = partitions::open(&self.shards, &topic).await;
        self.publish(|catalogue| catalogue.insert(Arc::clone(&topic)));
        opened.map_err(|source| TopicError::Log { name: name.clone(), source })?;
        tracing::info!(
            topic = name, topic.partitions, durability = ?topic.durability, topic.retention_ms, topic.retention_bytes,
            topic.segment_bytes, topic.segment_ms, "topic altered"
        );
        Ok(topic)
    }

    /// Deletes a topic; returns its id once the name is free. Its partitions go at once too, or with the next round of
    /// housekeeping where that fails. Not cancellation safe, as [`create`](Self::create).
    pub(crate) async fn delete(&self, name: &str) -> Result<Uuid, TopicError> {
        let turn = self.turn.lock().await;
        let topic = self.find(name, None)?;
        self.forget(&topic).await?;
        self.publish(|catalogue| catalogue.remove(name));
        drop(turn);
        tracing::info!(topic = name, id = %topic.id, "topic deleted");
        self.finish_deletions().await;
        Ok(topic.id)
    }

    /// Turns the record of a topic into a note that its partitions are to be deleted.
    async fn forget(&self, topic: &Topic) -> Result<(), TopicError> {
        let note = topic.to_record().encode();
        let ops = vec![
            put(topic_key(&topic.name), topic.version, None),
            put(deleting_key(topic.id), 0, Some(note)),
        ];
        self.commit(&topic.name, ops).await.map(drop)
    }

    /// Deletes the partitions of every topic that is noted for it. What fails is left for the next time.
    pub(crate) async fn finish_deletions(&self) {
        let metadata = self.shards.metadata();
        for (key, stored) in metadata.meta_with_prefix(DELETING) {
            if let Err(error) = self.finish_deletion(&key, stored.version, &stored.value).await {
                tracing::warn!(key, error, "a deleted topic still has partitions: trying again later");
            }
        }
    }

    async fn finish_deletion(&self, key: &str, version: u64, note: &[u8]) -> Result<(), String> {
        let record = TopicRecord::decode(key, note).map_err(|error| error.to_string())?;
        partitions::delete(&self.shards, record.id, record.partitions)
            .await
            .map_err(|error| error.to_string())?;
        match self.commit(&record.name, vec![put(key.to_owned(), version, None)]).await {
            // Somebody else finished the same deletion.
            Ok(_) | Err(TopicError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Commits changes of metadata and waits until they are durable; returns the version that the first one gave.
    async fn commit(&self, name: &str, ops: Vec<Op>) -> Result<u64, TopicError> {
        let name = || name.to_owned();
        let committed = self.shards.metadata().commit(ops).await.map_err(|error| match error {
            CommitError::Refused { refusal: Refusal::VersionMismatch { .. }, .. } => {
                TopicError::Conflict { name: name() }
            }
            source => TopicError::Log { name: name(), source },
        })?;
        committed
            .durable
            .await
            .map_err(|error| TopicError::NotDurable { name: name(), reason: error.reason })?;
        match committed.outcomes.first() {
            Some(Outcome::MetaPut { version }) => Ok(*version),
            other => unreachable!("a put of metadata came out as {other:?}"),
        }
    }
}

/// Whether segments can be as large as somebody wants them.
fn check_segments(options: &TopicOptions) -> Result<(), TopicError> {
    let (least, most) = (MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
    match options.segment_bytes {
        Some(bytes) if bytes > 0 && !(least..=most).contains(&bytes) => {
            Err(TopicError::SegmentBytes { bytes, least, most })
        }
        _ => Ok(()),
    }
}

fn put(key: String, expected: u64, value: Option<Bytes>) -> Op {
    Op::PutMeta { key, expected, value }
}
