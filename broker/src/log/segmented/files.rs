//! The segments that are open, bounded in number: the least recently used one is closed for the next.
//!
//! Whoever holds an [`OpenSegment`] keeps its file open beyond that: a read until it is done, the writer until what it wrote is
//! synced. A file must not be closed with unsynced bytes, as a later handle might not learn that writing them failed.

use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lru::LruCache;

use super::index::Index;
use super::shared::locked;
use crate::log::disk::{Disk, DiskFile};
use crate::log::engine::PartitionId;

/// An open segment.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) base: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) index: Mutex<Index>,
}

/// All open segments of an engine.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    index_interval: u64,
    open: Mutex<LruCache<(PartitionId, u64), Arc<OpenSegment>>>,
}

impl SegmentFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, capacity: usize, index_interval: u64) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self { disk, index_interval, open: Mutex::new(LruCache::new(capacity)) }
    }

    /// The segment of `id` that begins at `base` and lies at `path`.
    pub(super) fn get(&self, id: PartitionId, base: u64, path: &Path) -> io::Result<Arc<OpenSegment>> {
        if let Some(open) = self.peek(id, base) {
            return Ok(open);
        }
        let file = self.disk.open(path)?;
        Ok(self.insert(id, base, file))
    }

    /// The same, if it is open.
    pub(super) fn peek(&self, id: PartitionId, base: u64) -> Option<Arc<OpenSegment>> {
        locked(&self.open).get(&(id, base)).cloned()
    }

    /// Takes a file just made or opened. If somebody was faster, theirs stays.
    pub(super) fn insert(&self, id: PartitionId, base: u64, file: Arc<dyn DiskFile>) -> Arc<OpenSegment> {
        let index = Mutex::new(Index::new(base, self.index_interval));
        let fresh = Arc::new(OpenSegment { base, file, index });
        Arc::clone(locked(&self.open).get_or_insert((id, base), || fresh))
    }

    /// Lets go of a segment that is removed or cut.
    pub(super) fn forget(&self, id: PartitionId, base: u64) {
        locked(&self.open).pop(&(id, base));
    }

    /// Lets go of all segments of a partition.
    pub(super) fn forget_partition(&self, id: PartitionId) {
        let mut open = locked(&self.open);
        let keys: Vec<_> = open.iter().map(|(key, _)| *key).filter(|(of, _)| *of == id).collect();
        for key in keys {
            open.pop(&key);
        }
    }
}
