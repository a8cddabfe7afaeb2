//! What quotas have let pass and what not, for whoever watches.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::key::Resource;
use super::redis::RedisCounts;

/// Of one resource. Units that no limit covers are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceCounts {
    /// Units that were let pass: bytes, or requests.
    pub admitted: u64,
    /// How often somebody was refused, or, consuming, made to wait.
    pub refused: u64,
    /// How often it was not the store that decided, but the policy for a store that is away.
    pub by_policy: u64,
}

/// A snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaCounts {
    /// Bytes of batches.
    pub produced: ResourceCounts,
    /// Bytes of entries.
    pub consumed: ResourceCounts,
    /// Requests.
    pub requests: ResourceCounts,
    /// The shared store, if quotas are counted in one.
    pub redis: Option<RedisCounts>,
}

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(super) struct Counters {
    produced: Counter,
    consumed: Counter,
    requests: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    admitted: AtomicU64,
    refused: AtomicU64,
    by_policy: AtomicU64,
}

impl Counters {
    fn of(&self, resource: Resource) -> &Counter {
        match resource {
            Resource::Produced => &self.produced,
            Resource::Consumed => &self.consumed,
            Resource::Requests => &self.requests,
        }
    }

    pub(super) fn admitted(&self, resource: Resource, units: u64) {
        self.of(resource).admitted.fetch_add(units, Relaxed);
    }

    pub(super) fn refused(&self, resource: Resource) {
        self.of(resource).refused.fetch_add(1, Relaxed);
    }

    pub(super) fn by_policy(&self, resource: Resource) {
        self.of(resource).by_policy.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self, redis: Option<RedisCounts>) -> QuotaCounts {
        let read = |counter: &Counter| ResourceCounts {
            admitted: counter.admitted.load(Relaxed),
            refused: counter.refused.load(Relaxed),
            by_policy: counter.by_policy.load(Relaxed),
        };
        QuotaCounts {
            produced: read(&self.produced),
            consumed: read(&self.consumed),
            requests: read(&self.requests),
            redis,
        }
    }
}
