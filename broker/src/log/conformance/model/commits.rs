//! Random commits, and what the engine must answer as long as nothing has failed.

use bytes::Bytes;
use rand::RngExt as _;
use sealstream_protocol::batch::{Batch, BatchBuilder, Codec};
use uuid::Uuid;

use super::super::life::{ME, producer, soon};
use super::state::{Attempt, Expected, Fate, Known, Open, Part, Promise};
use super::{Driver, Waiting};
use crate::log::engine::{At, CommitError, Durability, OffsetCommit, Op, Outcome, Refusal, Source};

/// How many producers there are.
const PRODUCERS: u128 = 4;

/// The producer id in the batches of the broker itself.
pub(super) fn internal() -> Uuid {
    producer(99)
}

/// How many commits are left waiting at most.
const WAITING: usize = 24;

/// How often the engine is asked, after a failure, whether it is done with it.
const SETTLING: usize = 100;

/// An operation, and what the model thinks of it.
struct Planned {
    op: Op,
    part: PlannedPart,
}

enum PlannedPart {
    Append {
        partition: usize,
        source: Option<(Uuid, u64)>,
        batch: Batch,
        expected: Expected,
    },
    Key {
        key: usize,
        value: Option<Bytes>,
    },
    /// Without a value it is forgotten.
    Progress {
        partition: usize,
        value: Option<(u64, u32)>,
    },
}

