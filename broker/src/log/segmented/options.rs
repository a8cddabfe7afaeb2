//! What an operator, or a test, may want otherwise. Everything else is a constant beside the code that it bounds.

use super::segment::SEGMENT_HEADER;

/// How the segmented engine keeps its log. Values out of bounds are brought to the nearest bound when the engine opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentedOptions {
    /// How many shards a *new* data directory gets, 1 to 64; default 4. An existing one keeps its own. A shard is one
    /// writer thread and one metadata log.
    pub shards: u32,
    /// From which size on a segment is followed by the next, in bytes, where the partition does not say; default 256 MiB, 4 KiB to 1
    /// GiB. Retention lets go of whole segments. A batch larger than this gets a segment of its own.
    pub segment_bytes: u64,
    /// How many bytes of a segment lie between two points of its index; default 128 KiB, 4 KiB to 16 MiB. A seek walks
    /// over half of it; a segment of 256 MiB has 2,048 points of 24 bytes.
    pub index_interval: u64,
    /// How many bytes of recent batches each shard keeps in memory for the readers at the tail; default 16 MiB, at most
    /// 1 GiB.
    pub cache_bytes: usize,
    /// How many segments the engine keeps open, with their indexes; default 512, at least 16. 512 × 48 KiB of index are 24 MiB at worst.
    pub open_segments: usize,
    /// How many segments of a shard stay open on top of those because their bytes are not synced, though nobody waits for a sync, as is the
    /// rule with durability in memory; default 128, at least 1. When there are more the oldest is synced, so that what is written to more
    /// partitions in turn has the speed of the disk.
    pub held_segments: usize,
    /// After how many bytes a partition saves what it knows of its producers, and with it the place from which the next recovery
    /// reads; default 32 MiB, 64 KiB to 1 GiB.
    pub checkpoint_bytes: u64,
    /// The size of each half of a shard's journal, in bytes; default 32 MiB, 64 KiB to 1 GiB. Room is taken as it is needed.
    pub journal_bytes: u64,
    /// How much room on the disk is kept for deletions, trims and commits, in bytes: taken from the file system as long as there is
    /// any other; 0, the default, keeps none.
    pub reserve_bytes: u64,
}

impl Default for SegmentedOptions {
    fn default() -> Self {
        Self {
            shards: 4,
            segment_bytes: 256 << 20,
            index_interval: 128 << 10,
            cache_bytes: 16 << 20,
            open_segments: 512,
            held_segments: 128,
            checkpoint_bytes: 32 << 20,
            journal_bytes: 32 << 20,
            reserve_bytes: 0,
        }
    }
}

/// A segment's size, brought to the nearest bound.
pub(super) fn bounded_segment(bytes: u64) -> u64 {
    bytes.clamp((4 << 10) + SEGMENT_HEADER, 1 << 30)
}

impl SegmentedOptions {
    /// The same, with every value inside its bounds.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            shards: self.shards.clamp(1, 64),
            segment_bytes: bounded_segment(self.segment_bytes),
            index_interval: self.index_interval.clamp(4 << 10, 16 << 20),
            cache_bytes: self.cache_bytes.min(1 << 30),
            open_segments: self.open_segments.max(16),
            held_segments: self.held_segments.max(1),
            checkpoint_bytes: self.checkpoint_bytes.clamp(64 << 10, 1 << 30),
            journal_bytes: self.journal_bytes.clamp(64 << 10, 1 << 30),
            reserve_bytes: self.reserve_bytes,
        }
    }
}
