//! The reading half: the member's frames, and its group's events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use sealstream_protocol::limits::MAX_CONTROL_FRAME;
use sealstream_protocol::message::group::{
    Assign, Assignment, Commit, Committed, JoinGroup, Joined, Left, NO_PLACE, Progress, Revoke,
    TopicPartition,
};
use sealstream_protocol::message::hello::Pong;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use sealstream_transport::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::faults;
use crate::access::Action;
use crate::access::audit::cut;
use crate::groups::{Event, Granted, Joining, Place, Report, Seat};
use crate::log::PartitionId;
use crate::quotas::Allowance;
use crate::server::broker::Core;
use crate::server::rights::Rights;
use crate::server::session::heart::Heart;
use crate::server::session::inlet::Inlet;
use crate::server::session::{End, shutting_down, unexpected};
use crate::server::trace::{Trace, number};
use crate::server::writing::Item;

/// 32 commits of a session that are not answered: beyond it the server stops reading.
pub(super) const MAX_COMMITS: usize = 32;

/// 1 s without a frame after the broker said that it is going: what was under way has come.
const GOING_QUIET: Duration = Duration::from_secs(1);

/// 300 bytes an assignment takes at the most: a name of 255 bytes, 26 fixed, 15 of its tag.
const ASSIGNMENT_BYTES: u32 = 300;

/// 24 bytes a revoked partition takes.
const REVOKED_BYTES: u32 = 24;

pub(super) struct Incoming<'a> {
    core: &'a Core,
    heart: &'a Heart,
    rights: &'a Rights,
    allowance: &'a mut Allowance,
    frames: mpsc::Sender<Item>,
    commits: FuturesOrdered<BoxFuture<'static, Committed>>,
}

/// The writing half is gone.
struct Unheard;

impl From<Unheard> for End {
    fn from(_: Unheard) -> Self {
        Self::Finished
    }
}

impl<'a> Incoming<'a> {
    pub(super) fn new(
        core: &'a Core,
        heart: &'a Heart,
        rights: &'a Rights,
        allowance: &'a mut Allowance,
        frames: mpsc::Sender<Item>,
    ) -> Self {
        Self { core, heart, rights, allowance, frames, commits: FuturesOrdered::new() }
    }

    /// Reads until the member leaves, ends its side, breaks a rule or is fenced, or has fallen quiet after it was told that the
    /// broker goes.
    pub(super) async fn read(mut self, inlet: &mut Inlet, client: &str) -> End {
        match self.serve(inlet, client).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn serve(&mut self, inlet: &mut Inlet, client: &str) -> Result<End, End> {
        // Boxes for what a member that is in does not need.
        let Some(join) = Box::pin(self.await_join(inlet)).await? else { return Ok(End::Drained) };
        let mut rules = self.rights.watch();
        let topics = join.topics.clone();
        let mut seat = Box::pin(self.join(join, client)).await?;
        let mut going: Option<Instant> = None;
        loop {
            while self.commits.len() >= MAX_COMMITS {
                self.answer_next().await?;
            }
            let quiet = going.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = self.core.draining.cancelled(), if going.is_none() => {
                    self.send(Message::GoAway(shutting_down())).await?;
                    going = Some(Instant::now() + GOING_QUIET);
                }
                Ok(()) = rules.changed() => self.demand(&topics)?,
                event = seat.events.recv() => self.tell(event).await?,
                Some(committed) = self.commits.next() => self.send(Message::Committed(committed)).await?,
                next = self.heart.next(inlet) => match next {
                    Ok(message) => {
                        // Nothing is left of the frame but what it says.
                        drop(inlet.take_charge());
                        if going.is_some() {
                            going = Some(Instant::now() + GOING_QUIET);
                        }
                        if let Some(end) = self.take(message, &seat).await? {
                            return Ok(end);
                        }
                    }
                    Err(End::Finished) => {
                        self.answer_all().await?;
                        return Ok(End::Finished);
                    }
                    Err(end) => return Err(end),
                },
                () = sleep_until(quiet), if going.is_some() => {
                    self.answer_all().await?;
                    return Ok(End::Drained);
                }
            }
        }
    }

