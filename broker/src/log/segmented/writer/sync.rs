//! When what is synced, and what follows from it.
//!
//! A partition's files are synced by one job at a time; meanwhile its appends go on, and the next job covers them all. Up to
//! [`PARALLEL_SYNCS`] jobs run at once. When more partitions wait than that, one record of the journal makes them all durable.
//!
//! Where one partition alone is written to and its disk is quick, the writer does the job itself ([`Lone`]): handing it to a thread that
//! sleeps, and back, takes as long as half the sync. A disk that turns slow, or another partition's append, meets a writer that is
//! busy with a sync once, and not again before [`LONE_SYNCS`] more.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::counters::Synced;
use super::super::env::Env;
use super::super::mailbox::{Event, SyncDone};
use super::super::partition::LivePartition;
use super::super::parts::{Dirty, Syncing};
use super::super::reserve::is_full;
use super::Writer;
use crate::log::disk::Disk;
use crate::log::engine::{Durability, PartitionId};

/// How many files of a shard are synced at once. On a machine of two cores 1,000 files one by one take 81 ms; the same bytes in one
/// file 3 to 5 ms. Up to 8 in parallel cost less than writing everything twice.
pub(super) const PARALLEL_SYNCS: usize = 8;

/// A sync that takes longer than this is not quick. Beside it, what a hand-over costs (40 µs each way) does not matter.
const QUICK: Duration = Duration::from_millis(1);

/// After how many quick syncs in a row, without a request during any of them or an append to another partition, the writer does them itself.
const LONE_SYNCS: u32 = 16;

/// With more bytes than this a sync is not small: it takes as long as the disk needs for them.
const SMALL: u64 = 256 << 10;

/// The partition that alone was appended to of late, and how many syncs that has lasted.
///
/// ```text
/// 0 ── a quick sync, no request meanwhile ──► 1 ── … ──► LONE_SYNCS: small syncs are the writer's own
/// └── a slow sync, one that failed, a request during one, ◄──┘
///     an append to another partition
/// ```
#[derive(Debug, Default)]
pub(super) struct Lone {
    partition: Option<PartitionId>,
    syncs: u32,
}

impl Lone {
    /// This partition is appended to.
    pub(super) fn appended(&mut self, id: PartitionId) {
        if self.partition != Some(id) {
            *self = Self { partition: Some(id), syncs: 0 };
        }
    }

    /// A request came while something was synced.
    pub(super) fn disturbed(&mut self) {
        self.syncs = 0;
    }

    fn synced(&mut self, done: &SyncDone) {
        let quick = done.took <= QUICK && done.result.is_ok();
        self.syncs = if quick { self.syncs.saturating_add(1) } else { 0 };
    }

    fn is_quick(&self) -> bool {
        self.syncs >= LONE_SYNCS
    }
}

impl Writer {
    /// After a partition's appends were written and answered: queues the sync for whoever waits for it.
    pub(super) fn after_write(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let lazy = partition.options.durability == Durability::Memory;
        self.want_sync(id);
        if lazy && !self.held.contains(&id) {
            self.held.push_back(id);
            if self.held.len() > self.env.options.held_segments
                && let Some(oldest) = self.held.pop_front()
            {
                if let Some(partition) = self.partitions.get_mut(&oldest) {
                    partition.sync_wanted = true;
                }
                self.want_sync(oldest);
            }
        }
    }

