//! `compare`: how fast it is, beside what the machine gives and beside other brokers, in one go on one machine.
//!
//! ```text
//! workloads ──► tasks, one for each contestant and case ──► runner: rounds in which the tasks take turns ──► figures
//!                                                                                     figures ──► Markdown, JSON, SVG, marks
//! ```
//!
//! Every server is a process of its own: the broker (this program again, with the broker's own code), the bare ends (this program
//! again), NATS and Redis. All clients are in this process, but for those of idle connections. `docs/benchmarks.md` says how to run
//! it and how to read what it prints. Linux only.

mod args;
mod contestants;
mod figure;
mod report;
mod runner;
mod workloads;

use std::process::ExitCode;

use clap::Parser as _;
use sealstream_benches::{broker, process};

use args::Args;
use runner::Runner;

/// What a workload returns when it cannot go on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(broker::ROLE) => broker::run(&arguments[2..]),
        Some(contestants::bare::ROLE) => contestants::bare::serve(&arguments[2..]),
        Some(workloads::idle::ROLE) => workloads::idle::hold(&arguments[2..]),
        _ => return compare(&Args::parse()),
    }
    ExitCode::SUCCESS
}

fn compare(args: &Args) -> ExitCode {
    process::raise_limit();
    let mut runner = Runner::new(args);
    let field = contestants::Field::gather(args, &runner);
    for (name, run) in workloads::ALL {
        if args.asks_for(name) {
            run(&mut runner, &field);
        }
    }
    let missing = field.missing;
    match report::write(args, &runner.into_outcome(missing)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {}: {error}: give another directory by --out", args.out.display());
            ExitCode::FAILURE
        }
    }
}
