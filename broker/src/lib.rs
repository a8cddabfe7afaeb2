//! The broker of Sealstream, as a library: the durable log, and the server in front of it.
//!
//! The library is for the binary `sealstream`, its tests and its benchmarks. **It is no interface for other programs**: whatever is public in
//! here may change in any version. What holds from version to version is the command line, the configuration, what `--json` prints, the
//! protocol, and the format of data directories. A program that produces and consumes wants `sealstream-client`.
//!
//! ```text
//! cli ──► config, tls, access ──► server ──► topics, groups ──► log
//!                                    ▲ quotas
//!                       monitor ─────┘ looks on
//! ```
//!
//! # Features
//!
//! - **`test-util`**, off by default: the conformance suite of the log engines (`log::conformance`) and a simulated disk, for tests.

pub mod access;
pub mod cli;
pub mod config;
pub mod devca;
mod dial;
mod groups;
pub mod log;
pub mod meter;
pub mod monitor;
pub mod quotas;
mod report;
pub mod server;
pub mod tls;
mod topics;
pub mod traces;
