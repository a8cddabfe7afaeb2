//! What a shard's writer is asked to do, in order, and what it is told by those who work for it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::recovery::Recovered;
use super::shared::locked;
use crate::log::engine::{CommitError, Committed, Op, Partition, PartitionId, PartitionOptions};

/// How many requests wait for the writer at most. It takes them in rounds of 256 within milliseconds; the bytes are bounded by the
/// permits that their senders hold.
const MAX_REQUESTS: usize = 4_096;

/// How many requests the writer takes at once: bounds how long the first of a round waits for the last one's check.
const ROUND: usize = 256;

/// How often the writer lets others run before it falls asleep. While all processors are busy that is long enough for the next requests to
/// come: nobody has to wake it, and it takes them in one round. On a processor that has nothing else to do it takes a microsecond.
const YIELDS: usize = 2;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

/// A request to the writer.
pub(super) enum Request {
    Commit { ops: Vec<Op>, reply: Reply<Committed> },
    Open { id: PartitionId, options: PartitionOptions, reply: Reply<Partition> },
    Trim { id: PartitionId, before: u64, max_bytes: Option<u64>, reply: Reply<u64> },
    Delete { id: PartitionId, reply: Reply<()> },
    Close { reply: oneshot::Sender<io::Result<()>> },
}

impl Request {
    /// Answers that nothing was done, and why.
    pub(super) fn refuse(self, error: CommitError) {
        // Whoever asked may have gone.
        let _ = match self {
            Self::Commit { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Open { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Trim { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Delete { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Close { reply } => reply.send(Err(io::Error::other(error.to_string()))).is_ok(),
        };
    }
}

/// Something that was done for the writer.
pub(super) enum Event {
    /// A sync of a partition's files. `serial` tells a partition from one that had its id before.
    Synced { id: PartitionId, serial: u64, done: SyncDone },
    /// A sync of the metadata log; `starts` tells it from one that was given up.
    MetaSynced { starts: u64, upto: u64, result: io::Result<()> },
    /// A snapshot of the metadata, of so many bytes.
    MetaSnapshot { result: io::Result<u64> },
    /// A record of the journal.
    Journaled { result: io::Result<()> },
    /// A partition was recovered.
    Recovered { id: PartitionId, result: io::Result<Box<Recovered>> },
    /// A checkpoint at this offset was saved, or not.
    Checkpointed { id: PartitionId, serial: u64, offset: u64, result: io::Result<()> },
    /// A reader found damage below the durable end, twice. `rewritten` is the view's, from before the second look.
    Damaged { id: PartitionId, rewritten: u64, offset: u64, reason: String },
    /// A deleted partition's files are gone, or not.
    Removed { id: PartitionId, result: io::Result<()> },
}

/// How a sync of a partition's files went.
pub(super) struct SyncDone {
    /// It was for the journal's sake.
    pub(super) drain: bool,
    pub(super) took: Duration,
    pub(super) result: io::Result<()>,
}

/// Why the writer takes no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It was closed.
    Closed,
    /// A newer owner has the shard.
    Fenced,
}

impl Stopped {
    pub(super) fn error(self) -> CommitError {
        match self {
            Self::Closed => CommitError::Closed,
            Self::Fenced => CommitError::Fenced,
        }
    }
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    events: VecDeque<Event>,
    /// Requests that the writer has taken and set aside: they count as waiting.
    deferred: usize,
    stopped: Option<Stopped>,
    /// The writer is to end at once, as if the process had been killed.
    abandoned: bool,
    asleep: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.events.is_empty() && !self.abandoned
    }
}

/// The writer's mailbox.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    wake: Condvar,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

/// What the writer found.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) requests: Vec<Request>,
    pub(super) events: Vec<Event>,
    pub(super) abandoned: bool,
}

impl Mailbox {
    /// Puts a request at the end of the queue; refuses it at once if the queue is full or nobody reads it.
    pub(super) fn ask(&self, request: Request) {
        let mut state = locked(&self.state);
        let refusal = match state.stopped {
            Some(stopped) => Some(stopped.error()),
            None if state.requests.len() + state.deferred >= MAX_REQUESTS => Some(CommitError::Busy),
            None => None,
        };
        if let Some(error) = refusal {
            drop(state);
            request.refuse(error);
            return;
        }
        state.requests.push_back(request);
        self.wake(state);
    }

    /// Asks for the end, behind everything asked before; whatever is asked after it is refused.
    pub(super) fn stop(&self, why: Stopped, reply: oneshot::Sender<io::Result<()>>) {
        let mut state = locked(&self.state);
        if state.stopped.replace(why).is_some() {
            // It is on its way already; the reply that is dropped says so.
            return;
        }
        state.requests.push_back(Request::Close { reply });
        self.wake(state);
    }

    /// Tells the writer of something done.
    pub(super) fn tell(&self, event: Event) {
        let mut state = locked(&self.state);
        state.events.push_back(event);
        self.wake(state);
    }

    /// Lets the writer end at once.
    pub(super) fn abandon(&self) {
        let mut state = locked(&self.state);
        state.abandoned = true;
        self.wake(state);
    }

    /// What has come; waits until something has. `deferred` is how many requests the writer has set aside.
    pub(super) fn take(&self, deferred: usize) -> Mail {
        let mut state = locked(&self.state);
        state.deferred = deferred;
        for _ in 0..YIELDS {
            if !state.is_empty() {
                break;
            }
            drop(state);
            thread::yield_now();
            state = locked(&self.state);
        }
        while state.is_empty() {
            state.asleep = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
        }
        let round = state.requests.len().min(ROUND);
        Mail {
            requests: state.requests.drain(..round).collect(),
            events: state.events.drain(..).collect(),
            abandoned: state.abandoned,
        }
    }

    /// Whether nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        locked(&self.state).is_empty()
    }

    /// The writer has ended: nobody is left waiting for it.
    pub(super) fn shut(&self) {
        let mut state = locked(&self.state);
        let error = state.stopped.get_or_insert(Stopped::Closed).error();
        let requests: Vec<Request> = state.requests.drain(..).collect();
        drop(state);
        for request in requests {
            let error = match error {
                CommitError::Fenced => CommitError::Fenced,
                _ => CommitError::Closed,
            };
            request.refuse(error);
        }
    }

    fn wake(&self, state: std::sync::MutexGuard<'_, State>) {
        let asleep = state.asleep;
        drop(state);
        if asleep {
            self.wake.notify_one();
        }
    }
}
