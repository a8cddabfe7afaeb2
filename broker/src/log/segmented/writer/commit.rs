//! Checks commits, and stages what they append.

use std::collections::HashMap;

use sealstream_protocol::batch::Batch;
use sealstream_protocol::entry::EntryHeader;

use super::super::mailbox::Reply;
use super::super::meta::MetaRecord;
use super::super::partition::LivePartition;
use super::super::parts::{Answer, Staged, StagedEntry};
use super::super::segment::Binding;
use super::{Touched, Writer, send};
use crate::log::engine::{At, CommitError, Committed, Op, Outcome, PartitionId, Refusal, Source};
use crate::log::producers::{ProducerAppend, Verdict};

/// An append that was checked.
pub(super) struct Checked {
    pub(super) base: u64,
    pub(super) append: Option<ProducerAppend>,
    /// Where the original lies, if this is a repeat.
    pub(super) duplicate: Option<(u64, u32)>,
    /// The append time.
    pub(super) time: i64,
}

/// What the operations before one in the same commit have done to its partition.
#[derive(Default)]
pub(super) struct Ahead {
    pub(super) appends: Vec<ProducerAppend>,
    pub(super) records: u64,
}

impl Touched {
    pub(super) fn of_ops(ops: &[Op]) -> Self {
        let mut touched = Self::default();
        for op in ops {
            match op {
                Op::Append { partition, .. } => {
                    touched.partitions.insert(*partition);
                }
                Op::CommitOffset(_) | Op::ForgetOffsets { .. } | Op::PutMeta { .. } => {
                    touched.metadata = true;
                }
            }
        }
        touched
    }
}

impl Writer {
    pub(super) fn commit(&mut self, ops: Vec<Op>, reply: Reply<Committed>) {
        let appends = ops.iter().filter(|op| matches!(op, Op::Append { .. })).count();
        if appends == 0 {
            self.commit_metadata(ops, reply);
        } else if ops.len() == 1 {
            for op in ops {
                if let Op::Append { partition, at, batch, source } = op {
                    self.commit_append(partition, at, &batch, source, reply);
                    return;
                }
            }
        } else if self.env.reserve.in_use() {
            send(reply, Err(CommitError::DiskFull));
            self.restore_reserve();
        } else {
            self.commit_atomic(ops, reply);
        }
    }

    fn commit_append(
        &mut self,
        id: PartitionId,
        at: At,
        batch: &Batch,
        source: Source,
        reply: Reply<Committed>,
    ) {
        let now = self.env.clock.now();
        let Some(partition) = self.partitions.get_mut(&id) else {
            return send(reply, Err(CommitError::Refused { index: 0, refusal: Refusal::NotOpen(id) }));
        };
        if let Some(reason) = &partition.failing {
            return send(reply, Err(CommitError::Storage(reason.clone())));
        }
        let checked = match partition.check(at, batch, source, now, &Ahead::default()) {
            Ok(checked) => checked,
            Err(refusal) => return send(reply, Err(CommitError::Refused { index: 0, refusal })),
        };
        if checked.duplicate.is_none() && self.env.reserve.in_use() {
            send(reply, Err(CommitError::DiskFull));
            return self.restore_reserve();
        }
        self.lone.appended(id);
        if partition.staged.is_empty() {
            self.staged.push(id);
        }
        let outcome = partition.outcome(&checked);
        partition.stage(batch, source, &checked, Some(Answer { outcome, reply }));
    }

    fn commit_metadata(&mut self, ops: Vec<Op>, reply: Reply<Committed>) {
        let mut ahead = HashMap::new();
        let (mut records, mut outcomes) = (Vec::with_capacity(ops.len()), Vec::with_capacity(ops.len()));
        for (index, op) in ops.into_iter().enumerate() {
            match self.check_metadata(op, &mut ahead) {
                Ok((record, outcome)) => {
                    records.push(record);
                    outcomes.push(outcome);
                }
                Err(refusal) => return send(reply, Err(CommitError::Refused { index, refusal })),
            }
        }
        self.stage_metadata(records, outcomes, reply);
    }

