//! What the command line takes, and the help that says so.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{DurabilityName, Span};

/// A message-streaming broker whose every byte on the wire is sealed: TLS 1.3 over TCP, or QUIC.
#[derive(Debug, Parser)]
#[command(name = "sealstream", version, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "Start a broker on this machine, and use it from a second terminal:

  sealstream serve
  sealstream topic create greetings
  echo hello | sealstream produce greetings
  sealstream consume greetings

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 usage.
SEALSTREAM_LOG sets what is logged (error, warn, info, debug, or a filter such as info,sealstream_transport=debug).")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker
    Serve(Serve),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Write lines to a topic, one record a line
    Produce(Produce),
    /// Read a topic's records
    Consume(Consume),
    /// Ask a broker whether it is there and well
    Health(Health),
    /// Show what certificates a broker serves and whom it trusts, or have it load them anew
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Examine a data directory on this machine
    #[command(subcommand)]
    Log(LogCommand),
    /// Load a broker and measure it
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a configuration it listens on 127.0.0.1:7420 over TCP and UDP, keeps its log in ./sealstream-data, and
makes a development CA and a certificate for localhost there.

Examples:
  sealstream serve
  sealstream serve --data-dir /var/lib/sealstream --config /etc/sealstream.toml
  SEALSTREAM_TLS_CERT=server.pem SEALSTREAM_TLS_KEY=server.key sealstream serve --listen 0.0.0.0:7420

The first SIGTERM or SIGINT stops it in order: sessions finish, the log is sealed. A second one stops it at once.
SIGHUP loads certificates, keys and trust anew, as `sealstream tls reload` does."
)]
pub struct Serve {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigSource,
    /// Address to listen on, TCP and UDP; may be given more than once [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Log as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub struct ConfigSource {
    /// Configuration file (TOML); environment variables and flags win over it
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the log is kept [default: ./sealstream-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and the certificates it names, and change nothing
    Check(ConfigArgs),
    /// Show every key, its value and where it came from
    Show(ConfigArgs),
}

/// What `config check` and `config show` take.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub source: ConfigSource,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

/// How to reach a broker: every client command takes these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The broker: tls://, quic:// or auto://, a host and a port
    #[arg(long, value_name = "URL", env = "SEALSTREAM_URL", default_value = "tls://localhost:7420")]
    pub url: String,
    /// CA file (PEM) to trust [default: for localhost the development CA of ./sealstream-data, else the public roots]
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_CA")]
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_CERT", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File that holds a bearer token [or the token itself in `SEALSTREAM_TOKEN`]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Give up after so long without the broker [default: 120s for produce, consume and bench; 10s otherwise]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

/// `topic`.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Make a topic
    #[command(after_help = "Examples:
  sealstream topic create orders --partitions 8
  sealstream topic create metrics --durability memory --retention 12h --if-not-exists")]
    Create(TopicCreate),
    /// List all topics
    List(TopicList),
    /// Show a topic and its partitions
    Describe(TopicDescribe),
    /// Change how a topic is kept
    Alter(TopicAlter),
    /// Delete a topic and its records
    Delete(TopicDelete),
}

/// How a topic is kept; what is not given stays as it is.
#[derive(Debug, Args)]
pub struct TopicOptions {
    /// What an acknowledgement promises: disk survives power loss, memory the end of the broker's process
    #[arg(long, value_name = "KIND")]
    pub durability: Option<DurabilityName>,
    /// Delete records older than this, such as 12h or 7days; 0s keeps them for ever
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Span>,
    /// Delete the oldest records of a partition beyond this, such as 10GiB; 0 keeps all
    #[arg(long, value_name = "SIZE")]
    pub retention_bytes: Option<ByteSize>,
}

