//! The checker finds what an engine does wrong: each fault is planted in a running engine, behind clients that know nothing of it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use sealstream_broker::log::memory::MemoryEngine;
use sealstream_broker::log::{
    At, CommitError, Committed, LogEngine, Op, OpenShardError, Outcome, Partition, PartitionId,
    PartitionOptions, ReadError, ReadOutcome, Refusal, Shard, ShardId, Source, Versioned,
};
use sealstream_transport::BoxFuture;
use tokio::sync::watch;

use crate::checker::{Violation, check};
use crate::groups::GroupBug;
use crate::workload::{Notes, Size, open};

const SIZE: Size = Size { partitions: 2, producers: 2, batches: 30, value: 16 };

/// The operation that goes wrong, of its kind: in the middle of the run.
const WHICH: u64 = 31;

/// What is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Something with a group, at each operation that concerns it.
    OfGroup(GroupBug),
    /// An append is acknowledged and not carried out.
    Lose,
    /// An append is carried out twice.
    Repeat,
    /// An append is carried out after one that was begun when it had been acknowledged.
    Delay,
    /// An acknowledgement names the offset before.
    WrongOffset,
    /// An append is carried out and refused.
    DenyStored,
    /// A reader is given entries, and the next ones are kept from it.
    SkipInRead,
    /// A commit sets the offset back.
    CommitBack,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_without_a_fault_has_a_history_without_one() {
    assert_eq!(faults_of(Bug::None).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_append_is_found() {
    let found = faults_of(Bug::Lose).await;
    assert!(found.iter().any(|fault| matches!(fault, Violation::Lost { .. })), "{found:?}");
    assert!(found.iter().any(|fault| matches!(fault, Violation::TwoValues { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_append_is_found() {
    let found = faults_of(Bug::Repeat).await;
    assert!(found.iter().any(|fault| matches!(fault, Violation::Duplicate { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_append_is_found() {
    let found = faults_of(Bug::Delay).await;
    assert!(found.iter().any(|fault| matches!(fault, Violation::Disorder { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_is_given_twice_is_found() {
    let found = faults_of(Bug::WrongOffset).await;
    assert!(found.iter().any(|fault| matches!(fault, Violation::TwoValues { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_append_that_is_stored_is_found() {
    let found = faults_of(Bug::DenyStored).await;
    assert!(found.iter().any(|fault| matches!(fault, Violation::Undead { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_a_reader_is_not_given_is_found() {
    let found = faults_of(Bug::SkipInRead).await;
    assert!(found.iter().any(|fault| matches!(fault, Violation::Hole { .. })), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_goes_back_is_found() {
    let found = faults_of(Bug::CommitBack).await;
    assert!(found.iter().any(|fault| matches!(fault, Violation::WentBack { .. })), "{found:?}");
}

async fn faults_of(bug: Bug) -> Vec<Violation> {
    let engine = Planted { inner: MemoryEngine::new(1), bug };
    let world = open(&engine, SIZE).await.unwrap();
    let notes = Notes::default();
    world.run(&notes).await;
    check(&world.conclude(&notes).await)
}

#[derive(Debug)]
pub(crate) struct Planted {
    pub(crate) inner: MemoryEngine,
    pub(crate) bug: Bug,
}

impl LogEngine for Planted {
    fn shards(&self) -> u32 {
        self.inner.shards()
    }

    fn open_shard(&self, id: ShardId, owner: u64) -> BoxFuture<'_, Result<Arc<dyn Shard>, OpenShardError>> {
        Box::pin(async move {
            let inner = self.inner.open_shard(id, owner).await?;
            let shard = PlantedShard {
                inner,
                bug: self.bug,
                appends: AtomicU64::default(),
                commits: AtomicU64::default(),
                skipped: AtomicBool::default(),
                delayed: Mutex::default(),
            };
            Ok(Arc::new(shard) as Arc<dyn Shard>)
        })
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        self.inner.close()
    }
}

struct PlantedShard {
    inner: Arc<dyn Shard>,
    bug: Bug,
    appends: AtomicU64,
    commits: AtomicU64,
    skipped: AtomicBool,
    /// An append that was acknowledged: carried out when the partition's end is here.
    delayed: Mutex<Option<(u64, PartitionId, Op)>>,
}

impl fmt::Debug for PlantedShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlantedShard").field("bug", &self.bug).finish_non_exhaustive()
    }
}

pub(crate) type CommitFuture = BoxFuture<'static, Result<Committed, CommitError>>;

impl PlantedShard {
    /// The one append that goes wrong.
    fn append_wrongly(&self, partition: PartitionId, op: Op) -> CommitFuture {
        let inner = Arc::clone(&self.inner);
        match self.bug {
            Bug::Lose => {
                let base_offset = inner.partition(partition).unwrap().durable_end;
                Box::pin(async move { Ok(stored_at(base_offset)) })
            }
            Bug::Repeat => {
                let Op::Append { partition, batch, .. } = op.clone() else { unreachable!() };
                let first = inner.commit(vec![op]);
                let again = Op::Append { partition, at: At::Next, batch, source: Source::Internal };
                drop(inner.commit(vec![again]));
                first
            }
            Bug::Delay => {
                let end = inner.partition(partition).unwrap().durable_end;
                *self.delayed.lock().unwrap() = Some((end + 10, partition, internal(op)));
                Box::pin(async move { Ok(stored_at(end)) })
            }
            Bug::WrongOffset => Box::pin(async move {
                let committed = inner.commit(vec![op]).await?;
                let [Outcome::Appended { base_offset, .. }] = committed.outcomes[..] else { unreachable!() };
                Ok(stored_at(base_offset - 1))
            }),
            Bug::DenyStored => Box::pin(async move {
                inner.commit(vec![op]).await?;
                Err(CommitError::Refused { index: 0, refusal: Refusal::ReadOnly(partition) })
            }),
            Bug::None | Bug::SkipInRead | Bug::CommitBack | Bug::OfGroup(_) => inner.commit(vec![op]),
        }
    }
}

/// An acknowledgement out of thin air.
fn stored_at(base_offset: u64) -> Committed {
    Committed {
        outcomes: vec![Outcome::Appended { base_offset, epoch: 0 }],
        durable: Box::pin(std::future::ready(Ok(()))),
        write: None,
    }
}

/// The same append by nobody: no sequence is checked.
fn internal(op: Op) -> Op {
    let Op::Append { partition, at, batch, .. } = op else { unreachable!() };
    Op::Append { partition, at, batch, source: Source::Internal }
}

impl Shard for PlantedShard {
    fn open_partition(
        &self,
        id: PartitionId,
        options: PartitionOptions,
    ) -> BoxFuture<'_, Result<Partition, CommitError>> {
        self.inner.open_partition(id, options)
    }

    fn commit(&self, mut ops: Vec<Op>) -> CommitFuture {
        if let Bug::OfGroup(bug) = self.bug {
            return bug.commit(&*self.inner, ops);
        }
        let due = |delayed: &mut (u64, PartitionId, Op)| {
            self.inner.partition(delayed.1).unwrap().durable_end >= delayed.0
        };
        if let Some((_, _, op)) = self.delayed.lock().unwrap().take_if(due) {
            drop(self.inner.commit(vec![op]));
        }
        match &mut ops[..] {
            [Op::Append { partition, .. }] if self.appends.fetch_add(1, SeqCst) == WHICH => {
                let partition = *partition;
                return self.append_wrongly(partition, ops.remove(0));
            }
            // Not the first, before which there is nothing to go back to.
            [Op::CommitOffset(commit)]
                if self.bug == Bug::CommitBack && self.commits.fetch_add(1, SeqCst) >= 2 =>
            {
                commit.offset = 0;
            }
            _ => {}
        }
        self.inner.commit(ops)
    }

    fn read(&self, id: PartitionId, from: u64, max: usize) -> BoxFuture<'_, Result<ReadOutcome, ReadError>> {
        let more = self.inner.partition(id).unwrap().durable_end > from + 1;
        let skip = self.bug == Bug::SkipInRead && from > 0 && more && !self.skipped.swap(true, SeqCst);
        self.inner.read(id, if skip { from + 1 } else { from }, max)
    }

    fn watch(&self, id: PartitionId) -> Option<watch::Receiver<u64>> {
        self.inner.watch(id)
    }

    fn partition(&self, id: PartitionId) -> Option<Partition> {
        self.inner.partition(id)
    }

    fn offset_at(&self, id: PartitionId, time: i64) -> BoxFuture<'_, Result<u64, ReadError>> {
        self.inner.offset_at(id, time)
    }

    fn check_epoch(&self, id: PartitionId, offset: u64, epoch: u32) -> BoxFuture<'_, Result<(), ReadError>> {
        self.inner.check_epoch(id, offset, epoch)
    }

    fn trim(
        &self,
        id: PartitionId,
        before: u64,
        max: Option<u64>,
    ) -> BoxFuture<'_, Result<u64, CommitError>> {
        self.inner.trim(id, before, max)
    }

    fn delete(&self, id: PartitionId) -> BoxFuture<'_, Result<(), CommitError>> {
        self.inner.delete(id)
    }

    fn meta(&self, key: &str) -> Option<Versioned> {
        self.inner.meta(key)
    }

    fn meta_with_prefix(&self, prefix: &str) -> Vec<(String, Versioned)> {
        self.inner.meta_with_prefix(prefix)
    }

    fn committed_offset(&self, group: &str, partition: PartitionId) -> Option<(u64, u32)> {
        self.inner.committed_offset(group, partition)
    }

    fn committed_offsets(&self, group: &str) -> Vec<(PartitionId, (u64, u32))> {
        self.inner.committed_offsets(group)
    }
}