impl Driver<'_> {
    /// One commit after the other, to every partition, without waiting.
    pub(super) async fn burst(&mut self) {
        for partition in 0..self.model.partitions.len() {
            if self.machine.is_down() || !self.steady() {
                return;
            }
            let op = self.plan_append(partition, 0);
            self.send(vec![op]).await;
        }
    }

    pub(super) async fn commit(&mut self, ops: usize) {
        let mut planned = Vec::new();
        let mut partitions: Vec<usize> = (0..self.model.partitions.len()).collect();
        let mut keys: Vec<usize> = (0..self.model.keys.len()).collect();
        for index in 0..ops {
            let among = self.random.random_range(0..partitions.len());
            let partition = partitions.swap_remove(among);
            planned.push(match self.random.random_range(0..10_u32) {
                0 => self.plan_key(keys.swap_remove(0)),
                1 => self.plan_progress(partition),
                _ => self.plan_append(partition, index),
            });
        }
        self.send(planned).await;
        if self.waiting.len() > WAITING || self.random.random_ratio(1, 4) {
            self.await_all().await;
        }
    }

    /// Waits until the engine has come to terms with what has failed, syncs that nobody waits for included: a commit that touches
    /// everything waits for all that is under way, and is refused, for the log ends nowhere near.
    pub(super) async fn settle(&mut self) {
        let append = |partition| Op::Append {
            partition,
            at: At::Exactly(u64::MAX),
            batch: nothing(internal(), 0),
            source: Source::Internal,
        };
        // As long as the engine repairs itself it says so; some of it may need a restart.
        for _ in 0..SETTLING {
            let ops = self.model.partitions.iter().map(|partition| append(partition.id)).collect();
            match soon(self.shard().commit(ops)).await {
                Err(CommitError::Refused { .. }) => return,
                Err(_) => tokio::task::yield_now().await,
                Ok(_) => panic!("an append took place at the end of all offsets"),
            }
        }
    }

    /// Asks which of the producers of trimmed batches are known.
    pub(super) async fn forget_producers(&mut self, partition: usize) {
        let shard = self.shard();
        let model = &mut self.model.partitions[partition];
        model.perhaps_forgetful = false;
        for producer in model.trimmed_producers() {
            let source = Source::Producer { identity: ME };
            // Further on than anybody is: refused in any case.
            let batch = nothing(producer, u64::MAX);
            let op = Op::Append { partition: model.id, at: At::Next, batch, source };
            match soon(shard.commit(vec![op])).await {
                Err(CommitError::Refused { refusal: Refusal::UnknownProducer, .. }) => model.forget(producer),
                Err(CommitError::Refused { refusal: Refusal::OutOfSequence { .. }, .. }) => {}
                other => panic!("an append far out of sequence is answered with {:?}", other.err()),
            }
        }
    }

    fn plan_append(&mut self, partition: usize, index: usize) -> Planned {
        let random = &mut self.random;
        let model = &self.model.partitions[partition];
        let source = (!random.random_ratio(1, 8)).then(|| {
            let producer = producer(random.random_range(0..PRODUCERS));
            let awaited = model.awaited(producer).unwrap_or(0);
            let sequence = match random.random_range(0..30_u32) {
                0 => awaited + random.random_range(1..4),
                1..4 => awaited.saturating_sub(random.random_range(1..20)),
                _ => awaited,
            };
            (producer, sequence)
        });
        let size = match random.random_range(0..40_u32) {
            0 => random.random_range(10_000..120_000),
            1..8 => random.random_range(1_000..9_000),
            _ => random.random_range(1..400),
        };
        let records = random.random_range(1..5);
        let mut builder = BatchBuilder::new(Codec::None);
        for record in 0..records {
            // The number of the commit makes every batch another.
            let text = format!("{}.{index}.{record}.", self.model.commits + 1);
            let value: Vec<u8> = text.bytes().cycle().take(text.len() + size / records).collect();
            builder.push(0, None, &value, &[]).expect("it fits");
        }
        let (id, sequence) = source.unwrap_or((internal(), 0));
        let batch = builder.build(id, sequence);
        let expected = model.expect(source);
        let at = match (source, random.random_ratio(1, 2)) {
            (None, true) => At::Exactly(model.end()),
            _ => At::Next,
        };
        let by = source.map_or(Source::Internal, |_| Source::Producer { identity: ME });
        Planned {
            op: Op::Append { partition: model.id, at, batch: batch.clone(), source: by },
            part: PlannedPart::Append { partition, source, batch, expected },
        }
    }

    fn plan_key(&mut self, key: usize) -> Planned {
        let last = self.model.keys[key].last();
        let expected = last.as_ref().map_or(0, |(version, _)| *version);
        let text = format!("{}", self.model.commits + 1).repeat(self.random.random_range(1..200));
        let value = self.random.random_ratio(4, 5).then(|| Bytes::from(text));
        Planned {
            op: Op::PutMeta { key: format!("key {key}"), expected, value: value.clone() },
            part: PlannedPart::Key { key, value },
        }
    }

    fn plan_progress(&mut self, partition: usize) -> Planned {
        let (group, id) = ("group".to_owned(), self.model.partitions[partition].id);
        if self.random.random_ratio(1, 5) {
            let op = Op::ForgetOffsets { group, partition: Some(id) };
            return Planned { op, part: PlannedPart::Progress { partition, value: None } };
        }
        // Another one every time.
        let value = (self.model.commits + 1, self.model.partitions[partition].epoch);
        let commit = OffsetCommit { group, partition: id, offset: value.0, log_epoch: value.1 };
        Planned {
            op: Op::CommitOffset(commit),
            part: PlannedPart::Progress { partition, value: Some(value) },
        }
    }

    async fn send(&mut self, planned: Vec<Planned>) {
        self.model.commits += 1;
        let commit = self.model.commits;
        let (ops, parts): (Vec<Op>, Vec<PlannedPart>) =
            planned.into_iter().map(|Planned { op, part }| (op, part)).unzip();
        for part in &parts {
            if let PlannedPart::Append { partition, batch, .. } = part {
                let attempt = Attempt { partition: *partition, commit, fate: Fate::Unknown, failed: false };
                self.model.attempts.insert(batch.bytes().clone(), attempt);
            }
        }
        self.say(|| format!("commit {commit}: {}", describe(&parts)));
        let result = soon(self.shard().commit(ops)).await;
        let steady = self.steady();
        match result {
            Ok(committed) => {
                self.took_effect(commit, parts, &committed.outcomes, steady);
                self.waiting.push(Waiting { commit, durable: committed.durable });
            }
            Err(CommitError::Refused { index, refusal }) => {
                self.refused(commit);
                if steady {
                    let expected = parts.iter().position(|part| refusal_of(part).is_some());
                    assert_eq!(expected, Some(index), "refused: {refusal}");
                    assert_eq!(refusal_of(&parts[index]), Some(refusal));
                }
            }
            Err(error @ CommitError::Storage(_)) => {
                self.excuse("commit", &error);
                self.indefinite(commit, parts);
            }
            Err(error) => {
                self.excuse("commit", &error);
                self.refused(commit);
            }
        }
    }

    fn took_effect(&mut self, commit: u64, parts: Vec<PlannedPart>, outcomes: &[Outcome], steady: bool) {
        assert_eq!(outcomes.len(), parts.len());
        let mut open = Open { parts: Vec::new(), on_disk: true };
        for (part, outcome) in parts.into_iter().zip(outcomes) {
            let part = match (part, outcome) {
                (PlannedPart::Append { partition, source, batch, expected }, outcome) => {
                    let model = &mut self.model.partitions[partition];
                    open.on_disk &= model.durability == Durability::Disk;
                    let attempt = self.model.attempts.get_mut(batch.bytes()).expect("it was sent");
                    match *outcome {
                        Outcome::Appended { base_offset, epoch } => {
                            if steady {
                                assert_eq!(expected, Expected::Appended { base: base_offset });
                                assert_eq!(epoch, model.epoch);
                            }
                            attempt.fate = Fate::Told { base: base_offset, epoch };
                            let next = base_offset + u64::from(batch.header().count);
                            let batch = batch.into_bytes();
                            // What a failure has cut, and the model has not seen go yet, makes room.
                            model.log.retain(|known| known.next <= base_offset || known.base >= next);
                            let index = model.log.partition_point(|known| known.base < base_offset);
                            let promise = Promise::None;
                            let known = Known { base: base_offset, next, epoch, source, batch, promise };
                            model.log.insert(index, known);
                            Part::Entry { partition, base: base_offset }
                        }
                        Outcome::Duplicate { base_offset, epoch } => {
                            attempt.fate = Fate::Refused;
                            if steady {
                                assert_eq!(expected, Expected::Duplicate { base: base_offset, epoch });
                            }
                            Part::Original { partition, base: base_offset }
                        }
                        ref other => panic!("not the outcome of an append: {other:?}"),
                    }
                }
                (PlannedPart::Key { key, value }, Outcome::MetaPut { version }) => {
                    assert_eq!(*version == 0, value.is_none());
                    if *version > 0 {
                        assert!(*version > self.model.last_version, "a version came twice");
                        self.model.last_version = *version;
                    }
                    self.model.keys[key].write(commit, value.map(|value| (*version, value)));
                    Part::Key(key)
                }
                (
                    PlannedPart::Progress { partition, value },
                    Outcome::OffsetCommitted | Outcome::OffsetsForgotten,
                ) => {
                    self.model.progress[partition].write(commit, value);
                    Part::Progress(partition)
                }
                (_, other) => panic!("the outcome of another operation: {other:?}"),
            };
            open.parts.push(part);
        }
        self.model.open.insert(commit, open);
    }

    /// Nothing of the commit took effect.
    fn refused(&mut self, commit: u64) {
        for attempt in self.model.attempts.values_mut().filter(|attempt| attempt.commit == commit) {
            attempt.fate = Fate::Refused;
        }
    }

    /// The commit is there or not.
    fn indefinite(&mut self, commit: u64, parts: Vec<PlannedPart>) {
        self.indefinite = true;
        for part in parts {
            match part {
                PlannedPart::Append { .. } => {}
                PlannedPart::Key { key, value } => {
                    // Its version was not told: whatever comes up with this value is it.
                    self.model.keys[key].write(commit, value.map(|value| (0, value)));
                }
                PlannedPart::Progress { partition, value } => {
                    self.model.progress[partition].write(commit, value);
                }
            }
        }
    }
}

