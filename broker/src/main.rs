//! The one binary of Sealstream: server and command line.

use std::process::ExitCode;

use sealstream_broker::cli;

/// That of musl takes a lock for every call.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
