//! One life of an engine under test, and what the cases say to it.

use std::sync::Arc;

use bytes::Bytes;
use sealstream_protocol::batch::{Batch, BatchBuilder, Codec};
use sealstream_protocol::entry::{Entries, Entry};
use uuid::Uuid;

use super::{Fixture, PATIENCE};
use crate::log::engine::{
    At, CommitError, Committed, Durability, LogEngine, Op, Outcome, Partition, PartitionId, PartitionOptions,
    ReadError, ReadOutcome, Refusal, Shard, ShardId, Source,
};

/// The owner of a shard, unless a case says otherwise.
pub const OWNER: u64 = 1;

/// The identity of every producer, unless a case says otherwise.
pub const ME: u64 = 0x1DE0;

/// A topic's id; which one does not matter.
const TOPIC: Uuid = Uuid::from_u128(0x5EA1_0000_0000_4000_8000_0000_0000_0001);

/// The id of a producer.
pub fn producer(n: u128) -> Uuid {
    Uuid::from_u128(0xA_0000 + n)
}

/// A batch of so many records, about 50 bytes each, of which no two are alike.
pub fn batch(n: u128, sequence: u64, records: u32) -> Batch {
    batch_of(n, sequence, records, 24, Codec::None)
}

/// The same with values of so many bytes.
pub fn batch_of(n: u128, sequence: u64, records: u32, value: usize, codec: Codec) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for record in 0..records {
        let key = format!("{n}:{sequence}:{record}");
        let filler: Vec<u8> = key.bytes().cycle().take(value).collect();
        let key = record.is_multiple_of(2).then_some(key.as_bytes());
        builder.push(i64::from(record), key, &filler, &[("n", &sequence.to_le_bytes())]).expect("it fits");
    }
    builder.build(producer(n), sequence)
}

/// The entries in chunks of them, fully checked.
pub fn entries(chunks: &[Bytes]) -> Vec<Entry> {
    chunks
        .iter()
        .flat_map(|chunk| Entries::new(chunk.clone()))
        .map(|entry| entry.expect("a read gives whole entries, undamaged"))
        .collect()
}

/// Waits for what must happen.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("did not happen")
}

/// An engine that runs, with one shard open and three partitions of it.
#[derive(Debug)]
pub struct Life {
    /// The engine.
    pub engine: Arc<dyn LogEngine>,
    /// Shard 0, opened by [`OWNER`].
    pub shard: Arc<dyn Shard>,
    /// Three partitions of the shard.
    pub ids: [PartitionId; 3],
}

impl Life {
    /// Starts an engine and opens the shard and the partitions.
    pub async fn begin(fixture: &dyn Fixture) -> Self {
        let life = Self::begin_closed(fixture).await;
        for id in life.ids {
            life.open(id).await;
        }
        life
    }

    /// The same, without opening the partitions.
    pub async fn begin_closed(fixture: &dyn Fixture) -> Self {
        let engine = soon(fixture.start()).await;
        let shard = soon(engine.open_shard(ShardId(0), OWNER)).await.expect("the shard opens");
        let shards = engine.shards();
        let mut ids = (0..)
            .map(|index| PartitionId { topic: TOPIC, index })
            .filter(|id| ShardId::of_partition(id, shards) == ShardId(0));
        let ids = std::array::from_fn(|_| ids.next().expect("there are enough"));
        Self { engine, shard, ids }
    }

    /// Ends it in order.
    pub async fn close(self) {
        soon(self.engine.close()).await.expect("the engine closes");
    }

    /// Ends it in order and begins the next.
    pub async fn reopen(self, fixture: &dyn Fixture) -> Self {
        self.close().await;
        Self::begin(fixture).await
    }

    /// Ends it by a crash and begins the next.
    pub async fn crash(self, fixture: &dyn Fixture) -> Self {
        let Self { engine, shard, .. } = self;
        drop(shard);
        soon(fixture.crash(engine)).await;
        Self::begin(fixture).await
    }

    /// Opens a partition whose records survive a power cut.
    pub async fn open(&self, id: PartitionId) -> Partition {
        self.open_with(id, Durability::Disk).await
    }

    /// Opens a partition.
    pub async fn open_with(&self, id: PartitionId, durability: Durability) -> Partition {
        soon(self.shard.open_partition(id, PartitionOptions::new(durability)))
            .await
            .expect("the partition opens")
    }

    /// Commits, and leaves durability to the caller.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<Committed, CommitError> {
        soon(self.shard.commit(ops)).await
    }

    /// Commits and waits until it is durable.
    pub async fn commit_durably(&self, ops: Vec<Op>) -> Vec<Outcome> {
        let committed = self.commit(ops).await.expect("the commit is not refused");
        soon(committed.durable).await.expect("the commit becomes durable");
        committed.outcomes
    }

    /// Which operation was refused, and why.
    pub async fn refusal(&self, ops: Vec<Op>) -> (usize, Refusal) {
        match self.commit(ops).await {
            Err(CommitError::Refused { index, refusal }) => (index, refusal),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Appends a batch durably; its offset.
    pub async fn append(&self, id: PartitionId, batch: &Batch) -> u64 {
        match self.commit_durably(vec![append(id, batch)]).await[..] {
            [Outcome::Appended { base_offset, .. }] => base_offset,
            ref other => panic!("not appended: {other:?}"),
        }
    }

    /// Appends batches of one record each, with the sequences `from..to` of producer `n`.
    pub async fn append_many(&self, id: PartitionId, n: u128, sequences: std::ops::Range<u64>) {
        for sequence in sequences {
            self.append(id, &batch(n, sequence, 1)).await;
        }
    }

    /// Reads.
    pub async fn read(&self, id: PartitionId, from: u64, max_bytes: usize) -> Result<ReadOutcome, ReadError> {
        soon(self.shard.read(id, from, max_bytes)).await
    }

    /// Everything from `from` to the durable end, in reads of 64 KiB.
    pub async fn read_all(&self, id: PartitionId, mut from: u64) -> Vec<Entry> {
        let mut all = Vec::new();
        loop {
            let outcome = self.read(id, from, 64 << 10).await.expect("the offset is in range");
            if outcome.entries.is_empty() {
                assert_eq!(
                    (outcome.next, outcome.durable_end),
                    (from, from),
                    "a read stops at the durable end"
                );
                return all;
            }
            let read = entries(&outcome.entries);
            assert_eq!(read.last().map(Entry::next_offset), Some(outcome.next));
            all.extend(read);
            from = outcome.next;
        }
    }

    /// The partition as it stands.
    pub fn partition(&self, id: PartitionId) -> Partition {
        self.shard.partition(id).expect("the partition is open")
    }
}

/// A producer's append.
pub fn append(partition: PartitionId, batch: &Batch) -> Op {
    append_as(partition, batch, ME)
}

/// The same by another identity.
pub fn append_as(partition: PartitionId, batch: &Batch, identity: u64) -> Op {
    Op::Append { partition, at: At::Next, batch: batch.clone(), source: Source::Producer { identity } }
}

/// An append of the broker's own.
pub fn append_at(partition: PartitionId, at: At, batch: &Batch) -> Op {
    Op::Append { partition, at, batch: batch.clone(), source: Source::Internal }
}

/// A put of a text.
pub fn put(key: &str, expected: u64, value: Option<&'static str>) -> Op {
    Op::PutMeta { key: key.into(), expected, value: value.map(|text| Bytes::from_static(text.as_bytes())) }
}
