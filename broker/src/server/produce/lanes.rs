//! Batches that the log has, and whose answers are due: one lane a partition, each in its order, none behind another.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sealstream_protocol::message::Fault;
use sealstream_transport::BoxFuture;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::outgoing::Item;
use crate::log::{CommitError, Committed, DurabilityError, Outcome, PartitionId};
use crate::quotas::Spent;
use crate::server::trace::Trace;
use crate::server::{TopicMeter, admission};
use crate::topics::Topic;

/// A batch that is to be answered.
pub(super) struct Pending {
    pub(super) request: u64,
    pub(super) topic: Arc<Topic>,
    pub(super) partition: PartitionId,
    /// Its producer and sequence, as far as they can be made out.
    pub(super) sequence: Option<(Uuid, u64)>,
    pub(super) stage: Stage,
    /// What its quota was charged.
    pub(super) spent: Spent,
    /// Its part of the session's window.
    pub(super) window: admission::Bytes,
    pub(super) tally: Tally,
}

/// What is counted of a batch once it is answered.
pub(super) struct Tally {
    pub(super) meter: Arc<TopicMeter>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// When its frame had come.
    pub(super) since: Instant,
    pub(super) trace: Trace,
}

/// How far a batch has come.
pub(super) enum Stage {
    /// Not to the log.
    Refused(Fault),
    /// To the log.
    Committing {
        commit: BoxFuture<'static, Result<Committed, CommitError>>,
        /// Its part of the broker's budget.
        share: admission::Bytes,
    },
}

/// A batch whose answer is known.
pub(super) struct Settled {
    pub(super) request: u64,
    pub(super) topic: Arc<Topic>,
    pub(super) partition: PartitionId,
    pub(super) sequence: Option<(Uuid, u64)>,
    pub(super) outcome: Result<Outcome, Refused>,
    pub(super) spent: Spent,
    pub(super) window: admission::Bytes,
    pub(super) tally: Tally,
}

/// Why a batch is not stored, or perhaps not.
#[derive(Debug)]
pub(super) enum Refused {
    /// Before it came to the log.
    Early(Fault),
    /// By the log.
    Commit(CommitError),
    /// It was in the log and did not become durable.
    Durability(DurabilityError),
}

impl Refused {
    /// Whether the batch is certainly not stored.
    pub(super) fn is_definite(&self) -> bool {
        match self {
            Self::Early(_) => true,
            Self::Commit(error) => !matches!(error, CommitError::Storage(_)),
            Self::Durability(_) => false,
        }
    }
}

impl Pending {
    /// Awaits what the log says. The part of the budget is free from then on.
    async fn settle(self) -> Settled {
        let Self { request, topic, partition, sequence, stage, spent, window, mut tally } = self;
        let outcome = match stage {
            Stage::Refused(fault) => Err(Refused::Early(fault)),
            Stage::Committing { commit, share } => {
                let outcome = durable(commit, &mut tally.trace).await;
                drop(share);
                outcome
            }
        };
        Settled { request, topic, partition, sequence, outcome, spent, window, tally }
    }
}

async fn durable(
    commit: BoxFuture<'static, Result<Committed, CommitError>>,
    trace: &mut Trace,
) -> Result<Outcome, Refused> {
    let mut committed = commit.await.map_err(Refused::Commit)?;
    if let Some(write) = committed.write {
        trace.step_at("queued_us", write.begun);
        trace.step_at("written_us", write.done);
    }
    committed.durable.await.map_err(Refused::Durability)?;
    trace.step("synced_us");
    Ok(committed.outcomes.pop().expect("a commit of one operation has one outcome"))
}

/// All lanes of a session. Bounded by the session's window, of which every batch in here holds a part.
#[derive(Default)]
pub(super) struct Lanes {
    /// The first batch of each lane.
    heads: FuturesUnordered<BoxFuture<'static, Settled>>,
    /// What waits behind the first; there is an entry for every lane that has a first.
    behind: HashMap<PartitionId, VecDeque<Pending>>,
}

impl Lanes {
    /// Puts a batch at the end of its lane. The log works on it whether or not it is first.
    pub(super) fn push(&mut self, pending: Pending) {
        if let Some(lane) = self.behind.get_mut(&pending.partition) {
            lane.push_back(pending);
        } else {
            self.behind.insert(pending.partition, VecDeque::new());
            self.heads.push(Box::pin(pending.settle()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The next answer of any lane; `None` if there are no batches. Cancellation safe.
    pub(super) async fn next(&mut self) -> Option<Settled> {
        let settled = self.heads.next().await?;
        match self.behind.get_mut(&settled.partition).and_then(VecDeque::pop_front) {
            Some(next) => self.heads.push(Box::pin(next.settle())),
            None => {
                self.behind.remove(&settled.partition);
            }
        }
        Some(settled)
    }

    /// Awaits the answers of all batches, those that are still in `items` included, and gives them to nobody.
    pub(super) async fn settle(mut self, mut items: mpsc::Receiver<Item>) {
        items.close();
        while let Some(item) = items.recv().await {
            if let Item::Batch(pending) = item {
                self.push(*pending);
            }
        }
        while self.next().await.is_some() {}
    }
}
