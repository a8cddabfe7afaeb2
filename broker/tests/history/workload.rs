//! Clients of a log engine, without a broker in between: they append, read and commit, and write down what they were told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealstream_broker::log::conformance::life::entries;
use sealstream_broker::log::{
    At, CommitError, Durability, LogEngine, OffsetCommit, Op, Outcome as Told, PartitionId, PartitionOptions,
    Refusal, Shard, ShardId, Source,
};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, BatchBuilder, Codec};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::record::{Action, History, Operation, Outcome, now};

/// Whom the engine's shards belong to.
const OWNER: u64 = 1;

/// The identity of all producers.
const ME: u64 = 7;

/// The one group.
const GROUP: &str = "readers";

/// Far longer than anything takes that happens at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How much there is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) partitions: u32,
    /// Producers of each partition.
    pub(crate) producers: u32,
    /// Batches of each producer; three are under way at a time.
    pub(crate) batches: u32,
    /// Bytes of each value, from 8.
    pub(crate) value: usize,
}

/// What the clients write down.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<Operation>>>);

impl Notes {
    pub(crate) fn add(&self, operation: Operation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    pub(crate) fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens the first shard and the partitions that the clients use.
pub(crate) async fn open(engine: &dyn LogEngine, size: Size) -> Result<World, String> {
    let shard = soon(engine.open_shard(ShardId::METADATA, OWNER)).await.map_err(|error| error.to_string())?;
    let shards = engine.shards();
    let ids: Vec<PartitionId> = (0..)
        .map(|index| PartitionId { topic: Uuid::from_u128(5), index })
        .filter(|id| ShardId::of_partition(id, shards) == ShardId::METADATA)
        .take(size.partitions as usize)
        .collect();
    for id in &ids {
        let options = PartitionOptions::new(Durability::Disk);
        soon(shard.open_partition(*id, options)).await.map_err(|error| error.to_string())?;
    }
    Ok(World { shard, ids, size })
}

/// A shard with the partitions open.
pub(crate) struct World {
    pub(crate) shard: Arc<dyn Shard>,
    ids: Vec<PartitionId>,
    size: Size,
}

impl World {
    /// Runs all clients until each has done its part, or is told by the engine that there is no more to be had.
    pub(crate) async fn run(&self, notes: &Notes) {
        let mut producers = JoinSet::new();
        let mut readers = JoinSet::new();
        let (produced, all_produced) = watch::channel(false);
        for partition in 0..self.size.partitions {
            for producer in 0..self.size.producers {
                let client = 1 + partition * self.size.producers + producer;
                producers.spawn(self.client(client, partition, notes).produce());
            }
            let reader = self.client(1_000 + partition, partition, notes);
            readers.spawn(reader.read_and_commit(all_produced.clone()));
        }
        soon(producers.join_all()).await;
        produced.send_replace(true);
        soon(readers.join_all()).await;
    }

    fn client(&self, number: u32, partition: u32, notes: &Notes) -> Client {
        Client {
            number,
            partition,
            id: self.ids[partition as usize],
            size: self.size,
            shard: Arc::clone(&self.shard),
            notes: notes.clone(),
        }
    }

    /// Asks for the committed offsets, and adds the log as it stands to what the clients have written down.
    pub(crate) async fn conclude(&self, notes: &Notes) -> History {
        let mut history = History::default();
        for partition in 0..self.size.partitions {
            let client = self.client(9_999, partition, notes);
            client.ask();
            history.log.insert(partition, client.read_all().await);
        }
        history.operations = notes.take();
        history
    }
}

struct Client {
    number: u32,
    partition: u32,
    id: PartitionId,
    size: Size,
    shard: Arc<dyn Shard>,
    notes: Notes,
}

impl Client {
    async fn produce(self) {
        let mut producer = Uuid::new_v4();
        let mut sequence = 0;
        let mut sent = 0;
        while sent < self.size.batches {
            // Called one after the other, awaited together: their order is that of the calls.
            let mut under_way = Vec::new();
            for _ in 0..3.min(self.size.batches - sent) {
                let value = u64::from(self.number) << 32 | u64::from(sent);
                let batch = batch(value, self.size.value, producer, sequence);
                let begun = now();
                let committed = self.shard.commit(vec![self.append(&batch)]);
                under_way.push((begun, value, batch, committed));
                (sent, sequence) = (sent + 1, sequence + 1);
            }
            let mut all_stored = true;
            for (begun, value, batch, committed) in under_way {
                let mut outcome = outcome_of(committed).await;
                if outcome == Outcome::Unknown {
                    // A retry stores nothing twice.
                    outcome = match outcome_of(self.shard.commit(vec![self.append(&batch)])).await {
                        at @ Outcome::At(_) => at,
                        _ => Outcome::Unknown,
                    };
                }
                all_stored &= matches!(outcome, Outcome::At(_));
                self.note(begun, Action::Append { value, outcome });
            }
            if !all_stored {
                (producer, sequence) = (Uuid::new_v4(), 0);
            }
        }
    }

    fn append(&self, batch: &Batch) -> Op {
        let source = Source::Producer { identity: ME };
        Op::Append { partition: self.id, at: At::Next, batch: batch.clone(), source }
    }

    /// Reads what comes until all is produced and read, or nothing can be read any more, and commits as it goes.
    async fn read_and_commit(self, mut all_produced: watch::Receiver<bool>) {
        let Some(mut end) = self.shard.watch(self.id) else { return };
        let mut next = 0;
        loop {
            let more = tokio::select! {
                biased;
                moved = end.wait_for(|end| *end > next) => moved.is_ok(),
                _ = all_produced.wait_for(|all| *all) => false,
            };
            if !more {
                break;
            }
            let Some(read) = self.read_from(next).await else { break };
            for (offset, value) in read {
                self.note(now(), Action::Read { pass: 0, offset, value });
                next = offset + 1;
            }
            self.commit(next).await;
            self.ask();
        }
    }

    async fn commit(&self, offset: u64) {
        let begun = now();
        let epoch = self.shard.partition(self.id).map_or(0, |partition| partition.epoch);
        let commit = OffsetCommit { group: GROUP.into(), partition: self.id, offset, log_epoch: epoch };
        let done = match soon(self.shard.commit(vec![Op::CommitOffset(commit)])).await {
            Ok(committed) => soon(committed.durable).await.is_ok(),
            Err(_) => false,
        };
        self.note(begun, Action::Commit { offset, done });
    }

    fn ask(&self) {
        let begun = now();
        let offset = self.shard.committed_offset(GROUP, self.id).map(|(offset, _)| offset);
        self.note(begun, Action::Committed { offset });
    }

    async fn read_from(&self, from: u64) -> Option<Vec<(u64, u64)>> {
        let outcome = soon(self.shard.read(self.id, from, 4 << 10)).await.ok()?;
        let mut read = Vec::new();
        for entry in entries(&outcome.entries) {
            let record = entry.batch.records(&Limits::default()).unwrap().next().unwrap().unwrap();
            let value = u64::from_le_bytes(record.value[..8].try_into().unwrap());
            read.push((entry.header.base_offset, value));
        }
        Some(read)
    }

    async fn read_all(&self) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        loop {
            let next = all.last().map_or(0, |(offset, _)| offset + 1);
            let read = self.read_from(next).await.expect("what is in the log can be read");
            if read.is_empty() {
                return all;
            }
            all.extend(read);
        }
    }

    fn note(&self, begun: u64, action: Action) {
        let (client, partition) = (self.number, self.partition);
        self.notes.add(Operation { client, begun, ended: now(), partition, action });
    }
}

/// One record: an offset has one value.
pub(crate) fn batch(value: u64, bytes: usize, producer: Uuid, sequence: u64) -> Batch {
    let mut content = value.to_le_bytes().to_vec();
    content.resize(bytes, b'.');
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, &content, &[]).unwrap();
    builder.build(producer, sequence)
}

async fn outcome_of(
    committed: impl Future<Output = Result<sealstream_broker::log::Committed, CommitError>>,
) -> Outcome {
    let committed = match soon(committed).await {
        Ok(committed) => committed,
        Err(CommitError::Refused { refusal: Refusal::TooOld { .. }, .. } | CommitError::Storage(_)) => {
            return Outcome::Unknown;
        }
        Err(_) => return Outcome::Refused,
    };
    let offset = match committed.outcomes[..] {
        [Told::Appended { base_offset, .. } | Told::Duplicate { base_offset, .. }] => base_offset,
        ref other => panic!("an append had the outcome {other:?}"),
    };
    if soon(committed.durable).await.is_ok() { Outcome::At(offset) } else { Outcome::Unknown }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("did not happen")
}
