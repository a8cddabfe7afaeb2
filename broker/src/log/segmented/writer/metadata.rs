//! The shard's metadata: staged, written, synced, seen; and what is to happen once a change of it is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::counters::Synced;
use super::super::mailbox::{Event, Reply};
use super::super::meta::{self, MetaRecord};
use super::super::partition::{LivePartition, commit_error, waited};
use super::{Writer, send};
use crate::log::engine::{CommitError, Committed, DurabilityError, Outcome, PartitionId};

/// A commit of metadata that is staged.
pub(super) struct MetaAnswer {
    sequence: u64,
    outcomes: Vec<Outcome>,
    reply: Reply<Committed>,
}

/// What is to happen once the metadata is durable up to a sequence.
pub(super) enum After {
    /// A commit is durable.
    Commit(oneshot::Sender<Result<(), DurabilityError>>),
    /// A partition can be used.
    Open(PartitionId),
    /// Segments can be removed.
    Trim { id: PartitionId, bases: Vec<u64>, start: u64, reply: Option<Reply<u64>> },
    /// A partition's files can be removed.
    Delete(PartitionId),
    /// Partitions may have waited for it to call something durable.
    Settle(PartitionId),
}

impl Writer {
    /// Stages changes that a commit made, and its answer.
    pub(super) fn stage_metadata(
        &mut self,
        records: Vec<MetaRecord>,
        outcomes: Vec<Outcome>,
        reply: Reply<Committed>,
    ) {
        let sequence = self.meta.append(records, false);
        self.meta_answers.push(MetaAnswer { sequence, outcomes, reply });
    }

    /// Stages a change of the shard's own.
    pub(super) fn note(&mut self, record: MetaRecord, after: After) -> u64 {
        let sequence = self.meta.append(vec![record], true);
        self.after_meta.push_back((sequence, after));
        sequence
    }

    /// Writes what is staged, and answers it.
    pub(super) fn flush_metadata(&mut self) {
        if let Some(reason) = self.meta_failed.take() {
            self.start_metadata_over(Vec::new(), &reason);
        }
        if self.meta_failed.is_some() {
            return;
        }
        self.restore_reserve();
        let reserve = Arc::clone(&self.env.reserve);
        let result = reserve.with(|| self.meta.flush());
        let answers = std::mem::take(&mut self.meta_answers);
        if let Err(error) = result {
            for answer in answers {
                send(answer.reply, Err(commit_error(&error)));
            }
            self.put_back_unwritten(&error);
            return;
        }
        for MetaAnswer { sequence, outcomes, reply } in answers {
            let (sender, durable) = oneshot::channel();
            self.after_meta.push_back((sequence, After::Commit(sender)));
            send(reply, Ok(Committed { outcomes, durable: Box::pin(waited(durable)), write: None }));
        }
        self.after_meta.make_contiguous().sort_by_key(|(sequence, _)| *sequence);
        if let Err(error) = self.meta.compact() {
            tracing::warn!(shard = %self.env.shared.dir.path().display(), %error, "cannot begin a new metadata log");
        }
    }

    /// Has the reserve of the disk made again, if it is time to try that.
    pub(super) fn restore_reserve(&self) {
        if self.env.reserve.restore_is_due() {
            let reserve = Arc::clone(&self.env.reserve);
            self.env.workers.submit(move || reserve.restore());
        }
    }

    /// Nothing of what was staged could be written: the shard's own changes wait for better times.
    fn put_back_unwritten(&mut self, error: &std::io::Error) {
        let lost = self.meta.drop_staged();
        if matches!(commit_error(error), CommitError::DiskFull) {
            // Without the commits they may fit into what is kept for them.
            self.append_again(lost);
        } else {
            self.start_metadata_over(lost, &error.to_string());
        }
        if self.meta_failed.is_none()
            && let Err(error) = self.meta.flush()
        {
            tracing::warn!(%error, "cannot write the shard's own metadata: the next round tries again");
            let lost = self.meta.drop_staged();
            self.append_again(lost);
            self.refuse_without_metadata(&error.to_string());
        }
    }

    fn append_again(&mut self, lost: Vec<(u64, Vec<MetaRecord>)>) {
        let mut moved = Vec::new();
        for (old, records) in lost {
            moved.push((old, self.meta.append(records, true)));
        }
        for (sequence, after) in &mut self.after_meta {
            if let Some((_, new)) = moved.iter().find(|(old, _)| old == sequence) {
                *sequence = *new;
                if let After::Settle(id) = after
                    && let Some(partition) = self.partitions.get_mut(id)
                {
                    partition.needs_meta = *new;
                }
            }
        }
    }

