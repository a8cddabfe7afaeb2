//! The latest batches of a shard in memory, for the readers at the tail: they need neither the disk nor another thread.
//!
//! First in, first out, over all partitions of the shard; bounded in bytes. The batches are those of the appends, not copies.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use bytes::{BufMut, Bytes};
use sealstream_protocol::Buffers;
use sealstream_protocol::entry::ENTRY_HEADER;

use super::shared::locked;
use crate::log::engine::PartitionId;
use crate::log::status::CacheUse;

/// An entry in memory.
#[derive(Clone, Debug)]
pub(super) struct CachedEntry {
    pub(super) base: u64,
    pub(super) next: u64,
    pub(super) header: [u8; ENTRY_HEADER],
    pub(super) batch: Bytes,
}

impl CachedEntry {
    fn len(&self) -> usize {
        ENTRY_HEADER + self.batch.len()
    }
}

/// The entries of a partition.
#[derive(Debug, Default)]
struct Run {
    entries: VecDeque<CachedEntry>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<PartitionId, Run>,
    /// What came when, by base offset. Holds entries that are gone already, if their partition was cut.
    order: VecDeque<(PartitionId, u64)>,
    bytes: usize,
}

/// The latest batches of a shard.
#[derive(Debug)]
pub(super) struct TailCache {
    capacity: usize,
    state: Mutex<State>,
}

impl TailCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    /// What lies in it.
    pub(super) fn in_use(&self) -> CacheUse {
        let state = locked(&self.state);
        let partitions = state.partitions.iter().map(|(id, run)| (*id, run.bytes as u64)).collect();
        CacheUse { bytes: state.bytes as u64, limit: self.capacity as u64, partitions }
    }

    /// Adds entries that were just appended to a partition, in order.
    pub(super) fn insert(&self, id: PartitionId, entries: impl Iterator<Item = CachedEntry>) {
        let mut state = locked(&self.state);
        for entry in entries {
            state.bytes += entry.len();
            state.order.push_back((id, entry.base));
            let run = state.partitions.entry(id).or_default();
            run.bytes += entry.len();
            run.entries.push_back(entry);
        }
        while state.bytes > self.capacity {
            let Some((id, base)) = state.order.pop_front() else { break };
            state.drop_front(id, base);
        }
    }

    /// Forgets the entries of a partition from `from` on: they were cut, or the partition is gone.
    pub(super) fn cut(&self, id: PartitionId, from: u64) {
        let mut state = locked(&self.state);
        let Some(run) = state.partitions.get_mut(&id) else { return };
        let kept = run.entries.partition_point(|entry| entry.base < from);
        let gone: usize = run.entries.drain(kept..).map(|entry| entry.len()).sum();
        run.bytes -= gone;
        if run.entries.is_empty() {
            state.partitions.remove(&id);
        }
        state.bytes -= gone;
        // The order would otherwise grow with each cut, and name what is appended again at the same offsets.
        state.order.retain(|(of, base)| *of != id || *base < from);
    }

    /// Entries from the one that holds `from`, at most `max_bytes` but at least one, that end at or below `durable_end`: as one chunk, and the
    /// offset after it. `None` if the first is not here.
    pub(super) fn read(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
        durable_end: u64,
        buffers: &Buffers,
    ) -> Option<(Bytes, u64)> {
        let (entries, bytes) = self.select(id, from, max_bytes, durable_end)?;
        let next = entries.last()?.next;
        // Copied outside of the lock: a chunk must lie in one piece, and header and batch do not.
        let mut chunk = buffers.take(bytes);
        for entry in &entries {
            chunk.put_slice(&entry.header);
            chunk.put_slice(&entry.batch);
        }
        Some((buffers.lend(chunk), next))
    }

    /// How large the entry is that holds `from`, if it is here.
    pub(super) fn len_at(&self, id: PartitionId, from: u64, durable_end: u64) -> Option<usize> {
        self.select(id, from, 0, durable_end).map(|(_, bytes)| bytes)
    }

    fn select(
        &self,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
        durable_end: u64,
    ) -> Option<(Vec<CachedEntry>, usize)> {
        let state = locked(&self.state);
        let entries = &state.partitions.get(&id)?.entries;
        let first = entries.partition_point(|entry| entry.next <= from);
        if entries.get(first)?.base > from {
            return None;
        }
        let mut bytes = 0;
        let mut selected = Vec::new();
        for entry in entries.range(first..) {
            let fits = selected.is_empty() || bytes + entry.len() <= max_bytes;
            if entry.next > durable_end || !fits {
                break;
            }
            bytes += entry.len();
            selected.push(entry.clone());
        }
        Some((selected, bytes))
    }
}

