//! What a broker holds of a bucket that others spend from as well. Pure: time is passed in.
//!
//! # Never over the quota, in no stretch of time
//!
//! A lease moves units from the store's bucket into a purse. The store remembers who holds how much, and lets the bucket
//! fill up no further than to the burst less all that is held. So the level that a single bucket of this quota would
//! have, had each unit been spent only when it was used, is at least what is left in the store and in all purses together:
//! whatever a purse holds may be used at any moment.
//!
//! What a broker has used since its last order, the store learns with the next one. Until then its bucket fills up too
//! little: by one lease a broker at most, which is all that is lost.
//!
//! The store forgets what a broker holds when [`LEASE_TIME`] has passed since it last asked, and the purse does, by a clock
//! that began no later.
//!
//! # States
//!
//! ```text
//! covered ── half used, or half of the time passed ──► short ── order ──► ordered ── granted ──► covered
//!                                                       ▲                    └── denied: not before a while
//!                                                       └────────────────────────────────┘
//! ```
//!
//! One order at a time, for no more than brings the purse up to one lease, or to what one batch needs. Owner: the broker's
//! [`Leases`](super::Leases).

use std::time::Duration;

use sealstream_transport::gcra::Limit;
use tokio::time::Instant;

/// 60 s: purses in use are renewed every 20 s, so that two renewals may fail; what a broker held that was killed comes back
/// after so long.
pub(in crate::quotas) const LEASE_TIME: Duration = Duration::from_mins(1);

/// 5 ms, several times what an answer of Redis takes: when to ask again for what is on order.
pub(super) const ORDER_WAIT: Duration = Duration::from_millis(5);

/// What is to be asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quotas) struct Order {
    /// What the purse holds, used or not being unknown of some of it.
    pub(in crate::quotas) held: u64,
    /// How much more; 0 says only what is held.
    pub(in crate::quotas) units: u64,
    /// With how little it would be served, if there is no more.
    pub(in crate::quotas) least: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Purse {
    left: u64,
    /// Taken, and perhaps put back yet: still held, as far as the store is told.
    reserved: u64,
    /// When what is held is the store's again.
    until: Option<Instant>,
    ordered: bool,
    /// When the store has so many units, which it had not the last time.
    denied: Option<(Instant, u64)>,
}

impl Purse {
    /// What may be used now.
    pub(super) fn usable(&mut self, now: Instant) -> u64 {
        if self.until.is_some_and(|until| until <= now) {
            (self.left, self.reserved, self.until) = (0, 0, None);
        }
        self.left
    }

    /// Takes so many units, of which there must be enough: to be used, or put back.
    pub(super) fn reserve(&mut self, units: u64) {
        debug_assert!(units <= self.left, "there is enough");
        self.left -= units.min(self.left);
        self.reserved += units;
    }

    /// They were used.
    pub(super) fn used(&mut self, units: u64) {
        self.reserved = self.reserved.saturating_sub(units);
    }

    /// They were not. Those of a lease whose time has passed are gone.
    pub(super) fn put_back(&mut self, units: u64) {
        let back = units.min(self.reserved);
        self.reserved -= back;
        self.left += back;
    }

    /// What is to be ordered now, if anything; it then is on order. `full` is a lease, `wanted` what could not be covered, 0 if all was.
    pub(super) fn order(&mut self, limit: &Limit, full: u64, wanted: u64, now: Instant) -> Option<Order> {
        let full = full.min(limit.burst()).max(1);
        let wanted = wanted.min(limit.burst());
        let left = self.usable(now);
        let old = self.until.is_some_and(|until| until.saturating_duration_since(now) < LEASE_TIME / 2);
        let short = left < wanted || left < full.div_ceil(2);
        if self.ordered || !(short || old) {
            return None;
        }
        let units = full.max(wanted) - left.min(full.max(wanted));
        // Ahead of need, a quarter of a lease is worth the way.
        let least = if left < wanted { wanted - left } else { full.div_ceil(4).min(units) };
        let soon = self.not_before(limit, least).is_some_and(|until| now < until);
        if soon && !old {
            return None;
        }
        self.ordered = true;
        let units = if soon { 0 } else { units };
        Some(Order { held: left + self.reserved, units, least })
    }

    /// An order was answered with so many units: `asked` is when it was sent, which is no later than the store's moment. Where
    /// there was not even the least, `wait` is how long until there is.
    pub(super) fn answered(
        &mut self,
        order: Order,
        units: u64,
        wait: Duration,
        asked: Instant,
        now: Instant,
    ) {
        // What has passed meanwhile stays passed: the store takes it for held, and that is all.
        self.usable(now);
        self.ordered = false;
        self.left += units;
        self.until = Some(asked + LEASE_TIME);
        if order.units > 0 {
            self.denied = (units == 0).then(|| (now + wait, order.least));
        }
    }

