//! How long to wait before trying again, and when to stop trying: arithmetic only, the loops are the callers'.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::bounds::{OptionError, no_shorter};

/// The shortest wait before trying again: a restarted broker is back within some hundred milliseconds, and the jitter
/// doubles it at most.
pub const DEFAULT_MIN_BACKOFF: Duration = Duration::from_millis(50);

/// The longest wait before trying again: ten thousand clients that wait 2.5 to 5 s make 2,000 to 4,000 handshakes a
/// second, which one core completes.
pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(5);

/// How long one operation tries again: a broker that is rolled out anew, its volume moved to another machine, is back
/// within two minutes.
pub const DEFAULT_RETRY_FOR: Duration = Duration::from_mins(2);

/// The shortest wait that can be asked for: a thousand attempts a second are a burden on whoever is asked.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(1);

/// The longest `retry_after` that is believed: a peer that asks for more is asked again after this.
const MAX_HINT: Duration = Duration::from_secs(30);

/// The longest time that is told from for ever: added to the clock, more could overflow it.
pub(crate) const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// When and how long to try again.
///
/// ```
/// use std::time::Duration;
/// use sealstream_client::{Client, RetryPolicy};
///
/// // For a program that would rather fail than wait.
/// let policy = RetryPolicy::default().retry_for(Duration::from_secs(5));
/// let client = Client::builder().url("tls://localhost").retry(policy).build()?;
/// # drop(client);
/// # Ok::<(), sealstream_client::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The shortest wait, at least 1 ms; [`DEFAULT_MIN_BACKOFF`] by default.
    pub min_backoff: Duration,
    /// The longest wait, jitter included, no shorter than the shortest; [`DEFAULT_MAX_BACKOFF`] by default.
    pub max_backoff: Duration,
    /// How long an operation tries again, from its first failure on, before its last error is returned; zero never
    /// tries again.
    /// [`DEFAULT_RETRY_FOR`] by default.
    pub retry_for: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            min_backoff: DEFAULT_MIN_BACKOFF,
            max_backoff: DEFAULT_MAX_BACKOFF,
            retry_for: DEFAULT_RETRY_FOR,
        }
    }
}

impl RetryPolicy {
    /// The same with this shortest wait.
    #[must_use]
    pub fn min_backoff(self, min_backoff: Duration) -> Self {
        Self { min_backoff, ..self }
    }

    /// The same with this longest wait.
    #[must_use]
    pub fn max_backoff(self, max_backoff: Duration) -> Self {
        Self { max_backoff, ..self }
    }

    /// The same, trying again for so long.
    #[must_use]
    pub fn retry_for(self, retry_for: Duration) -> Self {
        Self { retry_for, ..self }
    }

    /// Whether nobody would be asked again in a hot loop, and the waits are in order.
    pub(crate) fn check(&self) -> Result<(), OptionError> {
        no_shorter("retry.min_backoff", self.min_backoff, SHORTEST_BACKOFF, "")?;
        no_shorter("retry.max_backoff", self.max_backoff, self.min_backoff, "min_backoff, ")
    }

    /// The same with no time that the clock cannot hold.
    pub(crate) fn sound(self) -> Self {
        Self {
            min_backoff: self.min_backoff.min(FOR_EVER),
            max_backoff: self.max_backoff.min(FOR_EVER),
            retry_for: self.retry_for.min(FOR_EVER),
        }
    }
}

/// The waits of one operation: exponential, jittered, bounded in time.
#[derive(Debug)]
pub(crate) struct Retries {
    policy: RetryPolicy,
    delays: ExponentialBackoff,
    /// When the first failure since the last success was counted.
    since: Option<Instant>,
    /// Failures since the last success.
    failures: u32,
    /// Whether another certificate was tried at once, and no session has lasted since.
    tried_anew: bool,
}

