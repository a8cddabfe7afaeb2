//! What tests of a transport share: the conformance suites, certificates, and paths that can be cut.
//!
//! A backend passes the [`stream_suite`](mod@stream_suite) for one line, and so does a crate that wraps one:
//!
//! ```
//! # #[cfg(test)]
//! sealstream_transport::stream_suite!(sealstream_transport::testing::backends::MemoryFixture::new());
//! ```
//!
//! Nothing in here waits for time to pass: tests wait for conditions, and [`PATIENCE`] only ends what has failed.

#![expect(clippy::missing_panics_doc, reason = "all of it panics wherever a property does not hold")]

pub mod backends;
mod observing;
mod pattern;
pub mod pki;
mod process;
pub mod proxy;
mod run;
pub mod security_suite;
pub mod stream_suite;

pub use observing::observe_handshake;
pub use pattern::Pattern;
pub use process::{alone, open_sockets, unprivileged};
pub use run::{PATIENCE, eventually, polled, run};

/// What the rate limiter of [`gcra`](crate::gcra) decides, step by step, in JSON: for whoever keeps its state elsewhere.
pub const GCRA_VECTORS: &str = include_str!("../../vectors/gcra.json");
