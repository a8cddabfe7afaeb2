//! One shard in memory: what a commit does to it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use sealstream_protocol::batch::Batch;
use tokio::sync::oneshot;

use super::log::Log;
use crate::log::engine::{
    At, CommitError, DurabilityError, OffsetCommit, Op, OpenShardError, Outcome, PartitionId, Refusal,
    Source, Versioned,
};
use crate::log::producers::{ProducerAppend, Verdict};

/// What is not in a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) meta: BTreeMap<String, Versioned>,
    pub(super) offsets: HashMap<(String, PartitionId), (u64, u32)>,
    /// The version of the last write of any key: a key that is removed and written again goes on rising.
    last_version: u64,
}

/// Resolves when a commit is durable.
pub(super) type Durable = oneshot::Receiver<Result<(), DurabilityError>>;

/// A shard.
#[derive(Debug, Default)]
pub(super) struct ShardState {
    /// The highest epoch of an owner so far.
    owner: Option<u64>,
    /// The engine that has it open; `None` after a clean close.
    instance: Option<u64>,
    pub(super) partitions: BTreeMap<PartitionId, Log>,
    table: Table,
    /// The table as it is durable, while commits are held back.
    durable_table: Option<Table>,
    waiting: Vec<oneshot::Sender<Result<(), DurabilityError>>>,
}

/// An operation that was checked against the state and those before it.
enum Staged {
    Append { partition: PartitionId, batch: Batch, append: Option<ProducerAppend> },
    Duplicate { partition: PartitionId, base_offset: u64, epoch: u32 },
    CommitOffset(OffsetCommit),
    ForgetOffsets { group: String, partition: Option<PartitionId> },
    PutMeta { key: String, value: Option<Bytes>, version: u64 },
}

impl ShardState {
    pub(super) fn open(&mut self, owner: u64, instance: u64) -> Result<(), OpenShardError> {
        if self.owner.is_some_and(|newest| owner < newest) {
            return Err(OpenShardError::Fenced);
        }
        let again = self.instance == Some(instance) && self.owner == Some(owner);
        if again {
            return Ok(());
        }
        let crashed = self.instance.is_some_and(|other| other != instance);
        if crashed {
            self.cut("the process ended");
        }
        if crashed || self.owner != Some(owner) {
            self.partitions.values_mut().for_each(Log::raise_epoch);
        }
        self.partitions.values_mut().for_each(Log::close);
        self.owner = Some(owner);
        self.instance = Some(instance);
        Ok(())
    }

    /// What readers see of it: what is durable.
    pub(super) fn shown(&self) -> &Table {
        self.durable_table.as_ref().unwrap_or(&self.table)
    }

    /// Whether a handle is still the shard's.
    pub(super) fn admit(&self, owner: u64, instance: u64) -> Result<(), CommitError> {
        if self.owner != Some(owner) || self.instance.is_some_and(|other| other != instance) {
            Err(CommitError::Fenced)
        } else if self.instance.is_none() {
            Err(CommitError::Closed)
        } else {
            Ok(())
        }
    }

    pub(super) fn seal(&mut self, instance: u64) {
        if self.instance == Some(instance) {
            self.settle(instance);
            self.partitions.values_mut().for_each(Log::close);
            self.instance = None;
        }
    }

