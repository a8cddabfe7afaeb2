//! Closes a shard: everything becomes durable, and the metadata says where each log ends, so that the next open reads nothing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use tokio::sync::oneshot;

use super::super::checkpoint::{self, Mark};
use super::super::meta::MetaRecord;
use super::super::partition::LivePartition;
use super::{Writer, send};
use crate::log::disk::Disk;
use crate::log::engine::PartitionId;

/// Who waits for the end.
pub(super) struct Closing {
    reply: oneshot::Sender<io::Result<()>>,
}

/// What is left to do for a partition.
struct Seal {
    id: PartitionId,
    dir: super::super::layout::PartitionDir,
    /// The last segment's end, if room was reserved beyond it.
    cut: Option<Mark>,
    checkpoint: Option<Vec<u8>>,
}

impl Writer {
    pub(super) fn begin_close(&mut self, reply: oneshot::Sender<io::Result<()>>) {
        self.closing = Some(Closing { reply });
    }

    /// Goes on closing, if that was asked for; returns whether it is done.
    pub(super) fn is_closed(&mut self) -> bool {
        if self.closing.is_none() || self.meta_failed.is_none() && !self.is_quiet() {
            return false;
        }
        let result = match &self.meta_failed {
            Some(reason) => Err(io::Error::other(reason.clone())),
            None => self.seal(),
        };
        if let Some(closing) = self.closing.take() {
            send(closing.reply, result);
        }
        true
    }

    /// Whether nothing is under way; sees to it that it will not be.
    fn is_quiet(&mut self) -> bool {
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for id in ids {
            if let Some(partition) = self.partitions.get_mut(&id)
                && !partition.dirty.is_empty()
            {
                partition.sync_wanted = true;
                self.want_sync(id);
            }
        }
        self.schedule();
        let idle = |partition: &LivePartition| {
            partition.syncing.is_none() && partition.dirty.is_empty() && !partition.checkpoints.saving
        };
        let partitions =
            self.partitions.values().all(idle) && self.opening.is_empty() && self.removing.is_empty();
        let requests = self.deferred.is_empty() && self.atomic.is_none() && !self.journal.is_busy();
        let metadata = self.after_meta.is_empty() && self.meta.is_settled() && !self.meta_syncing;
        partitions && requests && metadata && !self.snapshotting
    }

    fn seal(&mut self) -> io::Result<()> {
        let seals: Vec<Seal> = self
            .partitions
            .values()
            .filter(|found| !found.is_corrupt() && found.failing.is_none())
            .map(LivePartition::seal)
            .collect();
        let mut first_error = None;
        let mut records = Vec::new();
        // One result each: nobody waits for room.
        let (results, done) = sync_channel(seals.len().max(1));
        for seal in seals {
            let (disk, results) = (Arc::clone(&self.env.disk), results.clone());
            let reserve = Arc::clone(&self.env.reserve);
            self.env.syncers.submit(move || {
                let _ = results.send((seal.id, reserve.with(|| seal.carry_out(&*disk))));
            });
        }
        drop(results);
        for (id, result) in done {
            match (result, self.partitions.get(&id)) {
                (Ok(()), Some(partition)) => {
                    let mut state = partition.state(self.env.owner);
                    state.sealed = Some((partition.written, partition.last_time));
                    records.push(MetaRecord::Partition(id, state));
                }
                (Err(error), _) => {
                    tracing::warn!(partition = %id, %error, "cannot seal a partition: its tail is read at the next start");
                    first_error.get_or_insert(error);
                }
                (Ok(()), None) => {}
            }
        }
        if !records.is_empty() {
            self.meta.append(records, true);
        }
        let reserve = Arc::clone(&self.env.reserve);
        reserve.with(|| self.meta.flush())?;
        let sync = self.meta.begin_sync();
        sync.files.iter().try_for_each(|file| file.sync_data())?;
        if sync.new_name {
            self.env.disk.sync_dir(self.env.shared.dir.path())?;
        }
        self.meta.trim_reserve()?;
        first_error.map_or(Ok(()), Err)
    }
}

impl LivePartition {
    fn seal(&self) -> Seal {
        // Without an active segment the last one may end in what was never meant to stay.
        let reserved = self
            .active
            .as_ref()
            .map_or(self.written.position > 0, |active| active.allocated > self.written.position);
        let saved = self.checkpoints.saved == self.written.offset;
        Seal {
            id: self.shared.id,
            dir: self.shared.dir.clone(),
            cut: reserved.then_some(self.written),
            checkpoint: (!saved).then(|| checkpoint::encode(self.written, self.last_time, &self.producers)),
        }
    }
}

impl Seal {
    fn carry_out(&self, disk: &dyn Disk) -> io::Result<()> {
        if let Some(mark) = &self.cut {
            let file = disk.open(&self.dir.segment(mark.base))?;
            file.truncate(mark.position)?;
            file.sync_data()?;
        }
        self.checkpoint.as_ref().map_or(Ok(()), |bytes| disk.replace(&self.dir.checkpoint(), bytes))
    }
}
