//! `bench`: load on a broker, and what it says to it.
//!
//! `produce` and `consume` ask how much, as fast as it goes; `latency` asks how long, at a rate that is given; `connect` asks
//! how many connections a second, and how long each.

mod connect;
mod latency;
pub mod schedule;
mod throughput;

use std::time::Duration;

use super::Failure;
use super::args::BenchCommand;
use super::interrupt::Interrupt;
use throughput::Side;

/// 10 s: once an end was asked, a broker that may be gone is waited for no longer.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Carries out a bench command.
pub(super) fn run(command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Produce(args) => throughput::run(args, Side::Produce),
        BenchCommand::Consume(args) => throughput::run(args, Side::Consume),
        BenchCommand::Latency(args) => latency::run(args),
        BenchCommand::Connect(args) => connect::run(args),
    }
}

/// Carries out a benchmark that has made `topic`, to its end; once an end was asked, for [`LAST_WORDS`] at most.
async fn with_last_words(
    interrupt: &Interrupt,
    topic: &str,
    bench: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let waited_in_vain = async {
        interrupt.asked().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        biased;
        done = bench => done,
        () = waited_in_vain => Err(Failure::new(format!(
            "interrupted, and the broker does not answer: `sealstream topic delete {topic} --yes` removes what is left behind"
        ))),
    }
}
