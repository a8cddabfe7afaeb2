//! The one binary of Sealstream: server and command line.

use std::process::ExitCode;

use sealstream_broker::cli;

fn main() -> ExitCode {
    cli::main()
}