    /// The first request; `None` if the broker goes before it comes.
    async fn await_join(&mut self, inlet: &mut Inlet) -> Result<Option<JoinGroup>, End> {
        loop {
            let next = tokio::select! {
                biased;
                () = self.core.draining.cancelled() => {
                    self.send(Message::GoAway(shutting_down())).await?;
                    return Ok(None);
                }
                next = self.heart.next(inlet) => next?,
            };
            drop(inlet.take_charge());
            match next {
                Message::JoinGroup(join) => return Ok(Some(join)),
                Message::Ping(ping) => self.send(Message::Pong(Pong { nonce: ping.nonce })).await?,
                Message::Pong(_) => {}
                other => {
                    let text = format!(
                        "{:?} comes before JoinGroup, the first request of a Group session",
                        other.kind()
                    );
                    return Err(End::Failed(Fault::new(FaultCode::UnexpectedFrame, text)));
                }
            }
        }
    }

    /// Joins the group, traced.
    async fn join(&mut self, join: JoinGroup, client: &str) -> Result<Seat, End> {
        let trace = Trace::new(tracing::debug_span!(
            "join",
            group = cut(&join.group),
            member = %join.member,
            topics = number(join.topics.len()),
            outcome = Empty,
            otel.status_code = Empty
        ));
        let joined = self.take_seat(join, client).instrument(trace.span()).await;
        match &joined {
            Ok(_) => trace.done("joined"),
            Err(End::Failed(fault)) => trace.refused(fault),
            Err(_) => {}
        }
        joined
    }

    async fn take_seat(&mut self, join: JoinGroup, client: &str) -> Result<Seat, End> {
        let JoinGroup { group, member, topics } = join;
        self.demand(&topics)?;
        let denied = self.heart.while_busy(self.allowance.request()).await.err();
        if let Some(denied) = denied {
            return Err(End::Failed(denied.into()));
        }
        let joining = Joining {
            member,
            identity: Arc::clone(self.rights.identity()),
            address: self.rights.remote().to_string(),
            client: client.to_owned(),
            topics: topics.into_iter().collect(),
        };
        let joined = self.heart.while_busy(self.core.groups.join(&group, joining)).await;
        let seat = joined.map_err(|error| End::Failed(Fault::from(error)))?;
        let rules = &self.core.options.groups;
        let missing = (!seat.missing.is_empty()).then(|| seat.missing.clone());
        let joined = Joined { heartbeat_ms: millis(rules.heartbeat), grace_ms: millis(rules.grace), missing };
        self.send(Message::Joined(joined)).await?;
        Ok(seat)
    }

    /// Using a group takes the right to consume each of its topics, as long as it is used.
    fn demand(&self, topics: &[String]) -> Result<(), End> {
        let demanded = topics.iter().try_for_each(|topic| self.rights.demand(Action::Consume, topic));
        demanded.map_err(End::Failed)
    }

