//! The SDK against peers that follow a script, lie, stall and die, over the in-memory transport.
//!
//! Time is paused wherever a test waits for a deadline, so that none of them waits in earnest.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

mod admin;
mod cancellation;
mod consumer;
mod credentials;
mod documentation;
mod exactly_once;
mod fake;
mod group;
mod hello;
mod json;
mod model;
mod options;
mod producer;
mod spans;
mod trust;
mod wire;
