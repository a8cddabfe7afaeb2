//! `auth`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;
use super::values::identity;
use crate::config::ActionName;

/// `auth`.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Say whether somebody may do something, and which rule decides
    #[command(
        after_help = "Asks the running broker, or with --config looks into a configuration file, which need not be in use yet. Exit \
code 0 means that there is an answer, whichever it is.

Examples:
  sealstream auth check spiffe://example.org/billing produce orders.eu
  sealstream auth check token:billing admin '*' --config /etc/sealstream.toml
  sealstream auth check anonymous consume metrics --json | jq .allowed"
    )]
    Check(AuthCheck),
}

/// `auth check`.
#[derive(Debug, Args)]
pub struct AuthCheck {
    /// Whom it is about, as the broker sees it: `spiffe://…`, `dns:…`, `email:…`, `cn:…`, `token:…` or `anonymous`
    #[arg(value_parser = identity)]
    pub identity: String,
    /// What would be done
    #[arg(value_enum)]
    pub action: ActionName,
    /// To which topic; `*` is the broker itself: tokens, TLS, deletion of groups
    pub topic: String,
    /// Look into this configuration file instead of asking a broker
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}