/// `topic create`.
#[derive(Debug, Args)]
pub struct TopicCreate {
    /// 1 to 255 of: letters, digits, `.`, `_`, `-`
    pub name: String,
    /// How many partitions [default: the broker's, usually 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub partitions: Option<u32>,
    /// Leave a topic that is there as it is, and succeed
    #[arg(long)]
    pub if_not_exists: bool,
    /// How it is kept.
    #[command(flatten)]
    pub options: TopicOptions,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic list`.
#[derive(Debug, Args)]
pub struct TopicList {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic describe`.
#[derive(Debug, Args)]
pub struct TopicDescribe {
    /// The topic
    pub name: String,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic alter`.
#[derive(Debug, Args)]
pub struct TopicAlter {
    /// The topic
    pub name: String,
    /// What to change.
    #[command(flatten)]
    pub options: TopicOptions,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic delete`.
#[derive(Debug, Args)]
pub struct TopicDelete {
    /// The topic
    pub name: String,
    /// Yes, delete all of its records
    #[arg(long, required = true)]
    pub yes: bool,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `produce`.
#[derive(Debug, Args)]
#[command(
    after_help = "The newline is not part of the record; a last line without one counts; \\r is kept. Returns once every record
is acknowledged. A broker that restarts meanwhile is waited for, and no record is stored twice.

Examples:
  sealstream produce logs < app.log
  sealstream produce users --file users.tsv --key-separator $'\\t'
  journalctl -f | sealstream produce journal --linger 200"
)]
pub struct Produce {
    /// The topic
    pub topic: String,
    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What stands before the first S in a line is the record's key
    #[arg(long, value_name = "S", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub key_separator: Option<String>,
    /// Write to this partition only
    #[arg(long, value_name = "P")]
    pub partition: Option<u32>,
    /// Wait so many milliseconds for a batch to fill
    #[arg(long, value_name = "MS", default_value_t = 5)]
    pub linger: u64,
    /// Send a batch once it holds so many bytes
    #[arg(long, value_name = "N", default_value = "1MiB")]
    pub batch_bytes: ByteSize,
    /// Compress batches
    #[arg(long, value_enum, value_name = "CODEC", default_value_t = Compression::None)]
    pub compression: Compression,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
}

/// `consume`.
#[derive(Debug, Args)]
#[command(after_help = "Starts at the beginning and stops at the end, unless told otherwise.

Examples:
  sealstream consume logs | grep ERROR
  sealstream consume logs --from end --follow
  sealstream consume logs --from 2026-01-31T12:00:00Z --format json | jq .value")]
pub struct Consume {
    /// The topic
    pub topic: String,
    /// Where to start: beginning, end, an offset, or a time (RFC 3339)
    #[arg(long, value_name = "WHERE", default_value = "beginning")]
    pub from: From,
    /// Read this partition only
    #[arg(long, value_name = "P")]
    pub partition: Option<u32>,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Wait for new records at the end
    #[arg(long)]
    pub follow: bool,
    /// raw writes value and newline, json one object a line [default: raw, or json with --json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// How `consume` writes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The value and a newline.
    Raw,
    /// One JSON object a line: partition, offset, timestamp, key, value, headers. Bytes that are not UTF-8 come as `{"base64": …}`.
    Json,
}

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first record that is there.
    Beginning,
    /// After the last.
    End,
    /// At this offset of every partition read.
    Offset(u64),
    /// At the first batch that was stored at or after this time, in milliseconds since the Unix epoch.
    Time(i64),
}

impl Command {
    /// Whether the command was asked for machine-readable output, which errors are then too.
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Serve(_) => false,
            Self::Config(ConfigCommand::Check(args) | ConfigCommand::Show(args)) => args.json,
            Self::Topic(command) => command.connection().json,
            Self::Produce(args) => args.connection.json,
            Self::Consume(args) => args.connection.json,
            Self::Health(args) => args.connection.json,
            Self::Tls(TlsCommand::Show(args) | TlsCommand::Reload(args)) => args.connection.json,
            Self::Log(LogCommand::Verify(args)) => args.json,
            Self::Bench(BenchCommand::Produce(args) | BenchCommand::Consume(args)) => args.connection.json,
        }
    }
}

impl TopicCommand {
    /// The broker that the command is for.
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Create(args) => &args.connection,
            Self::List(args) => &args.connection,
            Self::Describe(args) => &args.connection,
            Self::Alter(args) => &args.connection,
            Self::Delete(args) => &args.connection,
        }
    }
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => return Ok(Self::Beginning),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            format!("`{text}` is neither beginning, end, an offset such as 42, nor a time such as 2026-01-31T12:00:00Z")
        })?;
        Ok(Self::Time(time.as_millisecond()))
    }
}

/// `health`.
#[derive(Debug, Args)]
#[command(
    after_help = "Connects, verifies the certificate, and completes a session's Hello: all that a client needs. Exit code 0 means
that it answered, 1 that it did not."
)]
pub struct Health {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `tls`.
#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Show the certificates that the broker serves, whom it trusts, and its last reload
    #[command(after_help = "Examples:
  sealstream tls show
  sealstream tls show --json | jq -r '.certificates[] | .not_after + \" \" + .subject'")]
    Show(TlsArgs),
    /// Have the broker load its TLS files anew
    #[command(
        after_help = "Everything is loaded and checked before anything changes: a file at fault leaves what is served as it is, and
exit code 1 says so. Clients whom the new trust no longer covers are disconnected; all others stay connected.

Examples:
  sealstream tls reload
  sealstream tls reload --json | jq -r .outcome"
    )]
    Reload(TlsArgs),
}

/// `tls show` and `tls reload`.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

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
    after_help = "Makes a topic of its own and deletes it in the end. The yardstick is the same number of bytes over bare
tokio-rustls on loopback in the same process, before and after; what is printed last is the broker's share of it.

Example:
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_start_is_a_word_an_offset_or_a_time() {
        assert_eq!("end".parse(), Ok(From::End));
        assert_eq!("42".parse(), Ok(From::Offset(42)));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(From::Time(1000)));
        assert!("yesterday".parse::<From>().unwrap_err().contains("2026-01-31T12:00:00Z"));
    }

    #[test]
    fn deleting_a_topic_takes_a_yes() {
        assert!(Cli::try_parse_from(["sealstream", "topic", "delete", "t"]).is_err());
        assert!(Cli::try_parse_from(["sealstream", "topic", "delete", "t", "--yes"]).is_ok());
    }
}