    /// There was no answer: what it may have spent is nobody's.
    pub(super) fn unanswered(&mut self) {
        self.ordered = false;
    }

    /// How long to wait before it is worth asking again for so many units, which are not covered.
    pub(super) fn wait(&mut self, limit: &Limit, wanted: u64, now: Instant) -> Duration {
        let left = self.usable(now);
        let until = self.not_before(limit, wanted.saturating_sub(left)).filter(|_| !self.ordered);
        until.map(|until| until.saturating_duration_since(now)).unwrap_or_default().max(ORDER_WAIT)
    }

    /// When the store has so many units at the earliest, as far as it has said.
    fn not_before(&self, limit: &Limit, units: u64) -> Option<Instant> {
        let (until, least) = self.denied?;
        let apart = limit.interval().saturating_mul(u128::from(units.abs_diff(least))) / 1_000_000;
        let apart = Duration::from_nanos(u64::try_from(apart).unwrap_or(u64::MAX));
        if units < least { until.checked_sub(apart) } else { until.checked_add(apart) }
    }

    /// Takes everything out that may still be used.
    pub(super) fn empty(&mut self, now: Instant) -> u64 {
        let usable = self.usable(now);
        self.left = 0;
        usable
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_spent(&mut self, now: Instant) -> bool {
        !self.ordered && self.usable(now) == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ledger::{Ledger, Terms};
    use super::*;

    fn limit(count: u64, burst: u64) -> Limit {
        Limit::new(count, Duration::from_secs(1), burst).unwrap()
    }

    /// A store of one bucket, and the brokers that lease from it.
    struct World {
        limit: Limit,
        lease: u64,
        start: Instant,
        ledger: Ledger,
        purses: Vec<Purse>,
        /// What was used: when, and how much.
        used: Vec<(Duration, u64)>,
    }

    impl World {
        fn new(limit: Limit, lease: u64, brokers: usize) -> Self {
            let purses = (0..brokers).map(|_| Purse::default()).collect();
            let ledger = Ledger::default();
            Self { limit, lease, start: Instant::now(), ledger, purses, used: Vec::new() }
        }

        fn serve(&mut self, broker: usize, wanted: u64, now: Duration) {
            let at = self.start + now;
            let Some(order) = self.purses[broker].order(&self.limit, self.lease, wanted, at) else { return };
            let terms = Terms::of(&self.limit, order);
            // The store's clock has another origin.
            let store = now + Duration::from_secs(1_000_000);
            let reply = self.ledger.lease(&format!("broker {broker}"), &terms, store);
            let (units, wait) = terms.read(reply);
            self.purses[broker].answered(order, units, wait, at, at);
        }

        fn spend(&mut self, broker: usize, units: u64, now: Duration, keep: bool) -> bool {
            let purse = &mut self.purses[broker];
            let covered = purse.usable(self.start + now) >= units;
            if covered {
                purse.reserve(units);
                if keep {
                    purse.used(units);
                    self.used.push((now, units));
                } else {
                    purse.put_back(units);
                }
            }
            self.serve(broker, if covered { 0 } else { units }, now);
            covered
        }

        /// The most that was used in any stretch of time, less what the quota allows in it.
        fn excess(&self) -> i128 {
            let mut worst = i128::MIN;
            for (index, (from, _)) in self.used.iter().enumerate() {
                let mut sum = 0;
                for (to, units) in &self.used[index..] {
                    sum += i128::from(*units);
                    let femtos = to.saturating_sub(*from).as_nanos() * 1_000_000;
                    let back = i128::try_from(femtos / self.limit.interval()).unwrap();
                    worst = worst.max(sum - back - i128::from(self.limit.burst()));
                }
            }
            worst
        }
    }

    proptest! {
        #[test]
        fn in_no_stretch_of_time_is_more_used_than_the_quota_however_leases_are_held(
            steps in prop::collection::vec((0..3_usize, 1..60_u64, prop_oneof![0..400_u64, 0..40_000_u64]), 1..300),
            lease in 1..100_u64,
        ) {
            let mut world = World::new(limit(100, 100), lease, 3);
            let mut now = Duration::ZERO;
            for (broker, units, advance) in steps {
                now += Duration::from_millis(advance);
                world.spend(broker, units, now, units % 7 != 0);
                let held = world.purses[broker].usable(world.start + now);
                prop_assert!(held <= lease.max(60));
            }
            prop_assert!(world.excess() <= 0, "over by {}", world.excess());
        }
    }

    #[test]
    fn brokers_that_want_all_they_can_get_are_under_the_quota_by_a_lease_each_at_most() {
        let (lease, brokers, seconds) = (1_000, 4, 20);
        let mut world = World::new(limit(1_000, 20_000), lease, brokers);
        let mut used = 0;
        for millis in 0..seconds * 1_000 {
            for broker in 0..brokers {
                while world.spend(broker, 10, Duration::from_millis(millis), true) {
                    used += 10;
                }
            }
        }
        let quota = 20_000 + 1_000 * seconds;
        assert!(used <= quota, "{used} of {quota}");
        assert!(used + lease * brokers as u64 >= quota, "{used} of {quota}");
    }

    #[test]
    fn what_a_broker_holds_that_was_killed_comes_back_when_its_time_has_passed() {
        let mut world = World::new(limit(100, 100), 60, 2);
        world.serve(0, 60, Duration::ZERO);
        let late = LEASE_TIME.saturating_sub(Duration::from_millis(1));
        assert!(!world.spend(1, 50, late, true), "40 are left");
        world.purses[0] = Purse::default();
        // The first who looks finds that it is over, and from then on the bucket fills up.
        assert!(!world.spend(1, 50, LEASE_TIME + Duration::from_secs(1), true));
        assert!(!world.spend(1, 50, LEASE_TIME + Duration::from_secs(2), true), "ordered only now");
        assert!(world.spend(1, 50, LEASE_TIME + Duration::from_secs(2), true));
        assert!(world.excess() <= 0);
    }

    #[test]
    fn a_purse_is_worth_nothing_when_its_time_has_passed() {
        let mut world = World::new(limit(100, 1_000), 100, 1);
        world.serve(0, 0, Duration::ZERO);
        let start = world.start;
        let purse = &mut world.purses[0];
        assert_eq!(purse.usable(start + LEASE_TIME - Duration::from_nanos(1)), 100);
        purse.reserve(40);
        assert_eq!(purse.usable(start + LEASE_TIME), 0);
        purse.put_back(40);
        assert_eq!(purse.usable(start + LEASE_TIME), 0);
    }

    #[test]
    fn a_purse_that_is_full_but_old_is_renewed_and_keeps_what_it_has() {
        let mut world = World::new(limit(100, 1_000), 100, 1);
        world.serve(0, 0, Duration::ZERO);
        let late = LEASE_TIME * 3 / 4;
        world.serve(0, 0, late);
        let now = world.start + LEASE_TIME + Duration::from_secs(1);
        assert_eq!(world.purses[0].usable(now), 100);
    }

    const NONE: Duration = Duration::ZERO;

    #[test]
    fn an_order_that_was_not_answered_gives_nothing_and_may_be_followed_by_another() {
        let limit = limit(100, 1_000);
        let now = Instant::now();
        let mut purse = Purse::default();
        assert_eq!(purse.order(&limit, 100, 0, now), Some(Order { held: 0, units: 100, least: 25 }));
        assert_eq!(purse.order(&limit, 100, 500, now), None, "one at a time");
        purse.unanswered();
        assert_eq!(purse.usable(now), 0);
        let next = purse.order(&limit, 100, 500, now);
        assert_eq!(next, Some(Order { held: 0, units: 500, least: 500 }));
    }

    #[test]
    fn what_may_yet_be_put_back_is_told_as_held() {
        let limit = limit(100, 1_000);
        let now = Instant::now();
        let mut purse = Purse::default();
        let order = purse.order(&limit, 100, 0, now).unwrap();
        purse.answered(order, 100, NONE, now, now);
        purse.reserve(70);
        let order = purse.order(&limit, 100, 0, now).unwrap();
        assert_eq!((order.held, order.units), (100, 70));
        purse.used(70);
        purse.answered(order, 70, NONE, now, now);
        assert_eq!(purse.usable(now), 100);
    }

    #[test]
    fn a_purse_that_was_denied_asks_again_only_when_told_and_sooner_for_less() {
        let limit = limit(100, 1_000);
        let now = Instant::now();
        let mut purse = Purse::default();
        let order = purse.order(&limit, 100, 500, now).unwrap();
        purse.answered(order, 0, Duration::from_secs(3), now, now);
        assert_eq!(purse.order(&limit, 100, 500, now), None);
        assert_eq!(purse.wait(&limit, 500, now), Duration::from_secs(3));
        assert_eq!(purse.wait(&limit, 250, now), Duration::from_millis(500));
        assert!(purse.order(&limit, 100, 200, now).is_some());
    }
}
