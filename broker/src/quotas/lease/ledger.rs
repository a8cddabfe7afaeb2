//! The store's side of leases, in times rather than units, as a script can count them; and, for tests, a store that works
//! by the same rules.
//!
//! A unit is worth the limit's interval. An order names the amounts with which it would be served, the largest first: the
//! store only adds and compares.

use std::time::Duration;

use sealstream_transport::gcra::Limit;

use super::purse::Order;

/// 8 amounts, each half as far above the least as the one before: what is left of a quota is used up to a 128th of a lease in
/// one order.
const AMOUNTS: u32 = 8;

/// An order as the store takes it; times in femtoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::quotas) struct Terms {
    /// What the broker holds.
    pub(in crate::quotas) held: u128,
    /// How far ahead of the clock the bucket's moment may be.
    pub(in crate::quotas) burst: u128,
    /// What would serve it, the largest first; none if there is only something to be told.
    pub(in crate::quotas) amounts: Vec<u128>,
    /// What the broker gives back.
    pub(in crate::quotas) back: u128,
    units: Vec<u64>,
}

/// What the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::quotas) struct Reply {
    /// Which of the amounts was granted, from 1; 0 for none.
    pub(in crate::quotas) granted: usize,
    /// The store's clock, in femtoseconds.
    pub(in crate::quotas) now: u128,
    /// The bucket's moment before the grant.
    pub(in crate::quotas) moment: u128,
}

impl Terms {
    pub(in crate::quotas) fn of(limit: &Limit, order: Order) -> Self {
        let Order { held, units, least, back } = order;
        let mut offered = Vec::new();
        if units > 0 {
            let least = least.clamp(1, units);
            offered.extend((0..AMOUNTS).map(|halvings| least + ((units - least) >> halvings)));
            offered.push(least);
            offered.dedup();
        }
        let interval = limit.interval();
        // No more than a burst is ever held.
        let worth = |units: u64| interval * u128::from(units.min(limit.burst()));
        let amounts = offered.iter().map(|units| worth(*units)).collect();
        let burst = limit.burst_offset();
        Self { held: worth(held), burst, amounts, back: worth(back), units: offered }
    }

    /// The units granted, or how long until there are the fewest.
    pub(in crate::quotas) fn read(&self, reply: Reply) -> (u64, Duration) {
        let granted = reply.granted.checked_sub(1).and_then(|index| self.units.get(index));
        if let Some(units) = granted {
            return (*units, Duration::ZERO);
        }
        let least = self.amounts.last().copied().unwrap_or_default();
        let wait = (reply.moment + least).saturating_sub(reply.now + self.burst);
        // Rounded up: whoever waits for it has waited long enough.
        (0, Duration::from_nanos(u64::try_from(wait.div_ceil(1_000_000)).unwrap_or(u64::MAX)))
    }
}

/// One bucket with what is held of it, as the script in Redis keeps it.
#[cfg(test)]
#[derive(Debug, Default)]
pub(in crate::quotas) struct Ledger {
    moment: u128,
    /// By broker: how much, and until when.
    held: std::collections::BTreeMap<String, (u128, u128)>,
}

#[cfg(test)]
impl Ledger {
    pub(in crate::quotas) fn lease(&mut self, broker: &str, terms: &Terms, now: Duration) -> Reply {
        let now = now.as_nanos() * 1_000_000;
        let last = now + terms.burst;
        let held: u128 = self.held.values().map(|(held, _)| held).sum();
        let mut moment = self.moment.min(last).max(now + held) - terms.back;
        self.held.retain(|name, (_, until)| *until > now && name != broker);
        let before = moment;
        let index = terms.amounts.iter().position(|amount| moment + amount <= last);
        let amount = index.map_or(0, |index| terms.amounts[index]);
        moment += amount;
        if terms.held + amount > 0 {
            let until = now + super::purse::LEASE_TIME.as_nanos() * 1_000_000;
            self.held.insert(broker.into(), (terms.held + amount, until));
        }
        self.moment = moment;
        Reply { granted: index.map_or(0, |index| index + 1), now, moment: before }
    }
}
