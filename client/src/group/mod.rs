//! Reading as a member of a group: its members share the partitions of their topics, and how far each partition was
//! read is kept by the broker.
//!
//! ```text
//!   Group session ◄──► Driver ◄──► Book: what is held, how far it is ◄──── GroupConsumer ◄── Intake ◄── what was read
//!                        │          │                                          ▲                          ▲
//!               Membership, Commits └─ begins and ends readings: consumer::Driver, one a broker ──────────┘
//! ```
//!
//! **At least once.** What the program is done with is committed; what it is not done with is delivered again, to this
//! member or another, when the member ends or loses the partition. The program is done with a record once it asks for
//! the next one, or commits it itself. Who needs each record's effect exactly once stores the record's topic, partition
//! and offset with the effect, in one transaction, and leaves out what is there already: an assignment's epoch,
//! [`GroupRecord::assignment`], is given for fencing but is not needed for that.
//!
//! **When partitions move.** A partition that is revoked is read no further at once, and what was read ahead of it is
//! thrown away. It is given up, and what was finished committed, when the program is done with what it has of it (asks
//! for the next record, or in manual mode has committed all it was handed), or when three quarters of the time for it
//! are over. A program that takes longer for a record has it delivered again elsewhere.
//!
//! **When streams break.** The member keeps its partitions for the group's grace (10 s unless the broker is configured
//! otherwise), and reads on meanwhile. It comes back as the same member and nothing moves; a restarted broker likewise.
//! When the grace is over without a word of the broker it hands out nothing more until it has heard whose the partitions
//! are. A member that was put out joins again as another one; only a [given](GroupConsumerBuilder::member) member id that
//! another process uses too is an error ([`JoinError::Fenced`]).
//!
//! How far a program is with a record does not keep its member alive: heartbeats are sent by a task of their own. A
//! program that hangs keeps its partitions until its process ends.

mod book;
mod commits;
mod dead_letters;
mod driver;
mod error;
mod event;
mod exchange;
mod handle;
mod intake;
mod link;
mod membership;
mod options;
mod processing;
mod record;
mod shared;

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use sealstream_protocol::message::group::TopicPartition;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::mpsc;

pub use dead_letters::{
    DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DeadLetters, DeadLettersBuilder, MAX_BACKOFF, ProcessError, Processed,
    headers,
};
pub use error::{CommitError, GroupError, JoinError, RefusedCommit};
pub use event::{AssignedPartition, GroupEvent, GroupEvents};
pub use handle::{GroupHandle, NotAssigned};
pub use options::{DEFAULT_COMMIT_INTERVAL, GroupConsumerBuilder, MAX_TOPICS, MIN_COMMIT_INTERVAL};
pub use record::{GroupBatch, GroupPosition, GroupRecord};
pub use sealstream_protocol::message::consume::Position;

use book::Mark;
use error::is_stale;
use intake::{Intake, Taken};

use crate::consumer::reading::Reading;
use crate::consumer::shared::Item;
use crate::consumer::{BatchRecords, ConsumeError, ConsumedBatch};

/// A member of a group: gives the records of the partitions that are assigned to it.
///
/// Records of one partition come in the order of their offsets; at least once, as [the module](self) says.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut consumer = client.group_consumer("billing").topic("orders").open().await?;
/// while let Some(record) = consumer.next().await {
///     let record = record?;
///     println!("{} {}/{}: {:?}", record.topic, record.partition, record.offset, record.value);
///     // Asking for the next one says that this one is done: it is committed within a second.
/// }
/// consumer.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// With commits of its own, for a program that works off many records at a time:
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn store(_: sealstream_client::group::GroupBatch) -> Result<(), std::io::Error> { Ok(()) }
/// let mut consumer = client.group_consumer("archive").topic("orders").commit_manually().open().await?;
/// while let Some(batch) = consumer.next_batch().await {
///     store(batch?).await?;
///     consumer.commit().await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping it leaves the group in the background, after committing what was finished; [`close`](Self::close) waits for
/// it and says whether it succeeded.
#[derive(Debug)]
pub struct GroupConsumer {
    handle: GroupHandle,
    intake: Intake,
    /// The next time that something has changed.
    news: Pin<Box<OwnedNotified>>,
    /// The rest of the batch at hand.
    batch: Option<Unpacked>,
    /// What the program was given last and has not said to be done with.
    in_hand: Option<InHand>,
    until_end: bool,
    over: bool,
}

/// A batch and what it was read by, or why there is none.
type PolledBatch = Result<(Arc<Reading>, ConsumedBatch), GroupError>;

