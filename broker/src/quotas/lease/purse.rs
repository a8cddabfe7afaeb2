//! What a broker holds of a bucket that others spend from as well. Pure: time is passed in.
//!
//! # Never over the quota
//!
//! In the algorithm every unit has a *slot*: the stretch of time by which it moved the bucket's moment. A grant of c units
//! whose bucket is full again at b has the slots from b − c·interval to b. A unit may be used **until its slot has
//! passed**: then, in every stretch of time of length t, the units used have slots within t + burst·interval, each its
//! own, so that they are at most burst + t/interval, which is the quota. A unit whose slot has passed is worth nothing,
//! and nothing is lost by it: the bucket has filled up by as much since.
//!
//! A drained bucket's slots lie as far ahead as its burst takes to come back, so that leases last while the quota is
//! short, and pass away while it is not.
//!
//! # States
//!
//! ```text
//! covered ── used up, or passed away, to less than half ──► short ── order ──► ordered ── granted ──► covered
//!                                                            ▲                    └── denied: not before a while
//!                                                            └────────────────────────────────┘
//! ```
//!
//! One order at a time, for no more than brings the purse up to one lease, or to what one batch needs. Owner: the broker's
//! [`Leases`](super::Leases).

use std::collections::VecDeque;
use std::time::Duration;

use sealstream_transport::gcra::{Decision, Limit};
use tokio::time::Instant;

/// An order brings a purse up from less than half, so that there are seldom more than 3. Beyond it the oldest go, whose slots
/// pass first.
const MAX_GRANTS: usize = 8;

/// 5 ms, several times what an answer of Redis takes: when to ask again for what is on order.
pub(super) const ORDER_WAIT: Duration = Duration::from_millis(5);

/// Units that the store has spent already.
#[derive(Clone, Copy, Debug)]
struct Grant {
    left: u64,
    /// When the last slot passes.
    ends: Instant,
}

impl Grant {
    /// What may still be used: the units left have the last slots.
    fn usable(&self, limit: &Limit, now: Instant) -> u64 {
        // 1 ns has 10⁶ fs.
        let ahead = self.ends.saturating_duration_since(now).as_nanos() * 1_000_000;
        u64::try_from(ahead / limit.interval()).unwrap_or(u64::MAX).min(self.left)
    }
}

/// What is to be asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// How much.
    pub(super) units: u64,
    /// With how little it would be served, if there is no more.
    pub(super) least: u64,
}

/// Where taken units came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quotas) struct Taken(Instant);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Purse {
    grants: VecDeque<Grant>,
    ordered: bool,
    /// When the store has so many units, which it had not the last time.
    denied: Option<(Instant, u64)>,
}

impl Purse {
    /// What may be used now.
    pub(super) fn usable(&mut self, limit: &Limit, now: Instant) -> u64 {
        self.grants.retain(|grant| grant.usable(limit, now) > 0);
        self.grants.iter().map(|grant| grant.usable(limit, now)).sum()
    }

    /// Uses so many units, of which there must be enough: those first whose slots pass first. Says where to put them back.
    pub(super) fn take(&mut self, limit: &Limit, now: Instant, units: u64) -> Taken {
        let taken = Taken(self.grants.front().map_or(now, |grant| grant.ends));
        let mut due = units;
        for grant in &mut self.grants {
            let usable = grant.usable(limit, now);
            let used = usable.min(due);
            grant.left = usable - used;
            due -= used;
        }
        debug_assert_eq!(due, 0, "there is enough");
        taken
    }

    /// Takes back units that were taken and not used after all. All count as of the first grant they came from: those of
    /// later ones pass sooner than they need, never later.
    pub(super) fn put_back(&mut self, Taken(ends): Taken, units: u64) {
        match self.grants.iter_mut().find(|grant| grant.ends == ends) {
            Some(grant) => grant.left = grant.left.saturating_add(units),
            None => self.grants.push_front(Grant { left: units, ends }),
        }
    }

