//! Opens, trims and deletes partitions.

use std::io;
use std::sync::Arc;

use super::super::checkpoint::Mark;
use super::super::epochs::EpochHistory;
use super::super::layout::PartitionDir;
use super::super::mailbox::{Event, Reply};
use super::super::meta::{MetaRecord, PartitionState};
use super::super::partition::LivePartition;
use super::super::recovery::{self, Recovered};
use super::super::shared::writing;
use super::metadata::After;
use super::{Writer, send};
use crate::log::engine::{CommitError, Partition, PartitionId, PartitionOptions, Refusal};

/// A partition that is being opened.
pub(super) struct Opening {
    options: PartitionOptions,
    replies: Vec<Reply<Partition>>,
    /// It was recovered, and waits for the metadata.
    ready: Option<LivePartition>,
}

/// A trim that waits for what is known of the producers to be saved.
pub(in super::super) struct PendingTrim {
    before: u64,
    max_bytes: Option<u64>,
    reply: Reply<u64>,
}

impl PendingTrim {
    pub(super) fn refuse(self, error: CommitError) {
        send(self.reply, Err(error));
    }
}

impl Writer {
    pub(super) fn open(&mut self, id: PartitionId, options: PartitionOptions, reply: Reply<Partition>) {
        self.flush();
        if let Some(partition) = self.partitions.get_mut(&id) {
            // What was promised to be in the page cache only, and was not synced yet, is from now on.
            partition.sync_wanted |= partition.options.durability != options.durability;
            partition.options = options;
            partition.settle(self.meta.progress());
            send(reply, Ok(partition.shared.describe()));
            self.want_sync(id);
            return;
        }
        if let Some(opening) = self.opening.get_mut(&id) {
            opening.options = options;
            opening.replies.push(reply);
            return;
        }
        self.opening.insert(id, Opening { options, replies: vec![reply], ready: None });
        let shared = Arc::clone(&self.env.shared);
        let disk = Arc::clone(&self.env.disk);
        let reserve = Arc::clone(&self.env.reserve);
        let floor = self.floors.get(&id).copied().unwrap_or(0);
        self.env.workers.submit(move || {
            let state = shared.look(|state| state.partition(id).cloned()).flatten();
            let dir = shared.dir.partition(id);
            let request = recovery::Request { disk: &*disk, dir: &dir, id, state: state.as_ref(), floor };
            let result = reserve.with(|| recovery::recover(&request)).map(Box::new);
            shared.mailbox.tell(Event::Recovered { id, result });
        });
    }

    pub(super) fn on_recovered(&mut self, id: PartitionId, result: io::Result<Box<Recovered>>) {
        let found = match result {
            Ok(found) => *found,
            Err(error) => {
                tracing::error!(partition = %id, %error, "cannot open a partition");
                return self.fail_open(id, || CommitError::Storage(error.to_string()));
            }
        };
        self.floors.remove(&id);
        if !found.clean {
            self.env.counters.recovered.add(1);
            self.env.counters.recovered_bytes.add(found.read);
        }
        let known = self.env.shared.look(|state| (state.partition(id).cloned(), state.epoch_floor()));
        let (known, floor) = known.unwrap_or_default();
        let corrupt = found.corruption.clone();
        let mut state = match known {
            Some(state) => PartitionState { epochs: found.epochs.clone(), ..state },
            None => PartitionState {
                incarnation: self.meta.next_version(),
                owner: self.env.owner,
                epochs: EpochHistory::beginning_with(floor),
                ..Default::default()
            },
        };
        if let Some(reason) = &corrupt {
            tracing::error!(
                topic = &*self.env.shared.topic_of(id),
                partition = %id,
                reason,
                "the log is corrupt below its durable end: the partition is read-only; `sealstream log verify` says how far it is sound: restore it from a \
                 copy, or delete the topic"
            );
        } else if !found.clean || state.owner != self.env.owner || state.epochs.current() < floor {
            state.epochs.raise_to(floor, found.end.offset);
        }
        state.epochs.prune(found.start);
        (state.start, state.owner, state.sealed) = (found.start, self.env.owner, None);
        self.serial += 1;
        let Some(opening) = self.opening.get_mut(&id) else { return };
        let dir = self.env.shared.dir.partition(id);
        opening.ready = Some(LivePartition::new(dir, id, self.serial, found, &state, opening.options));
        if corrupt.is_some() {
            // What the metadata says of it stays as it is, for whoever repairs it.
            self.finish_open(id);
        } else {
            self.note(MetaRecord::Partition(id, state), After::Open(id));
        }
    }

