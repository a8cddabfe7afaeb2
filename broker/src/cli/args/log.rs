//! `log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `log`.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Check every byte of a data directory, and change nothing
    Verify(LogVerify),
}

/// `log verify`.
#[derive(Debug, Args)]
pub struct LogVerify {
    /// The data directory
    pub dir: PathBuf,
    /// Check although a broker is running in it: what is being appended meanwhile may look torn
    #[arg(long)]
    pub while_running: bool,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}