    /// What is to be ordered now, if anything; it then is on order. `wanted` is what could not be covered, 0 if all was.
    pub(super) fn order(&mut self, limit: &Limit, lease: u64, wanted: u64, now: Instant) -> Option<Order> {
        let lease = lease.min(limit.burst()).max(1);
        let wanted = wanted.min(limit.burst());
        let held = self.usable(limit, now);
        let short = held < wanted || held < lease.div_ceil(2);
        if !short || self.ordered {
            return None;
        }
        let units = lease.max(wanted) - held;
        // Ahead of need, a quarter of a lease is worth the way.
        let least = if held < wanted { wanted - held } else { lease.div_ceil(4).min(units) };
        if self.not_before(limit, least).is_some_and(|until| now < until) {
            return None;
        }
        self.ordered = true;
        Some(Order { units, least })
    }

    /// An order was served: `asked` is when it was sent, which is no later than the store's moment.
    pub(super) fn granted(&mut self, units: u64, decision: &Decision, asked: Instant) {
        self.ordered = false;
        self.denied = None;
        if self.grants.len() >= MAX_GRANTS {
            self.grants.pop_front();
        }
        self.grants.push_back(Grant { left: units, ends: asked + decision.reset_in });
    }

    /// There is not even the least of the order before `wait` has passed.
    pub(super) fn denied(&mut self, order: Order, wait: Duration, now: Instant) {
        self.ordered = false;
        self.denied = Some((now + wait, order.least));
    }

    /// There was no answer: what it may have spent is nobody's.
    pub(super) fn unanswered(&mut self) {
        self.ordered = false;
    }

