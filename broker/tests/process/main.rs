//! The real binary: what needs a process, signals, files and exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod bad_input;
mod bench;
mod certificates;
mod consume_group;
mod contexts;
mod damage;
mod doctor;
mod drill;
mod examples;
mod flows;
mod groups;
mod harness;
mod interrupt;
mod json;
mod log;
mod mistakes;
mod monitor;
mod openssl;
mod pages;
mod quotas;
mod reconnect;
mod restart;
mod round_trip;
mod secrets;
mod setup;
mod status;
mod stdout;
mod terminal;
mod tls;
mod words;
