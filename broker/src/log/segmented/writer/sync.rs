//! When what is synced, and what follows from it.
//!
//! A partition's files are synced by one job at a time; meanwhile its appends go on, and the next job covers them all. Up to
//! [`PARALLEL_SYNCS`] jobs run at once. When more partitions wait than that, one record of the journal makes them all durable.

use std::io;
use std::sync::Arc;

use super::super::counters::Synced;
use super::super::env::Env;
use super::super::mailbox::Event;
use super::super::partition::LivePartition;
use super::super::parts::{Dirty, Syncing};
use super::super::reserve::is_full;
use super::Writer;
use crate::log::disk::Disk;
use crate::log::engine::{Durability, PartitionId};

/// How many files of a shard are synced at once. On a machine of two cores 1,000 files one by one take 81 ms; the same bytes in one
/// file 3 to 5 ms. Up to 8 in parallel cost less than writing everything twice.
pub(super) const PARALLEL_SYNCS: usize = 8;

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
                self.syncing += 1;
                partition.begin_sync(&self.env, false);
            }
        }
        self.drain_journal();
    }

    pub(super) fn on_synced(&mut self, id: PartitionId, serial: u64, drain: bool, result: io::Result<()>) {
        *(if drain { &mut self.drains } else { &mut self.syncing }) -= 1;
        let progress = self.meta.progress();
        let Some(partition) = self.partitions.get_mut(&id).filter(|found| found.serial == serial) else {
            return;
        };
        let Some(syncing) = partition.syncing.take() else { return };
        match result {
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
    /// Hands everything that is dirty to the threads that sync.
    pub(super) fn begin_sync(&mut self, env: &Env, drain: bool) {
        let dirty = std::mem::take(&mut self.dirty);
        env.counters.syncs.add(dirty.len() as u64);
        self.sync_wanted = false;
        self.syncing = Some(Syncing { mark: self.written, behind: Vec::new() });
        let (id, serial) = (self.shared.id, self.serial);
        let (shared, disk) = (Arc::clone(&env.shared), Arc::clone(&env.disk));
        let partition = Arc::clone(&self.shared);
        let counters = Arc::clone(&env.counters);
        env.syncers.submit(move || {
            let sync = || sync(&*disk, partition.dir.path(), &dirty);
            let result = counters.timed(Synced::Segments, sync);
            // The files may be closed before the next ones are.
            drop(dirty);
            shared.mailbox.tell(Event::Synced { id, serial, drain, result });
        });
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
