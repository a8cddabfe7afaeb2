//! Traces: what the spans of connections, sessions and requests tell, sent to a collector by OTLP, HTTP and protobuf.
//!
//! ```text
//! span ends ──► bounded queue ──► one thread: batches ──► HTTP client (tasks of the runtime) ──► collector
//!                  └─ full: dropped, and counted           └─ fails: retried for its deadline, then lost, and counted
//! ```
//!
//! Whoever ends a span never waits: where the queue is full it is dropped. A collector that is away costs a warning, and one a minute while it
//! stays so.
//!
//! The export itself is behind the feature `otlp`; where a collector is, is known without it, so that the configuration reads the same
//! everywhere.

mod endpoint;

#[cfg(feature = "otlp")]
mod client;
#[cfg(feature = "otlp")]
mod environment;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod tally;

#[cfg(feature = "otlp")]
pub(crate) use endpoint::CollectorFiles;
pub use endpoint::CollectorUrl;
#[cfg(feature = "otlp")]
pub(crate) use export::Exporter;

/// Whether this binary can export traces.
pub(crate) const EXPORTS: bool = cfg!(feature = "otlp");
