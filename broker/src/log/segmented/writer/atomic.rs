//! What the journal is for: rounds that touch many files, and commits that touch more than one.
//!
//! A commit that touches several files waits until nothing else of what it touches is under way; meanwhile later requests for the same things wait
//! behind it. It is checked, goes to the journal as one record, and once that is durable it is written where it belongs. Whatever
//! happens, all of it is there after recovery, or nothing.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::super::counters::Synced;
use super::super::journal::{Place, RecordBuilder};
use super::super::mailbox::{Event, Reply, Request};
use super::super::meta::MetaRecord;
use super::super::partition::{LivePartition, commit_error};
use super::super::parts::{StagedEntry, Syncing};
use super::commit::{Ahead, Checked};
use super::{Touched, Writer, send};
use crate::log::engine::{CommitError, Committed, Op, Outcome, PartitionId, Refusal};

/// How many bytes of a wide round go to the journal at most. Beyond it the bytes weigh more than the number of files: 8 of them at a
/// time are synced directly.
const MAX_ROUND: u64 = 16 << 20;

/// What an item of the journal takes besides its bytes, at most.
const ITEM: u64 = 128;

/// How many partitions behind the journal are synced at once, beside those that somebody waits for.
const DRAINING_SYNCS: usize = 4;

/// A commit that touches several files.
pub(super) struct Atomic {
    pub(super) touched: Touched,
    state: State,
}

enum State {
    Waiting { ops: Vec<Op>, reply: Reply<Committed> },
    Journaling { records: Vec<MetaRecord>, outcomes: Vec<Outcome>, reply: Reply<Committed> },
}

/// A commit that was checked.
struct Plan {
    appends: Vec<(Op, Checked)>,
    records: Vec<MetaRecord>,
    outcomes: Vec<Outcome>,
}

impl Writer {
    pub(super) fn commit_atomic(&mut self, ops: Vec<Op>, reply: Reply<Committed>) {
        if self.atomic.is_some() {
            self.deferred.push_back(Request::Commit { ops, reply });
            return;
        }
        self.atomic = Some(Atomic { touched: Touched::of_ops(&ops), state: State::Waiting { ops, reply } });
    }

    /// Fails the commit that waits, if there is one: for want of metadata it will not begin.
    pub(super) fn refuse_atomic(&mut self, reason: &str) {
        match self.atomic.take() {
            Some(Atomic { state: State::Waiting { reply, .. }, .. }) => {
                send(reply, Err(CommitError::Storage(reason.to_owned())));
                self.retry = true;
            }
            other => self.atomic = other,
        }
    }

    /// Begins the commit that waits, if nothing of what it touches is under way.
    pub(super) fn start_atomic(&mut self) {
        if let Some(reason) = self.meta_failed.clone() {
            return self.refuse_atomic(&reason);
        }
        let Some(Atomic { touched, state: State::Waiting { ops, .. } }) = &self.atomic else { return };
        let bytes: u64 = ops.iter().map(|op| ITEM + op_len(op)).sum();
        let partitions: Vec<PartitionId> = touched.partitions.iter().copied().collect();
        let metadata_busy = touched.metadata && !self.meta.is_settled();
        let mut failing = None;
        let mut ready = !metadata_busy && self.journal.has_room(bytes, self.meta.durable());
        for id in partitions {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            failing = failing.or(partition.failing.clone());
            if !partition.is_settled() {
                ready = false;
                partition.sync_wanted = true;
                self.want_sync(id);
            }
        }
        if (ready || failing.is_some())
            && let Some(Atomic { touched, state: State::Waiting { ops, reply } }) = self.atomic.take()
        {
            match failing {
                Some(reason) => send(reply, Err(CommitError::Storage(reason))),
                None => self.begin_atomic(touched, ops, reply),
            }
            // Whatever comes of it, what was deferred behind it may be next.
            self.retry = true;
        }
    }

    fn begin_atomic(&mut self, touched: Touched, ops: Vec<Op>, reply: Reply<Committed>) {
        let plan = match self.plan(ops) {
            Ok(plan) => plan,
            Err((index, refusal)) => return send(reply, Err(CommitError::Refused { index, refusal })),
        };
        for (op, checked) in &plan.appends {
            if let Op::Append { partition, batch, source, .. } = op
                && let Some(partition) = self.partitions.get_mut(partition)
            {
                partition.stage(batch, *source, checked, None);
            }
        }
        match self.journal_plan(&touched, &plan.records) {
            Ok(true) => {
                let Plan { records, outcomes, .. } = plan;
                self.atomic = Some(Atomic { touched, state: State::Journaling { records, outcomes, reply } });
            }
            Ok(false) => {
                // Nothing but repeats of what is durable.
                let durable = Box::pin(std::future::ready(Ok(())));
                send(reply, Ok(Committed { outcomes: plan.outcomes, durable, write: None }));
            }
            Err(error) => {
                self.unstage(&touched);
                send(reply, Err(commit_error(&error)));
            }
        }
    }