impl Retries {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, delays: Self::delays(&policy), since: None, failures: 0, tried_anew: false }
    }

    /// Counts a failure at `now`: how long to wait before the next attempt, or `None` once the policy's time is
    /// up, or would be before the peer may be asked again.
    /// `hint` is what the peer asked for.
    pub(crate) fn after_failure(&mut self, hint: Option<Duration>, now: Instant) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let left = (since + self.policy.retry_for).checked_duration_since(now)?;
        let delay = self.delay(hint);
        // The last attempt is made when the time is up, but none sooner than the peer asked for.
        let asked = hint.unwrap_or_default().min(MAX_HINT);
        (!left.is_zero() && asked <= left).then(|| delay.min(left))
    }

    /// The same where something else decides how long to go on: the policy's time is no bound.
    pub(crate) fn pause(&mut self, hint: Option<Duration>, now: Instant) -> Duration {
        self.since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        self.delay(hint)
    }

    /// The next wait: no less than what the peer asked for, and what was asked of all is not to the moment the same for all.
    fn delay(&mut self, hint: Option<Duration>) -> Duration {
        let delay = self.delays.next().unwrap_or(self.policy.max_backoff);
        match hint {
            Some(hint) => delay.max(jittered(hint.min(MAX_HINT))),
            None => delay,
        }
    }

    /// Something went well: the next failure is the first again.
    pub(crate) fn succeeded(&mut self) {
        if self.failures > 0 {
            *self = Self { tried_anew: self.tried_anew, ..Self::new(self.policy) };
        }
    }

    /// A session has lasted for so long: one that did for longer than the longest wait was a success, whatever ended it.
    pub(crate) fn lasted(&mut self, time: Duration) {
        if time > self.policy.max_backoff {
            self.succeeded();
            self.tried_anew = false;
        }
    }

    /// The broker no longer trusts the certificate that a connection was made with, which may have been replaced since:
    /// whether one more attempt may be made at once. Only one, until a session has [`lasted`](Self::lasted).
    pub(crate) fn may_try_anew(&mut self) -> bool {
        !std::mem::replace(&mut self.tried_anew, true)
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    fn delays(policy: &RetryPolicy) -> ExponentialBackoff {
        // backon's jitter adds up to the delay itself: bounded by half the longest wait, it stays within it.
        let longest = (policy.max_backoff / 2).max(policy.min_backoff);
        ExponentialBuilder::new()
            .with_min_delay(policy.min_backoff)
            .with_max_delay(longest)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// `delay` and up to half as much: those who were told the same wait do not come back in the same moment.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay.mul_f32(1.0 + rand::random::<f32>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_end_with_the_time() {
        let policy = RetryPolicy {
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            retry_for: Duration::from_secs(30),
        };
        let mut retries = Retries::new(policy);
        let start = Instant::now();
        let mut now = start;
        let mut waits = Vec::new();
        while let Some(wait) = retries.after_failure(None, now) {
            waits.push(wait);
            now += wait;
            assert!(waits.len() < 1_000, "waits are too short to end");
        }
        assert!(now + policy.max_backoff >= start + policy.retry_for, "gave up after {:?}", now - start);
        assert!(now - start <= policy.retry_for, "went on for {:?}", now - start);
        assert!(waits[0] >= policy.min_backoff && waits[0] <= 2 * policy.min_backoff);
        assert!(waits.iter().all(|wait| *wait <= policy.max_backoff));
        assert!(waits[waits.len() - 2] >= policy.max_backoff / 2);
    }

    #[test]
    fn a_peer_that_asks_for_a_wait_gets_at_least_that_but_not_for_ever() {
        let policy = RetryPolicy::default();
        let now = Instant::now();
        let asked = Duration::from_secs(7);
        let wait = Retries::new(policy).after_failure(Some(asked), now).unwrap();
        assert!(wait >= asked && wait <= asked * 3 / 2, "{wait:?}");
        let short = RetryPolicy { retry_for: Duration::from_secs(6), ..policy };
        assert_eq!(Retries::new(short).after_failure(Some(asked), now), None, "no attempt would be in time");
        let wait = Retries::new(policy).after_failure(Some(Duration::MAX), now).unwrap();
        assert!(wait <= MAX_HINT * 3 / 2, "{wait:?}");
    }

    #[test]
    fn whoever_may_go_on_for_longer_than_the_policy_still_waits_as_long_as_asked() {
        let policy = RetryPolicy { retry_for: Duration::from_secs(1), ..RetryPolicy::default() };
        let mut retries = Retries::new(policy);
        let asked = Duration::from_secs(8);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let wait = retries.pause(Some(asked), now);
            assert!(wait >= asked && wait <= asked * 3 / 2, "{wait:?}");
            now += wait;
            waits.push(wait);
        }
        waits.dedup();
        assert!(waits.len() > 1, "all waits are the same");
    }

    #[test]
    fn success_starts_over() {
        let mut retries = Retries::new(RetryPolicy::default());
        let start = Instant::now();
        let late = start + DEFAULT_RETRY_FOR + Duration::from_secs(1);
        assert!(retries.after_failure(None, start).is_some());
        assert!(retries.after_failure(None, late).is_none());
        retries.succeeded();
        assert!(retries.after_failure(None, late).is_some());
        assert_eq!(retries.failures(), 1);
    }

    #[test]
    fn another_certificate_is_tried_once_until_a_session_has_lasted() {
        let mut retries = Retries::new(RetryPolicy::default());
        assert!(retries.may_try_anew());
        assert!(!retries.may_try_anew());
        retries.after_failure(None, Instant::now());
        retries.succeeded();
        retries.lasted(DEFAULT_MAX_BACKOFF);
        assert!(!retries.may_try_anew(), "no session has lasted");
        retries.lasted(DEFAULT_MAX_BACKOFF + Duration::from_millis(1));
        assert!(retries.may_try_anew());
    }

    #[test]
    fn a_policy_without_time_never_tries_again() {
        let policy = RetryPolicy { retry_for: Duration::ZERO, ..RetryPolicy::default() };
        assert_eq!(Retries::new(policy).after_failure(None, Instant::now()), None);
    }
}
