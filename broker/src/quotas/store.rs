//! Where buckets are kept: the seam between what may be spent and who remembers what was.

use std::fmt;

use sealstream_transport::BoxFuture;
use sealstream_transport::gcra::{Decision, Limit, Spend};

use super::key::Key;

/// What a transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The strictest of the decisions that counted.
    pub decision: Decision,
    /// The part that decided; 0 where none did.
    pub part: usize,
}

/// The store gave no answer. What was asked may have been done or not, and is not to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of quotas is away")]
pub struct StoreAway;

/// Buckets by key. All of a transaction's parts are spent, or none: one denial stores nothing.
pub trait RateStore: Send + Sync + fmt::Debug {
    /// Checks and spends at once. Each key must be named once only.
    ///
    /// Not cancellation safe: of one that was dropped it is unknown whether it was spent.
    fn transact<'a>(&'a self, parts: &'a [Spend<'a, Key>]) -> BoxFuture<'a, Result<Verdict, StoreAway>>;

    /// Gives back what was spent and not used; never more than fits.
    fn refund<'a>(
        &'a self,
        key: &'a Key,
        limit: &'a Limit,
        cost: u64,
    ) -> BoxFuture<'a, Result<Decision, StoreAway>>;

    /// Whether it is known to give no answers at this moment.
    fn is_away(&self) -> bool {
        false
    }
}
