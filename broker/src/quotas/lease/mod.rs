//! Leases: bytes are spent in the shared store beforehand and by the megabyte, then used from here, so that no batch waits for
//! the store.
//!
//! A [`purse`] holds what was leased of one bucket; all sessions of a broker that spend from the bucket share it. Those in use
//! are renewed, so that a session that has been quiet finds its lease there. When the broker stops, what is left is given back.
//!
//! # Bounds
//!
//! [`MAX_PURSES`] are shared; a session beyond it has one of its own. Each holds at most one lease, or what one batch needs, and
//! has at most one order under way, in a task of the broker's quotas.

mod ledger;
mod purse;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealstream_transport::gcra::Limit;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

#[cfg(test)]
pub(super) use self::ledger::Ledger;
pub(super) use self::ledger::{Reply, Terms};
use self::purse::Purse;
pub(super) use self::purse::{LEASE_TIME, Order};
use super::key::Key;
use super::redis::RedisStore;

/// 16,384 purses of 400 bytes: 6.5 MB. The quotas of produced and of consumed bytes of 4,096 identities and as many addresses.
const MAX_PURSES: usize = 1 << 14;

/// How often purses that nobody needs are looked for: when there are twice as many as were left the last time, but not below 64.
const SWEEP_FROM: usize = 64;

/// 20 s between two looks at what has to be renewed, a third of [`LEASE_TIME`].
const RENEWAL: Duration = Duration::from_secs(20);

/// One purse, shared by the sessions that spend from its bucket.
#[derive(Clone, Debug)]
pub(super) struct SharedPurse(Arc<Mutex<Purse>>);

/// A bucket and what this broker holds of it.
#[derive(Clone, Debug)]
pub(super) struct Lessee {
    pub(super) key: Key,
    pub(super) limit: Limit,
    purse: SharedPurse,
}

/// Units that were taken out of purses: used when dropped, unless they are put back.
#[derive(Debug)]
pub(super) struct Reserved {
    lessees: Arc<[Lessee]>,
    units: u64,
}

/// All of a broker.
#[derive(Debug)]
pub(super) struct Leases {
    store: RedisStore,
    /// Units of a lease.
    lease: u64,
    purses: Mutex<Purses>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Purses {
    by_key: HashMap<Key, Lessee>,
    sweep_at: usize,
}

impl Leases {
    pub(super) fn new(store: RedisStore, lease: u64, tasks: TaskTracker) -> Self {
        let purses = Mutex::new(Purses { by_key: HashMap::new(), sweep_at: SWEEP_FROM });
        Self { store, lease, purses, tasks }
    }

    /// The bucket of a key, as this broker has it.
    pub(super) fn lessee(&self, key: Key, limit: Limit) -> Lessee {
        self.purses().of(key, limit)
    }

    /// Takes so many units from all of these, or from none. The error is how long to wait, and which of them is short.
    pub(super) fn take(
        self: &Arc<Self>,
        lessees: &Arc<[Lessee]>,
        units: u64,
    ) -> Result<Reserved, (Duration, usize)> {
        let now = Instant::now();
        // Always the identity's before the address', so that two sessions cannot wait for each other.
        let mut held: Vec<_> = lessees.iter().map(|lessee| lessee.purse.lock()).collect();
        let mut short = None;
        for (index, (lessee, purse)) in lessees.iter().zip(&mut held).enumerate() {
            let cost = lessee.cost(units);
            if purse.usable(now) < cost {
                self.order(lessee, purse, cost, now);
                let wait = purse.wait(&lessee.limit, cost, now);
                short = short.into_iter().chain([(wait, index)]).max();
            }
        }
        if let Some(short) = short {
            return Err(short);
        }
        for (lessee, purse) in lessees.iter().zip(&mut held) {
            purse.reserve(lessee.cost(units));
            self.order(lessee, purse, 0, now);
        }
        Ok(Reserved { lessees: Arc::clone(lessees), units })
    }

