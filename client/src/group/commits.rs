//! Commits on their way to the broker: one at a time, in the order in which they were asked for, so that a later one
//! is never undone by an earlier one that had to be repeated. Pure: no I/O, no clock.
//!
//! ```text
//!   push ──► waiting ──► sent ──Committed──► settled
//!               ▲          │ refused for now: what was refused waits, for as long as the broker asks, and is sent again
//!               └──────────┘ session lost: sent again in the next; a position committed twice is committed
//! ```
//!
//! Bound: [`MAX_COMMITS`] commits of at most [`PER_FRAME`](super::book::PER_FRAME) positions; who asks for more waits.

use std::collections::{HashMap, VecDeque};

use sealstream_protocol::message::Fault;
use sealstream_protocol::message::group::{Commit, Committed, Progress};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::{CommitError, may_pass};
use crate::backoff::{Retries, RetryPolicy};
use crate::error::retry_after;

/// Commits that wait or are on their way. A program asks for one after the other: sixteen are asked for by clones of a
/// task that was not meant to.
pub(super) const MAX_COMMITS: usize = 16;

/// Who waits for a commit.
pub(super) type Answer = oneshot::Sender<Result<(), CommitError>>;

/// See the module.
#[derive(Debug)]
pub(super) struct CommitQueue {
    queue: VecDeque<Open>,
    next_request: u64,
    retries: Retries,
    /// The first is not sent again before.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    request: u64,
    sent: bool,
    progress: Vec<Progress>,
    refused: Vec<Refusal>,
    /// `None`: the consumer commits by itself.
    answer: Option<Answer>,
}

/// A position that will not be committed, and why.
pub(super) type Refusal = (Progress, Fault);

/// What an answer has settled.
#[derive(Debug)]
pub(super) struct Settled {
    /// These are durable.
    pub(super) committed: Vec<Progress>,
    /// These will not be.
    pub(super) refused: Vec<Refusal>,
    /// The commit is over; without it, some of it is tried again.
    pub(super) done: Option<Done>,
}

/// A commit that is over.
#[derive(Debug)]
pub(super) struct Done {
    /// Who waits; `None` if the consumer commits by itself.
    pub(super) answer: Option<Answer>,
    /// All of it that will not be committed.
    pub(super) refused: Vec<Refusal>,
}

impl CommitQueue {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { queue: VecDeque::new(), next_request: 1, retries: Retries::new(policy), not_before: None }
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_COMMITS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the consumer's own commit waits or is on its way: one is enough.
    pub(super) fn has_own(&self) -> bool {
        self.queue.iter().any(|open| open.answer.is_none())
    }

    /// Whether an answer is due.
    pub(super) fn is_sent(&self) -> bool {
        self.queue.front().is_some_and(|open| open.sent)
    }

    pub(super) fn push(&mut self, progress: Vec<Progress>, answer: Option<Answer>) {
        let request = self.next_request;
        self.next_request += 1;
        self.queue.push_back(Open { request, sent: false, progress, refused: Vec::new(), answer });
    }

    /// What is to be sent now.
    pub(super) fn next_to_send(&mut self, now: Instant) -> Option<Commit> {
        let open = self.queue.front_mut().filter(|open| !open.sent)?;
        if self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        self.not_before = None;
        open.sent = true;
        Some(Commit { request: open.request, progress: open.progress.clone() })
    }

