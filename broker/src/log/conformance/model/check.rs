//! After an end or a failure: whether what is there is what may be there.

use std::collections::{HashMap, HashSet};

use sealstream_protocol::entry::Entry;
use uuid::Uuid;

use super::super::life::soon;
use super::commits::internal;
use super::state::{Fate, Known, Part, Promise};
use super::{Driver, Severity, Since};
use crate::log::engine::{Partition, ReadError, Versioned};

impl Driver<'_> {
    /// Compares everything, and takes what is there for granted from now on.
    pub(super) async fn check(&mut self, since: Since) {
        let mut present = HashSet::new();
        for partition in 0..self.model.partitions.len() {
            self.check_partition(partition, since, &mut present).await;
        }
        self.check_tables(since, &mut present);
        self.check_atomicity(since, &present);
        self.model.open.clear();
        self.say(|| "checked".into());
    }

    async fn check_partition(&mut self, partition: usize, since: Since, present: &mut HashSet<(u64, usize)>) {
        let (shard, id) = (self.shard(), self.model.partitions[partition].id);
        let info = shard.partition(id).unwrap_or_else(|| panic!("partition {partition} is not open"));
        assert!(!info.read_only, "partition {partition} is called corrupt: {info:?}");
        let entries = self.read_all(partition, &info).await;
        let deleted = self.model.partitions[partition].perhaps_deleted && info.durable_end == 0;
        if deleted {
            self.model.partitions[partition].reset(info.epoch);
        }
        self.check_epoch_number(partition, &info, since);
        let (old, new) = self.compare(partition, &info, &entries, since, present);
        if since.loss >= Severity::Kill && self.model.partitions[partition].perhaps_forgetful {
            self.forget_producers(partition).await;
        }
        self.check_sequences(partition);
        let lost = old.iter().filter(|known| {
            known.base >= info.start
                && !new.iter().any(|other| other.base == known.base && other.batch == known.batch)
        });
        let lost: Vec<Known> = lost.take(3).cloned().collect();
        for known in lost {
            let answer = soon(shard.check_epoch(id, known.next, known.epoch)).await;
            let told = matches!(answer, Err(ReadError::Diverged { offset }) if offset <= known.base);
            assert!(told, "who saw {}..{} of epoch {} hears {answer:?}", known.base, known.next, known.epoch);
        }
        for known in new.iter().rev().take(2) {
            let answer = soon(shard.check_epoch(id, known.next, known.epoch)).await;
            assert_eq!(answer, Ok(()), "who saw {}..{} of epoch {}", known.base, known.next, known.epoch);
        }
    }

    async fn read_all(&mut self, partition: usize, info: &Partition) -> Vec<Entry> {
        let (shard, id) = (self.shard(), self.model.partitions[partition].id);
        let (mut all, mut from) = (Vec::new(), info.start);
        while from < info.durable_end {
            let before = from;
            let outcome = soon(shard.read(id, from, 50_000)).await;
            let outcome = outcome.unwrap_or_else(|error| panic!("partition {partition} at {from}: {error}"));
            for entry in super::super::entries(&outcome.entries) {
                assert_eq!(entry.header.base_offset, from, "partition {partition} has a gap or an overlap");
                from = entry.next_offset();
                all.push(entry);
            }
            assert_eq!(outcome.next, from);
            assert!(from > before, "partition {partition} at {from}: a read shows nothing of {info:?}");
        }
        assert!(all.iter().map(|entry| entry.header.append_time).is_sorted());
        assert!(all.iter().map(|entry| entry.header.log_epoch).is_sorted());
        all
    }

    fn check_epoch_number(&mut self, partition: usize, info: &Partition, since: Since) {
        let model = &mut self.model.partitions[partition];
        let (before, now) = (model.epoch, info.epoch);
        match since.loss {
            // One that never held anything may be made anew.
            _ if before == 0 || model.log.is_empty() => {}
            Severity::Failure => assert!(now >= before, "epoch {now} follows {before}"),
            _ if since.perhaps_clean && since.loss > Severity::Clean => assert!(now >= before),
            Severity::Clean => assert_eq!(now, before, "a clean end raised the epoch of {partition}"),
            Severity::Kill | Severity::Power => {
                assert!(now > before, "epoch {now} follows {before} of {partition}");
            }
        }
        model.epoch = now;
    }

    /// Takes over what is there; gives what was known before, and what is now.
    fn compare(
        &mut self,
        partition: usize,
        info: &Partition,
        entries: &[Entry],
        since: Since,
        present: &mut HashSet<(u64, usize)>,
    ) -> (Vec<Known>, Vec<Known>) {
        let survives = match since.loss {
            Severity::Clean | Severity::Kill => Promise::Kill,
            // A disk that fails keeps less than a process that ends: what no sync has confirmed is cut.
            Severity::Power | Severity::Failure => Promise::Power,
        };
        let model = &mut self.model.partitions[partition];
        let new: Vec<Known> = entries
            .iter()
            .map(|entry| Known {
                base: entry.header.base_offset,
                next: entry.next_offset(),
                epoch: entry.header.log_epoch,
                source: source_of(entry)
                    .and_then(|source| model.remembered(entry.header.base_offset, source)),
                batch: entry.batch.bytes().clone(),
                promise: model.promise(),
            })
            .collect();
        let there: HashMap<u64, &Known> = new.iter().map(|known| (known.base, known)).collect();
        for known in model.log.iter().filter(|known| known.promise >= survives && known.base >= info.start) {
            let found = there.get(&known.base).is_some_and(|found| found.batch == known.batch);
            assert!(found, "partition {partition} lost {}..{} after {since:?}", known.base, known.next);
        }
        assert!(info.start >= model.start, "the start went back from {} to {}", model.start, info.start);
        let bound = model.start_below.max(model.start);
        assert!(info.start <= bound, "the start is {}, trimmed were {bound} at most", info.start);
        let old = std::mem::take(&mut model.log);
        model.log = old.iter().filter(|known| known.next <= info.start).cloned().collect();
        for known in new.iter().cloned() {
            let attempt = self.model.attempts.get_mut(&known.batch).expect("nobody sent this batch");
            assert_eq!(attempt.partition, partition, "a batch came up in another partition");
            match attempt.fate {
                Fate::Refused => {
                    panic!("partition {partition} holds a batch that was refused, at {}", known.base)
                }
                Fate::Told { base, epoch } => assert_eq!((known.base, known.epoch), (base, epoch)),
                Fate::Unknown => {}
            }
            let failed = attempt.failed && since.loss == Severity::Failure;
            assert!(
                !failed,
                "partition {partition} shows a batch whose durability failed, at {}",
                known.base
            );
            attempt.failed = false;
            attempt.fate = Fate::Told { base: known.base, epoch: known.epoch };
            present.insert((attempt.commit, partition));
            model.log.push(known);
        }
        for known in &model.log {
            if let Some(attempt) = self.model.attempts.get(&known.batch) {
                present.insert((attempt.commit, partition));
            }
        }
        model.start = info.start;
        (old, new)
    }

    /// No sequence is missing and none is there twice.
    fn check_sequences(&self, partition: usize) {
        let mut awaited = HashMap::new();
        for known in &self.model.partitions[partition].log {
            if let Some((producer, sequence)) = known.source {
                let next = awaited.entry(producer).or_insert(0);
                assert_eq!(
                    sequence, *next,
                    "partition {partition} at {}: of producer {producer}",
                    known.base
                );
                *next += 1;
            }
        }
    }

    fn check_tables(&mut self, since: Since, present: &mut HashSet<(u64, usize)>) {
        let shard = self.shard();
        let offset = self.model.partitions.len();
        for (key, cell) in self.model.keys.iter_mut().enumerate() {
            let actual = shard.meta(&format!("key {key}"));
            let actual = actual.map(|Versioned { version, value }| (version, value));
            // Of a write that was indefinite the version is not known.
            let blank = actual.clone().map(|(_, value)| (0, value));
            let source = cell.source(&actual).or_else(|| cell.source(&blank));
            let Some(source) = source else {
                panic!("key {key} is {actual:?} after {since:?}, and could be one of {:?}", cell.possible)
            };
            present.extend(
                cell.possible
                    .iter()
                    .take_while(|(commit, _)| *commit <= source)
                    .map(|(commit, _)| (*commit, offset + key)),
            );
            if let Some((version, _)) = actual {
                self.model.durable_version = self.model.durable_version.max(version);
            }
            cell.settle(source, actual, since.loss == Severity::Failure);
        }
        if since.loss > Severity::Failure {
            // A version that was told and never became durable may be given again by the next process.
            self.model.last_version = self.model.durable_version;
        }
        let offset = offset + self.model.keys.len();
        for (partition, cell) in self.model.progress.iter_mut().enumerate() {
            let actual = shard.committed_offset("group", self.model.partitions[partition].id);
            let Some(source) = cell.source(&actual) else {
                panic!(
                    "progress {partition} is {actual:?} after {since:?}, and could be one of {:?}",
                    cell.possible
                )
            };
            present.extend(
                cell.possible
                    .iter()
                    .take_while(|(commit, _)| *commit <= source)
                    .map(|(commit, _)| (*commit, offset + partition)),
            );
            cell.settle(source, actual, since.loss == Severity::Failure);
        }
    }

    /// A commit that nobody knows to be durable is there whole or not at all.
    fn check_atomicity(&self, since: Since, present: &HashSet<(u64, usize)>) {
        let (partitions, keys) = (self.model.partitions.len(), self.model.keys.len());
        for (commit, open) in self.model.open.iter().filter(|(_, open)| open.on_disk) {
            let place = |part: &Part| match part {
                Part::Entry { partition, .. } => Some(*partition),
                Part::Original { .. } => None,
                // What was removed or forgotten may have been missing before: it proves nothing.
                Part::Key(key) if self.model.keys[*key].last().is_none() => None,
                Part::Progress(partition) if self.model.progress[*partition].last().is_none() => None,
                Part::Key(key) => Some(partitions + key),
                Part::Progress(partition) => Some(partitions + keys + partition),
            };
            let places = open.parts.iter().filter_map(place);
            let there: Vec<bool> = places.map(|place| present.contains(&(*commit, place))).collect();
            let whole = there.iter().all(|there| *there) || there.iter().all(|there| !*there);
            assert!(whole, "commit {commit} is there in part after {since:?}: {there:?} of {:?}", open.parts);
        }
    }
}

fn source_of(entry: &Entry) -> Option<(Uuid, u64)> {
    let header = entry.batch.header();
    (header.producer_id != internal()).then_some((header.producer_id, header.sequence))
}