    /// Fills empty purses, and waits for it: before a session begins, not in it.
    pub(super) async fn warm(&self, lessees: &[Lessee]) {
        for lessee in lessees {
            let order = lessee.purse.lock().order(&lessee.limit, self.lease, 0, Instant::now());
            if let Some(order) = order {
                serve(&self.store, lessee, order).await;
            }
        }
    }

    /// Renews what sessions hold, and gives back what none uses, until dropped.
    pub(super) async fn renew(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let in_use: Vec<_> =
                self.purses().by_key.values().filter(|held| held.is_in_use()).cloned().collect();
            for lessee in in_use {
                let order = lessee.purse.lock().renewal(&lessee.limit, self.lease, Instant::now());
                self.send(&lessee, order);
            }
        }
    }

    /// Gives back to the store what is left, until `deadline` has passed.
    pub(super) async fn close(&self, deadline: Duration) {
        let held = std::mem::take(&mut self.purses().by_key);
        let giving_back = async {
            for lessee in held.into_values() {
                let back = lessee.purse.lock().empty(Instant::now());
                let terms = Terms::of(&lessee.limit, Order { held: 0, units: 0, least: 0, back });
                if back > 0 && self.store.lease(&lessee.key, &terms).await.is_err() {
                    return;
                }
            }
        };
        // What is not given back in time is forgotten by itself.
        let _ = tokio::time::timeout(deadline, giving_back).await;
    }

    /// Orders what the purse is short of, if it may. The caller holds its lock and does not wait.
    fn order(self: &Arc<Self>, lessee: &Lessee, purse: &mut Purse, wanted: u64, now: Instant) {
        self.send(lessee, purse.order(&lessee.limit, self.lease, wanted, now));
    }

    fn send(self: &Arc<Self>, lessee: &Lessee, order: Option<Order>) {
        if let Some(order) = order {
            let (leases, lessee) = (Arc::clone(self), lessee.clone());
            self.tasks.spawn(async move { serve(&leases.store, &lessee, order).await });
        }
    }

    fn purses(&self) -> MutexGuard<'_, Purses> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the store for what was ordered.
async fn serve(store: &RedisStore, lessee: &Lessee, order: Order) {
    let Lessee { key, limit, purse } = lessee;
    // Dropped half-way, there was no answer.
    let mut pending = Unanswered(Some(purse));
    let terms = Terms::of(limit, order);
    let asked = Instant::now();
    let Ok(reply) = store.lease(key, &terms).await else { return };
    pending.0 = None;
    let (units, wait) = terms.read(reply);
    purse.lock().answered(order, units, wait, asked, Instant::now());
}

struct Unanswered<'a>(Option<&'a SharedPurse>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(purse) = self.0 {
            purse.lock().unanswered();
        }
    }
}

impl Reserved {
    /// They were not used.
    pub(super) fn put_back(mut self) {
        for lessee in &*self.lessees {
            lessee.purse.lock().put_back(lessee.cost(self.units));
        }
        self.units = 0;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.units > 0 {
            for lessee in &*self.lessees {
                lessee.purse.lock().used(lessee.cost(self.units));
            }
        }
    }
}

impl SharedPurse {
    fn lock(&self) -> MutexGuard<'_, Purse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lessee {
    /// What fits at once, of so many units: more could never pass.
    fn cost(&self, units: u64) -> u64 {
        units.min(self.limit.burst())
    }

    /// Whether any session has it, besides the map.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.purse.0) > 1
    }
}

impl Purses {
    fn of(&mut self, key: Key, limit: Limit) -> Lessee {
        if let Some(known) = self.by_key.get_mut(&key) {
            known.limit = limit;
            return known.clone();
        }
        if self.by_key.len() >= self.sweep_at {
            let now = Instant::now();
            self.by_key.retain(|_, held| held.is_in_use() || !held.purse.lock().is_spent(now));
            self.sweep_at = (self.by_key.len() * 2).clamp(SWEEP_FROM, MAX_PURSES);
        }
        let lessee = Lessee { key: key.clone(), limit, purse: SharedPurse(Arc::default()) };
        if self.by_key.len() < MAX_PURSES {
            self.by_key.insert(key, lessee.clone());
        }
        lessee
    }
}