    pub(super) fn settle(&mut self, instance: u64) {
        if self.instance == Some(instance) {
            self.partitions.values_mut().for_each(Log::settle);
            self.durable_table = None;
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(Ok(())); // nobody has to wait
            }
        }
    }

    pub(super) fn fail(&mut self, instance: u64, reason: &str) {
        if self.instance == Some(instance) {
            let cut: Vec<PartitionId> = self
                .partitions
                .iter()
                .filter(|(_, log)| log.end() > log.durable_end())
                .map(|(id, _)| *id)
                .collect();
            self.cut(reason);
            for id in cut {
                self.partitions.entry(id).and_modify(Log::raise_epoch);
            }
        }
    }

    fn cut(&mut self, reason: &str) {
        self.partitions.values_mut().for_each(Log::cut);
        if let Some(durable) = self.durable_table.take() {
            let last_version = self.table.last_version;
            self.table = Table { last_version, ..durable };
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(DurabilityError { reason: reason.into() })); // nobody has to wait
        }
    }

    pub(super) fn make_read_only(&mut self, id: PartitionId) -> bool {
        self.partitions.get_mut(&id).map(|log| log.read_only = true).is_some()
    }

    /// With it goes the progress of groups in it.
    pub(super) fn delete(&mut self, id: PartitionId) {
        self.partitions.remove(&id);
        for table in std::iter::once(&mut self.table).chain(&mut self.durable_table) {
            table.offsets.retain(|(_, partition), _| *partition != id);
        }
    }

    /// An open partition.
    pub(super) fn log(&self, id: PartitionId) -> Option<&Log> {
        self.partitions.get(&id).filter(|log| log.is_open())
    }

    pub(super) fn commit(
        &mut self,
        ops: Vec<Op>,
        now: i64,
        held: bool,
    ) -> Result<(Vec<Outcome>, Durable), CommitError> {
        let mut staged = Vec::with_capacity(ops.len());
        for (index, op) in ops.into_iter().enumerate() {
            let checked = self.check(op, now, &staged);
            staged.push(checked.map_err(|refusal| CommitError::Refused { index, refusal })?);
        }
        if held && self.durable_table.is_none() {
            self.durable_table = Some(self.table.clone());
        }
        let mut waits = false;
        let outcomes = staged.into_iter().map(|op| self.apply(op, now, held, &mut waits)).collect();
        let (sender, durable) = oneshot::channel();
        if held && waits {
            self.waiting.push(sender);
        } else {
            let _ = sender.send(Ok(())); // the receiver is there
        }
        Ok((outcomes, durable))
    }

    fn check(&self, op: Op, now: i64, staged: &[Staged]) -> Result<Staged, Refusal> {
        match op {
            Op::Append { partition, at, batch, source } => {
                self.check_append(partition, at, batch, source, now, staged)
            }
            Op::CommitOffset(commit) => Ok(Staged::CommitOffset(commit)),
            Op::ForgetOffsets { group, partition } => Ok(Staged::ForgetOffsets { group, partition }),
            Op::PutMeta { key, expected, value } => {
                let ahead = staged.iter().rev().find_map(|op| match op {
                    Staged::PutMeta { key: other, version, .. } if *other == key => Some(*version),
                    _ => None,
                });
                let stored = || self.table.meta.get(&key).map_or(0, |stored| stored.version);
                let version = ahead.unwrap_or_else(stored);
                if version != expected {
                    return Err(Refusal::VersionMismatch { version });
                }
                let writes = staged.iter().filter(|op| matches!(op, Staged::PutMeta { .. })).count() as u64;
                let version = if value.is_some() { self.table.last_version + writes + 1 } else { 0 };
                Ok(Staged::PutMeta { key, value, version })
            }
        }
    }

    fn check_append(
        &self,
        partition: PartitionId,
        at: At,
        batch: Batch,
        source: Source,
        now: i64,
        staged: &[Staged],
    ) -> Result<Staged, Refusal> {
        let log = self.log(partition).ok_or(Refusal::NotOpen(partition))?;
        if log.read_only {
            return Err(Refusal::ReadOnly(partition));
        }
        let (mut end, mut ahead) = (log.end(), Vec::new());
        for op in staged {
            if let Staged::Append { partition: other, batch, append } = op
                && *other == partition
            {
                end += u64::from(batch.header().count);
                ahead.extend(*append);
            }
        }
        let mut append = None;
        if let Source::Producer { identity } = source {
            let (producer, sequence) = (batch.header().producer_id, batch.header().sequence);
            match log.producers.check(producer, sequence, identity, log.append_time(now), &ahead) {
                Verdict::Accept => {}
                Verdict::Duplicate { base_offset, epoch } => {
                    return Ok(Staged::Duplicate { partition, base_offset, epoch });
                }
                Verdict::Refused(refusal) => return Err(refusal),
            }
            append =
                Some(ProducerAppend { producer, identity, sequence, base_offset: end, epoch: log.epoch() });
        }
        match at {
            At::Exactly(offset) if offset != end => Err(Refusal::WrongOffset { end }),
            _ => Ok(Staged::Append { partition, batch, append }),
        }
    }

    /// `waits` becomes true if durability of what is applied is not there yet.
    fn apply(&mut self, op: Staged, now: i64, held: bool, waits: &mut bool) -> Outcome {
        match op {
            Staged::Append { partition, batch, append } => {
                let log = self.partitions.entry(partition).or_insert_with(Log::new);
                let (base_offset, time) = (log.end(), log.append_time(now));
                log.append(&batch, time);
                if let Some(append) = append {
                    log.producers.record(&append, time, log.durable_end());
                }
                if !held {
                    log.settle();
                }
                *waits = true;
                Outcome::Appended { base_offset, epoch: log.epoch() }
            }
            Staged::Duplicate { partition, base_offset, epoch } => {
                let durable_end = self.partitions.get(&partition).map_or(0, Log::durable_end);
                *waits |= base_offset >= durable_end;
                Outcome::Duplicate { base_offset, epoch }
            }
            Staged::CommitOffset(commit) => {
                let key = (commit.group, commit.partition);
                self.table.offsets.insert(key, (commit.offset, commit.log_epoch));
                *waits = true;
                Outcome::OffsetCommitted
            }
            Staged::ForgetOffsets { group, partition } => {
                self.table.offsets.retain(|(of, id), _| {
                    *of != group || partition.is_some_and(|partition| *id != partition)
                });
                *waits = true;
                Outcome::OffsetsForgotten
            }
            Staged::PutMeta { key, value, version } => {
                self.table.last_version += 1;
                match value {
                    Some(value) => self.table.meta.insert(key, Versioned { version, value }),
                    None => self.table.meta.remove(&key),
                };
                *waits = true;
                Outcome::MetaPut { version }
            }
        }
    }
}
