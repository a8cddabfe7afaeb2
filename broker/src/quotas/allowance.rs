//! What one session may spend: the limits of its identity and of its address, looked up once and again when the rules change.
//!
//! Where nothing is limited, all that a frame costs is one comparison.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sealstream_protocol::message::{Fault, FaultCode};
use sealstream_transport::admission::AddressKey;
use sealstream_transport::gcra::{Limit, Role, Spend};

use super::key::{Key, Resource, Spender};
use super::lease::{Lessee, Reserved};
use super::limiter::{OnLoss, Quotas, Shared, key};
use super::store::Verdict;

/// 1 s: while the store is away and nothing may pass, it is looked for every half second.
const AWAY_RETRY: Duration = Duration::from_secs(1);

/// Why something may not pass now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// How long to wait before it may.
    pub retry_after: Duration,
    /// What is spent, and whose; names the limit.
    pub text: String,
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        Self::new(FaultCode::QuotaExceeded, denied.text).retry_after(denied.retry_after)
    }
}

/// What was spent for something that may yet come to nothing. Dropped, it stays spent.
#[derive(Debug, Default)]
pub struct Spent(Source);

#[derive(Debug, Default)]
enum Source {
    /// Nothing that could be given back.
    #[default]
    Nowhere,
    /// Bytes from the buckets in memory.
    Memory(u64),
    Leases(Reserved),
}

/// The limits of one resource, two at most: the identity's and the address'.
#[derive(Clone, Debug, Default)]
struct Bound {
    buckets: Vec<(Key, Limit)>,
    /// The same as leases, where bytes are counted elsewhere.
    lessees: Arc<[Lessee]>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Allowance {
    quotas: Arc<Quotas>,
    identity: Arc<str>,
    address: AddressKey,
    generation: u64,
    unlimited: bool,
    produced: Bound,
    consumed: Bound,
    requests: Bound,
}

impl Allowance {
    pub(super) fn new(quotas: Arc<Quotas>, identity: Arc<str>, address: AddressKey) -> Self {
        let mut allowance = Self {
            quotas,
            identity,
            address,
            generation: 0,
            unlimited: true,
            produced: Bound::default(),
            consumed: Bound::default(),
            requests: Bound::default(),
        };
        allowance.look_up();
        allowance
    }

    /// Has leases at hand before the first byte is spent. Waits for the store, no longer than its deadline.
    pub async fn warm(&mut self, resource: Resource) {
        if self.is_unlimited() {
            return;
        }
        if let Some(shared) = &self.quotas.shared {
            shared.leases.warm(&self.of(resource).lessees).await;
        }
    }

    /// Spends a request. Exact among all brokers that share the store, for whose answer it waits.
    pub async fn request(&mut self) -> Result<(), Denied> {
        if self.is_unlimited() {
            return Ok(());
        }
        self.spend_request().await
    }

    /// Spends a request and the bytes that it brings, or neither. Bytes never wait.
    pub async fn produce(&mut self, bytes: u64) -> Result<Spent, Denied> {
        if self.is_unlimited() {
            return Ok(Spent::default());
        }
        let Some(shared) = &self.quotas.shared else {
            let buckets = [(&self.requests, 1), (&self.produced, bytes)];
            self.spend_in_memory(&buckets)?;
            self.admitted(Resource::Requests, 1);
            self.admitted(Resource::Produced, bytes);
            return Ok(Spent(Source::Memory(bytes)));
        };
        let spent = self.spend_leased(shared, Resource::Produced, bytes)?;
        if let Err(denied) = self.spend_request().await {
            self.refund(spent);
            return Err(denied);
        }
        self.admitted(Resource::Produced, bytes);
        Ok(spent)
    }

    /// Spends bytes that are to be pushed. Never waits.
    pub fn consume(&mut self, bytes: u64) -> Result<(), Denied> {
        if self.is_unlimited() {
            return Ok(());
        }
        match &self.quotas.shared {
            None => self.spend_in_memory(&[(&self.consumed, bytes)])?,
            Some(shared) => drop(self.spend_leased(shared, Resource::Consumed, bytes)?),
        }
        self.admitted(Resource::Consumed, bytes);
        Ok(())
    }

    /// Gives back what was spent for a batch that is certainly not stored.
    pub fn refund(&self, spent: Spent) {
        match spent.0 {
            Source::Nowhere => {}
            Source::Leases(reserved) => reserved.put_back(),
            Source::Memory(bytes) => {
                for part in self.produced.parts(bytes) {
                    // Full again already: nothing to give back.
                    let _ = self.quotas.memory.refund_now(part.key, part.limit, part.cost);
                }
            }
        }
    }

    /// Whether nothing is limited; the limits are looked up anew if the rules have changed.
    fn is_unlimited(&mut self) -> bool {
        if self.quotas.generation.load(Ordering::Acquire) != self.generation {
            self.look_up();
        }
        self.unlimited
    }

