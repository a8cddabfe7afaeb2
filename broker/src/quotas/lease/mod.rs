//! Leases: bytes are spent in the shared store beforehand and by the hundred thousand, then used from here, so that no batch
//! waits for the store.
//!
//! A [`purse`] holds what was leased of one bucket; all sessions of a broker that spend from the bucket share it. One
//! that nobody uses is kept until its last slot has passed. When the broker stops, what is left is given back.
//!
//! # Bounds
//!
//! [`MAX_PURSES`] are shared; a session beyond it has one of its own. Each holds at most one lease, or what one batch needs, and
//! has at most one order under way, in a task of the broker's quotas.

mod purse;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealstream_transport::gcra::{Limit, Role, Spend};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(super) use self::purse::Taken;
use self::purse::{Order, Purse};
use super::key::Key;
use super::store::RateStore;

/// 16,384 purses of 400 bytes: 6.5 MB. The quotas of produced and of consumed bytes of 4,096 identities and as many addresses.
const MAX_PURSES: usize = 1 << 14;

/// How often passed purses are looked for: when there are twice as many as were left the last time, but not below 64.
const SWEEP_FROM: usize = 64;

/// One purse, shared by the sessions that spend from its bucket.
#[derive(Clone, Debug)]
pub(super) struct SharedPurse(Arc<Mutex<Purse>>);

/// All of a broker.
#[derive(Debug)]
pub(super) struct Leases {
    store: Arc<dyn RateStore>,
    /// Units of a lease.
    lease: u64,
    purses: Mutex<Purses>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Purses {
    by_key: HashMap<Key, (SharedPurse, Limit)>,
    sweep_at: usize,
}

/// A bucket and what this broker holds of it.
#[derive(Clone, Debug)]
pub(super) struct Lessee {
    pub(super) key: Key,
    pub(super) limit: Limit,
    pub(super) purse: SharedPurse,
}

impl Leases {
    pub(super) fn new(store: Arc<dyn RateStore>, lease: u64, tasks: TaskTracker) -> Self {
        let purses = Mutex::new(Purses { by_key: HashMap::new(), sweep_at: SWEEP_FROM });
        Self { store, lease, purses, tasks }
    }

    /// The purse of a bucket.
    pub(super) fn lessee(&self, key: Key, limit: Limit) -> Lessee {
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        let purse = purses.of(&key, limit);
        Lessee { key, limit, purse }
    }

    /// Takes so many units from all of these, which are two at most, or from none. The error is how long to wait, and which
    /// of them is short.
    pub(super) fn take(
        self: &Arc<Self>,
        lessees: &[Lessee],
        units: u64,
    ) -> Result<[Option<Taken>; 2], (Duration, usize)> {
        let now = Instant::now();
        // Always the identity's before the address', so that two sessions cannot wait for each other.
        let mut held: Vec<_> = lessees.iter().map(|lessee| lessee.purse.lock()).collect();
        let mut short = None;
        for (index, (lessee, purse)) in lessees.iter().zip(&mut held).enumerate() {
            let cost = units.min(lessee.limit.burst());
            if purse.usable(&lessee.limit, now) < cost {
                self.order(lessee, purse, cost, now);
                let wait = purse.wait(&lessee.limit, cost, now);
                short = short.into_iter().chain([(wait, index)]).max();
            }
        }
        if let Some(short) = short {
            return Err(short);
        }
        let mut taken = [None; 2];
        for ((lessee, purse), taken) in lessees.iter().zip(&mut held).zip(&mut taken) {
            *taken = Some(purse.take(&lessee.limit, now, units.min(lessee.limit.burst())));
            self.order(lessee, purse, 0, now);
        }
        Ok(taken)
    }

    /// Gives back what was taken.
    pub(super) fn put_back(lessees: &[Lessee], taken: [Option<Taken>; 2], units: u64) {
        for (lessee, taken) in lessees.iter().zip(taken) {
            if let Some(taken) = taken {
                lessee.purse.lock().put_back(taken, units.min(lessee.limit.burst()));
            }
        }
    }

