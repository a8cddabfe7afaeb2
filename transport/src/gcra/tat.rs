//! The algorithm itself: one moment per key, moved ahead by what is spent.

use std::time::Duration;

use super::limit::{Limit, duration, femtos};

/// A key's theoretical arrival time: the moment at which its bucket is full again, since an origin of the caller's choice.
///
/// The default, the origin itself, is the state of a key of which nothing is known.
///
/// ```
/// use std::time::Duration;
///
/// use sealstream_transport::gcra::{Limit, Tat};
///
/// let limit = Limit::new(10, Duration::from_secs(1), 2)?; // 10 a second, 2 at once
/// let now = Duration::from_secs(5);
/// let mut tat = Tat::default();
/// assert!(tat.spend(&limit, now, 2).allowed);
/// let decision = tat.spend(&limit, now, 1);
/// assert!(!decision.allowed);
/// assert_eq!(decision.retry_in, Duration::from_millis(100));
/// assert!(tat.spend(&limit, now + decision.retry_in, 1).allowed);
/// # Ok::<(), sealstream_transport::gcra::LimitError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tat(u128);

/// What a spend, a check or a refund answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it was done, or, of a check, could be done.
    pub allowed: bool,
    /// Units that could be spent at once after it.
    pub remaining: u64,
    /// How long until the same could be spent (again); zero if at once. A cost above the burst can never be spent.
    pub retry_in: Duration,
    /// How long until the bucket is full.
    pub reset_in: Duration,
}

impl Decision {
    /// The decision where there is no limit.
    pub const UNLIMITED: Self =
        Self { allowed: true, remaining: u64::MAX, retry_in: Duration::ZERO, reset_in: Duration::ZERO };

    /// The stricter of two: denied before allowed, then the longer `retry_in`, then the fewer `remaining`.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        let strictness =
            |decision: &Self| (!decision.allowed, decision.retry_in, u64::MAX - decision.remaining);
        if strictness(&other) > strictness(&self) { other } else { self }
    }
}

impl Tat {
    /// A moment so many femtoseconds after the origin: for stores that keep their state elsewhere.
    pub const fn from_femtos(femtos: u128) -> Self {
        Self(femtos)
    }

    /// The moment, in femtoseconds after the origin.
    pub const fn femtos(self) -> u128 {
        self.0
    }

    /// Takes `cost` units, or none of them.
    pub fn spend(&mut self, limit: &Limit, now: Duration, cost: u64) -> Decision {
        let (decision, spent) = self.decide(limit, now, cost);
        if decision.allowed {
            *self = spent;
        } else {
            self.forgive(limit, now);
        }
        decision
    }

    /// Takes back what no burst of this limit can be ahead of the clock: it was raised or lowered since the last spend, or the
    /// clock was set back. From now on the bucket fills up.
    pub fn forgive(&mut self, limit: &Limit, now: Duration) {
        self.0 = self.0.min(femtos(now) + limit.burst_offset());
    }

    /// What a spend would answer.
    pub fn check(self, limit: &Limit, now: Duration, cost: u64) -> Decision {
        self.decide(limit, now, cost).0
    }

    /// Gives back `cost` units of an earlier spend; never more than fit. Allowed if anything was given back.
    pub fn refund(&mut self, limit: &Limit, now: Duration, cost: u64) -> Decision {
        let now = femtos(now);
        // A bucket that has filled up meanwhile takes nothing, and one that takes nothing is not written.
        let back = limit.interval().saturating_mul(u128::from(cost));
        let spent = self.0.min(now + limit.burst_offset());
        let refunded = spent.saturating_sub(back).max(now);
        let allowed = refunded < spent;
        if allowed {
            self.0 = refunded;
        }
        let room = (now + limit.burst_offset()).saturating_sub(refunded);
        Decision {
            allowed,
            remaining: units(room, limit),
            retry_in: Duration::ZERO,
            reset_in: duration(refunded - now),
        }
    }

    /// Whether the bucket is full again, so that the state says no more than the default.
    pub fn has_passed(self, now: Duration) -> bool {
        self.0 <= femtos(now)
    }