    /// When something is to be sent that waits for its time.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.queue.is_empty() && !self.is_sent())
    }

    /// The broker has answered. The error is a broken rule of the protocol.
    pub(super) fn answered(&mut self, committed: &Committed, now: Instant) -> Result<Settled, String> {
        let Some(mut open) = self.queue.pop_front_if(|open| open.sent && open.request == committed.request)
        else {
            return Err(format!("an answer to commit {}, which was not asked for", committed.request));
        };
        let faults: HashMap<_, _> = committed.refused.iter().map(|(at, fault)| (at, fault)).collect();
        let (mut durable, mut refused, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let mut hint = None;
        for one in open.progress.drain(..) {
            match faults.get(&one.at) {
                None => durable.push(one),
                Some(fault) if may_pass(fault) => {
                    hint = hint.max(retry_after(fault));
                    again.push((one, (*fault).clone()));
                }
                Some(fault) => refused.push((one, (*fault).clone())),
            }
        }
        let delay = if again.is_empty() { None } else { self.retries.after_failure(hint, now) };
        let Some(delay) = delay else {
            self.retries.succeeded();
            refused.extend(again);
            open.refused.extend(refused.iter().cloned());
            let done = Some(Done { answer: open.answer, refused: open.refused });
            return Ok(Settled { committed: durable, refused, done });
        };
        self.not_before = Some(now + delay);
        open.refused.extend(refused.iter().cloned());
        open.progress = again.into_iter().map(|(one, _)| one).collect();
        open.sent = false;
        open.request = self.next_request;
        self.next_request += 1;
        self.queue.push_front(open);
        Ok(Settled { committed: durable, refused, done: None })
    }

    /// The session is gone: what was not answered is sent again in the next.
    pub(super) fn session_lost(&mut self) {
        if let Some(open) = self.queue.front_mut() {
            open.sent = false;
        }
    }

    /// Nothing more is sent: who still waits.
    pub(super) fn give_up(&mut self) -> Vec<Answer> {
        self.queue.drain(..).filter_map(|open| open.answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sealstream_protocol::message::FaultCode;
    use sealstream_protocol::message::group::TopicPartition;
    use uuid::Uuid;

    use super::*;

    fn progress(partition: u32, offset: u64) -> Progress {
        let at = TopicPartition { topic: Uuid::from_u128(1), partition };
        Progress { at, epoch: 1, offset, log_epoch: 1 }
    }

    fn answer(request: u64, refused: &[(u32, FaultCode)]) -> Committed {
        let refuse =
            |(partition, code): &(u32, FaultCode)| (progress(*partition, 0).at, Fault::new(*code, "because"));
        Committed { request, refused: refused.iter().map(refuse).collect() }
    }

    #[test]
    fn one_commit_is_on_its_way_at_a_time_and_in_order() {
        let now = Instant::now();
        let mut commits = CommitQueue::new(RetryPolicy::default());
        commits.push(vec![progress(0, 1)], None);
        commits.push(vec![progress(0, 2)], None);
        let first = commits.next_to_send(now).unwrap();
        assert_eq!(first.progress, [progress(0, 1)]);
        assert_eq!(commits.next_to_send(now), None);
        let settled = commits.answered(&answer(first.request, &[]), now).unwrap();
        assert_eq!(settled.committed, [progress(0, 1)]);
        assert!(settled.done.is_some());
        assert_eq!(commits.next_to_send(now).unwrap().progress, [progress(0, 2)]);
    }

    #[test]
    fn only_what_was_refused_for_now_is_sent_again_and_holds_back_what_is_behind_it() {
        let now = Instant::now();
        let mut commits = CommitQueue::new(RetryPolicy::default());
        commits.push(vec![progress(0, 1), progress(1, 1), progress(2, 1)], None);
        commits.push(vec![progress(0, 2)], None);
        let first = commits.next_to_send(now).unwrap();
        let refused = [(1, FaultCode::DiskFull), (2, FaultCode::StaleEpoch)];
        let settled = commits.answered(&answer(first.request, &refused), now).unwrap();
        assert_eq!(settled.committed, [progress(0, 1)]);
        assert_eq!(settled.refused.len(), 1);
        assert!(settled.done.is_none());
        assert_eq!(commits.next_to_send(now), None, "it waits");
        let later = commits.wake().unwrap();
        let again = commits.next_to_send(later).unwrap();
        assert_eq!(again.progress, [progress(1, 1)]);
        let done = commits.answered(&answer(again.request, &[]), later).unwrap().done.unwrap();
        assert_eq!(done.refused.len(), 1, "the whole of the commit knows what was refused of it");
        assert_eq!(commits.next_to_send(later).unwrap().progress, [progress(0, 2)]);
    }

    #[test]
    fn what_is_refused_for_now_for_too_long_is_refused() {
        let mut now = Instant::now();
        let policy = RetryPolicy { retry_for: Duration::from_secs(5), ..RetryPolicy::default() };
        let mut commits = CommitQueue::new(policy);
        commits.push(vec![progress(0, 1)], None);
        let mut sent = 0;
        loop {
            let commit = commits.next_to_send(now).unwrap();
            sent += 1;
            assert!(sent < 100, "without end");
            let settled = commits.answered(&answer(commit.request, &[(0, FaultCode::Busy)]), now).unwrap();
            match settled.done {
                Some(done) => break assert_eq!(done.refused.len(), 1),
                None => now = commits.wake().unwrap(),
            }
        }
        assert!(sent > 3 && commits.is_empty(), "{sent}");
    }

    #[test]
    fn an_answer_that_was_not_asked_for_breaks_the_protocol() {
        let now = Instant::now();
        let mut commits = CommitQueue::new(RetryPolicy::default());
        commits.push(vec![progress(0, 1)], None);
        assert!(commits.answered(&answer(1, &[]), now).is_err(), "it was not sent yet");
        let request = commits.next_to_send(now).unwrap().request;
        assert!(commits.answered(&answer(request + 1, &[]), now).is_err());
        commits.session_lost();
        assert!(commits.answered(&answer(request, &[]), now).is_err(), "of the session before");
        assert_eq!(commits.next_to_send(now).unwrap().progress, [progress(0, 1)]);
    }
}