    /// Checks an operation on the metadata; `ahead` are the versions that those before it in the same commit gave.
    ///
    /// # Panics
    ///
    /// If it is an append.
    pub(super) fn check_metadata(
        &mut self,
        op: Op,
        ahead: &mut HashMap<String, u64>,
    ) -> Result<(MetaRecord, Outcome), Refusal> {
        match op {
            Op::Append { .. } => unreachable!("appends are checked by their partition"),
            Op::CommitOffset(commit) => Ok((MetaRecord::Offset(commit), Outcome::OffsetCommitted)),
            Op::ForgetOffsets { group, partition } => {
                Ok((MetaRecord::Forget(group, partition), Outcome::OffsetsForgotten))
            }
            Op::PutMeta { key, expected, value } => {
                let stored = || self.env.shared.look(|state| self.meta.version(state, &key)).unwrap_or(0);
                let found = ahead.get(&key).copied().unwrap_or_else(stored);
                if found != expected {
                    return Err(Refusal::VersionMismatch { version: found });
                }
                let given = self.meta.next_version();
                let version = if value.is_some() { given } else { 0 };
                ahead.insert(key.clone(), version);
                let record = match value {
                    Some(value) => MetaRecord::Put { key, version: given, value },
                    None => MetaRecord::Remove { key, version: given },
                };
                Ok((record, Outcome::MetaPut { version }))
            }
        }
    }
}

impl LivePartition {
    /// Checks an append, after those of the same commit that are `ahead`.
    pub(super) fn check(
        &self,
        at: At,
        batch: &Batch,
        source: Source,
        now: i64,
        ahead: &Ahead,
    ) -> Result<Checked, Refusal> {
        if self.is_corrupt() {
            return Err(Refusal::ReadOnly(self.shared.id));
        }
        let base = self.staged_end() + ahead.records;
        let time = self.last_time.max(now);
        let mut append = None;
        if let Source::Producer { identity } = source {
            let (producer, sequence) = (batch.header().producer_id, batch.header().sequence);
            match self.producers.check(producer, sequence, identity, time, &ahead.appends) {
                Verdict::Accept => {}
                Verdict::Duplicate { base_offset, epoch } => {
                    let duplicate = Some((base_offset, epoch));
                    return Ok(Checked { base: base_offset, append: None, duplicate, time });
                }
                Verdict::Refused(refusal) => return Err(refusal),
            }
            append =
                Some(ProducerAppend { producer, identity, sequence, base_offset: base, epoch: self.epoch() });
        }
        match at {
            At::Exactly(offset) if offset != base => Err(Refusal::WrongOffset { end: base }),
            _ => Ok(Checked { base, append, duplicate: None, time }),
        }
    }

    pub(super) fn outcome(&self, checked: &Checked) -> Outcome {
        match checked.duplicate {
            Some((base_offset, epoch)) => Outcome::Duplicate { base_offset, epoch },
            None => Outcome::Appended { base_offset: checked.base, epoch: self.epoch() },
        }
    }

    /// Puts an append that was checked behind those that are staged.
    pub(super) fn stage(&mut self, batch: &Batch, source: Source, checked: &Checked, answer: Option<Answer>) {
        let (base, time) = (checked.base, checked.time);
        if checked.duplicate.is_some() {
            // Durable when the original's first record is: batches are durable whole.
            self.staged.push(Staged { base, next: base + 1, time, entry: None, answer });
            return;
        }
        let producer = batch.header().producer_id;
        let known = self.producers.identity(producer);
        let binding = match source {
            Source::Producer { identity } if known == Some(identity) => None,
            Source::Producer { identity } => Some(Binding { producer, identity }),
            Source::Internal => known.map(|_| Binding::OWN),
        };
        let header = EntryHeader {
            log_epoch: self.epoch(),
            base_offset: base,
            append_time: time,
            // For a topic in memory this is less than readers are shown: recovery relies on it after a power cut.
            durable_end: self.known_durable(),
        };
        let entry = StagedEntry {
            binding: binding.map(|binding| binding.encode()),
            header: header.encode(batch),
            batch: batch.bytes().clone(),
        };
        if let Some(append) = &checked.append {
            self.producers.record(append, time, self.publish.borrow().max(self.durable.offset));
        }
        self.last_time = time;
        let next = base + u64::from(batch.header().count);
        self.staged.push(Staged { base, next, time, entry: Some(entry), answer });
    }
}
