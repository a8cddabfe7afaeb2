//! The one thread of a shard that changes anything.
//!
//! It takes requests in their order, in rounds: checks them, writes what they append, answers, and has the files synced by others. It
//! waits for nothing but its mailbox, and a quick disk where nobody else does; what takes long is done by the pools, and comes back as
//! an event.
//!
//! ```text
//! mailbox ──► request ──► check ──► stage ──┐ a round
//!                                           ▼
//!                             write, answer ──► schedule syncs ──► pool
//! mailbox ◄── event: synced, recovered, … ◄──────────────────────────┘
//! ```

mod atomic;
mod close;
mod commit;
mod damage;
mod lifecycle;
mod metadata;
mod repair;
mod sync;

pub(super) use self::lifecycle::{PendingTrim, remove_partition};

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::oneshot;

use self::atomic::Atomic;
use self::close::Closing;
use self::lifecycle::Opening;
use self::metadata::{After, MetaAnswer};
use self::sync::Lone;
use super::env::Env;
use super::journal::Journal;
use super::mailbox::{Event, Mail, Reply, Request};
use super::meta::MetaLog;
use super::partition::LivePartition;
use crate::log::engine::PartitionId;

/// A shard's writer.
pub(super) struct Writer {
    env: Env,
    meta: MetaLog,
    journal: Journal,
    partitions: HashMap<PartitionId, LivePartition>,
    opening: HashMap<PartitionId, Opening>,
    removing: HashMap<PartitionId, Vec<Reply<()>>>,
    /// Requests that wait for something to end: a deletion, or a commit that touches several files.
    deferred: VecDeque<Request>,
    atomic: Option<Atomic>,
    /// Partitions with something staged.
    staged: Vec<PartitionId>,
    /// Partitions that wait for a sync.
    queue: VecDeque<PartitionId>,
    /// How many syncs are under way for those who wait.
    syncing: usize,
    lone: Lone,
    /// Partitions whose segments should be synced so that the journal's room can be used again, and how many are being.
    draining: VecDeque<PartitionId>,
    drains: usize,
    meta_syncing: bool,
    /// Commits of metadata that are staged.
    meta_answers: Vec<MetaAnswer>,
    /// What to do when the metadata is durable, by sequence.
    after_meta: VecDeque<(u64, After)>,
    snapshotting: bool,
    /// What the journal holds at the moment: the partitions of the record that is being written.
    journaling: Vec<(PartitionId, u64)>,
    /// What the journal held when the shard was opened.
    floors: HashMap<PartitionId, u64>,
    /// Partitions whose unsynced segments are kept open though nobody waits for their sync, the oldest first.
    held: VecDeque<PartitionId>,
    closing: Option<Closing>,
    /// Partitions that lack what the journal alone has.
    failing: Vec<PartitionId>,
    /// Why no metadata can be committed for now.
    meta_failed: Option<String>,
    serial: u64,
    /// Something ended that deferred requests may have waited for.
    retry: bool,
    scratch: Vec<u8>,
}

impl Writer {
    pub(super) fn new(env: Env, meta: MetaLog, journal: Journal, floors: HashMap<PartitionId, u64>) -> Self {
        Self {
            env,
            meta,
            journal,
            partitions: HashMap::new(),
            opening: HashMap::new(),
            removing: HashMap::new(),
            deferred: VecDeque::new(),
            atomic: None,
            staged: Vec::new(),
            queue: VecDeque::new(),
            syncing: 0,
            lone: Lone::default(),
            draining: VecDeque::new(),
            drains: 0,
            meta_syncing: false,
            meta_answers: Vec::new(),
            after_meta: VecDeque::new(),
            snapshotting: false,
            journaling: Vec::new(),
            floors,
            held: VecDeque::new(),
            closing: None,
            failing: Vec::new(),
            meta_failed: None,
            serial: 0,
            retry: false,
            scratch: Vec::new(),
        }
    }