/// A batch whose records are handed out one by one.
#[derive(Debug)]
struct Unpacked {
    reading: Arc<Reading>,
    whole: ConsumedBatch,
    records: BatchRecords,
    /// The offset of the next record.
    next: u64,
}

/// What the program has in hand.
#[derive(Clone, Debug)]
struct InHand {
    at: TopicPartition,
    assignment: u32,
    first: u64,
    next: Mark,
    /// It is done when a piece of work says so: if that is dropped, the record is handed out again.
    by_work: bool,
}

impl GroupConsumer {
    fn new(handle: GroupHandle, chunks: mpsc::Receiver<Item>, until_end: bool) -> Self {
        let news = Box::pin(handle.shared.news.clone().notified_owned());
        let intake = Intake::new(chunks);
        Self { handle, intake, news, batch: None, in_hand: None, until_end, over: false }
    }

    /// Commits, pauses and listens, from other tasks too.
    pub fn handle(&self) -> &GroupHandle {
        &self.handle
    }

    /// The next record; the one given before is done with. `None` after an error that is [final](GroupError::is_final),
    /// and at the end if the consumer stops there.
    ///
    /// Cancellation safe: a record is given or stays where it was. That the one before is done with holds all the same.
    pub async fn next(&mut self) -> Option<Result<GroupRecord, GroupError>> {
        poll_fn(|cx| self.poll_record(cx)).await
    }

