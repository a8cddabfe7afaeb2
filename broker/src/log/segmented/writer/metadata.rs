//! The shard's metadata: staged, written, synced, seen; and what is to happen once a change of it is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::mailbox::{Event, Reply};
use super::super::meta::{self, MetaRecord};
use super::super::partition::{commit_error, waited};
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
        let result = self.meta.flush();
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
            send(reply, Ok(Committed { outcomes, durable: Box::pin(waited(durable)) }));
        }
        self.after_meta.make_contiguous().sort_by_key(|(sequence, _)| *sequence);
        if let Err(error) = self.meta.compact() {
            tracing::warn!(shard = %self.env.shared.dir.path().display(), %error, "cannot begin a new metadata log");
        }
    }

    /// Nothing of what was staged could be written: the shard's own changes wait for better times.
    fn put_back_unwritten(&mut self, error: &std::io::Error) {
        let lost = self.meta.drop_staged();
        if matches!(commit_error(error), CommitError::DiskFull) {
            self.append_again(lost);
            // Without the commits they may fit into what is kept for them; if not, the next round tries again.
            if let Err(error) = self.meta.flush() {
                tracing::warn!(%error, "no room for the shard's own metadata");
            }
        } else {
            self.start_metadata_over(lost, &error.to_string());
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
        let mut restarted = None;
        self.env.shared.change(|state| restarted = Some(self.meta.start_over(state)));
        match restarted {
            Some(Ok(mut lost)) => {
                lost.extend(unwritten);
                let durable = self.meta.durable();
                let (kept, failed): (VecDeque<_>, VecDeque<_>) =
                    std::mem::take(&mut self.after_meta).into_iter().partition(|(sequence, after)| {
                        *sequence <= durable || !matches!(after, After::Commit(_))
                    });
                self.after_meta = kept;
                for (_, after) in failed {
                    if let After::Commit(reply) = after {
                        send(reply, Err(DurabilityError { reason: reason.to_owned() }));
                    }
                }
                self.append_again(lost);
            }
            Some(Err(error)) => self.break_down(format!("{reason}; and beginning anew failed: {error}")),
            None => {}
        }
    }

    pub(super) fn sync_metadata(&mut self) {
        let sync = self.meta.begin_sync();
        self.meta_syncing = true;
        let shared = Arc::clone(&self.env.shared);
        let disk = Arc::clone(&self.env.disk);
        self.env.syncers.submit(move || {
            let files = sync.files.iter().try_for_each(|file| file.sync_data());
            let result =
                files.and_then(|()| if sync.new_name { disk.sync_dir(shared.dir.path()) } else { Ok(()) });
            shared.mailbox.tell(Event::MetaSynced { upto: sync.upto, result });
        });
    }

    pub(super) fn on_meta_synced(&mut self, upto: u64, result: std::io::Result<()>) {
        self.meta_syncing = false;
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = result {
            // What was staged meanwhile is answered before it is lost with the rest.
            self.flush_metadata();
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
                let durable = self.meta.durable();
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.settle(durable);
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
        let disk = Arc::clone(&self.env.disk);
        self.env.workers.submit(move || {
            let written = disk.replace(&shared.dir.meta_snapshot(generation), &bytes);
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

    /// Whoever waits for the metadata waits in vain.
    pub(super) fn fail_after_meta(&mut self, reason: &str) {
        let storage = || CommitError::Storage(reason.to_owned());
        for (_, after) in std::mem::take(&mut self.after_meta) {
            match after {
                After::Commit(reply) => send(reply, Err(DurabilityError { reason: reason.to_owned() })),
                After::Open(id) => self.fail_open(id, storage),
                After::Trim { reply: Some(reply), .. } => send(reply, Err(storage())),
                After::Delete(id) => {
                    for reply in self.removing.remove(&id).unwrap_or_default() {
                        send(reply, Err(storage()));
                    }
                }
                After::Trim { .. } | After::Settle(_) => {}
            }
        }
    }
}
