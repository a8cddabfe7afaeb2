//! `completions`: a script for a shell.
//!
//! It is made by clap, which knows commands, flags and fixed values. The names of contexts change: for them the script asks
//! `sealstream context list --names`, by a function of its own that is put in here where clap has put what stands for a context.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::aot::{Bash, Fish, Generator, Zsh, generate};

use crate::cli::Failure;
use crate::cli::args::{Cli, Completions, Shell};

/// What clap makes of [`A_CONTEXT`](crate::cli::args::A_CONTEXT) in zsh, and in fish; in bash nothing.
const IN_ZSH: &str = ":_users";
const IN_FISH: &str = "(__fish_complete_users)";

/// `completions`.
pub(in crate::cli) fn completions(args: &Completions) -> Result<(), Failure> {
    let script = match args.shell {
        Shell::Bash => bash()?,
        Shell::Zsh => zsh()?,
        Shell::Fish => fish()?,
    };
    let mut out = io::stdout().lock();
    out.write_all(script.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

fn made_by(generator: impl Generator) -> Result<String, Failure> {
    let mut script = Vec::new();
    generate(generator, &mut Cli::command(), "sealstream", &mut script);
    Ok(String::from_utf8(script)?)
}

/// Bash asks a function of ours first.
fn bash() -> Result<String, Failure> {
    let script = made_by(Bash)?.replace("complete -F _sealstream ", "complete -F _sealstream_or_contexts ");
    Ok(script + include_str!("contexts.bash"))
}

/// The last lines of a script for zsh call what stands before them.
fn zsh() -> Result<String, Failure> {
    let call = "if [ \"$funcstack[1]\"";
    let with_contexts = format!("{}{call}", include_str!("contexts.zsh"));
    Ok(made_by(Zsh)?.replace(IN_ZSH, ":_sealstream_contexts").replacen(call, &with_contexts, 1))
}

/// Positional arguments are none of clap's business in fish: ours stand behind the rest.
fn fish() -> Result<String, Failure> {
    let script = made_by(Fish)?.replace(IN_FISH, "(__sealstream_contexts)");
    Ok(script + include_str!("contexts.fish"))
}