impl State {
    fn drop_front(&mut self, id: PartitionId, base: u64) {
        let Some(run) = self.partitions.get_mut(&id) else { return };
        if run.entries.front().is_some_and(|entry| entry.base == base)
            && let Some(entry) = run.entries.pop_front()
        {
            run.bytes -= entry.len();
            self.bytes -= entry.len();
        }
        if run.entries.is_empty() {
            self.partitions.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn entry(base: u64, len: usize) -> CachedEntry {
        CachedEntry { base, next: base + 10, header: [1; ENTRY_HEADER], batch: Bytes::from(vec![2; len]) }
    }

    fn read(
        cache: &TailCache,
        id: PartitionId,
        from: u64,
        max_bytes: usize,
        end: u64,
    ) -> Option<(Bytes, u64)> {
        cache.read(id, from, max_bytes, end, &Buffers::new(0))
    }

    const ID: PartitionId = PartitionId { topic: Uuid::from_u128(1), index: 0 };
    const OTHER: PartitionId = PartitionId { topic: Uuid::from_u128(1), index: 1 };

    #[test]
    fn the_oldest_entries_leave_first_whichever_partition_they_are_of() {
        let cache = TailCache::new(300);
        cache.insert(ID, [entry(0, 60)].into_iter());
        cache.insert(OTHER, [entry(0, 60), entry(10, 60)].into_iter());
        assert_eq!(read(&cache, ID, 5, 1000, 10).unwrap().1, 10);
        cache.insert(OTHER, [entry(20, 60)].into_iter());
        assert!(read(&cache, ID, 5, 1000, 10).is_none());
        let (chunk, next) = read(&cache, OTHER, 0, 1000, 30).unwrap();
        assert_eq!((chunk.len(), next), (300, 30));
    }

    #[test]
    fn a_read_is_bounded_by_bytes_and_by_the_durable_end_but_gives_one_entry() {
        let cache = TailCache::new(1000);
        cache.insert(ID, (0..4).map(|n| entry(n * 10, 60)));
        assert_eq!(read(&cache, ID, 12, 1, 40).unwrap().1, 20);
        assert_eq!(read(&cache, ID, 12, 250, 40).unwrap().1, 30);
        assert_eq!(read(&cache, ID, 0, 1000, 30).unwrap().1, 30);
        assert!(read(&cache, ID, 35, 1000, 30).is_none());
        assert!(read(&cache, ID, 40, 1000, 40).is_none());
    }

    #[test]
    fn what_was_cut_is_not_read_and_what_replaces_it_is() {
        let cache = TailCache::new(400);
        cache.insert(ID, (0..4).map(|n| entry(n * 10, 60)));
        cache.cut(ID, 20);
        assert_eq!(read(&cache, ID, 0, 1000, 40).unwrap().1, 20);
        cache.insert(ID, [entry(20, 160)].into_iter());
        assert_eq!(read(&cache, ID, 20, 1000, 30).unwrap().0.len(), 200);
        cache.insert(ID, [entry(30, 60)].into_iter());
        assert!(read(&cache, ID, 0, 1000, 40).is_none());
        assert_eq!(read(&cache, ID, 20, 1000, 40).unwrap().1, 40);
    }

    #[test]
    fn what_is_in_use_is_what_came_less_what_left_and_never_more_than_the_limit() {
        let cache = TailCache::new(300);
        let in_use = || {
            let CacheUse { bytes, limit, mut partitions } = cache.in_use();
            partitions.sort_unstable();
            assert!(bytes <= limit);
            (bytes, partitions)
        };
        assert_eq!(in_use(), (0, vec![]));
        cache.insert(ID, [entry(0, 60)].into_iter());
        cache.insert(OTHER, [entry(0, 60), entry(10, 60)].into_iter());
        assert_eq!(in_use(), (300, vec![(ID, 100), (OTHER, 200)]));
        cache.insert(OTHER, [entry(20, 60)].into_iter());
        assert_eq!(in_use(), (300, vec![(OTHER, 300)]));
        cache.cut(OTHER, 10);
        assert_eq!(in_use(), (100, vec![(OTHER, 100)]));
        cache.insert(ID, [entry(10, 261)].into_iter());
        assert_eq!(in_use(), (0, vec![]));
    }
}
