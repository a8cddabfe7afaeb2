//! The Generic Cell Rate Algorithm: a leaky bucket that remembers one moment per key, the theoretical arrival time (TAT).
//!
//! A [`Limit`] says how much per period and how much at once. A [`Tat`] is all that is known of a key: the moment at which
//! its bucket is full again. A [`Decision`] is what a spend, a check or a refund answers. The algorithm is pure: `now` is a
//! parameter, any time since an origin that all calls on one state share. [`Table`] keeps the state of many keys in memory.
//!
//! Spending moves the TAT into the future by what was spent; the clock catches up with it. Nothing has to be refilled,
//! swept or counted, and a key whose TAT has passed is a key of which nothing is known: it can be forgotten.

mod limit;
mod table;
mod tat;
#[cfg(test)]
mod vector_tests;

pub use limit::{Limit, LimitError, MAX_COUNT_PER_SECOND, MAX_REFILL};
pub use table::{EVICTION_SAMPLE, Role, Spend, Table};
pub use tat::{Decision, Tat};
