//! `token`.

use clap::{Args, Subcommand};

use super::Connection;
use super::values::name;
use crate::config::Span;

/// `token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a bearer token, and show it this once
    #[command(
        after_help = "The token goes to stdout, all else to stderr. What its bearer may do, the broker's rules say: they see the \
token's identity. Two tokens of one identity let a program go over from one to the other.

Examples:
  sealstream token create billing --expires 90days > billing.token
  sealstream token create billing-2 --identity token:billing > billing.token.new"
    )]
    Create(TokenCreate),
    /// List the tokens, without their secrets
    List(TokenList),
    /// Revoke a token: its sessions end within a second
    Revoke(TokenRevoke),
}

/// `token create`.
#[derive(Debug, Args)]
pub struct TokenCreate {
    /// 1 to 255 of: letters, digits, `.`, `_`, `-`
    #[arg(value_parser = name)]
    pub name: String,
    /// Whom its bearer is taken for: `token:…`, or what `auth.token_identities` of the broker lets tokens be [default: token:NAME]
    #[arg(long, value_name = "IDENTITY")]
    pub identity: Option<String>,
    /// Let it end after so long, such as 12h or 30days [default: it is good until it is revoked]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Span>,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `token list`.
#[derive(Debug, Args)]
pub struct TokenList {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `token revoke`.
#[derive(Debug, Args)]
pub struct TokenRevoke {
    /// The token
    pub name: String,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

impl TokenCommand {
    /// The broker that the command is for.
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Create(args) => &args.connection,
            Self::List(args) => &args.connection,
            Self::Revoke(args) => &args.connection,
        }
    }
}
