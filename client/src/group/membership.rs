//! Whether this process is a member, and as whom: what to make of the ends of its sessions. Pure: no I/O, no clock.
//!
//! ```text
//!              Joined                 stream lost                    grace passed
//!   joining ──────────► confirming ──┐    ┌──► away ──────────────────► suspended
//!                           │        ▼    │     │ Joined, same id          │ Joined
//!                           │ first Assign│     └──► confirming ◄──────────┘
//!                           └───────► member ── fenced ──► joining, as another member, or over
//! ```
//!
//! - *confirming*: there is a session; the first Assign says all that the member has. What it held before is read on.
//! - *away*: the broker keeps the member's partitions for the grace, so that reading them goes on.
//! - *suspended*: they may be another's; nothing is handed out until the broker has said what is still the member's.
//! - *fenced*: the member is out, or another stream is this member. A member id that was made up is replaced by
//!   another. One that the program gave is kept: if the broker cannot have heard us for the grace, it joins again; if it
//!   has, another process uses the same id, and joining again would only fence that one: it is over.

use std::time::Duration;

use sealstream_protocol::message::group::Joined;
use tokio::time::Instant;
use uuid::Uuid;

/// The shortest interval between heartbeats that a broker can ask for.
const MIN_HEARTBEAT: Duration = Duration::from_millis(50);

/// The shortest grace that is believed: a pause of a busy machine is no reason to stop.
const MIN_GRACE: Duration = Duration::from_millis(500);

/// A silent session is given up after this part of the grace: the rest is for coming back before the grace is over.
const SILENCE: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    id: Uuid,
    /// The program gave the id.
    fixed: bool,
    session: Session,
    /// There was a session before this one.
    joined_before: bool,
    heartbeat: Duration,
    grace: Duration,
    next_heartbeat: Instant,
    /// When the broker was heard last, and so heard us at about that time.
    heard: Instant,
}

/// What there is of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// None.
    Away,
    /// The list of all that the member has is still to come, or to be gone on with.
    Confirming,
    /// All of it.
    Member,
}

/// What to do once the member was fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fenced {
    /// Join as this member; what was held is lost.
    JoinAs(Uuid),
    /// Another process is this member.
    Over,
}

impl Membership {
    /// As the member `id`, or as one that is made up.
    pub(super) fn new(id: Option<Uuid>, now: Instant) -> Self {
        Self {
            id: id.unwrap_or_else(Uuid::new_v4),
            fixed: id.is_some(),
            session: Session::Away,
            joined_before: false,
            heartbeat: MIN_HEARTBEAT,
            grace: MIN_GRACE,
            next_heartbeat: now,
            heard: now,
        }
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// There is a session. Says whether there was one before.
    pub(super) fn joined(&mut self, joined: &Joined, now: Instant) -> bool {
        self.heartbeat = Duration::from_millis(u64::from(joined.heartbeat_ms)).max(MIN_HEARTBEAT);
        self.grace = Duration::from_millis(u64::from(joined.grace_ms)).max(MIN_GRACE);
        self.next_heartbeat = now + self.heartbeat;
        self.heard = now;
        self.session = Session::Confirming;
        std::mem::replace(&mut self.joined_before, true)
    }

    /// An Assign has come: whether it belongs to the list of all that the member has, which is over with one that says
    /// that no `more` follows.
    pub(super) fn assigned(&mut self, more: bool) -> bool {
        let confirming = self.session == Session::Confirming;
        if confirming && !more {
            self.session = Session::Member;
        }
        confirming
    }

    /// The broker was heard.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// The session is lost.
    pub(super) fn lost(&mut self) {
        self.session = Session::Away;
    }

    /// How long a session may be silent.
    pub(super) fn patience(&self) -> Duration {
        self.grace / SILENCE
    }

    /// When the partitions may be another's, while there is no session.
    pub(super) fn suspends_at(&self) -> Option<Instant> {
        (self.session == Session::Away).then(|| self.heard + self.grace)
    }

    /// Whether a heartbeat is due, which is then counted as sent.
    pub(super) fn is_heartbeat_due(&mut self, now: Instant) -> bool {
        let due = self.next_heartbeat <= now;
        if due {
            self.next_heartbeat = now + self.heartbeat;
        }
        due
    }

    pub(super) fn next_heartbeat(&self) -> Instant {
        self.next_heartbeat
    }

    /// The broker has said that this member is fenced.
    pub(super) fn fenced(&mut self, now: Instant) -> Fenced {
        let unheard = now.saturating_duration_since(self.heard) >= self.patience();
        self.lost();
        match (self.fixed, unheard) {
            (false, _) => {
                self.id = Uuid::new_v4();
                Fenced::JoinAs(self.id)
            }
            (true, true) => Fenced::JoinAs(self.id),
            (true, false) => Fenced::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOINED: Joined = Joined { heartbeat_ms: 3_000, grace_ms: 10_000, missing: None };

    #[test]
    fn only_the_first_assignment_of_a_session_says_all() {
        let now = Instant::now();
        let mut membership = Membership::new(None, now);
        assert!(!membership.joined(&JOINED, now), "there was none before");
        assert!(membership.assigned(true) && membership.assigned(false), "one list in two frames");
        assert!(!membership.assigned(false));
        membership.lost();
        assert!(membership.joined(&JOINED, now));
        assert!(membership.assigned(false));
    }

    #[test]
    fn a_member_without_a_session_may_hold_nothing_once_the_grace_is_over() {
        let start = Instant::now();
        let mut membership = Membership::new(None, start);
        membership.joined(&JOINED, start);
        assert_eq!(membership.suspends_at(), None, "there is a session");
        let heard = start + Duration::from_secs(5);
        membership.heard(heard);
        membership.lost();
        assert_eq!(membership.suspends_at(), Some(heard + Duration::from_secs(10)));
    }

    #[test]
    fn a_silent_session_is_left_in_time_to_come_back_within_the_grace() {
        let now = Instant::now();
        let mut membership = Membership::new(None, now);
        membership.joined(&JOINED, now);
        assert_eq!(membership.patience(), Duration::from_secs(5));
    }

    #[test]
    fn heartbeats_are_due_at_the_interval_that_the_broker_asks_for() {
        let start = Instant::now();
        let mut membership = Membership::new(None, start);
        membership.joined(&JOINED, start);
        assert!(!membership.is_heartbeat_due(start + Duration::from_secs(2)));
        assert!(membership.is_heartbeat_due(start + Duration::from_secs(3)));
        assert!(!membership.is_heartbeat_due(start + Duration::from_secs(4)));
        assert_eq!(membership.next_heartbeat(), start + Duration::from_secs(6));
    }

    #[test]
    fn a_fenced_member_whose_id_was_made_up_joins_as_another() {
        let now = Instant::now();
        let mut membership = Membership::new(None, now);
        membership.joined(&JOINED, now);
        let before = membership.id();
        let Fenced::JoinAs(id) = membership.fenced(now) else { panic!("it joins") };
        assert_ne!(id, before);
        assert_eq!(id, membership.id());
    }

    #[test]
    fn a_fenced_member_with_a_given_id_joins_again_only_if_its_grace_may_have_passed() {
        let start = Instant::now();
        let id = Uuid::from_u128(7);
        let mut membership = Membership::new(Some(id), start);
        membership.joined(&JOINED, start);
        assert_eq!(membership.fenced(start + Duration::from_secs(11)), Fenced::JoinAs(id));
        membership.joined(&JOINED, start + Duration::from_secs(12));
        assert_eq!(membership.fenced(start + Duration::from_secs(13)), Fenced::Over);
    }
}