    /// The next batch; what was given before is done with. What [`next`](Self::next) has left of one is given as a batch.
    ///
    /// Cancellation safe.
    pub async fn next_batch(&mut self) -> Option<Result<GroupBatch, GroupError>> {
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    /// Commits everything that was handed out, the record or batch given last too, and waits until that is durable.
    /// Nothing is committed of partitions that moved away meanwhile: their owners deliver it again.
    ///
    /// If it is dropped it may be committed or not.
    pub async fn commit(&mut self) -> Result<(), CommitError> {
        self.settle();
        let progress = self.handle.shared.book().handed_out();
        self.handle.commit_progress(progress).await
    }

    /// Commits these positions: see [`GroupHandle::commit_positions`]. If it is dropped they may be committed or not.
    pub async fn commit_positions(
        &self,
        positions: impl IntoIterator<Item = GroupPosition>,
    ) -> Result<(), CommitError> {
        self.handle.commit_positions(positions).await
    }

    /// What is assigned to the member now, in order.
    pub fn assignment(&self) -> Vec<AssignedPartition> {
        self.handle.assignment()
    }

    /// What happens to the membership from now on.
    pub fn events(&self) -> GroupEvents {
        self.handle.events()
    }

    /// Stops handing out a partition: see [`GroupHandle::pause`].
    pub fn pause(&self, topic: &str, partition: u32) -> Result<(), NotAssigned> {
        self.handle.pause(topic, partition)
    }

    /// Goes on with a partition: see [`GroupHandle::resume`].
    pub fn resume(&self, topic: &str, partition: u32) -> Result<(), NotAssigned> {
        self.handle.resume(topic, partition)
    }

    /// Reads a partition on from elsewhere: see [`GroupHandle::seek`].
    pub fn seek(&self, topic: &str, partition: u32, position: Position) -> Result<(), NotAssigned> {
        self.handle.seek(topic, partition, position)
    }

    /// Commits what is finished, if that is not the program's own business, and leaves the group, so that its partitions
    /// move at once. The record given last counts as finished only if the next was asked for, or [`commit`](Self::commit)
    /// called. Takes at most the client's close timeout. The error says what was finished and is not committed: it is
    /// delivered again. If this is dropped, the group is left all the same, in the background.
    pub async fn close(mut self) -> Result<(), CommitError> {
        self.hand_back_work();
        self.intake.close();
        let shared = self.handle.shared.clone();
        shared.stop.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
        shared.readers.routes.join().await;
        shared.uncommitted().map_or(Ok(()), Err)
    }

    /// What was given before is done with; what was left by a piece of work that was dropped is not.
    fn settle(&mut self) {
        self.hand_back_work();
        if let Some(done) = self.in_hand.take() {
            let shared = &self.handle.shared;
            if shared.book().finish(&done.at, done.assignment, done.next) {
                shared.wake.notify_one();
            }
        }
    }

    /// Hands out again what a piece of work that was dropped has left.
    fn hand_back_work(&mut self) {
        if let Some(left) = self.in_hand.take_if(|in_hand| in_hand.by_work) {
            self.handle.shared.change(|book| book.hand_back(&left.at, left.assignment, left.first));
        }
    }

    /// The next record of the batch at hand, if there is one.
    fn next_in_batch(&mut self) -> Option<Result<GroupRecord, GroupError>> {
        let batch = self.batch.as_mut()?;
        let reading = batch.reading.clone();
        match batch.records.next() {
            Some(Ok(record)) => {
                batch.next = record.offset + 1;
                let next = Mark { offset: record.offset + 1, epoch: record.epoch };
                let Some(assignment) = self.hand_out(&reading, record.offset, next) else {
                    self.batch = None;
                    return None;
                };
                let (topic, topic_id) = (reading.terms.topic.clone(), reading.terms.topic_id);
                Some(Ok(GroupRecord { topic, topic_id, assignment, record }))
            }
            Some(Err(error)) => {
                let (partition, offset) = batch.records.place();
                self.batch = None;
                let topic = reading.terms.topic.to_string();
                let reason = error.to_string();
                self.halted(&reading, ConsumeError::Corrupt { topic, partition, offset, reason }).map(Err)
            }
            None => {
                self.batch = None;
                None
            }
        }
    }

    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<GroupRecord, GroupError>>> {
        self.settle();
        loop {
            if let Some(record) = self.next_in_batch() {
                return Poll::Ready(Some(record));
            }
            match ready!(self.poll_take(cx)) {
                Some(Ok((reading, batch))) => {
                    let records = batch.records();
                    let next = batch.first_offset();
                    self.batch = Some(Unpacked { reading, whole: batch, records, next });
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<GroupBatch, GroupError>>> {
        self.settle();
        loop {
            let (reading, batch) = match self.batch.take() {
                Some(Unpacked { reading, whole, next, .. }) if next < whole.next_offset() => {
                    (reading, whole.starting_at(next))
                }
                _ => match ready!(self.poll_take(cx)) {
                    Some(Ok(taken)) => taken,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                },
            };
            let next = Mark { offset: batch.next_offset(), epoch: batch.entry.log_epoch };
            if let Some(assignment) = self.hand_out(&reading, batch.first_offset(), next) {
                let (topic, topic_id) = (reading.terms.topic.clone(), reading.terms.topic_id);
                return Poll::Ready(Some(Ok(GroupBatch { topic, topic_id, assignment, batch })));
            }
        }
    }

    /// The next batch of a partition that is held; `None` at the end.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<PolledBatch>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            if let Some(error) = self.handle.shared.failure() {
                return Poll::Ready(Some(Err(self.fail(error.into()))));
            }
            if self.until_end && self.handle.shared.book().is_done() {
                return Poll::Ready(None);
            }
            if self.news.as_mut().poll(cx).is_ready() {
                self.news.set(self.handle.shared.news.clone().notified_owned());
                continue;
            }
            match ready!(self.intake.poll_next(cx)) {
                Taken::Batch(reading, batch) => return Poll::Ready(Some(Ok((reading, batch)))),
                Taken::End(reading) => self.handle.shared.change(|book| book.ended(&reading)),
                Taken::Failed(reading, error) => {
                    if let Some(error) = self.halted(&reading, error) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Taken::Over(error) => return Poll::Ready(Some(Err(self.fail(GroupError::Consume(error))))),
            }
        }
    }

    /// Hands something out, unless its partition is held no more: the epoch of its assignment.
    fn hand_out(&mut self, reading: &Reading, first: u64, next: Mark) -> Option<u32> {
        if reading.is_taken_back() || !self.handle.shared.book().hand_out(reading, next) {
            return None;
        }
        let assignment = reading.membership.as_ref()?.epoch;
        let at = TopicPartition { topic: reading.terms.topic_id, partition: reading.partition };
        self.in_hand = Some(InHand { at, assignment, first, next, by_work: false });
        Some(assignment)
    }

    /// A reading has failed: the error, if it is one that the program must know of.
    fn halted(&mut self, reading: &Reading, error: ConsumeError) -> Option<GroupError> {
        let shared = &self.handle.shared;
        if matches!(&error, ConsumeError::Refused { fault, .. } if is_stale(fault)) {
            shared.change(|book| book.doubt(reading));
            return None;
        }
        shared.change(|book| book.halt(reading)).then_some(GroupError::Partition(error))
    }

    fn fail(&mut self, error: GroupError) -> GroupError {
        self.over = true;
        self.batch = None;
        self.handle.shared.stop.cancel();
        error
    }
}

/// Records, as by [`next`](GroupConsumer::next): asking for one says that the one before is done with. An adapter that asks
/// for records ahead of the work, such as `buffered`, therefore has them committed too early: use
/// [`commit_manually`](GroupConsumerBuilder::commit_manually) with it.
impl Stream for GroupConsumer {
    type Item = Result<GroupRecord, GroupError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(cx)
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.handle.shared.stop.cancel();
    }
}