/// A batch that is not meant to get anywhere.
fn nothing(producer: Uuid, sequence: u64) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, b"nothing", &[]).expect("it fits");
    builder.build(producer, sequence)
}

fn refusal_of(part: &PlannedPart) -> Option<Refusal> {
    match part {
        PlannedPart::Append { expected, .. } => match *expected {
            Expected::Appended { .. } | Expected::Duplicate { .. } => None,
            Expected::OutOfSequence { expected } => Some(Refusal::OutOfSequence { expected }),
            Expected::TooOld { expected } => Some(Refusal::TooOld { expected }),
            Expected::UnknownProducer => Some(Refusal::UnknownProducer),
        },
        PlannedPart::Key { .. } | PlannedPart::Progress { .. } => None,
    }
}

fn describe(parts: &[PlannedPart]) -> String {
    let part = |part: &PlannedPart| match part {
        PlannedPart::Append { partition, source, batch, expected } => {
            let source = source.map(|(producer, sequence)| (producer.as_u128() & 0xFF, sequence));
            format!("{partition} {source:?} {} bytes, {expected:?}", batch.bytes().len())
        }
        PlannedPart::Key { key, value } => format!("key {key} {:?}", value.as_ref().map(Bytes::len)),
        PlannedPart::Progress { partition, value } => format!("progress {partition} {value:?}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join("; ")
}