    /// Works until the shard is closed or abandoned.
    pub(super) fn run(mut self) {
        let _end = EndOfShard(std::sync::Arc::clone(&self.env.shared));
        loop {
            let Mail { requests, events, abandoned } = self.env.shared.mailbox.take(self.deferred.len());
            if abandoned {
                return;
            }
            if self.syncing > 0 && !requests.is_empty() {
                self.lone.disturbed();
            }
            self.retry = !events.is_empty();
            for event in events {
                self.on_event(event);
            }
            self.retry_deferred();
            if !self.failing.is_empty() {
                self.repair();
            }
            for request in requests {
                self.on_request(request);
            }
            self.flush();
            self.schedule();
            while self.retry && !self.deferred.is_empty() {
                self.retry_deferred();
                self.flush();
                self.schedule();
            }
            if self.is_closed() {
                return;
            }
        }
    }

    fn retry_deferred(&mut self) {
        if std::mem::take(&mut self.retry) {
            for request in std::mem::take(&mut self.deferred) {
                self.on_request(request);
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        if let Request::Close { reply } = request {
            self.begin_close(reply);
            return;
        }
        if self.is_blocked(&request) {
            self.deferred.push_back(request);
            return;
        }
        match request {
            Request::Commit { ops, reply } => self.commit(ops, reply),
            Request::Open { id, options, reply } => self.open(id, options, reply),
            Request::Trim { id, before, max_bytes, reply } => self.trim(id, before, max_bytes, reply),
            Request::Delete { id, reply } => self.delete(id, reply),
            Request::Close { .. } => {}
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Synced { id, serial, done } => self.on_synced(id, serial, done),
            Event::MetaSynced { starts, upto, result } => self.on_meta_synced(starts, upto, result),
            Event::MetaSnapshot { result } => self.on_meta_snapshot(result),
            Event::Journaled { result } => self.on_journaled(result),
            Event::Recovered { id, result } => self.on_recovered(id, result),
            Event::Checkpointed { id, serial, offset, result } => {
                self.on_checkpointed(id, serial, offset, result);
            }
            Event::Damaged { id, rewritten, offset, reason } => {
                self.on_damaged(id, rewritten, offset, &reason);
            }
            Event::Removed { id, result } => self.on_removed(id, result),
        }
    }

    /// Whether a request must wait for one before it that is not done yet and touches the same things.
    fn is_blocked(&self, request: &Request) -> bool {
        if self.deferred.is_empty()
            && self.atomic.is_none()
            && self.opening.is_empty()
            && self.removing.is_empty()
        {
            return false;
        }
        let touched = Touched::of(request);
        let busy = |id: &PartitionId| match request {
            Request::Open { .. } => self.removing.contains_key(id),
            Request::Delete { .. } | Request::Trim { .. } => self.opening.contains_key(id),
            _ => false,
        };
        touched.partitions.iter().any(busy)
            || self.atomic.as_ref().is_some_and(|atomic| atomic.touched.meets(&touched))
            || self.deferred.iter().any(|deferred| Touched::of(deferred).meets(&touched))
    }

    /// Writes everything that is staged, and answers it.
    fn flush(&mut self) {
        // First: what partitions promise in memory may rely on it.
        self.flush_metadata();
        let progress = self.meta.progress();
        if !self.staged.is_empty() {
            self.env.counters.rounds.add(1);
        }
        for id in std::mem::take(&mut self.staged) {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            partition.write_staged(&self.env, progress, &mut self.scratch);
            self.after_write(id);
        }
        // A round of large batches must not keep its memory for good.
        self.scratch.shrink_to(1 << 20);
    }
}

/// Whatever ends a writer, nobody is left waiting for it.
struct EndOfShard(std::sync::Arc<super::shared::ShardShared>);

impl Drop for EndOfShard {
    fn drop(&mut self) {
        self.0.mailbox.shut();
        self.0.close();
    }
}

/// What a request touches.
#[derive(Debug, Default)]
struct Touched {
    partitions: HashSet<PartitionId>,
    metadata: bool,
}

impl Touched {
    fn of(request: &Request) -> Self {
        match request {
            Request::Commit { ops, .. } => Self::of_ops(ops),
            Request::Open { id, .. } | Request::Trim { id, .. } | Request::Delete { id, .. } => {
                Self { partitions: HashSet::from([*id]), metadata: false }
            }
            Request::Close { .. } => Self::default(),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        self.metadata && other.metadata || !self.partitions.is_disjoint(&other.partitions)
    }
}

/// An answer that is sent if somebody still waits for it.
fn send<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}
