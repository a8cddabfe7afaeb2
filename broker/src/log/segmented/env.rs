//! What a shard's writer works with.

use std::sync::Arc;

use super::counters::Counters;
use super::options::SegmentedOptions;
use super::pool::Pool;
use super::reserve::Reserve;
use super::shared::ShardShared;
use crate::log::clock::Clock;
use crate::log::disk::Disk;

/// What a shard's writer works with.
pub(super) struct Env {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: SegmentedOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) owner: u64,
    pub(super) shared: Arc<ShardShared>,
    pub(super) counters: Arc<Counters>,
    pub(super) reserve: Arc<Reserve>,
    /// Threads for syncs, that commits wait for.
    pub(super) syncers: Arc<Pool>,
    /// Threads for everything else: recovery, checkpoints, snapshots, removals.
    pub(super) workers: Arc<Pool>,
}
