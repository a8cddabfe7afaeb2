//! What a group's consumer, its handles and its driver share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealstream_protocol::message::group::Progress;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::{Begin, Book};
use super::commits::{Answer, Refusal};
use super::error::{CommitError, JoinError, RefusedCommit};
use super::event::{AssignedPartition, EVENTS, GroupEvent};
use crate::connection::Connections;
use crate::consumer::cursor::Cursor;
use crate::consumer::shared::{Item, Shared as Readers};

/// A commit that the program asks for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) progress: Vec<Progress>,
    pub(super) answer: Answer,
}

/// How the driver ended.
#[derive(Debug, Default)]
struct Outcome {
    /// Why the membership is over.
    failure: Option<JoinError>,
    /// What could not be committed at the end.
    uncommitted: Option<CommitError>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connections: Arc<Connections>,
    /// Those who read partitions.
    pub(super) readers: Arc<Readers>,
    pub(super) sender: mpsc::Sender<Item>,
    book: Mutex<Book>,
    outcome: Mutex<Outcome>,
    /// The program wants to leave.
    pub(super) stop: CancellationToken,
    /// The driver shall look at the book.
    pub(super) wake: Notify,
    /// The program shall look at the book, and at the outcome.
    pub(super) news: Arc<Notify>,
    events: broadcast::Sender<GroupEvent>,
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn new(
        connections: Arc<Connections>,
        readers: Arc<Readers>,
        sender: mpsc::Sender<Item>,
        book: Book,
    ) -> Self {
        Self {
            connections,
            readers,
            sender,
            book: Mutex::new(book),
            outcome: Mutex::default(),
            stop: CancellationToken::new(),
            wake: Notify::new(),
            news: Arc::new(Notify::new()),
            events: broadcast::Sender::new(EVENTS),
            tasks: TaskTracker::new(),
        }
    }

    /// The book, for what changes nothing about who reads what.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the book, and then readings as it stands.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book();
        let changed = change(&mut book);
        let plan = book.plan();
        for begin in plan.begin {
            self.begin(begin);
        }
        if plan.taken_back {
            self.readers.announce_taken_back();
        }
        changed
    }

    /// Has a partition read: by the task that is there, or by one that is made for it.
    fn begin(&self, Begin { reading, position, epoch }: Begin) {
        let cursor = Cursor::new(reading, position, epoch, self.readers.policy());
        self.readers.begin(cursor, &self.sender);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<GroupEvent> {
        self.events.subscribe()
    }

    pub(super) fn tell(&self, event: GroupEvent) {
        tracing::debug!(?event, "group");
        // Whether anybody listens is the program's choice.
        let _ = self.events.send(event);
    }

    /// The same, if there are any partitions to tell of.
    pub(super) fn tell_of(
        &self,
        partitions: Vec<AssignedPartition>,
        event: impl FnOnce(Vec<AssignedPartition>) -> GroupEvent,
    ) {
        if !partitions.is_empty() {
            self.tell(event(partitions));
        }
    }

    /// Refusals, as the program is told of them.
    pub(super) fn name(&self, refused: Vec<Refusal>) -> Vec<RefusedCommit> {
        let book = self.book();
        let name = |(one, fault): Refusal| {
            // A topic that nothing is held of any more may be forgotten: its id names it as well.
            let topic = book.topic_name(&one.at.topic).unwrap_or_else(|| Arc::from(one.at.topic.to_string()));
            RefusedCommit { topic, partition: one.at.partition, fault }
        };
        refused.into_iter().map(name).collect()
    }

    /// The membership is over.
    pub(super) fn fail(&self, error: JoinError) {
        self.outcome().failure.get_or_insert(error);
    }

    pub(super) fn failure(&self) -> Option<JoinError> {
        self.outcome().failure.clone()
    }

    /// What was finished is not committed.
    pub(super) fn leave_uncommitted(&self, error: CommitError) {
        self.outcome().uncommitted.get_or_insert(error);
    }

    /// What was left uncommitted at the end.
    pub(super) fn uncommitted(&self) -> Option<CommitError> {
        self.outcome().uncommitted.take()
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
