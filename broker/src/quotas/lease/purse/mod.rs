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
//! A purse that nobody used since it was last renewed keeps a sixteenth of a lease and gives back the rest, so that brokers
//! whose sessions are idle do not hold what another one needs.
//!
//! One order at a time, for no more than brings the purse up to one lease, or to what one batch needs. Owner: the broker's
//! [`Leases`](super::Leases).

#[cfg(test)]
mod tests;

use std::time::Duration;

use sealstream_transport::gcra::Limit;
use tokio::time::Instant;

/// 60 s: purses in use are renewed every 20 s, so that two renewals may fail; what a broker held that was killed comes back
/// after so long.
pub(in crate::quotas) const LEASE_TIME: Duration = Duration::from_mins(1);

/// 16 brokers whose sessions are idle hold as much as one that is busy.
const IDLE_SHARE: u64 = 16;

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
    /// What is given back.
    pub(in crate::quotas) back: u64,
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
    /// Whether anything was taken since it was last renewed.
    busy: bool,
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
        self.busy = true;
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
        let full = full_of(limit, full);
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
        Some(Order { held: left + self.reserved, units, least, back: 0 })
    }

    /// What is to be told from time to time: that it is still held, and if nobody uses it, by how much less.
    pub(super) fn renewal(&mut self, limit: &Limit, full: u64, now: Instant) -> Option<Order> {
        if std::mem::take(&mut self.busy) {
            return self.order(limit, full, 0, now);
        }
        let left = self.usable(now);
        if self.ordered || left == 0 {
            return None;
        }
        self.ordered = true;
        self.left = left.min(full_of(limit, full).div_ceil(IDLE_SHARE));
        Some(Order { held: self.left + self.reserved, units: 0, least: 0, back: left - self.left })
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

/// A lease of a quarter of the burst at most, so that no broker holds it all.
fn full_of(limit: &Limit, lease: u64) -> u64 {
    lease.min(limit.burst().div_ceil(4)).max(1)
}
