//! `context`, and how a command says which one it takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// Stands for the name of a context in what clap makes for shells: it has no hint for names of one's own, and nothing here is a user's.
pub(in crate::cli) const A_CONTEXT: ValueHint = ValueHint::Username;

/// `context`.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Keep how to reach a broker under a name
    #[command(after_help = "Examples:
  sealstream context add prod --url tls://broker.example.org --ca ca.pem --use
  sealstream context add ci --url tls://broker --token-file ci.token --check
  sealstream topic list --context prod")]
    Add(ContextAdd),
    /// Take a context wherever none is named
    Use(ContextUse),
    /// List the contexts; a star stands before the one in use
    List(ContextList),
    /// Show a context
    Show(ContextShow),
    /// Forget a context
    Remove(ContextRemove),
}

/// `context add`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct ContextAdd {
    /// 1 to 64 of: letters, digits, `.`, `_`, `-`
    #[arg(value_parser = context_name)]
    pub name: String,
    /// The broker: tls://, quic:// or auto://, a host and a port
    #[arg(long, value_name = "URL", required = true)]
    pub url: String,
    /// CA file (PEM) to trust [default: as without a context]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File that holds a bearer token; the file is named, the token is not copied
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Connect first, and keep the context only if the broker answers within 10 seconds
    #[arg(long)]
    pub check: bool,
    /// Use it from now on
    #[arg(long = "use")]
    pub use_it: bool,
    /// Take the place of a context of this name
    #[arg(long)]
    pub replace: bool,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `context use`.
#[derive(Debug, Args)]
pub struct ContextUse {
    /// The context
    #[arg(required_unless_present = "none", value_hint = A_CONTEXT)]
    pub name: Option<String>,
    /// Use none from now on
    #[arg(long, conflicts_with = "name")]
    pub none: bool,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `context list`.
#[derive(Debug, Args)]
pub struct ContextList {
    /// The names alone, one a line
    #[arg(long, conflicts_with = "json")]
    pub names: bool,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `context show`.
#[derive(Debug, Args)]
pub struct ContextShow {
    /// The context [default: the one in use]
    #[arg(value_hint = A_CONTEXT)]
    pub name: Option<String>,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `context remove`.
#[derive(Debug, Args)]
pub struct ContextRemove {
    /// The context
    #[arg(value_hint = A_CONTEXT)]
    pub name: String,
    /// Machine-readable output: JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

impl ContextCommand {
    /// Whether the output is for machines.
    pub fn wants_json(&self) -> bool {
        match self {
            Self::Add(args) => args.json,
            Self::Use(args) => args.json,
            Self::List(args) => args.json,
            Self::Show(args) => args.json,
            Self::Remove(args) => args.json,
        }
    }
}

/// What may be the name of a context.
fn context_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') {
        return Ok(text.to_owned());
    }
    Err("a context's name is 1 to 64 of: letters, digits, `.`, `_`, `-`".into())
}

/// The context that a command takes its connection from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextChoice {
    /// Its name.
    pub name: String,
    /// Whether it was named on the command line: then it stands in place of the environment.
    pub by_flag: bool,
}

impl ContextChoice {
    /// Ends the text of one that was not named on the command line. No name has a blank.
    const IN_USE: &str = " (in use)";

    /// The text of a context that is taken without having been named on the command line.
    pub(in crate::cli) fn in_use(name: &str) -> String {
        format!("{name}{}", Self::IN_USE)
    }
}

impl std::str::FromStr for ContextChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_suffix(Self::IN_USE) {
            Some(name) => Self { name: name.to_owned(), by_flag: false },
            None => Self { name: text.to_owned(), by_flag: true },
        })
    }
}
