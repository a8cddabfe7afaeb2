//! Audit lines: who was denied what and why, and who changed what. All of them have the target [`AUDIT`], by which a
//! filter can find them: `SEALSTREAM_LOG=warn,sealstream::audit=info`.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealstream_protocol::limits::MAX_NAME;
use sealstream_transport::gcra::{Limit, Tat};
use xxhash_rust::xxh3::xxh3_64;

use super::rules::{Action, Because, Decision};

/// The target of every audit line.
pub const AUDIT: &str = "sealstream::audit";

/// Lines of one cause and identity at once, and one more every so often: a client that is denied in a loop for a minute
/// writes 5 + 6 lines.
const BURST: u64 = 5;
const INTERVAL: Duration = Duration::from_secs(10);

/// Identities share the limits of a cause by their hash, 64 in all: whoever makes noise holds back the lines of one
/// in 64 others at the most, and there is a bound on what is kept and on what is written (64 × 3 lines every 10 s).
const LANES: usize = 64;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A rule says so.
    Rule,
    /// No rule allows it.
    NoRule,
    /// A token is none, or good no longer.
    Token,
}

impl Cause {
    const ALL: usize = 3;

    fn name(self) -> &'static str {
        match self {
            Self::Rule => "denied by a rule",
            Self::NoRule => "no rule",
            Self::Token => "token refused",
        }
    }
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) identity: &'a str,
    pub(crate) remote: SocketAddr,
}

/// As much of a name as a topic can have: a request may hold up to 64 KiB of anything in its place.
pub(crate) fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

/// Writes audit lines. Denials are limited by cause and identity, and a line says how many were held back before it;
/// changes are all written.
#[derive(Debug)]
pub(crate) struct Audit {
    begun: Instant,
    limit: Limit,
    held: [[Mutex<Held>; LANES]; Cause::ALL],
}

#[derive(Debug, Default)]
struct Held {
    tat: Tat,
    back: u64,
}

impl Held {
    /// How many were held back before this one; `None` if it is held back itself.
    fn pass(&mut self, limit: &Limit, now: Duration) -> Option<u64> {
        if self.tat.spend(limit, now, 1).allowed {
            return Some(std::mem::take(&mut self.back));
        }
        self.back += 1;
        None
    }
}

impl Audit {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            limit: Limit::new(1, INTERVAL, BURST).expect("a limit that can be kept"),
            held: std::array::from_fn(|_| std::array::from_fn(|_| Mutex::default())),
        }
    }

    /// `asker` was denied `action` on `topic`.
    pub(crate) fn denied(&self, asker: Asker<'_>, action: Action, topic: &str, decision: &Decision) {
        let cause = match decision.because {
            Because::Rule { .. } => Cause::Rule,
            Because::NoRule | Because::Unrestricted => Cause::NoRule,
        };
        let Some(held_back) = self.pass(cause, asker.identity) else { return };
        let Asker { identity, remote } = asker;
        let (action, topic, rule) = (action.name(), cut(topic), &decision.because);
        tracing::warn!(target: AUDIT, identity, action, topic, %rule, %remote, held_back, "denied");
    }

    /// A token was refused; of an unknown one there is no name to tell, and it is limited by its address.
    pub(crate) fn token_refused(&self, token: Option<&str>, reason: &str, remote: SocketAddr) {
        let address = remote.ip().to_string();
        let Some(held_back) = self.pass(Cause::Token, token.unwrap_or(&address)) else { return };
        tracing::warn!(target: AUDIT, token, reason, %remote, held_back, "token refused");
    }

    /// `asker` had `what` done to `thing`, or tried to.
    pub(crate) fn changed<E: std::fmt::Display>(
        asker: Asker<'_>,
        what: &str,
        thing: &str,
        outcome: Result<(), E>,
    ) {
        let (Asker { identity, remote }, thing) = (asker, cut(thing));
        match outcome {
            Ok(()) => tracing::info!(target: AUDIT, identity, what, thing, %remote, "done"),
            Err(error) => tracing::info!(target: AUDIT, identity, what, thing, %error, %remote, "not done"),
        }
    }

    fn pass(&self, cause: Cause, who: &str) -> Option<u64> {
        self.lane(cause, who)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pass(&self.limit, self.begun.elapsed())
    }

    fn lane(&self, cause: Cause, who: &str) -> &Mutex<Held> {
        let lane = xxh3_64(who.as_bytes()) % LANES as u64;
        &self.held[cause as usize][usize::try_from(lane).unwrap_or(0)]
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        for cause in [Cause::Rule, Cause::NoRule, Cause::Token] {
            let held = self.held[cause as usize].iter_mut();
            let held_back: u64 =
                held.map(|held| held.get_mut().unwrap_or_else(PoisonError::into_inner).back).sum();
            if held_back > 0 {
                tracing::warn!(target: AUDIT, cause = cause.name(), held_back, "denials since the last lines of this cause");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_denied_in_a_loop_writes_few_lines_and_none_is_lost_from_the_count() {
        let audit = Audit::new();
        let mut held = Held::default();
        let (mut lines, mut told) = (0_u64, 0);
        for n in 0..100_000_u64 {
            // Over a minute.
            if let Some(before) = held.pass(&audit.limit, Duration::from_micros(n * 600)) {
                (lines, told) = (lines + 1, told + before + 1);
            }
        }
        assert!((BURST..BURST + 8).contains(&lines), "{lines}");
        assert_eq!(told + held.back, 100_000);
    }

    #[test]
    fn neither_a_cause_nor_an_identity_holds_back_the_lines_of_another() {
        let audit = Audit::new();
        for _ in 0..2 * BURST {
            audit.pass(Cause::NoRule, "dns:noisy");
        }
        assert_eq!(audit.pass(Cause::NoRule, "dns:noisy"), None);
        assert_eq!(audit.pass(Cause::Rule, "dns:noisy"), Some(0));
        assert_eq!(audit.pass(Cause::NoRule, "dns:quiet"), Some(0));
    }
}
