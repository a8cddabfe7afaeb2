//! What the command line takes, and the help that says so: one file for each group of commands.

mod auth;
mod bench;
mod context;
mod doctor;
mod group;
mod log;
mod records;
mod serve;
mod setup;
mod tls;
mod token;
mod topic;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use self::auth::{AuthCheck, AuthCommand};
pub use self::bench::{Bench, BenchCommand, BenchConnect, BenchLatency};
pub(super) use self::context::A_CONTEXT;
pub use self::context::{
    ContextAdd, ContextChoice, ContextCommand, ContextList, ContextRemove, ContextShow, ContextUse,
};
pub use self::doctor::Doctor;
pub use self::group::{GroupCommand, GroupDelete, GroupDescribe, GroupList, GroupSeek};
pub use self::log::{LogCommand, LogDump, LogSnapshot, LogVerify};
pub use self::records::{Compression, Consume, Format, From, Produce};
pub use self::serve::{ConfigArgs, ConfigCommand, ConfigSource, Serve};
pub use self::setup::{Completions, Manual, Shell};
pub use self::tls::{TlsArgs, TlsCommand};
pub use self::token::{TokenCommand, TokenCreate, TokenList, TokenRevoke};
pub use self::topic::{
    TopicAlter, TopicCommand, TopicCreate, TopicDelete, TopicDescribe, TopicList, TopicOptions,
};
use crate::config::Span;

/// A message-streaming broker; every byte on the wire is sealed by TLS 1.3 or QUIC
#[derive(Debug, Parser)]
#[command(name = "sealstream", version, arg_required_else_help = true, max_term_width = 110)]
// Its help fits a screen of 80 by 24: what belongs to every command, and what only packagers need, is in the long one.
#[command(
    disable_help_flag = true,
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{subcommands}{after-help}"
)]
#[command(
    after_help = "`sealstream COMMAND --help` explains one; `sealstream help` says how to begin.",
    after_long_help = "Start a broker on this machine, and use it from a second terminal:

  sealstream serve
  sealstream topic create greetings
  echo hello | sealstream produce greetings
  sealstream consume greetings

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 usage, 130 ended by Ctrl-C (143 by SIGTERM): then what was \
done so far is done, and told. The first Ctrl-C ends a command in order, a second one at once.

How to reach a broker comes from flags, the environment (SEALSTREAM_URL, SEALSTREAM_CA, SEALSTREAM_CERT, SEALSTREAM_KEY, \
SEALSTREAM_TOKEN), or a context (`sealstream context --help`), in this order.

Colours are for terminals: NO_COLOR turns them off, --color always or never decides for one command. SEALSTREAM_LOG sets what is \
logged: error, warn, info, debug, or a filter such as info,sealstream_transport=debug.

Completions for bash, zsh and fish, and man pages, come out of the binary: see `sealstream completions --help` and `sealstream man \
--help`."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// When there are colours.
    #[arg(
        help = "Colours: always, never, or auto: on a terminal, unless NO_COLOR is set",
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_possible_values = true
    )]
    pub color: Color,
    /// Print help; `sealstream help COMMAND` says more of the values
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
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
    /// List, describe, move and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Ask a broker whether it is there and well
    Health(Health),
    /// Show what a broker holds, in memory and on disk, and what bounds it
    Status(Status),
    /// Show certificates and trust of a broker, or have it load them anew
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Make, list and revoke the bearer tokens that clients can come with
    #[command(subcommand)]
    Token(TokenCommand),
    /// Ask who may do what
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Check, show and copy data directories on this machine
    #[command(subcommand)]
    Log(LogCommand),
    /// Look for what keeps a broker or client from its work, and for the remedy
    Doctor(Doctor),
    /// Load a broker and measure it
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Keep under names how brokers are reached, and choose one
    #[command(subcommand)]
    Context(ContextCommand),
    /// Write completions for a shell
    #[command(hide = true)]
    Completions(Completions),
    /// Write man pages
    #[command(hide = true)]
    Man(Manual),
}

/// How to reach a broker: every client command takes these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Take what is not given here from this context, and nothing from the environment [default: the context in use]
    #[arg(long, value_name = "NAME", env = "SEALSTREAM_CONTEXT", value_hint = A_CONTEXT)]
    pub context: Option<ContextChoice>,
    /// The broker: tls://, quic:// or auto://, a host and a port
    #[arg(long, value_name = "URL", env = "SEALSTREAM_URL", default_value = "tls://localhost:7420", value_parser = NonEmptyStringValueParser::new())]
    pub url: String,
    /// CA file (PEM) to trust [default: for localhost the development CA of `SEALSTREAM_DATA_DIR` or ./sealstream-data, else the public roots]
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_CA")]
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_CERT", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File that holds a bearer token, read for each session anew [or the token itself in `SEALSTREAM_TOKEN`]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Give up after so long without the broker [default: 120s for produce, consume and bench; 10s otherwise]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `health`.
#[derive(Debug, Args)]
#[command(
    after_help = "By itself it asks the monitor of the broker on this machine whether that is ready, at the address that the configuration \
gives it: 127.0.0.1:7421. With --url (or SEALSTREAM_URL, or a context) it connects there, verifies the certificate, and completes a \
session's Hello: all that a client needs.

Exit code 0 means that it is well, 1 that it is not, and why.

Examples:
  sealstream health
  sealstream health --monitor 127.0.0.1:9000
  sealstream health --url tls://broker.example.org:7420 --ca ca.pem"
)]
pub struct Health {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
    /// Configuration file (TOML) of the broker on this machine, which says where its monitor is
    #[arg(long, value_name = "FILE", env = "SEALSTREAM_CONFIG", help_heading = "Monitor")]
    pub config: Option<PathBuf>,
    /// Address of the monitor, on loopback [default: as the configuration says]
    #[arg(long, value_name = "ADDR", help_heading = "Monitor", value_parser = values::address)]
    pub monitor: Option<SocketAddr>,
    /// Whether the URL was given, by flag, environment or context, rather than being the default.
    #[arg(skip)]
    pub has_url: bool,
}

/// `status`.
#[derive(Debug, Args)]
#[command(after_help = "Needs the right to administer the broker itself (admin on *).

Examples:
  sealstream status
  sealstream status --json | jq '.produce.now, .largest_sessions'")]
pub struct Status {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

impl Command {
    /// What is wrong with arguments that are right one by one, beyond what the parser finds.
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Self::Consume(args) => args.fault(),
            Self::Produce(args) => args.fault(),
            _ => None,
        }
    }

    /// Whether the command was asked for machine-readable output, which errors are then too.
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Config(ConfigCommand::Check(args) | ConfigCommand::Show(args)) => args.json,
            Self::Topic(command) => command.connection().json,
            Self::Group(command) => command.connection().json,
            Self::Produce(args) => args.connection.json,
            Self::Consume(args) => args.connection.json,
            Self::Health(args) => args.connection.json,
            Self::Status(args) => args.connection.json,
            Self::Tls(TlsCommand::Show(args) | TlsCommand::Reload(args)) => args.connection.json,
            Self::Token(command) => command.connection().json,
            Self::Auth(AuthCommand::Check(args)) => args.connection.json,
            Self::Log(command) => command.wants_json(),
            Self::Doctor(args) => args.connection.json,
            Self::Bench(command) => command.connection().json,
            Self::Context(command) => command.wants_json(),
            // A line of its log like the others.
            Self::Serve(args) => args.log_format.is_json(),
            Self::Completions(_) | Self::Man(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
