//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::workloads;

/// Measures Sealstream, the limits of the machine, NATS JetStream and Redis Streams in one run.
#[derive(Debug, Parser)]
#[command(
    name = "compare",
    after_help = "The tables are printed and written, with JSON and charts, to the directory that --out names. With nothing else running it \
takes about an hour; --quick a minute, to see that all of it works."
)]
pub(crate) struct Args {
    /// Only this workload, or these: limits, records, latency, connects, idle, start, growth, steady
    #[arg(long, value_name = "NAME", value_parser = workloads::ALL.map(|(name, _)| name))]
    only: Vec<String>,
    /// Only tasks of these cases, of which the tables have the names; a part of one is enough: --case "1 KiB × 1000, 1 client"
    #[arg(long = "case", value_name = "TEXT")]
    pub(crate) cases: Vec<String>,
    /// Only tasks of these contestants; a part of the name is enough: --who "Sealstream tls"
    #[arg(long, value_name = "TEXT")]
    pub(crate) who: Vec<String>,
    /// Small rounds, of which the figures mean nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where to write to
    #[arg(long, value_name = "DIR", default_value = "target/compare")]
    pub(crate) out: PathBuf,
    /// Rounds that count; one more warms up. An odd number has a middle
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// The server of NATS; by default one in target/peers/bin or in PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_server: Option<PathBuf>,
    /// The server of Redis; by default the one in PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) redis_server: Option<PathBuf>,
}

impl Args {
    /// Whether a workload is to run.
    pub(crate) fn asks_for(&self, workload: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == workload)
    }

    /// Rounds that count.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.into() }
    }

    /// How long one measurement lasts, about.
    pub(crate) fn target(&self) -> Duration {
        if self.quick { Duration::from_millis(10) } else { Duration::from_millis(700) }
    }
}
