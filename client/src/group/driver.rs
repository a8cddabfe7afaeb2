//! The task of a membership: has one Group session after the other, and decides what each end means. What goes on within
//! a session is in [`super::exchange`]; what is held and how far it is, in the [`Book`](super::book::Book).
//!
//! One a consumer. It never waits for the program, nor for data: the book is behind a lock that is held for moments, and
//! what the program asks for comes through a bounded channel. It ends when the consumer is closed or dropped, once what
//! was finished is committed and the group was left, within the client's close timeout; or when no session can be had.

use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::group::{Assignment, JoinGroup, Joined};
use sealstream_protocol::message::{Fault, FaultCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, debug, debug_span, info, warn};

use super::book::Commits;
use super::commits::CommitQueue;
use super::error::{CommitError, JoinError, is_stale};
use super::event::GroupEvent;
use super::link::{self, Link};
use super::membership::{Fenced, Membership};
use super::shared::{Order, Shared};
use crate::backoff::{FOR_EVER, Retries, jittered};
use crate::connection::{Place, parse_redirect};
use crate::error::{GoAway, SessionError};
use crate::wire::farewell::DRAIN_TIME;

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// The group was left, or the time for it is up.
    Left,
    /// The broker asked for it.
    GoneAway(GoAway),
    /// The member is out, or another stream is this member.
    Fenced(Fault),
    /// It broke.
    Lost(SessionError),
    /// The broker did what it must not do.
    Violated(String),
}

