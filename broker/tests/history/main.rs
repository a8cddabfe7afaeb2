//! What clients did and saw, held against what the broker promises.
//!
//! ```text
//! clients (tasks on an engine, or processes on a broker) ──► History ──► check() ──► Vec<Violation>
//!                                                                ▲
//!                                     the log as it is read in the end
//! ```
//!
//! [`checker`] knows nothing of engines and brokers: [`planted`] shows that it finds each kind of fault in the history of a
//! run with that fault in it. [`disk`] runs clients of the engine over a disk that fails at every point in turn, [`groups`] a whole
//! broker with consumer groups over the same, [`process`] clients of real brokers that are killed and stopped, [`soak`]
//! clients whose broker is restarted, whose network is cut and whose certificates are rotated, and which are to notice none of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checker;
mod checker_tests;
mod clients;
mod disk;
mod group_checker;
mod groups;
#[path = "../process/harness.rs"]
#[expect(dead_code, reason = "the tests of the process need more of it")]
mod harness;
mod planted;
mod process;
mod record;
mod soak;
mod workload;
