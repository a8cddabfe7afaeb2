//! The real binary: what needs a process, signals, files and exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod groups;
mod harness;
mod openssl;
mod reconnect;
mod restart;
mod round_trip;
mod tls;
