//! Purses against a ledger, by themselves and at random.

use proptest::prelude::*;

use super::*;
use crate::quotas::lease::ledger::{Ledger, Terms};

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
        let order = self.purses[broker].order(&self.limit, self.lease, wanted, at);
        self.carry_out(broker, order, now);
    }

    fn renew(&mut self, broker: usize, now: Duration) {
        let order = self.purses[broker].renewal(&self.limit, self.lease, self.start + now);
        self.carry_out(broker, order, now);
    }

    fn carry_out(&mut self, broker: usize, order: Option<Order>, now: Duration) {
        let (Some(order), at) = (order, self.start + now) else { return };
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
            if units % 5 == 0 {
                world.renew(broker, now);
            }
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

#[test]
fn idle_brokers_do_not_hold_what_a_busy_one_needs() {
    let mut world = World::new(limit(1_000, 16_000), 4_000, 5);
    for broker in 0..4 {
        world.serve(broker, 0, Duration::ZERO);
    }
    assert!(!world.spend(4, 4_000, Duration::ZERO, true), "the four hold it all");
    for broker in 0..4 {
        world.renew(broker, Duration::from_secs(20));
    }
    let used = (0..20).filter(|_| world.spend(4, 1_000, Duration::from_secs(20), true)).count();
    assert!(used >= 12, "all but a sixteenth of four leases, and less than one of its own: {used}");
    assert_eq!(world.purses[0].usable(world.start + LEASE_TIME), 250, "and still have something");
    assert!(world.excess() <= 0);
}

const NONE: Duration = Duration::ZERO;

#[test]
fn an_order_that_was_not_answered_gives_nothing_and_may_be_followed_by_another() {
    let limit = limit(100, 1_000);
    let now = Instant::now();
    let mut purse = Purse::default();
    assert_eq!(purse.order(&limit, 100, 0, now), Some(Order { held: 0, units: 100, least: 25, back: 0 }));
    assert_eq!(purse.order(&limit, 100, 500, now), None, "one at a time");
    purse.unanswered();
    assert_eq!(purse.usable(now), 0);
    let next = purse.order(&limit, 100, 500, now);
    assert_eq!(next, Some(Order { held: 0, units: 500, least: 500, back: 0 }));
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
