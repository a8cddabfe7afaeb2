//! `serve` and `config`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

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

Log lines go to stderr, each with the connection and session that it is about; SEALSTREAM_LOG says which. Traces go to a collector \
where the configuration names one (traces.otlp) and the binary was built with the feature `otlp`."
)]
pub struct Serve {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigSource,
    /// Address to listen on, TCP and UDP; may be given more than once [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR", value_parser = address)]
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
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}