    /// Fills empty purses, and waits for it: before a session begins, not in it.
    pub(super) async fn warm(&self, lessees: &[Lessee]) {
        for lessee in lessees {
            let order = lessee.purse.lock().order(&lessee.limit, self.lease, 0, Instant::now());
            if let Some(order) = order {
                serve(&*self.store, lessee, order).await;
            }
        }
    }

    /// Gives back to the store what is left, until `deadline` has passed.
    pub(super) async fn close(&self, deadline: Duration) {
        let held = std::mem::take(&mut self.purses.lock().unwrap_or_else(PoisonError::into_inner).by_key);
        let giving_back = async {
            for (key, (purse, limit)) in held {
                let left = purse.lock().empty(&limit, Instant::now());
                if left > 0 && self.store.refund(&key, &limit, left).await.is_err() {
                    return;
                }
            }
        };
        // What is not given back in time passes away.
        let _ = tokio::time::timeout(deadline, giving_back).await;
    }

    /// Orders what the purse is short of, if it may. The caller holds its lock and does not wait.
    fn order(self: &Arc<Self>, lessee: &Lessee, purse: &mut Purse, wanted: u64, now: Instant) {
        if let Some(order) = purse.order(&lessee.limit, self.lease, wanted, now) {
            let (leases, lessee) = (Arc::clone(self), lessee.clone());
            self.tasks.spawn(async move { serve(&*leases.store, &lessee, order).await });
        }
    }
}

/// Asks the store for what was ordered, and, if it has less, once more for what it has.
async fn serve(store: &dyn RateStore, lessee: &Lessee, order: Order) {
    let Lessee { key, limit, purse } = lessee;
    // Dropped half-way, there was no answer.
    let mut pending = Unanswered(Some(purse));
    let mut units = order.units;
    for attempt in 0..2 {
        let asked = Instant::now();
        let parts = [Spend { key, limit, cost: units, role: Role::Spend }];
        let Ok(verdict) = store.transact(&parts).await else { return };
        let decision = verdict.decision;
        if decision.allowed {
            pending.0 = None;
            return purse.lock().granted(units, &decision, asked);
        }
        if attempt == 0 && decision.remaining >= order.least {
            units = decision.remaining;
            continue;
        }
        // How long until there is the least: so much sooner than the whole.
        let sooner = limit.interval().saturating_mul(u128::from(units.saturating_sub(order.least)));
        let sooner = Duration::from_nanos(u64::try_from(sooner / 1_000_000).unwrap_or(u64::MAX));
        pending.0 = None;
        return purse.lock().denied(order, decision.retry_in.saturating_sub(sooner), Instant::now());
    }
}

struct Unanswered<'a>(Option<&'a SharedPurse>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(purse) = self.0 {
            purse.lock().unanswered();
        }
    }
}

impl SharedPurse {
    fn lock(&self) -> std::sync::MutexGuard<'_, Purse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has it but the map, and nothing would be lost with it.
    fn is_over(&self, now: Instant) -> bool {
        Arc::strong_count(&self.0) == 1 && self.lock().is_spent(now)
    }
}

impl Purses {
    fn of(&mut self, key: &Key, limit: Limit) -> SharedPurse {
        if let Some((purse, known)) = self.by_key.get_mut(key) {
            *known = limit;
            return purse.clone();
        }
        if self.by_key.len() >= self.sweep_at {
            let now = Instant::now();
            self.by_key.retain(|_, (purse, _)| !purse.is_over(now));
            self.sweep_at = (self.by_key.len() * 2).clamp(SWEEP_FROM, MAX_PURSES);
        }
        let purse = SharedPurse(Arc::default());
        if self.by_key.len() < MAX_PURSES {
            self.by_key.insert(key.clone(), (purse.clone(), limit));
        }
        purse
    }
}