    /// Checks every operation after those before it.
    fn plan(&mut self, ops: Vec<Op>) -> Result<Plan, (usize, Refusal)> {
        let now = self.env.clock.now();
        let mut ahead: HashMap<PartitionId, Ahead> = HashMap::new();
        let mut plan = Plan { appends: Vec::new(), records: Vec::new(), outcomes: Vec::new() };
        let mut versions = HashMap::new();
        for (index, op) in ops.into_iter().enumerate() {
            let Op::Append { partition: id, at, batch, source } = &op else {
                let (record, outcome) =
                    self.check_metadata(op, &mut versions).map_err(|refusal| (index, refusal))?;
                plan.records.push(record);
                plan.outcomes.push(outcome);
                continue;
            };
            let partition = self.partitions.get(id).ok_or((index, Refusal::NotOpen(*id)))?;
            let before = ahead.entry(*id).or_default();
            let checked =
                partition.check(*at, batch, *source, now, before).map_err(|refusal| (index, refusal))?;
            plan.outcomes.push(partition.outcome(&checked));
            if checked.duplicate.is_none() {
                before.records += u64::from(batch.header().count);
                before.appends.extend(checked.append);
            }
            plan.appends.push((op, checked));
        }
        Ok(plan)
    }

    /// Sends what is staged to the journal; `false` if there is nothing.
    fn journal_plan(&mut self, touched: &Touched, records: &[MetaRecord]) -> io::Result<bool> {
        let mut places = Vec::new();
        for id in &touched.partitions {
            if let Some(partition) = self.partitions.get_mut(id)
                && let Some(place) = partition.reserve_staged(&self.env)?
            {
                places.push(place);
            }
        }
        if places.is_empty() && records.is_empty() {
            self.unstage(touched);
            return Ok(false);
        }
        let mut builder = RecordBuilder::new(0);
        for place in &places {
            if let Some(partition) = self.partitions.get(&place.id) {
                builder.entries(place, partition.staged_parts());
            }
        }
        if !records.is_empty() {
            builder.metadata(records);
        }
        self.journal(builder)?;
        Ok(true)
    }

    fn unstage(&mut self, touched: &Touched) {
        for id in &touched.partitions {
            if let Some(partition) = self.partitions.get_mut(id) {
                partition.staged.clear();
                partition.producers.truncate_to(partition.written.offset);
            }
            self.want_sync(*id);
        }
    }

    /// One record for as many of the partitions that wait as it takes.
    pub(super) fn journal_round(&mut self) {
        let mut builder = RecordBuilder::new(0);
        let mut round = Vec::new();
        let durable = self.meta.durable();
        for id in std::mem::take(&mut self.queue) {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            let bytes = builder.len() + partition.runs.iter().map(|run| ITEM + run.bytes).sum::<u64>();
            let fits = bytes <= MAX_ROUND && self.journal.has_room(bytes, durable);
            if !fits || !partition.can_sync() || !partition.can_journal() {
                self.queue.push_back(id);
                continue;
            }
            partition.queued = false;
            for (place, parts) in partition.places() {
                builder.entries(&place, parts);
            }
            round.push(id);
        }
        if round.len() <= super::sync::PARALLEL_SYNCS {
            // The rest is too large for it, or is synced already.
            for id in round {
                self.queue.push_front(id);
                self.partitions.entry(id).and_modify(|partition| partition.queued = true);
            }
            return;
        }
        for id in &round {
            if let Some(partition) = self.partitions.get_mut(id) {
                let behind = std::mem::take(&mut partition.dirty);
                partition.sync_wanted = false;
                partition.syncing = Some(Syncing { mark: partition.written, behind });
                self.journaling.push((*id, partition.serial));
            }
        }
        if let Err(error) = self.journal(builder) {
            self.on_journaled(Err(error));
        }
    }

    fn journal(&mut self, builder: RecordBuilder) -> io::Result<()> {
        let slot = self.journal.reserve(builder.len(), &mut self.draining)?;
        self.env.counters.journaled();
        let (shared, counters) = (Arc::clone(&self.env.shared), Arc::clone(&self.env.counters));
        self.env.syncers.submit(move || {
            let result = counters.timed(Synced::Journal, || slot.write(builder));
            shared.mailbox.tell(Event::Journaled { result });
        });
        Ok(())
    }

    pub(super) fn on_journaled(&mut self, result: io::Result<()>) {
        let round = std::mem::take(&mut self.journaling);
        if let Err(error) = result {
            tracing::error!(
                shard = %self.env.shared.dir.path().display(),
                %error,
                "the journal failed: it begins anew once every file is synced by itself"
            );
            let (number, behind) = self.journal.failed();
            self.draining.extend(behind);
            self.fail_atomic(number, &error);
            for (id, serial) in round {
                self.journal_instead(id, serial);
            }
            return;
        }
        if round.is_empty() {
            return self.finish_atomic();
        }
        let marks = round.iter().filter_map(|(id, _)| {
            let syncing = self.partitions.get(id)?.syncing.as_ref()?;
            Some((*id, syncing.mark.offset))
        });
        self.journal.written(marks);
        let progress = self.meta.progress();
        for (id, serial) in round {
            let Some(partition) = self.partitions.get_mut(&id).filter(|found| found.serial == serial) else {
                self.journal.settled(id, u64::MAX);
                continue;
            };
            let Some(syncing) = partition.syncing.take() else { continue };
            partition.put_back(syncing.behind);
            partition.advance(syncing.mark);
            partition.settle(progress);
            self.save_checkpoint(id);
            self.want_sync(id);
        }
    }

