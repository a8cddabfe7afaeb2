//! The one binary of Sealstream: server and command line.

use std::process::ExitCode;

use sealstream_broker::cli::{self, args::Cli};

fn main() -> ExitCode {
    cli::run(&Cli::parse_or_exit())
}
