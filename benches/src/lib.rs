//! What the benchmarks have in common: the contestants, each a process or a pair of ends, and how figures are summed up.
//!
//! ```text
//! broker      the broker as a process of its own            process   processor time and memory of a process
//! stream      one stream, ours or bare: bytes and echoes    memory    filled, as on a machine that has run for long
//! handshake   connections, ours or bare: made and held      spread    median and quarters of the rounds
//! markdown    rows of tables
//! ```
//!
//! The programs are in `benches/`, one for each question, and `src/bin/compare/`, which asks all of them in one go.

#![expect(
    clippy::missing_panics_doc,
    reason = "a benchmark ends with whatever does not work, and says what it was"
)]
#![expect(missing_debug_implementations, reason = "nobody prints the parts of a benchmark")]

pub mod broker;
pub mod handshake;
pub mod markdown;
pub mod memory;
pub mod process;
pub mod spread;
pub mod stream;
