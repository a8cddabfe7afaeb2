//! Buckets in this process: sharded, expiring, bounded. Answers at once.

use sealstream_transport::BoxFuture;
use sealstream_transport::gcra::{Decision, Limit, Role, Spend, Table};
use tokio::time::Instant;

use super::key::Key;
use super::store::{RateStore, StoreAway, Verdict};

/// 65,536 buckets: of 10,000 identities and as many addresses all three kinds. An entry takes up to 200 bytes besides its
/// identity's name, 13 MB in all. Beyond it the bucket that is nearest to being full is forgotten, which only forgives.
pub const MAX_BUCKETS: usize = 1 << 16;

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    table: Table<Key>,
    origin: Instant,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { table: Table::new(MAX_BUCKETS), origin: Instant::now() }
    }
}

impl MemoryStore {
    /// Checks and spends without waiting.
    pub fn transact_now(&self, parts: &[Spend<'_, Key>]) -> Verdict {
        let now = self.origin.elapsed();
        let decision = self.table.transaction(now, parts);
        // Looked for only where somebody is told.
        let part = if decision.allowed { 0 } else { self.strictest(parts) };
        Verdict { decision, part }
    }

    /// Gives back without waiting.
    pub fn refund_now(&self, key: &Key, limit: &Limit, cost: u64) -> Decision {
        self.table.refund(self.origin.elapsed(), key, limit, cost)
    }

    fn strictest(&self, parts: &[Spend<'_, Key>]) -> usize {
        let now = self.origin.elapsed();
        let decided = parts.iter().enumerate().filter(|(_, part)| part.role != Role::SpendOnly);
        let decided =
            decided.map(|(index, part)| (index, self.table.check(now, part.key, part.limit, part.cost)));
        decided
            .reduce(|first, next| if first.1.stricter(next.1) == first.1 { first } else { next })
            .map_or(0, |(index, _)| index)
    }
}

impl RateStore for MemoryStore {
    fn transact<'a>(&'a self, parts: &'a [Spend<'a, Key>]) -> BoxFuture<'a, Result<Verdict, StoreAway>> {
        Box::pin(std::future::ready(Ok(self.transact_now(parts))))
    }

    fn refund<'a>(
        &'a self,
        key: &'a Key,
        limit: &'a Limit,
        cost: u64,
    ) -> BoxFuture<'a, Result<Decision, StoreAway>> {
        Box::pin(std::future::ready(Ok(self.refund_now(key, limit, cost))))
    }
}