    /// Acts on a frame; `Some` ends the session.
    async fn take(&mut self, message: Message, seat: &Seat) -> Result<Option<End>, End> {
        let heart = self.heart;
        match message {
            Message::Heartbeat(heartbeat) => {
                heart.while_busy(seat.heartbeat(reports(heartbeat.progress))).await;
            }
            Message::Released(released) => {
                let released = heart.while_busy(seat.release(reports(released.progress))).await;
                released.map_err(|error| End::Failed(Fault::from(error)))?;
            }
            Message::Commit(Commit { request, progress }) => {
                let places: Vec<TopicPartition> =
                    progress.iter().map(|progress| progress.at.clone()).collect();
                let answer = heart.while_busy(seat.commit(reports(progress))).await;
                self.commits.push_back(Box::pin(async move {
                    // The group went with its broker, or was deleted.
                    let refused = match answer.await {
                        Ok(refused) => refused.into_iter().map(faults::refused).collect(),
                        Err(_) => places.into_iter().map(|at| (at, shutting_down())).collect(),
                    };
                    Committed { request, refused }
                }));
            }
            Message::LeaveGroup(_) => {
                self.answer_all().await?;
                let left = heart.while_busy(seat.leave()).await;
                left.map_err(|error| End::Failed(Fault::from(error)))?;
                self.send(Message::Left(Left {})).await?;
                return Ok(Some(End::Finished));
            }
            Message::Ping(ping) => {
                heart.while_busy(seat.heard()).await;
                self.send(Message::Pong(Pong { nonce: ping.nonce })).await?;
            }
            Message::Pong(_) => heart.while_busy(seat.heard()).await,
            other => return Err(End::Failed(unexpected(&other, "Group"))),
        }
        Ok(None)
    }

    /// Tells the member what its group says.
    async fn tell(&mut self, event: Option<Event>) -> Result<(), End> {
        match event {
            Some(Event::Assign(granted)) => self.assign(granted).await?,
            Some(Event::Revoke { within, partitions }) => {
                let deadline_ms = millis(within);
                for partitions in partitions.chunks(self.fitting(REVOKED_BYTES)) {
                    let partitions = partitions.iter().map(|(id, epoch)| (place(*id), *epoch)).collect();
                    self.send(Message::Revoke(Revoke { deadline_ms, partitions })).await?;
                }
            }
            Some(Event::End(why)) => return Err(End::Failed(faults::ended(why))),
            None if self.core.draining.is_cancelled() => return Err(End::Failed(shutting_down())),
            None => return Err(End::Failed(faults::not_reading())),
        }
        Ok(())
    }

    /// In one frame, or in several where the list is too long for one.
    async fn assign(&mut self, granted: Vec<Granted>) -> Result<(), Unheard> {
        let most = self.fitting(ASSIGNMENT_BYTES);
        let mut assignments: Vec<Assignment> = granted.into_iter().map(assignment).collect();
        while assignments.len() > most {
            let rest = assignments.split_off(most);
            self.send(Message::Assign(Assign { assignments, more: Some(true) })).await?;
            assignments = rest;
        }
        self.send(Message::Assign(Assign { assignments, more: None })).await
    }

    /// How many items of a list fit a frame.
    fn fitting(&self, bytes: u32) -> usize {
        let frame = self.core.options.limits.frame.min(MAX_CONTROL_FRAME);
        usize::try_from(frame.saturating_sub(64) / bytes).unwrap_or(1).max(1)
    }

    async fn answer_next(&mut self) -> Result<(), Unheard> {
        match self.heart.while_busy(self.commits.next()).await {
            Some(committed) => self.send(Message::Committed(committed)).await,
            None => Ok(()),
        }
    }

    async fn answer_all(&mut self) -> Result<(), Unheard> {
        while !self.commits.is_empty() {
            self.answer_next().await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Unheard> {
        self.heart.while_busy(self.frames.send(Item::frame(message))).await.map_err(|_| Unheard)
    }
}

fn reports(progress: Vec<Progress>) -> Vec<Report> {
    let report = |Progress { at, epoch, offset, log_epoch }| Report {
        partition: PartitionId { topic: at.topic, index: at.partition },
        epoch,
        place: (offset != NO_PLACE).then_some(Place { offset, log_epoch }),
    };
    progress.into_iter().map(report).collect()
}

fn assignment(granted: Granted) -> Assignment {
    let Granted { name, partition, epoch, committed } = granted;
    let committed = committed.map(|place| (place.offset, place.log_epoch));
    Assignment { name: name.to_string(), at: place(partition), epoch, committed }
}

pub(super) fn place(id: PartitionId) -> TopicPartition {
    TopicPartition { topic: id.topic, partition: id.index }
}

/// Rounded up: something that is left is never nothing.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
