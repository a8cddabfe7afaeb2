//! The quotas of a broker: the rules, where they are counted, and what holds while the store is away.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::allowance::Allowance;
use super::counts::{Counters, QuotaCounts};
use super::key::{Key, Resource, Spender};
use super::lease::Leases;
use super::memory::MemoryStore;
use super::redis::{RedisOptions, RedisStore};
use super::rules::{Rates, Rules};
use super::store::RateStore;

/// 1 s for giving leases back when the broker stops: what is not given back passes away by itself.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// What holds while the shared store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// Everything passes, uncounted.
    Open,
    /// Nothing passes but what leases cover.
    Closed,
    /// Each broker counts by itself: every limit holds for each of them.
    #[default]
    Local,
}

impl OnLoss {
    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Local => "local",
        }
    }
}

/// How quotas are shared with other brokers.
#[derive(Clone, Debug)]
pub struct SharedOptions {
    /// Where they are counted.
    pub redis: RedisOptions,
    /// What holds while that is away.
    pub on_loss: OnLoss,
    /// Bytes of a lease.
    pub lease: u64,
}

/// See the module. Shared by all sessions.
#[derive(Debug)]
pub struct Quotas {
    rules: RwLock<Arc<Rules>>,
    /// Rises with each change of the rules.
    pub(super) generation: AtomicU64,
    pub(super) memory: MemoryStore,
    pub(super) shared: Option<Shared>,
    pub(super) counters: Counters,
    /// Owns the orders of leases, their renewal, and the store's keeper.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Counted outside of this process.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn RateStore>,
    redis: RedisStore,
    pub(super) leases: Arc<Leases>,
    pub(super) on_loss: OnLoss,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::in_memory(Rules::default())
    }
}

impl Quotas {
    /// Quotas that this process counts by itself.
    pub fn in_memory(rules: Rules) -> Self {
        Self {
            rules: RwLock::new(Arc::new(rules)),
            generation: AtomicU64::new(0),
            memory: MemoryStore::default(),
            shared: None,
            counters: Counters::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Quotas that brokers have in common. Returns once the store is there, or an attempt to reach it has failed.
    pub async fn shared(rules: Rules, options: SharedOptions) -> Self {
        let SharedOptions { redis, on_loss, lease } = options;
        let mut quotas = Self::in_memory(rules);
        let redis = RedisStore::start(redis, &quotas.tasks, quotas.stop.clone()).await;
        let store: Arc<dyn RateStore> = Arc::new(redis.clone());
        let leases = Arc::new(Leases::new(redis.clone(), lease, quotas.tasks.clone()));
        let (renewed, stop) = (Arc::clone(&leases), quotas.stop.clone());
        quotas.tasks.spawn(async move { stop.run_until_cancelled(renewed.renew()).await });
        quotas.shared = Some(Shared { store, redis, leases, on_loss });
        quotas
    }

    /// Puts other rules in force, for open sessions too. Says whether they are others than before.
    pub fn set_rules(&self, rules: Rules) -> bool {
        let mut held = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **held != rules;
        if changed {
            *held = Arc::new(rules);
            self.generation.fetch_add(1, Ordering::Release);
        }
        changed
    }

    /// What was counted so far.
    pub fn counts(&self) -> QuotaCounts {
        self.counters.snapshot(self.shared.as_ref().map(|shared| shared.redis.counts()))
    }

    /// Gives back what was leased, and ends every task. To be called once no session is left.
    pub async fn close(&self) {
        if let Some(shared) = &self.shared {
            shared.leases.close(CLOSE_DEADLINE).await;
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What whoever has this identity and comes from this address may spend.
    pub fn allowance(self: &Arc<Self>, identity: &Arc<str>, address: IpAddr) -> Allowance {
        Allowance::new(Arc::clone(self), Arc::clone(identity), address.into())
    }

    /// The limits that bind, with the generation of the rules that they are from.
    pub(super) fn rates(&self, identity: &str) -> (u64, Rates, Rates) {
        let held = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the two belong together.
        let generation = self.generation.load(Ordering::Acquire);
        (generation, held.of(identity), held.address)
    }
}

impl Drop for Quotas {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The key of a bucket.
pub(super) fn key(resource: Resource, spender: &Spender) -> Key {
    Key { resource, spender: spender.clone() }
}
