//! The real binary: what needs a process, signals, files and exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod bad_input;
mod consume_group;
mod contexts;
mod groups;
mod harness;
mod interrupt;
mod json;
mod log;
mod openssl;
mod quotas;
mod reconnect;
mod restart;
mod round_trip;
mod setup;
mod status;
mod terminal;
mod tls;