/// The consumer is being closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) by: Instant,
    /// The broker was told.
    pub(super) said: bool,
    /// What was refused for good is not tried again.
    pub(super) commits: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) orders: mpsc::Receiver<Order>,
    join: JoinGroup,
    pub(super) membership: Membership,
    pub(super) commits: CommitQueue,
    /// How often what is finished is committed; `None` if the program does it.
    pub(super) interval: Option<Duration>,
    pub(super) next_commit: Instant,
    pub(super) leaving: Option<Leaving>,
    /// The beginning of the list of all that the member has, where it comes in several frames.
    pub(super) first: Vec<Assignment>,
    /// The session is being ended at the broker's wish.
    pub(super) parting: bool,
    pub(super) retries: Retries,
    place: Place,
    /// When the next session may be opened.
    not_before: Instant,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
        join: JoinGroup,
        membership: Membership,
        interval: Option<Duration>,
        place: Place,
    ) -> Self {
        let policy = shared.connections.settings.retry;
        let now = Instant::now();
        Self {
            shared,
            orders,
            join,
            membership,
            commits: CommitQueue::new(policy),
            interval,
            next_commit: now + interval.unwrap_or(FOR_EVER),
            leaving: None,
            first: Vec::new(),
            parting: false,
            retries: Retries::new(policy),
            place,
            not_before: now,
        }
    }

    /// Runs until the group is left, or cannot be reached any more. `link` has joined it.
    pub(super) async fn run(mut self, link: Link, joined: Joined) {
        let mut session = Some((link, joined));
        loop {
            let (mut link, joined) = match session.take() {
                Some(session) => session,
                None => match self.rejoin().await {
                    Some(Ok(session)) => session,
                    Some(Err(error)) => {
                        if self.refused(error) {
                            continue;
                        }
                        break;
                    }
                    None => break,
                },
            };
            let now = Instant::now();
            if self.membership.joined(&joined, now) {
                self.shared.tell(GroupEvent::Reconnected { member: self.membership.id() });
            }
            self.first.clear();
            self.parting = false;
            link.expect_life(self.membership.patience(), now);
            let session =
                debug_span!("session", kind = "group", group = self.join.group, broker = link.target);
            let end = self.hold(&mut link).instrument(session).await;
            if !self.after(end, link).await {
                break;
            }
        }
        self.end();
    }

    /// Opens a session and joins, while the book is kept as it must be without one. `None` once the time to leave is up.
    async fn rejoin(&mut self) -> Option<Result<(Link, Joined), SessionError>> {
        let Self { shared, membership, join, retries, place, leaving, not_before, orders, .. } = self;
        let stop = shared.stop.clone();
        let close_timeout = shared.connections.settings.close_timeout;
        let connections = shared.connections.clone();
        let joining = async {
            sleep_until(*not_before).await;
            link::join(&connections, join, place, retries).await
        };
        tokio::pin!(joining);
        let mut suspends_at = membership.suspends_at();
        loop {
            let now = Instant::now();
            let leave_by = leaving.map(|leaving| leaving.by);
            tokio::select! {
                joined = &mut joining => return Some(joined),
                () = stop.cancelled(), if leaving.is_none() => {
                    *leaving = Some(Leaving { by: now + close_timeout, said: false, commits: true });
                    orders.close();
                    shared.change(super::book::Book::suspend);
                }
                () = sleep_until(leave_by.unwrap_or(now + FOR_EVER)), if leave_by.is_some() => return None,
                () = sleep_until(suspends_at.unwrap_or(now + FOR_EVER)), if suspends_at.is_some() => {
                    suspends_at = None;
                    if shared.change(super::book::Book::suspend) && leaving.is_none() {
                        warn!(group = join.group, "nothing was heard of the group for its grace: reading stands still");
                        shared.tell(GroupEvent::Suspended);
                    }
                }
            }
        }
    }

    /// Acts on the end of a session. Says whether there is to be another.
    async fn after(&mut self, end: End, link: Link) -> bool {
        let close_timeout = self.shared.connections.settings.close_timeout;
        let (target, opened) = (link.target.clone(), link.opened);
        self.retries.lasted(opened.elapsed());
        self.membership.lost();
        self.commits.session_lost();
        if !matches!(end, End::Left) {
            self.shared.tell(GroupEvent::Disconnected);
        }
        let lost = match end {
            End::Left => {
                link.finish(close_timeout).await;
                return false;
            }
            End::GoneAway(GoAway { retry_after }) => {
                info!(target, ?retry_after, "the broker asked to be left");
                link.finish(DRAIN_TIME).await;
                let longest = self.shared.connections.settings.retry.retry_for;
                self.not_before = Instant::now() + jittered(retry_after.unwrap_or_default().min(longest));
                return true;
            }
            End::Fenced(fault) => {
                link.finish(DRAIN_TIME).await;
                return self.fenced(&SessionError::Ended { target, fault: Box::new(fault) });
            }
            End::Violated(detail) => {
                let fault = Fault::new(FaultCode::UnexpectedFrame, detail.clone());
                if let Err(error) = crate::wire::fail(link.reader, link.writer, fault).await {
                    debug!(target, %error, "the broker did not take our complaint");
                }
                SessionError::Protocol { target, detail }
            }
            End::Lost(error) => {
                if error.fault().is_some() {
                    link.finish(DRAIN_TIME).await;
                }
                if matches!(error, SessionError::Silent { .. }) {
                    self.shared.connections.suspect(&self.place, opened).await;
                }
                error
            }
        };
        warn!(error = %lost, "the group's session is lost");
        if self.shared.connections.tries_anew(&self.place, opened, &lost, &mut self.retries).await {
            return true;
        }
        if let Some(url) = lost.elsewhere()
            && let Ok(place) = parse_redirect(&lost.to_string(), url)
        {
            self.place = place;
        }
        self.try_later(lost)
    }

    /// The member is out. What it held is another's; it joins again, or it is over.
    fn fenced(&mut self, error: &SessionError) -> bool {
        let group = self.join.group.clone();
        let before = self.membership.id();
        warn!(group, member = %before, %error, "the member is out");
        let verdict = self.membership.fenced(Instant::now());
        let lost = self.shared.change(|book| {
            book.set_member(self.membership.id());
            book.lose_all()
        });
        self.shared.tell_of(lost, GroupEvent::Lost);
        match verdict {
            // At a pace: members that fence each other must not do so in a hot loop.
            Fenced::JoinAs(member) => {
                self.join.member = member;
                let delay = self.retries.after_failure(None, Instant::now());
                let longest = self.shared.connections.settings.retry.max_backoff;
                self.not_before = Instant::now() + delay.unwrap_or(longest);
                true
            }
            Fenced::Over => {
                self.over(JoinError::Fenced { group, member: before });
                false
            }
        }
    }

    /// No session could be had. Says whether another is to be tried: as another member, if it was this one that is out.
    fn refused(&mut self, error: SessionError) -> bool {
        if error.fault().is_some_and(is_stale) {
            return self.fenced(&error);
        }
        self.over(error.into());
        false
    }

    /// Tries again when the policy says so, or not at all.
    fn try_later(&mut self, lost: SessionError) -> bool {
        if !lost.is_retryable() {
            self.over(lost.into());
            return false;
        }
        let now = Instant::now();
        let Some(delay) = self.retries.after_failure(lost.retry_after(), now) else {
            let attempts = self.retries.failures();
            let after = self.shared.connections.settings.retry.retry_for;
            self.over(SessionError::GaveUp { attempts, after, last: Arc::new(lost) }.into());
            return false;
        };
        self.not_before = now + delay;
        true
    }

    /// The consumer's end, and why.
    fn over(&self, error: JoinError) {
        self.shared.fail(error);
    }

    /// Leaves everything as nobody may use it any more.
    fn end(mut self) {
        self.shared.change(super::book::Book::suspend);
        self.orders.close();
        let mut waiting = self.commits.give_up();
        while let Ok(order) = self.orders.try_recv() {
            waiting.push(order.answer);
        }
        let failure = self.shared.failure();
        let after = self.shared.connections.settings.close_timeout;
        let error = || match &failure {
            None => CommitError::TimedOut { after },
            Some(_) => CommitError::Ended(failure.clone()),
        };
        for answer in waiting {
            // Who waits no longer need not know.
            let _ = answer.send(Err(error()));
        }
        let book = self.shared.book();
        if book.commits() == Commits::Automatic && !book.uncommitted().is_empty() {
            self.shared.leave_uncommitted(error());
        }
        drop(book);
        self.shared.readers.stop.cancel();
        self.shared.news.notify_one();
    }
}

/// What an Error frame of the group's session means.
pub(super) fn end_of(target: &str, fault: Fault) -> End {
    if is_stale(&fault) {
        return End::Fenced(fault);
    }
    End::Lost(SessionError::Ended { target: target.to_owned(), fault: Box::new(fault) })
}
