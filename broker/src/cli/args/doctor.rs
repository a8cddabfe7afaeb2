//! `doctor`.

use clap::Args;

use super::{ConfigSource, Connection};

/// `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "On a broker's machine it checks configuration, keys, ports, disk, clock and limits as `serve` would find them, then whether \
the broker answers over both transports. With --url alone it looks from a client's side: clock and reachability.

Each line is ok, warn or fail, with its remedy. Exit code 1 means that something failed. Nothing is changed: a probe file is \
written into the data directory, synced and removed; and the broker's log tells of a connection that was only looked at.

Examples:
  sealstream doctor
  sealstream doctor --config /etc/sealstream.toml --ca /etc/sealstream/ca.pem
  sealstream doctor --url auto://broker.example --token-file me.token
  sealstream doctor --json | jq '.findings[] | select(.level != \"ok\")'"
)]
pub struct Doctor {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigSource,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}
