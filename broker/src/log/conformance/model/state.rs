//! What the model knows: what was sent, what was said of it, and what must hold therefore.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use uuid::Uuid;

use crate::log::engine::{Durability, PartitionId, ShardId};
use crate::log::producers::REMEMBERED;

/// How many partitions there are: more than a round syncs one by one.
const PARTITIONS: usize = 12;

/// How many of them promise the page cache only.
const IN_MEMORY: usize = 3;

/// How bad an end a record must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    None,
    Kill,
    Power,
}

/// What the engine said of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is not in the log, and must not come up.
    Refused,
    /// It went there, perhaps not durably.
    Told { base: u64, epoch: u32 },
    /// Nobody knows.
    Unknown,
}

/// A batch that was sent; no two are alike.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) partition: usize,
    pub(super) commit: u64,
    pub(super) fate: Fate,
    /// Its durability failed: it may come back after a crash, but is not in the log before.
    pub(super) failed: bool,
}

/// A batch that is in the log, as far as is known.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) base: u64,
    pub(super) next: u64,
    pub(super) epoch: u32,
    pub(super) source: Option<(Uuid, u64)>,
    pub(super) batch: Bytes,
    pub(super) promise: Promise,
}

#[derive(Debug)]
pub(super) struct PartitionModel {
    pub(super) id: PartitionId,
    pub(super) durability: Durability,
    /// What is or was in the log, those that were trimmed included.
    pub(super) log: Vec<Known>,
    pub(super) epoch: u32,
    pub(super) start: u64,
    /// How far a trim may have come that was not confirmed.
    pub(super) start_below: u64,
    pub(super) perhaps_deleted: bool,
    /// It was trimmed while the disk failed: if there was no room to save what is known of the producers, those whose first batch is
    /// gone may be unknown after a crash.
    pub(super) perhaps_forgetful: bool,
    /// Producers that are not known any more, and the end of the log when that came out: what is below says nothing of them.
    forgotten: HashMap<Uuid, u64>,
}

/// What is to be expected of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Appended { base: u64 },
    Duplicate { base: u64, epoch: u32 },
    OutOfSequence { expected: u64 },
    TooOld { expected: u64 },
    UnknownProducer,
}

impl PartitionModel {
    pub(super) fn promise(&self) -> Promise {
        match self.durability {
            Durability::Disk => Promise::Power,
            Durability::Memory => Promise::Kill,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.log.last().map_or(self.start, |known| known.next)
    }

    /// The sequence that a producer's next batch must have; `None` if it has none here.
    pub(super) fn awaited(&self, producer: Uuid) -> Option<u64> {
        let last =
            self.log.iter().rev().find_map(|known| known.source.filter(|source| source.0 == producer))?;
        Some(last.1 + 1)
    }

    /// The producers of batches that were trimmed.
    pub(super) fn trimmed_producers(&self) -> BTreeSet<Uuid> {
        let trimmed = self.log.iter().filter(|known| known.next <= self.start);
        trimmed.filter_map(|known| known.source).map(|(producer, _)| producer).collect()
    }

    /// Nothing is known of this producer any more.
    pub(super) fn forget(&mut self, producer: Uuid) {
        self.forgotten.insert(producer, self.end());
        for known in &mut self.log {
            known.source.take_if(|(other, _)| *other == producer);
        }
    }

    /// Whose batch the one at an offset is, as far as it is remembered.
    pub(super) fn remembered(&self, base: u64, source: (Uuid, u64)) -> Option<(Uuid, u64)> {
        self.forgotten.get(&source.0).is_none_or(|end| base >= *end).then_some(source)
    }

    pub(super) fn expect(&self, source: Option<(Uuid, u64)>) -> Expected {
        let appended = Expected::Appended { base: self.end() };
        let Some((producer, sequence)) = source else { return appended };
        match self.awaited(producer) {
            None if sequence == 0 => appended,
            None => Expected::UnknownProducer,
            Some(expected) if sequence == expected => appended,
            Some(expected) if sequence > expected => Expected::OutOfSequence { expected },
            Some(expected) if expected - sequence > REMEMBERED as u64 => Expected::TooOld { expected },
            Some(_) => {
                let original = self.log.iter().rev().find(|known| known.source == Some((producer, sequence)));
                let original = original.expect("sequences have no gaps");
                Expected::Duplicate { base: original.base, epoch: original.epoch }
            }
        }
    }

    /// What is in the log at `base`.
    pub(super) fn at(&mut self, base: u64) -> Option<&mut Known> {
        let index = self.log.binary_search_by_key(&base, |known| known.base).ok()?;
        Some(&mut self.log[index])
    }

    /// It was deleted, and made again.
    pub(super) fn reset(&mut self, epoch: u32) {
        self.log.clear();
        (self.start, self.start_below, self.epoch) = (0, 0, epoch);
        (self.perhaps_deleted, self.perhaps_forgetful) = (false, false);
        self.forgotten.clear();
    }
}

/// A value of which several states may be the durable one.
#[derive(Clone, Debug)]
pub(super) struct Cell<T> {
    /// From the last that is durable for sure to the last that was written.
    pub(super) possible: Vec<(u64, T)>,
}

impl<T: Clone + PartialEq> Cell<T> {
    pub(super) fn new(value: T) -> Self {
        Self { possible: vec![(0, value)] }
    }