    /// The journal failed, the partition's own files did not: they are synced after all.
    fn journal_instead(&mut self, id: PartitionId, serial: u64) {
        let Some(partition) = self.partitions.get_mut(&id).filter(|found| found.serial == serial) else {
            return;
        };
        if let Some(syncing) = partition.syncing.take() {
            partition.put_back(syncing.behind);
            partition.sync_wanted = true;
            self.want_sync(id);
        }
    }

    /// The record may be in the journal, and must not count when others have its offsets: they belong to a new epoch.
    fn fail_atomic(&mut self, (generation, sequence): (u64, u64), error: &io::Error) {
        match self.atomic.take() {
            Some(Atomic { touched, state: State::Journaling { reply, .. } }) => {
                self.unstage(&touched);
                for id in &touched.partitions {
                    self.cut(*id, &error.to_string());
                }
                self.meta.append(vec![MetaRecord::Replayed { generation, sequence }], true);
                send(reply, Err(CommitError::Storage(error.to_string())));
                self.retry = true;
            }
            waiting => self.atomic = waiting,
        }
    }

    /// The record is durable: it goes where it belongs.
    fn finish_atomic(&mut self) {
        self.retry = true;
        let Some(Atomic { touched, state: State::Journaling { mut records, outcomes, reply } }) =
            self.atomic.take()
        else {
            return;
        };
        let ends =
            touched.partitions.iter().filter_map(|id| Some((*id, self.partitions.get(id)?.staged_end())));
        let (generation, sequence) = self.journal.written(ends);
        let progress = self.meta.progress();
        for id in &touched.partitions {
            let Some(partition) = self.partitions.get_mut(id) else { continue };
            let end = partition.staged_end();
            if let Err(error) = partition.write_reserved(&self.env, &mut self.scratch) {
                // It is durable all the same.
                (partition.durable.offset, partition.written.offset) = (end, end);
                self.cut(*id, &error.to_string());
            } else {
                partition.settle(progress);
            }
            self.want_sync(*id);
        }
        if !records.is_empty() {
            records.push(MetaRecord::Replayed { generation, sequence });
            let shared = Arc::clone(&self.env.shared);
            let sequence = shared.change(|state| self.meta.append_durable(records, state));
            self.journal.needs_meta(sequence.unwrap_or(0));
        }
        let durable = Box::pin(std::future::ready(Ok(())));
        send(reply, Ok(Committed { outcomes, durable, write: None }));
    }

    /// Lets go of what the journal has of a partition, if its segments have it all and the metadata says how.
    pub(super) fn settle_journal(&mut self, id: PartitionId) {
        match self.partitions.get(&id) {
            Some(partition) if partition.needs_meta > 0 => {}
            Some(partition) => self.journal.settled(id, partition.synced.offset),
            None => self.journal.settled(id, u64::MAX),
        }
    }

    /// Syncs partitions whose room in the journal is wanted.
    pub(super) fn drain_journal(&mut self) {
        for _ in 0..self.draining.len() {
            if self.drains >= DRAINING_SYNCS {
                break;
            }
            let Some(id) = self.draining.pop_front() else { break };
            match self.partitions.get_mut(&id) {
                Some(partition) if partition.syncing.is_some() || !partition.staged.is_empty() => {
                    self.draining.push_back(id);
                }
                Some(partition) if partition.can_sync() => {
                    self.drains += 1;
                    self.env.syncers.submit(partition.begin_sync(&self.env, true));
                }
                // Synced already, or about to be repaired.
                _ => self.settle_journal(id),
            }
        }
    }
}

fn op_len(op: &Op) -> u64 {
    let bytes = match op {
        Op::Append { batch, .. } => batch.bytes().len(),
        Op::CommitOffset(commit) => commit.group.len(),
        Op::ForgetOffsets { group, .. } => group.len(),
        Op::PutMeta { key, value, .. } => key.len() + value.as_ref().map_or(0, bytes::Bytes::len),
    };
    bytes as u64
}

impl LivePartition {
    /// Where the runs that are not durable lie, and their bytes.
    fn places(&self) -> impl Iterator<Item = (Place, impl Iterator<Item = &[u8]>)> {
        self.runs.iter().map(|run| {
            let place = Place {
                id: self.shared.id,
                incarnation: self.incarnation,
                segment: run.mark.base,
                position: run.mark.position,
                end: run.end,
            };
            (place, run.entries.iter().flat_map(StagedEntry::parts))
        })
    }
}
