//! `log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `log`.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Check every byte of a data directory, and change nothing
    Verify(LogVerify),
    /// Show what lies in a data directory, entry by entry, and change nothing
    #[command(after_help = "Examples:
  sealstream log dump ./sealstream-data --topic orders --count 5 --records
  sealstream log dump ./sealstream-data --json | jq 'select(.kind == \"fault\")'")]
    Dump(LogDump),
    /// Copy a data directory, also while its broker runs; whoever starts on the copy begins new log epochs
    Snapshot(LogSnapshot),
}

/// `log verify`.
#[derive(Debug, Args)]
pub struct LogVerify {
    /// The data directory
    pub dir: PathBuf,
    /// Check although a broker is running in it: what is being appended meanwhile may look torn
    #[arg(long)]
    pub while_running: bool,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `log dump`.
#[derive(Debug, Args)]
pub struct LogDump {
    /// The data directory; a broker may be running in it
    pub dir: PathBuf,
    /// Only this topic, by name or id
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only partitions of this number
    #[arg(long, value_name = "P")]
    pub partition: Option<u32>,
    /// Only entries that hold this offset or come after it
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub from: u64,
    /// So many entries of each partition at most
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Show the records too: time, key and value
    #[arg(long)]
    pub records: bool,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `log snapshot`.
#[derive(Debug, Args)]
pub struct LogSnapshot {
    /// The data directory; a broker may be running in it
    pub dir: PathBuf,
    /// Where the copy goes: an empty directory, or one that is not there yet. On the same file system, what does not change any more takes
    /// no room of its own
    pub to: PathBuf,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

impl LogCommand {
    /// Whether the output is for machines.
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Verify(args) => args.json,
            Self::Dump(args) => args.json,
            Self::Snapshot(args) => args.json,
        }
    }
}