    /// Queues a partition's sync, if it is wanted.
    pub(super) fn want_sync(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if !partition.queued && partition.can_sync() && partition.wants_sync() {
            partition.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Starts as many syncs as may run at once.
    pub(super) fn schedule(&mut self) {
        // First, for a commit may wait for the room that it frees; and last, for what the round has filled.
        self.drain_journal();
        self.start_atomic();
        if self.meta_failed.is_none() && !self.meta_syncing && self.meta.is_dirty() {
            self.sync_metadata();
        }
        let free = PARALLEL_SYNCS.saturating_sub(self.syncing);
        if self.queue.len() > free && self.queue.len() > PARALLEL_SYNCS {
            self.journal_round();
        }
        while self.syncing < PARALLEL_SYNCS {
            let Some(id) = self.queue.pop_front() else { break };
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            partition.queued = false;
            if partition.can_sync() {
                let alone = self.syncing == 0
                    && self.lone.is_quick()
                    && self.queue.is_empty()
                    && partition.is_quick_to_sync()
                    && self.env.shared.mailbox.is_empty();
                self.syncing += 1;
                let sync = partition.begin_sync(&self.env, false);
                if alone {
                    sync();
                } else {
                    self.env.syncers.submit(sync);
                }
            }
        }
        self.drain_journal();
    }

    pub(super) fn on_synced(&mut self, id: PartitionId, serial: u64, done: SyncDone) {
        *(if done.drain { &mut self.drains } else { &mut self.syncing }) -= 1;
        self.lone.synced(&done);
        let progress = self.meta.progress();
        let Some(partition) = self.partitions.get_mut(&id).filter(|found| found.serial == serial) else {
            return;
        };
        let Some(syncing) = partition.syncing.take() else { return };
        match done.result {
            Ok(()) => {
                partition.synced = syncing.mark;
                partition.advance(syncing.mark);
                partition.settle(progress);
                self.settle_journal(id);
                if self.partitions.get(&id).is_some_and(|partition| partition.dirty.is_empty()) {
                    self.held.retain(|held| *held != id);
                }
                self.save_checkpoint(id);
                self.continue_trims(id, false);
                self.want_sync(id);
            }
            Err(error) => self.cut(id, &error.to_string()),
        }
    }

    /// Saves a checkpoint that waits, if its place is durable.
    pub(super) fn save_checkpoint(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let durable = partition.known_durable();
        if partition.checkpoints.saving {
            return;
        }
        let ready = partition.checkpoints.pending.take_if(|capture| capture.offset <= durable);
        let Some(capture) = ready else { return };
        partition.checkpoints.saving = true;
        let pressing = !partition.trims.is_empty();
        partition.checkpoints.pressing = pressing;
        let (shared, disk) = (Arc::clone(&self.env.shared), Arc::clone(&self.env.disk));
        let reserve = Arc::clone(&self.env.reserve);
        let (path, serial) = (partition.shared.dir.checkpoint(), partition.serial);
        self.env.workers.submit(move || {
            let save = || disk.replace(&path, &capture.bytes);
            let result = if pressing { reserve.with(save) } else { save() };
            shared.mailbox.tell(Event::Checkpointed { id, serial, offset: capture.offset, result });
        });
    }

    pub(super) fn on_checkpointed(
        &mut self,
        id: PartitionId,
        serial: u64,
        offset: u64,
        result: io::Result<()>,
    ) {
        let Some(partition) = self.partitions.get_mut(&id).filter(|found| found.serial == serial) else {
            return;
        };
        partition.checkpoints.saving = false;
        match result {
            Ok(()) => {
                partition.checkpoints.saved = partition.checkpoints.saved.max(offset);
                self.continue_trims(id, false);
            }
            Err(error) => {
                tracing::warn!(partition = %id, %error, "cannot save a checkpoint: recovery will read more");
                if is_full(&error) {
                    // A trim that came while it was saved has it tried again, by all means.
                    let pressing = partition.checkpoints.pressing;
                    self.continue_trims(id, pressing);
                } else {
                    self.refuse_trims(id, &error.to_string());
                }
            }
        }
        self.save_checkpoint(id);
    }
}

impl LivePartition {
    /// Whether its sync is as quick as the disk: one of a few bytes, in a file whose name is durable.
    fn is_quick_to_sync(&self) -> bool {
        let [dirty] = &self.dirty[..] else { return false };
        !dirty.new_name && dirty.full.is_none() && self.unsynced() <= SMALL
    }

    /// Takes everything that is dirty. The job, whoever does it, syncs that and tells the writer.
    pub(super) fn begin_sync(&mut self, env: &Env, drain: bool) -> impl FnOnce() + Send + use<> {
        let dirty = std::mem::take(&mut self.dirty);
        env.counters.syncs.add(dirty.len() as u64);
        self.sync_wanted = false;
        self.syncing = Some(Syncing { mark: self.written, behind: Vec::new() });
        let (id, serial) = (self.shared.id, self.serial);
        let (shared, disk) = (Arc::clone(&env.shared), Arc::clone(&env.disk));
        let partition = Arc::clone(&self.shared);
        let counters = Arc::clone(&env.counters);
        move || {
            let begun = Instant::now();
            let sync = || sync(&*disk, partition.dir.path(), &dirty);
            let result = counters.timed(Synced::Segments, sync);
            let took = begun.elapsed();
            // The files may be closed before the next ones are.
            drop(dirty);
            let done = SyncDone { drain, took, result };
            shared.mailbox.tell(Event::Synced { id, serial, done });
        }
    }
}

/// Syncs segments, and then their names if they are new.
pub(super) fn sync(disk: &dyn Disk, dir: &std::path::Path, dirty: &[Dirty]) -> io::Result<()> {
    for dirty in dirty {
        if let Some(len) = dirty.full {
            dirty.segment.file.truncate(len)?;
        }
        dirty.segment.file.sync_data()?;
    }
    if dirty.iter().any(|dirty| dirty.new_name) { disk.sync_dir(dir) } else { Ok(()) }
}
