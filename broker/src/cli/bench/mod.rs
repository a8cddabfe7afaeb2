//! `bench`: load on a broker, and what it says to it.
//!
//! `produce` and `consume` ask how much, as fast as it goes; `latency` asks how long, at a rate that is given; `connect` asks
//! how many connections a second, and how long each.

mod connect;
mod latency;
pub mod schedule;
mod throughput;

use super::Failure;
use super::args::BenchCommand;
use throughput::Side;

/// Carries out a bench command.
pub(super) fn run(command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Produce(args) => throughput::run(args, Side::Produce),
        BenchCommand::Consume(args) => throughput::run(args, Side::Consume),
        BenchCommand::Latency(args) => latency::run(args),
        BenchCommand::Connect(args) => connect::run(args),
    }
}
