//! `completions` and `man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = "The script goes to stdout.

Examples:
  source <(sealstream completions bash)
  sealstream completions zsh > ~/.zfunc/_sealstream
  sealstream completions fish > ~/.config/fish/completions/sealstream.fish")]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sealstream man --dir ~/.local/share/man/man1
  sudo sealstream man --dir /usr/local/share/man/man1")]
pub struct Manual {
    /// Where the pages go; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}