    /// The metadata log can no longer be trusted beyond what is durable: it begins anew.
    fn start_metadata_over(&mut self, unwritten: Vec<(u64, Vec<MetaRecord>)>, reason: &str) {
        let shard = self.env.shared.dir.path().display().to_string();
        tracing::error!(shard, reason, "the metadata log failed: it begins anew with what is durable");
        for answer in std::mem::take(&mut self.meta_answers) {
            send(answer.reply, Err(CommitError::Storage(reason.to_owned())));
        }
        let mut lost = self.meta.give_up();
        lost.extend(unwritten);
        let (kept, failed): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.after_meta)
            .into_iter()
            .partition(|(_, after)| !matches!(after, After::Commit(_)));
        self.after_meta = kept;
        for (_, after) in failed {
            if let After::Commit(reply) = after {
                send(reply, Err(DurabilityError { reason: reason.to_owned() }));
            }
        }
        self.append_again(lost);
        let reserve = Arc::clone(&self.env.reserve);
        let started = self.env.shared.look(|state| reserve.with(|| self.meta.start_over(state)));
        if let Some(Err(error)) = started {
            // The next round tries again; until then commits of metadata are refused.
            tracing::error!(shard, %error, "the metadata log cannot begin anew yet");
            self.refuse_without_metadata(reason);
            self.meta_failed = Some(reason.to_owned());
        }
    }

    /// Whoever waits for the metadata is not left waiting until the disk gets better.
    fn refuse_without_metadata(&mut self, reason: &str) {
        let storage = || CommitError::Storage(reason.to_owned());
        self.refuse_atomic(reason);
        let mut opening = Vec::new();
        self.after_meta.retain_mut(|(_, after)| match after {
            After::Open(id) => {
                opening.push(*id);
                false
            }
            After::Trim { reply, .. } => {
                if let Some(reply) = reply.take() {
                    send(reply, Err(storage()));
                }
                true
            }
            _ => true,
        });
        for id in opening {
            self.fail_open(id, storage);
        }
        // What was noted happens all the same, once it can be durable.
        for reply in self.removing.values_mut().flat_map(|replies| replies.drain(..)) {
            send(reply, Err(storage()));
        }
        let gated = |(id, partition): (&PartitionId, &LivePartition)| {
            (partition.needs_meta > 0 && !partition.waiters.is_empty() && partition.syncing.is_none())
                .then_some(*id)
        };
        let gated: Vec<PartitionId> = self.partitions.iter().filter_map(gated).collect();
        for id in gated {
            if let Some(partition) = self.partitions.get_mut(&id) {
                (partition.durable, partition.synced) = (partition.gate, partition.gate);
                self.cut(id, reason);
            }
        }
        self.retry = true;
    }

    pub(super) fn sync_metadata(&mut self) {
        let sync = self.meta.begin_sync();
        self.meta_syncing = true;
        let shared = Arc::clone(&self.env.shared);
        let disk = Arc::clone(&self.env.disk);
        self.env.counters.metadata_syncs.add(1);
        let counters = Arc::clone(&self.env.counters);
        self.env.syncers.submit(move || {
            let result = counters.timed(Synced::Metadata, || {
                sync.files.iter().try_for_each(|file| file.sync_data())?;
                if sync.new_name { disk.sync_dir(shared.dir.path()) } else { Ok(()) }
            });
            shared.mailbox.tell(Event::MetaSynced { starts: sync.starts, upto: sync.upto, result });
        });
    }

    pub(super) fn on_meta_synced(&mut self, starts: u64, upto: u64, result: std::io::Result<()>) {
        self.meta_syncing = false;
        if !self.meta.is_current(starts) {
            return;
        }
        if let Err(error) = result {
            self.start_metadata_over(Vec::new(), &error.to_string());
            return;
        }
        self.env.shared.change(|state| self.meta.synced(upto, state));
        while self.after_meta.front().is_some_and(|(sequence, _)| *sequence <= upto) {
            if let Some((_, after)) = self.after_meta.pop_front() {
                self.after(after);
            }
        }
        self.save_snapshot();
    }

    fn after(&mut self, after: After) {
        match after {
            After::Commit(reply) => send(reply, Ok(())),
            After::Open(id) => self.finish_open(id),
            After::Trim { id, bases, start, reply } => self.finish_trim(id, bases, start, reply),
            After::Delete(id) => self.remove_files(id),
            After::Settle(id) => {
                let progress = self.meta.progress();
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.settle(progress);
                    self.settle_journal(id);
                }
                self.save_checkpoint(id);
            }
        }
    }

    fn save_snapshot(&mut self) {
        if self.snapshotting {
            return;
        }
        let Some((generation, sequence)) = self.meta.snapshot_due() else { return };
        let Some(bytes) = self.env.shared.look(|state| meta::encode_snapshot(sequence, state)) else {
            return;
        };
        self.snapshotting = true;
        let shared = Arc::clone(&self.env.shared);
        let (disk, reserve) = (Arc::clone(&self.env.disk), Arc::clone(&self.env.reserve));
        self.env.workers.submit(move || {
            let written = reserve.with(|| disk.replace(&shared.dir.meta_snapshot(generation), &bytes));
            let result = written.map(|()| {
                meta::remove_older(&*disk, &shared.dir, generation);
                bytes.len() as u64
            });
            shared.mailbox.tell(Event::MetaSnapshot { result });
        });
    }

    pub(super) fn on_meta_snapshot(&mut self, result: std::io::Result<u64>) {
        self.snapshotting = false;
        match result {
            Ok(bytes) => self.meta.snapshot_made(bytes),
            // The logs before stay, and are read instead.
            Err(error) => tracing::warn!(
                shard = %self.env.shared.dir.path().display(),
                %error,
                "cannot save a snapshot of the metadata"
            ),
        }
    }
}