    /// Sums saturate: a cost that is too great to be counted exceeds every burst, and is denied. No bucket is emptier than empty.
    fn decide(self, limit: &Limit, now: Duration, cost: u64) -> (Decision, Self) {
        let now = femtos(now);
        let latest = now + limit.burst_offset();
        let tat = self.0.clamp(now, latest);
        let cost = limit.interval().saturating_mul(u128::from(cost));
        let spent = tat.saturating_add(cost);
        let decision = match latest.checked_sub(spent) {
            Some(room) => Decision {
                allowed: true,
                remaining: units(room, limit),
                retry_in: duration(cost.saturating_sub(room)),
                reset_in: duration(spent - now),
            },
            None => Decision {
                allowed: false,
                remaining: units(latest - tat, limit),
                retry_in: duration(spent - latest),
                reset_in: duration(tat - now),
            },
        };
        (decision, Self(spent))
    }
}

/// Whole units that fit into the time: the burst at most, for no more than its offset is ever free.
fn units(room: u128, limit: &Limit) -> u64 {
    u64::try_from(room / limit.interval()).unwrap_or(limit.burst())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(count: u64, burst: u64) -> Limit {
        Limit::new(count, Duration::from_secs(1), burst).unwrap()
    }

    #[test]
    fn whoever_waits_as_long_as_told_is_let_in() {
        // A third of a second is no whole number of nanoseconds.
        let limit = limit(3, 1);
        let mut tat = Tat::default();
        let mut now = Duration::from_secs(1);
        for _ in 0..100 {
            assert!(tat.spend(&limit, now, 1).allowed);
            let denied = tat.spend(&limit, now, 1);
            assert!(!denied.allowed);
            let too_early = (now + denied.retry_in).checked_sub(Duration::from_nanos(1)).unwrap();
            assert!(!tat.check(&limit, too_early, 1).allowed);
            now += denied.retry_in;
        }
    }

    #[test]
    fn a_byte_quota_of_a_gibibyte_a_second_is_kept() {
        let limit = limit(1 << 30, 1 << 24);
        let mut tat = Tat::default();
        let mut spent: u64 = 0;
        for millis in 0..1000 {
            while tat.spend(&limit, Duration::from_millis(millis), 1 << 16).allowed {
                spent += 1 << 16;
            }
        }
        let most = (1 << 30) + (1 << 24);
        assert!(spent <= most && spent > most - (1 << 22), "{spent} bytes");
    }

    #[test]
    fn a_cost_above_the_burst_is_denied_and_changes_nothing() {
        let limit = limit(1, 10);
        for cost in [11, u64::MAX] {
            let mut tat = Tat::default();
            assert!(!tat.spend(&limit, Duration::MAX, cost).allowed);
            assert_eq!(tat, Tat::default());
        }
    }

    #[test]
    fn a_check_changes_nothing() {
        let mut tat = Tat::default();
        let limit = limit(1, 1);
        let now = Duration::from_secs(9);
        assert!(tat.check(&limit, now, 1).allowed);
        assert!(tat.spend(&limit, now, 1).allowed);
    }

    #[test]
    fn a_clock_that_goes_back_and_another_limit_leave_a_bucket_that_is_empty_and_no_emptier() {
        let mut tat = Tat::default();
        let now = Duration::from_secs(100);
        assert!(tat.spend(&limit(1, 50), now, 50).allowed);
        let decision = tat.check(&limit(1, 10), now, 0);
        assert_eq!((decision.allowed, decision.remaining), (true, 0));
        let decision = tat.check(&limit(100, 10), now, 1);
        assert_eq!((decision.allowed, decision.retry_in), (false, Duration::from_millis(10)));
        let mut raised = tat;
        assert!(!raised.spend(&limit(100, 10), now, 1).allowed);
        assert!(raised.spend(&limit(100, 10), now + decision.retry_in, 1).allowed);
        let decision = tat.refund(&limit(1, 10), Duration::from_secs(1), 1);
        assert_eq!((decision.allowed, decision.remaining), (true, 1));
    }

    #[test]
    fn a_refund_after_the_bucket_has_filled_is_denied() {
        let limit = limit(1, 10);
        let mut tat = Tat::default();
        assert!(tat.spend(&limit, Duration::from_secs(5), 3).allowed);
        assert!(!tat.has_passed(Duration::from_millis(7_999)));
        assert!(tat.has_passed(Duration::from_secs(8)));
        assert!(!tat.refund(&limit, Duration::from_secs(9), 3).allowed);
        assert!(!Tat::default().refund(&limit, Duration::ZERO, 1).allowed, "unknown");
    }
}