    pub(super) fn finish_open(&mut self, id: PartitionId) {
        let Some(Opening { options, replies, ready: Some(mut partition) }) = self.opening.remove(&id) else {
            return;
        };
        partition.options = options;
        self.env.shared.insert(Arc::clone(&partition.shared));
        for reply in replies {
            send(reply, Ok(partition.shared.describe()));
        }
        self.partitions.insert(id, partition);
    }

    pub(super) fn fail_open(&mut self, id: PartitionId, error: impl Fn() -> CommitError) {
        if let Some(opening) = self.opening.remove(&id) {
            for reply in opening.replies {
                send(reply, Err(error()));
            }
        }
    }

    pub(super) fn trim(&mut self, id: PartitionId, before: u64, max_bytes: Option<u64>, reply: Reply<u64>) {
        self.flush();
        let Some(partition) = self.partitions.get_mut(&id) else {
            return send(reply, Err(CommitError::Refused { index: 0, refusal: Refusal::NotOpen(id) }));
        };
        partition.trims.push(PendingTrim { before, max_bytes, reply });
        self.continue_trims(id, false);
    }

    /// Trims what can be trimmed now. What is let go of is in synced segments, for a repair begins where they end; and what is known of
    /// the producers outlives the batches that taught it, so that it is saved first. Unless the disk is `full`: the
    /// room that a trim frees may be what that lacked. Then producers whose first batch is gone are not known any more after a
    /// crash.
    pub(super) fn continue_trims(&mut self, id: PartitionId, full: bool) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        for trim in std::mem::take(&mut partition.trims) {
            let Some(partition) = self.partitions.get_mut(&id) else { return };
            let Some(cut) = partition.trimmed_start(trim.before, trim.max_bytes) else {
                let start = partition.shared.describe().start;
                send(trim.reply, Ok(start));
                continue;
            };
            let synced = partition.synced.offset >= cut;
            let saved = partition.checkpoints.saved >= cut || partition.is_corrupt();
            if synced && (saved || full) {
                if !saved {
                    // Saved behind the next append: there may be room then.
                    partition.checkpoints.uncaptured = self.env.options.checkpoint_bytes;
                }
                self.trim_now(id, cut, trim.reply);
                continue;
            }
            partition.trims.push(trim);
            partition.sync_wanted = true;
            if !saved {
                partition.capture();
            }
            self.want_sync(id);
            self.save_checkpoint(id);
        }
    }

    pub(super) fn refuse_trims(&mut self, id: PartitionId, reason: &str) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        for trim in std::mem::take(&mut partition.trims) {
            trim.refuse(CommitError::Storage(reason.to_owned()));
        }
    }

    fn trim_now(&mut self, id: PartitionId, start: u64, reply: Reply<u64>) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let bases = partition.let_go(start);
        for base in &bases {
            self.env.shared.files.forget(id, *base);
        }
        let state = partition.state(self.env.owner);
        if partition.is_corrupt() && !partition.damaged_since {
            // Its metadata stays as it is; what is removed is what could still be read.
            return self.finish_trim(id, bases, start, Some(reply));
        }
        self.note(MetaRecord::Partition(id, state), After::Trim { id, bases, start, reply: Some(reply) });
    }

    pub(super) fn finish_trim(
        &mut self,
        id: PartitionId,
        bases: Vec<u64>,
        start: u64,
        reply: Option<Reply<u64>>,
    ) {
        let dir = self.env.shared.dir.partition(id);
        let (disk, reserve) = (Arc::clone(&self.env.disk), Arc::clone(&self.env.reserve));
        self.env.workers.submit(move || {
            for base in bases {
                if let Err(error) = disk.remove_file(&dir.segment(base))
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(partition = %id, base, %error, "cannot remove a trimmed segment yet");
                }
            }
            reserve.restore();
        });
        if let Some(reply) = reply {
            send(reply, Ok(start));
        }
    }

    pub(super) fn delete(&mut self, id: PartitionId, reply: Reply<()>) {
        self.flush();
        if let Some(replies) = self.removing.get_mut(&id) {
            replies.push(reply);
            return;
        }
        let live = self.partitions.remove(&id);
        self.env.shared.remove(id);
        let known = |state: &super::super::meta::MetaState| {
            (state.partition(id).is_some(), state.deleting().any(|deleting| deleting == id))
        };
        let (there, leftover) = self.env.shared.look(known).unwrap_or_default();
        if let Some(mut partition) = live {
            partition.fail_waiters("the partition was deleted");
            for trim in partition.trims {
                trim.refuse(CommitError::Refused { index: 0, refusal: Refusal::NotOpen(id) });
            }
        } else if !there && !leftover {
            return send(reply, Ok(()));
        }
        self.held.retain(|held| *held != id);
        self.failing.retain(|failing| *failing != id);
        self.journal.settled(id, u64::MAX);
        self.removing.insert(id, vec![reply]);
        if leftover {
            self.remove_files(id);
        } else {
            self.note(MetaRecord::Deleting(id), After::Delete(id));
        }
    }

    /// The metadata no longer has the partition: its files can go.
    pub(super) fn remove_files(&mut self, id: PartitionId) {
        let shared = Arc::clone(&self.env.shared);
        let (disk, reserve) = (Arc::clone(&self.env.disk), Arc::clone(&self.env.reserve));
        self.env.workers.submit(move || {
            let result = remove_partition(&*disk, &shared.dir.partition(id), &shared.dir.partitions());
            reserve.restore();
            shared.mailbox.tell(Event::Removed { id, result });
        });
    }

    pub(super) fn on_removed(&mut self, id: PartitionId, result: io::Result<()>) {
        let replies = self.removing.remove(&id).unwrap_or_default();
        match result {
            Ok(()) => {
                self.meta.append(vec![MetaRecord::Deleted(id)], true);
                for reply in replies {
                    send(reply, Ok(()));
                }
            }
            Err(error) => {
                tracing::warn!(partition = %id, %error, "cannot remove the files of a deleted partition yet");
                let error = error.to_string();
                for reply in replies {
                    send(reply, Err(CommitError::Storage(error.clone())));
                }
            }
        }
    }
}

