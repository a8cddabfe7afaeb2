//! `bench`.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use clap::{Args, Subcommand};
use sealstream_protocol::limits::MAX_PARTITIONS;

use super::Connection;
use super::values::{at_least, one_to, some_time};
use crate::config::{DurabilityName, Size, Span};

/// `bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure how fast records are written and acknowledged
    Produce(Bench),
    /// Measure how fast records are read
    Consume(Bench),
    /// Measure how long records take to be acknowledged and to reach a consumer, at a given rate
    Latency(BenchLatency),
    /// Measure how many connections can be made in a second, by full and by resumed handshakes, and how long each takes
    Connect(BenchConnect),
}

impl BenchCommand {
    /// The broker that the command is for.
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Produce(args) | Self::Consume(args) => &args.connection,
            Self::Latency(args) => &args.connection,
            Self::Connect(args) => &args.connection,
        }
    }
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
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = |text: &str| at_least(text, 1))]
    pub bytes: Size,
    /// Bytes of each record's value
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = |text: &str| at_least(text, 1))]
    pub record_bytes: Size,
    /// Records in a batch
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub batch_records: u32,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PARTITIONS)))]
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

/// `bench latency`.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes a topic of its own, of one partition, and deletes it in the end. An open loop: batches are sent when they are due, \
whatever became of those before, and each time counts from when its batch was due. So a broker that stands still for a second \
shows it, also in what could not be sent meanwhile. A second of warm-up is not counted.

`acknowledged` is until the broker's answer, `received` until a consumer in this process has the record, `sent late` until the \
client had taken it: where that one is large, this machine or the producer's window was the bottleneck.

Examples:
  sealstream bench latency --rate 5000 --record-bytes 256B --duration 30s
  sealstream bench latency --rate 900 --batch-records 10 --json | jq .received"
)]
pub struct BenchLatency {
    /// Records a second
    #[arg(long, value_name = "N", default_value_t = 1000.0)]
    pub rate: f64,
    /// Bytes of each record's value, at least 8
    #[arg(long, alias = "size", value_name = "SIZE", default_value = "1KiB", value_parser = |text: &str| at_least(text, 8))]
    pub record_bytes: Size,
    /// Records in a batch, which are sent together
    #[arg(long, alias = "batch", value_name = "N", default_value = "1", value_parser = |text: &str| one_to::<NonZeroU32>(text, u32::MAX))]
    pub batch_records: NonZeroU32,
    /// How long to send
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    pub duration: Span,
    /// Durability of the topic
    #[arg(long, value_name = "KIND", default_value = "disk")]
    pub durability: DurabilityName,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `bench connect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each connection is made, says Hello, and is closed again; the times are those of connecting alone. A tls:// URL measures \
TLS over TCP, a quic:// URL measures QUIC, and an auto:// URL both. `resumed` is how many were really resumed.

A broker takes 1,000 handshakes a second from one address unless told otherwise (limits.address_rate): for more, raise it.

Examples:
  sealstream bench connect --url auto://localhost
  sealstream bench connect --parallel 32 --json | jq '.runs[].per_second'"
)]
pub struct BenchConnect {
    /// Connections of each kind
    #[arg(long, value_name = "N", default_value = "1000", value_parser = |text: &str| one_to::<NonZeroU64>(text, u64::MAX))]
    pub connections: NonZeroU64,
    /// How many are made at a time
    #[arg(long, value_name = "N", default_value = "8", value_parser = |text: &str| one_to::<NonZeroU16>(text, u16::MAX))]
    pub parallel: NonZeroU16,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}