    /// How long to wait before it is worth asking again for so many units, which are not covered.
    pub(super) fn wait(&mut self, limit: &Limit, wanted: u64, now: Instant) -> Duration {
        let held = self.usable(limit, now);
        let until = self.not_before(limit, wanted.saturating_sub(held)).filter(|_| !self.ordered);
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
    pub(super) fn empty(&mut self, limit: &Limit, now: Instant) -> u64 {
        let usable = self.usable(limit, now);
        self.grants.clear();
        usable
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        !self.ordered && self.grants.iter().all(|grant| grant.left == 0 || grant.ends <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sealstream_transport::gcra::Tat;

    use super::*;

    fn limit(count: u64, burst: u64) -> Limit {
        Limit::new(count, Duration::from_secs(1), burst).unwrap()
    }

    /// A store of one bucket, and the brokers that lease from it.
    struct World {
        limit: Limit,
        lease: u64,
        start: Instant,
        tat: Tat,
        purses: Vec<Purse>,
        /// What was used: when, and how much.
        used: Vec<(Duration, u64)>,
    }

    impl World {
        fn new(limit: Limit, lease: u64, brokers: usize) -> Self {
            let purses = (0..brokers).map(|_| Purse::default()).collect();
            Self { limit, lease, start: Instant::now(), tat: Tat::default(), purses, used: Vec::new() }
        }

        fn serve(&mut self, broker: usize, wanted: u64, now: Duration) {
            let at = self.start + now;
            let Some(order) = self.purses[broker].order(&self.limit, self.lease, wanted, at) else { return };
            // The store's clock has another origin.
            let store = now + Duration::from_secs(1_000_000);
            let mut decision = self.tat.spend(&self.limit, store, order.units);
            let mut units = order.units;
            if !decision.allowed && decision.remaining >= order.least {
                units = decision.remaining;
                decision = self.tat.spend(&self.limit, store, units);
            }
            if decision.allowed {
                self.purses[broker].granted(units, &decision, at);
            } else {
                let wait = self.tat.check(&self.limit, store, order.least).retry_in;
                self.purses[broker].denied(order, wait, at);
            }
        }

        fn spend(&mut self, broker: usize, units: u64, now: Duration) -> bool {
            let at = self.start + now;
            let covered = self.purses[broker].usable(&self.limit, at) >= units;
            if covered {
                let taken = self.purses[broker].take(&self.limit, at, units);
                if units % 7 == 0 {
                    self.purses[broker].put_back(taken, units);
                } else {
                    self.used.push((now, units));
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
                    let femtos = (*to - *from).as_nanos() * 1_000_000;
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
            steps in prop::collection::vec((0..3_usize, 1..60_u64, 0..400_u64), 1..300),
            lease in 1..100_u64,
        ) {
            let mut world = World::new(limit(100, 100), lease, 3);
            let mut now = Duration::ZERO;
            for (broker, units, advance) in steps {
                now += Duration::from_millis(advance);
                world.spend(broker, units, now);
                let held = world.purses[broker].usable(&world.limit, world.start + now);
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
                while world.spend(broker, 10, Duration::from_millis(millis)) {
                    used += 10;
                }
            }
        }
        let quota = 20_000 + 1_000 * seconds;
        assert!(used <= quota, "{used} of {quota}");
        assert!(used + lease * brokers as u64 >= quota, "{used} of {quota}");
    }

    #[test]
    fn a_lease_of_a_full_bucket_passes_away_as_fast_as_the_bucket_fills() {
        let mut world = World::new(limit(100, 1_000), 100, 1);
        world.serve(0, 0, Duration::ZERO);
        let usable = |world: &mut World, millis| {
            let now = world.start + Duration::from_millis(millis);
            world.purses[0].usable(&world.limit, now)
        };
        assert_eq!(usable(&mut world, 0), 100);
        assert_eq!(usable(&mut world, 500), 50);
        assert_eq!(usable(&mut world, 1_000), 0);
    }

    #[test]
    fn an_order_that_was_not_answered_gives_nothing_and_may_be_followed_by_another() {
        let limit = limit(100, 1_000);
        let now = Instant::now();
        let mut purse = Purse::default();
        assert_eq!(purse.order(&limit, 100, 0, now), Some(Order { units: 100, least: 25 }));
        assert_eq!(purse.order(&limit, 100, 500, now), None, "one at a time");
        purse.unanswered();
        assert_eq!(purse.usable(&limit, now), 0);
        assert_eq!(purse.order(&limit, 100, 500, now), Some(Order { units: 500, least: 500 }));
    }

    #[test]
    fn who_wants_less_than_was_denied_waits_less() {
        let limit = limit(100, 1_000);
        let now = Instant::now();
        let mut purse = Purse::default();
        let order = purse.order(&limit, 100, 500, now).unwrap();
        purse.denied(order, Duration::from_secs(3), now);
        assert_eq!(purse.wait(&limit, 250, now), Duration::from_millis(500));
        assert!(purse.order(&limit, 10, 200, now).is_some());
    }

    #[test]
    fn what_is_put_back_passes_when_its_grant_does() {
        let mut world = World::new(limit(100, 1_000), 100, 1);
        world.serve(0, 0, Duration::ZERO);
        let (limit, start) = (world.limit, world.start);
        let purse = &mut world.purses[0];
        let taken = purse.take(&limit, start, 100);
        assert_eq!(purse.usable(&limit, start), 0);
        purse.put_back(taken, 100);
        assert_eq!(purse.usable(&limit, start), 100);
        assert_eq!(purse.usable(&limit, start + Duration::from_millis(900)), 10);
    }

    #[test]
    fn a_purse_that_was_denied_asks_again_only_when_told() {
        let limit = limit(100, 1_000);
        let now = Instant::now();
        let mut purse = Purse::default();
        let order = purse.order(&limit, 100, 500, now).unwrap();
        purse.denied(order, Duration::from_secs(3), now);
        assert_eq!(purse.order(&limit, 100, 500, now), None);
        assert_eq!(purse.wait(&limit, 500, now), Duration::from_secs(3));
        assert!(purse.order(&limit, 100, 500, now + Duration::from_secs(3)).is_some());
    }
}