    pub(super) fn last(&self) -> &T {
        &self.possible.last().expect("one at least").1
    }

    pub(super) fn write(&mut self, commit: u64, value: T) {
        self.possible.push((commit, value));
    }

    fn acknowledged(&mut self, commit: u64) {
        if let Some(index) = self.possible.iter().position(|(other, _)| *other == commit) {
            self.possible.drain(..index);
        }
    }

    /// Which commit the value that is there comes from.
    pub(super) fn source(&self, actual: &T) -> Option<u64> {
        self.possible.iter().rev().find(|(_, value)| value == actual).map(|(commit, _)| *commit)
    }
}

impl<T> Cell<T> {
    /// This is the value, by that commit. After a failure in the same process what was written since may come back once more, as
    /// long as nothing newer is durable.
    pub(super) fn settle(&mut self, commit: u64, actual: T, perhaps_not_last: bool) {
        if !perhaps_not_last {
            self.possible.clear();
        }
        self.possible.push((commit, actual));
    }
}

/// A part of a commit: a batch at an offset, a key, or a group's progress.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Entry {
        partition: usize,
        base: u64,
    },
    /// What a duplicate repeats.
    Original {
        partition: usize,
        base: u64,
    },
    Key(usize),
    Progress(usize),
}

/// A commit that took effect and is not known to be durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    pub(super) parts: Vec<Part>,
    /// Whether all of it promises to survive a power cut.
    pub(super) on_disk: bool,
}

/// A key: its version and value.
pub(super) type KeyState = Option<(u64, Bytes)>;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) partitions: Vec<PartitionModel>,
    pub(super) attempts: HashMap<Bytes, Attempt>,
    pub(super) keys: Vec<Cell<KeyState>>,
    /// The highest version that any key was given in this life, and the highest that was durable or seen before it.
    pub(super) last_version: u64,
    pub(super) durable_version: u64,
    /// One group's progress in each partition.
    pub(super) progress: Vec<Cell<Option<(u64, u32)>>>,
    pub(super) open: HashMap<u64, Open>,
    pub(super) commits: u64,
}

impl Model {
    pub(super) fn choose_partitions(&mut self, shards: u32) {
        let ids = (0..)
            .map(|index| PartitionId { topic: Uuid::from_u128(7), index })
            .filter(|id| ShardId::of_partition(id, shards) == ShardId::METADATA)
            .take(PARTITIONS);
        self.partitions = ids
            .enumerate()
            .map(|(index, id)| PartitionModel {
                id,
                durability: if index < IN_MEMORY { Durability::Memory } else { Durability::Disk },
                log: Vec::new(),
                epoch: 0,
                start: 0,
                start_below: 0,
                perhaps_deleted: false,
                perhaps_forgetful: false,
                forgotten: HashMap::new(),
            })
            .collect();
        self.keys = vec![Cell::new(None); 4];
        self.progress = vec![Cell::new(None); PARTITIONS];
    }

    /// The commit is as durable as promised.
    pub(super) fn acknowledged(&mut self, commit: u64) {
        for part in self.open.remove(&commit).unwrap_or_default().parts {
            match part {
                Part::Entry { partition, base } | Part::Original { partition, base } => {
                    let original = matches!(part, Part::Original { .. });
                    let partition = &mut self.partitions[partition];
                    let promise = partition.promise();
                    let attempts = &self.attempts;
                    let known = partition.at(base).filter(|known| {
                        original || attempts.get(&known.batch).is_some_and(|sent| sent.commit == commit)
                    });
                    match known {
                        Some(known) => known.promise = known.promise.max(promise),
                        // What was promised to survive a kill was promised before the disk failed, and heard of after.
                        None => assert_eq!(promise, Promise::Kill, "an acknowledged batch is in the log"),
                    }
                }
                Part::Key(key) => {
                    self.keys[key].acknowledged(commit);
                    let durable = self.keys[key].possible.first().and_then(|(_, state)| state.as_ref());
                    self.durable_version = durable.map_or(0, |state| state.0).max(self.durable_version);
                }
                Part::Progress(partition) => self.progress[partition].acknowledged(commit),
            }
        }
    }

    /// The commit's durability failed.
    pub(super) fn failed(&mut self, commit: u64) {
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.commit == commit) {
            attempt.failed = true;
        }
    }
}
