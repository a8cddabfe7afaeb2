//! What the writer of a shard shows to everybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use sealstream_protocol::Buffers;
use tokio::sync::watch;
use uuid::Uuid;

use super::cache::TailCache;
use super::epochs::EpochHistory;
use super::files::SegmentFiles;
use super::layout::{PartitionDir, ShardDir};
use super::mailbox::Mailbox;
use super::meta::MetaState;
use super::recovery::SegmentInfo;
use crate::log::engine::{Partition, PartitionId};

/// A lock that a panic has not made useless: what it guards is changed in one step.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`locked`].
pub(super) fn reading<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// See [`locked`].
pub(super) fn writing<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A partition as its readers see it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) start: u64,
    pub(super) epochs: EpochHistory,
    pub(super) read_only: bool,
    /// How often its segments were cut, or replaced by what the journal had.
    pub(super) rewritten: u64,
    /// Whether its segments lack, for now, what the journal alone has.
    pub(super) lacking: bool,
    /// Ascending, and without a gap between them.
    pub(super) segments: Vec<SegmentInfo>,
}

impl View {
    /// The segment that holds `offset`, and where the next one begins.
    pub(super) fn segment_of(&self, offset: u64) -> Option<(SegmentInfo, Option<u64>)> {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        let found = *self.segments.get(after.checked_sub(1)?)?;
        Some((found, self.segments.get(after).map(|next| next.base)))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// An open partition, shared.
#[derive(Debug)]
pub(super) struct PartitionShared {
    pub(super) id: PartitionId,
    pub(super) dir: PartitionDir,
    pub(super) view: RwLock<View>,
    /// The durable end. The writer has the sender.
    pub(super) durable: watch::Receiver<u64>,
    /// When it was last said that the disk failed a read of it.
    pub(super) failure_told: Mutex<Option<Instant>>,
}

impl PartitionShared {
    pub(super) fn durable_end(&self) -> u64 {
        *self.durable.borrow()
    }

    pub(super) fn describe(&self) -> Partition {
        let view = reading(&self.view);
        Partition {
            start: view.start,
            durable_end: self.durable_end(),
            epoch: view.epochs.current(),
            bytes: view.bytes(),
            read_only: view.read_only,
        }
    }
}

/// An open shard, shared between its handle, its readers and its writer.
#[derive(Debug)]
pub(super) struct ShardShared {
    pub(super) dir: ShardDir,
    pub(super) mailbox: Mailbox,
    pub(super) cache: TailCache,
    pub(super) files: Arc<SegmentFiles>,
    /// What readers read into.
    pub(super) buffers: Buffers,
    partitions: RwLock<HashMap<PartitionId, Arc<PartitionShared>>>,
    /// What lines of the log call topics.
    names: RwLock<HashMap<Uuid, Arc<str>>>,
    /// The metadata that is durable; `None` once the shard is closed.
    meta: RwLock<Option<MetaState>>,
}

impl ShardShared {
    pub(super) fn new(
        dir: ShardDir,
        cache_bytes: usize,
        files: Arc<SegmentFiles>,
        buffers: Buffers,
        meta: MetaState,
    ) -> Self {
        Self {
            dir,
            mailbox: Mailbox::default(),
            cache: TailCache::new(cache_bytes),
            files,
            buffers,
            partitions: RwLock::default(),
            names: RwLock::default(),
            meta: RwLock::new(Some(meta)),
        }
    }

    pub(super) fn partition(&self, id: PartitionId) -> Option<Arc<PartitionShared>> {
        reading(&self.partitions).get(&id).cloned()
    }

    /// Of all open partitions.
    pub(super) fn segments(&self) -> u64 {
        let partitions = reading(&self.partitions);
        partitions.values().map(|partition| reading(&partition.view).segments.len() as u64).sum()
    }

    pub(super) fn insert(&self, partition: Arc<PartitionShared>) {
        writing(&self.partitions).insert(partition.id, partition);
    }

    pub(super) fn name_topic(&self, topic: Uuid, name: &str) {
        writing(&self.names).insert(topic, name.into());
    }

    /// The name of a partition's topic; its id, while nobody has said the name.
    pub(super) fn topic_of(&self, id: PartitionId) -> Arc<str> {
        reading(&self.names).get(&id.topic).map_or_else(|| id.topic.to_string().into(), Arc::clone)
    }

    pub(super) fn remove(&self, id: PartitionId) {
        {
            let mut partitions = writing(&self.partitions);
            partitions.remove(&id);
            if !partitions.keys().any(|other| other.topic == id.topic) {
                writing(&self.names).remove(&id.topic);
            }
        }
        self.cache.cut(id, 0);
        self.files.forget_partition(id);
    }

    /// Looks at the metadata; `None` once the shard is closed.
    pub(super) fn look<T>(&self, look: impl FnOnce(&MetaState) -> T) -> Option<T> {
        reading(&self.meta).as_ref().map(look)
    }

    /// Changes the metadata that everybody sees.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut MetaState) -> T) -> Option<T> {
        writing(&self.meta).as_mut().map(change)
    }

    /// From here on nobody sees anything.
    pub(super) fn close(&self) {
        let ids: Vec<PartitionId> = writing(&self.partitions).drain().map(|(id, _)| id).collect();
        for id in ids {
            self.remove(id);
        }
        writing(&self.meta).take();
    }
}