    fn look_up(&mut self) {
        let (generation, identity, address) = self.quotas.rates(&self.identity);
        let spenders = [
            (Spender::Identity(Arc::clone(&self.identity)), identity),
            (Spender::Address(self.address), address),
        ];
        let bound = |resource: Resource| {
            let limits = spenders.iter().filter_map(|(spender, rates)| {
                let limit = match resource {
                    Resource::Produced => rates.produced,
                    Resource::Consumed => rates.consumed,
                    Resource::Requests => rates.requests,
                };
                limit.map(|limit| (key(resource, spender), limit))
            });
            let buckets: Vec<_> = limits.collect();
            let leased = self.quotas.shared.as_ref().filter(|_| resource != Resource::Requests);
            let lessees = leased.map_or_else(Arc::default, |shared| {
                buckets.iter().map(|(key, limit)| shared.leases.lessee(key.clone(), *limit)).collect()
            });
            Bound { buckets, lessees }
        };
        let (produced, consumed, requests) =
            (bound(Resource::Produced), bound(Resource::Consumed), bound(Resource::Requests));
        self.unlimited = identity.is_unlimited() && address.is_unlimited();
        (self.generation, self.produced, self.consumed, self.requests) =
            (generation, produced, consumed, requests);
    }

    fn of(&self, resource: Resource) -> &Bound {
        match resource {
            Resource::Produced => &self.produced,
            Resource::Consumed => &self.consumed,
            Resource::Requests => &self.requests,
        }
    }

    async fn spend_request(&self) -> Result<(), Denied> {
        let bound = &self.requests;
        if bound.buckets.is_empty() {
            return Ok(());
        }
        if let Some(shared) = &self.quotas.shared {
            let parts: Vec<_> = bound.parts(1).collect();
            match shared.store.transact(&parts).await {
                Ok(verdict) => self.judge(verdict, &parts)?,
                Err(_) => self.go_by_policy(shared.on_loss, Resource::Requests, 1)?,
            }
        } else {
            self.spend_in_memory(&[(bound, 1)])?;
        }
        self.admitted(Resource::Requests, 1);
        Ok(())
    }

    fn spend_leased(&self, shared: &Shared, resource: Resource, bytes: u64) -> Result<Spent, Denied> {
        let bound = self.of(resource);
        let (retry_after, short) = match shared.leases.take(&bound.lessees, bytes) {
            Ok(reserved) => return Ok(Spent(Source::Leases(reserved))),
            Err(short) => short,
        };
        if shared.store.is_away() {
            self.go_by_policy(shared.on_loss, resource, bytes)?;
            return Ok(Spent::default());
        }
        Err(self.denied(&bound.buckets[short], retry_after))
    }

    /// What holds while the store is away.
    fn go_by_policy(&self, policy: OnLoss, resource: Resource, units: u64) -> Result<(), Denied> {
        self.quotas.counters.by_policy(resource);
        match policy {
            OnLoss::Open => Ok(()),
            OnLoss::Local => self.spend_in_memory(&[(self.of(resource), units)]),
            OnLoss::Closed => {
                self.quotas.counters.refused(resource);
                let text = format!(
                    "the quota of {} cannot be counted: the broker's Redis is away, and on_redis_loss is \"closed\"",
                    resource.words()
                );
                Err(Denied { retry_after: AWAY_RETRY, text })
            }
        }
    }

    /// Spends from all of these buckets or from none.
    fn spend_in_memory(&self, bounds: &[(&Bound, u64)]) -> Result<(), Denied> {
        let parts: Vec<_> = bounds.iter().flat_map(|(bound, cost)| bound.parts(*cost)).collect();
        if parts.is_empty() {
            return Ok(());
        }
        self.judge(self.quotas.memory.transact_now(&parts), &parts)
    }

    fn judge(&self, verdict: Verdict, parts: &[Spend<'_, Key>]) -> Result<(), Denied> {
        if verdict.decision.allowed {
            return Ok(());
        }
        let part = &parts[verdict.part];
        Err(self.denied(&(part.key.clone(), *part.limit), verdict.decision.retry_in))
    }

    fn denied(&self, (key, limit): &(Key, Limit), retry_after: Duration) -> Denied {
        self.quotas.counters.refused(key.resource);
        let whose = match &key.spender {
            Spender::Identity(identity) => format!("identity {identity:?}"),
            Spender::Address(_) => "the address that you come from".into(),
        };
        let text = format!(
            "the quota of {} of {whose} is spent: {} in {:?}, at most {} at once; go on more slowly, or have it raised",
            key.resource.words(),
            key.resource.amount(limit.count()),
            limit.period(),
            key.resource.amount(limit.burst())
        );
        Denied { retry_after, text }
    }

    fn admitted(&self, resource: Resource, units: u64) {
        if !self.of(resource).buckets.is_empty() {
            self.quotas.counters.admitted(resource, units);
        }
    }
}

impl Bound {
    /// What is spent of each bucket. More than fits at once costs all that fits: it could never pass otherwise.
    fn parts(&self, cost: u64) -> impl Iterator<Item = Spend<'_, Key>> {
        self.buckets.iter().map(move |(key, limit)| Spend {
            key,
            limit,
            cost: cost.min(limit.burst()),
            role: Role::Spend,
        })
    }
}
