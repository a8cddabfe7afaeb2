//! What goes on within a Group session: assignments in, progress out, and everything that time makes due.

use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::group::{Assign, Committed, Heartbeat, LeaveGroup, Released, Revoke};
use sealstream_protocol::message::hello::Pong;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::{Instant, sleep_until};

use super::book::{Book, MAX_HELD};
use super::commits::Done;
use super::driver::{Driver, End, Leaving, end_of};
use super::error::{CommitError, is_stale};
use super::event::GroupEvent;
use super::link::{Link, MAX_QUEUED};
use super::shared::Order;
use crate::error::{GoAway, SessionError};
use crate::wire::WireError;
use crate::wire::farewell::DRAIN_TIME;

/// The part of the time for giving partitions up after which they are given up as they are: the rest is for the way to
/// the broker.
const RELEASE_AFTER: f64 = 0.75;

impl Driver {
    /// Holds a session until it ends.
    pub(super) async fn hold(&mut self, link: &mut Link) -> End {
        let shared = self.shared.clone();
        loop {
            let wake = match self.pump(link, Instant::now()) {
                Ok(wake) => wake,
                Err(end) => return end,
            };
            let ended = tokio::select! {
                read = link.reader.next() => self.read(link, read),
                flushed = link.writer.flush(), if link.broken.is_none() && link.writer.needs_flush() => {
                    // The broker's own word on it is awaited for a while.
                    link.broken = flushed.err().map(|error| (Arc::new(error), Instant::now() + DRAIN_TIME));
                    None
                }
                Some(Order { progress, answer }) = self.orders.recv(), if self.commits.has_room() => {
                    self.commits.push(progress, Some(answer));
                    None
                }
                () = shared.wake.notified() => None,
                () = shared.stop.cancelled(), if self.leaving.is_none() => {
                    self.leave();
                    None
                }
                () = sleep_until(wake) => None,
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Everything that is due. Says when to look again.
    fn pump(&mut self, link: &mut Link, now: Instant) -> Result<Instant, End> {
        if link.was_heard(now) {
            self.membership.heard(now);
        }
        self.release(link, now);
        self.commit(link, now)?;
        if self.membership.is_heartbeat_due(now) && link.writer.pending() < MAX_QUEUED {
            for progress in self.shared.book().heartbeats() {
                link.writer.feed(&Message::Heartbeat(Heartbeat { progress }));
            }
        }
        let mut wake = link.pulse(now).map_err(End::Lost)?.min(self.membership.next_heartbeat());
        if let Some((error, until)) = &link.broken {
            if *until <= now {
                let (target, source) = (link.target.clone(), error.clone());
                return Err(End::Lost(SessionError::Broken { target, source }));
            }
            wake = wake.min(*until);
        }
        if let Some(leaving) = &mut self.leaving {
            if leaving.by <= now {
                return Err(End::Left);
            }
            wake = wake.min(leaving.by);
            let done = self.commits.is_empty() && self.orders.is_empty();
            if done && !leaving.said && link.goes_away.is_none() {
                leaving.said = true;
                link.writer.feed(&Message::LeaveGroup(LeaveGroup {}));
            }
        }
        if self.interval.is_some() && !self.commits.has_own() {
            wake = wake.min(self.next_commit);
        }
        let release = self.shared.book().next_release();
        Ok([release, self.commits.wake()].into_iter().flatten().fold(wake, Instant::min))
    }

    /// Gives up what is revoked, once the program is done with it or the time is up.
    fn release(&mut self, link: &mut Link, now: Instant) {
        if self.shared.book().next_release().is_none() {
            return;
        }
        loop {
            let (progress, released) = self.shared.change(|book| book.release(now));
            if progress.is_empty() {
                return;
            }
            link.writer.feed(&Message::Released(Released { progress }));
            self.shared.tell_of(released, GroupEvent::Released);
        }
    }

    /// Commits what is finished, when it is time to, and what the program asks for.
    fn commit(&mut self, link: &mut Link, now: Instant) -> Result<(), End> {
        let at_once = self.goes_away_with(link);
        let due = match self.leaving {
            Some(leaving) => leaving.commits && !leaving.said,
            None => self.next_commit <= now || at_once,
        };
        if let Some(interval) = self.interval.filter(|_| due && !self.commits.has_own()) {
            let progress = self.shared.book().uncommitted();
            if !progress.is_empty() {
                self.commits.push(progress, None);
            }
            self.next_commit = now + interval;
        }
        if let Some(commit) = self.commits.next_to_send(now) {
            link.writer.feed(&Message::Commit(commit));
        }
        match link.goes_away {
            // What was finished is committed; there is no more to do here.
            Some(goes_away) if !self.commits.is_sent() => Err(End::GoneAway(goes_away)),
            _ => Ok(()),
        }
    }

    /// Whether the broker has just asked for the session's end: what is finished is committed before it, once.
    fn goes_away_with(&mut self, link: &Link) -> bool {
        link.goes_away.is_some() && !std::mem::replace(&mut self.parting, true)
    }

    /// The consumer is being closed: nothing more is handed out, what is finished is committed, the group is left.
    fn leave(&mut self) {
        let by = Instant::now() + self.shared.connections.settings.close_timeout;
        self.leaving = Some(Leaving { by, said: false, commits: true });
        self.orders.close();
        self.shared.change(Book::suspend);
    }

    /// Hears what was read, and all that came with it.
    fn read(&mut self, link: &mut Link, read: Result<Option<Message>, WireError>) -> Option<End> {
        let mut read = read;
        loop {
            match read {
                Ok(Some(message)) => {
                    if let Some(end) = self.hear(link, message) {
                        return Some(end);
                    }
                }
                Ok(None) => {
                    return Some(match link.goes_away {
                        Some(goes_away) => End::GoneAway(goes_away),
                        None => End::Lost(SessionError::Closed { target: link.target.clone() }),
                    });
                }
                Err(WireError::Malformed(error)) => return Some(End::Violated(error.to_string())),
                Err(error) => {
                    let (target, source) = (link.target.clone(), Arc::new(error));
                    return Some(End::Lost(SessionError::Broken { target, source }));
                }
            }
            read = match link.reader.buffered() {
                Ok(None) => return None,
                more => more,
            };
        }
    }

    fn hear(&mut self, link: &mut Link, message: Message) -> Option<End> {
        match message {
            Message::Assign(assign) => self.assigned(assign).err().map(End::Violated),
            Message::Revoke(revoke) => {
                self.revoked(&revoke);
                None
            }
            Message::Committed(committed) => self.committed(&committed).err().map(End::Violated),
            Message::Left(_) if self.leaving.is_some_and(|leaving| leaving.said) => Some(End::Left),
            Message::Ping(ping) => {
                link.writer.feed(&Message::Pong(Pong { nonce: ping.nonce }));
                None
            }
            Message::Pong(_) => None,
            Message::GoAway(fault) => {
                link.goes_away = Some(GoAway::from(&fault));
                None
            }
            Message::Error(fault) => Some(end_of(&link.target, fault)),
            other => Some(End::Violated(format!("a {} frame in a Group session", other.kind().name()))),
        }
    }

    fn assigned(&mut self, assign: Assign) -> Result<(), String> {
        let Assign { mut assignments, more } = assign;
        let more = more.unwrap_or_default();
        let all = self.membership.assigned(more);
        if all && (more || !self.first.is_empty()) {
            // All that the member has, in more than one frame.
            self.first.append(&mut assignments);
            if self.first.len() > MAX_HELD as usize {
                return Err(format!("more than {MAX_HELD} partitions are assigned to one member"));
            }
            if more {
                return Ok(());
            }
            assignments = std::mem::take(&mut self.first);
        }
        self.retries.succeeded();
        let leaving = self.leaving.is_some();
        let changes = self.shared.change(|book| {
            let changes = book.assign(assignments, all);
            if leaving {
                book.suspend();
            }
            changes
        })?;
        self.shared.tell_of(changes.lost, GroupEvent::Lost);
        self.shared.tell_of(changes.assigned, GroupEvent::Assigned);
        self.shared.news.notify_one();
        Ok(())
    }

    fn revoked(&mut self, revoke: &Revoke) {
        let deadline = Duration::from_millis(u64::from(revoke.deadline_ms));
        if deadline.is_zero() {
            // Nothing is left to finish: the epochs are over.
            let lost = self.shared.change(|book| {
                revoke.partitions.iter().filter_map(|(at, epoch)| book.lose(at, *epoch)).collect()
            });
            self.shared.tell_of(lost, GroupEvent::Lost);
        } else {
            let within = deadline.mul_f64(RELEASE_AFTER);
            let until = Instant::now() + within;
            let partitions = self.shared.change(|book| book.revoke(&revoke.partitions, until));
            self.shared.tell_of(partitions, |partitions| GroupEvent::Revoked { partitions, within });
        }
        self.shared.news.notify_one();
    }

    fn committed(&mut self, committed: &Committed) -> Result<(), String> {
        let settled = self.commits.answered(committed, Instant::now())?;
        self.retries.succeeded();
        let lost = self.shared.change(|book| {
            book.committed(&settled.committed);
            for (one, fault) in &settled.refused {
                if let (Some(FaultCode::CommitBehind), Some(committed)) = (fault.code_known(), fault.offset) {
                    book.is_behind(one, committed);
                }
            }
            let stale = settled.refused.iter().filter(|(_, fault)| is_stale(fault));
            stale.filter_map(|(one, _)| book.lose(&one.at, one.epoch)).collect()
        });
        self.shared.tell_of(lost, GroupEvent::Lost);
        let Some(Done { answer, refused }) = settled.done else { return Ok(()) };
        // What the group has got further than is no work undone.
        let own = answer.is_none();
        let counts = |fault: &Fault| !own || fault.code_known() != Some(FaultCode::CommitBehind);
        let refused: Vec<_> = refused.into_iter().filter(|(_, fault)| counts(fault)).collect();
        let outcome =
            if refused.is_empty() { Ok(()) } else { Err(CommitError::Refused(self.shared.name(refused))) };
        match (answer, outcome) {
            // Who waits no longer need not know.
            (Some(answer), outcome) => drop(answer.send(outcome)),
            (None, Ok(())) => {}
            (None, Err(error)) => self.own_commit_failed(error),
        }
        Ok(())
    }

    /// What the consumer commits by itself was refused. That partitions are another's is told as their loss.
    fn own_commit_failed(&mut self, error: CommitError) {
        if error.is_lost_assignment() {
            return;
        }
        tracing::warn!(%error, "what is finished could not be committed");
        if let Some(leaving) = &mut self.leaving {
            leaving.commits = false;
            self.shared.leave_uncommitted(error.clone());
        }
        if let CommitError::Refused(refused) = error {
            self.shared.tell(GroupEvent::CommitFailed(refused));
        }
    }
}