/// Removes a partition's files, durably.
pub(in super::super) fn remove_partition(
    disk: &dyn crate::log::disk::Disk,
    dir: &PartitionDir,
    partitions: &std::path::Path,
) -> io::Result<()> {
    disk.remove_dir_all(dir.path())?;
    disk.sync_dir(partitions)
}

impl LivePartition {
    /// Where the log would begin after a trim; `None` if it would let go of nothing.
    fn trimmed_start(&self, before: u64, max_bytes: Option<u64>) -> Option<u64> {
        if self.failing.is_some() {
            return None;
        }
        let view = super::super::shared::reading(&self.shared.view);
        let published = *self.publish.borrow();
        let mut bytes = view.bytes();
        let mut start = None;
        for (at, segment) in view.segments.iter().enumerate() {
            let next = view.segments.get(at + 1).map(|next| next.base);
            let end = next.unwrap_or(self.written.offset);
            let too_many = next.is_some() && max_bytes.is_some_and(|max| bytes > max);
            // The last segment goes only if nobody is at it.
            let idle = next.is_some() || self.syncing.is_none() && self.staged.is_empty() && !view.read_only;
            if end > published || !idle || !(end <= before && end > segment.base || too_many) {
                break;
            }
            bytes = bytes.saturating_sub(segment.bytes);
            start = Some(end);
        }
        start
    }

    /// Forgets everything below `start`; returns the segments to remove.
    fn let_go(&mut self, start: u64) -> Vec<u64> {
        let end = self.written.offset;
        let mut view = writing(&self.shared.view);
        let whole = start >= end;
        let kept = if whole {
            view.segments.len()
        } else {
            view.segments.partition_point(|segment| segment.base < start)
        };
        let bases: Vec<u64> = view.segments.drain(..kept).map(|segment| segment.base).collect();
        view.start = start;
        view.epochs.prune(start);
        drop(view);
        self.dirty.retain(|dirty| !bases.contains(&dirty.segment.base));
        if whole {
            self.active = None;
            self.written = Mark::unwritten(end);
            (self.durable, self.synced) = (self.written, self.written);
            self.runs.clear();
        }
        bases
    }
}
