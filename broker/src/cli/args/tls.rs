//! `tls`.

use clap::{Args, Subcommand};

use super::Connection;

/// `tls`.
#[derive(Debug, Subcommand)]
pub enum TlsCommand {
    /// Show the certificates that the broker serves, whom it trusts, and its last reload
    #[command(after_help = "Examples:
  sealstream tls show
  sealstream tls show --json | jq '.certificates[] | .not_after, .subject'")]
    Show(TlsArgs),
    /// Have the broker load its TLS files anew
    #[command(
        after_help = "Everything is loaded and checked before anything changes: a file at fault leaves what is served as it is, and \
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
