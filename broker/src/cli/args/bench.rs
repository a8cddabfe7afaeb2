//! `bench`.

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::Connection;
use crate::config::DurabilityName;

/// `bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure how fast records are written and acknowledged
    Produce(Bench),
    /// Measure how fast records are read
    Consume(Bench),
}

/// `bench produce` and `bench consume`.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes a topic of its own and deletes it in the end. The yardstick is the same number of bytes over bare \
tokio-rustls on loopback in the same process, before and after; what is printed last is the broker's share of it.

Examples:
  sealstream bench produce --bytes 1GiB --durability memory"
)]
pub struct Bench {
    /// How much to move, in bytes of values
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub bytes: ByteSize,
    /// Bytes of each record's value
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    pub record_bytes: ByteSize,
    /// Records in a batch
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub batch_records: u32,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub partitions: u32,
    /// Durability of the topic
    #[arg(long, value_name = "KIND", default_value = "memory")]
    pub durability: DurabilityName,
    /// Do not measure the yardstick
    #[arg(long)]
    pub no_baseline: bool,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}
