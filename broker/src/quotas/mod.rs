//! Quotas: how many bytes and requests an identity and an address may spend, and where that is counted.
//!
//! ```text
//! Rules ── looked up once a session ──► Allowance ── spends ──► MemoryStore                       in this process
//!                                           │
//!                                           ├── requests ──► RedisStore, exactly                  shared by brokers
//!                                           └── bytes ──► Leases ── ahead of need ──► RedisStore
//! ```
//!
//! Everything is counted by the generic cell rate algorithm of [`sealstream_transport::gcra`]. A batch costs a request and its
//! bytes, under the limits of its identity and of its address: all of them are spent, or none.
//!
//! # States
//!
//! Of a bucket: one moment, in its store. Of a lease: see `lease::purse`. Of the shared store: there or away, see `redis`;
//! while it is away the policy ([`OnLoss`]) decides in its place, and nobody waits.
//!
//! # Owners and bounds
//!
//! [`Quotas`] is shared by all sessions and owns every task: the keeper of the connection to Redis, the renewal of
//! leases, and an order a purse at most. Buckets in memory: [`memory::MAX_BUCKETS`]; purses, patterns and waits are bounded where they are.

mod allowance;
mod counts;
mod key;
mod lease;
mod limiter;
pub mod memory;
pub mod redis;
mod rules;
mod store;

pub use allowance::{Allowance, Denied, Spent};
pub use counts::{QuotaCounts, ResourceCounts};
pub use key::{Key, Resource, Spender};
pub use limiter::{OnLoss, Quotas, SharedOptions};
pub use rules::{MAX_OVERRIDES, Override, Rates, Rules, Said};
pub use store::{RateStore, StoreAway, Verdict};

#[cfg(test)]
mod vector_tests;
