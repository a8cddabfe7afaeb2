//! `serve` and `config`.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::values::address;

/// `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a configuration it listens on 127.0.0.1:7420 over TCP and UDP, keeps its log in ./sealstream-data, and \
makes a development CA and a certificate for localhost there.

Examples:
  sealstream serve
  sealstream serve --data-dir /var/lib/sealstream --config /etc/sealstream.toml
  SEALSTREAM_LISTEN=127.0.0.1:7421,[::1]:7421 sealstream serve

The first SIGTERM or SIGINT stops it in order: sessions finish, the log is sealed. A second one stops it at \
once. SIGHUP loads certificates, keys and trust anew, as `sealstream tls reload` does.

Log lines go to stderr, each with the connection and session that it is about: for reading on a terminal, one JSON object a line \
everywhere else, unless --log-format decides. SEALSTREAM_LOG says which lines there are. Traces go to a collector \
where the configuration names one (traces.otlp) and the binary was built with the feature `otlp`."
)]
pub struct Serve {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigSource,
    /// Address to listen on, TCP and UDP; may be given more than once [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// Log lines: text, json, or auto: text on a terminal, JSON elsewhere
    #[arg(
        long,
        env = "SEALSTREAM_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
}

/// What log lines are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for reading.
    Text,
    /// One object a line.
    Json,
}

impl LogFormat {
    /// Whether it is JSON, for this process's stderr.
    pub fn is_json(self) -> bool {
        match self {
            Self::Auto => !io::stderr().is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
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
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}
