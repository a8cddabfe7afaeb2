//! From what the process was called with to a command whose connection is complete.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::Failure;
use super::args::{self, Cli};
use super::context::Store;
use super::context::chosen::{Chosen, chosen, takes_context};

/// What the process was called with. What cannot be understood, or does not fit together, ends it with exit code 2 and says why;
/// a context that cannot be had is a failure, reported already.
pub(super) fn parse() -> Result<Cli, ExitCode> {
    let matches = Cli::command().try_get_matches().map_err(|error| said(&error))?;
    let filled = context(&matches)?;
    // Once more with what the context says as the defaults: so flags and variables win over it, one by one.
    let matches = match &filled {
        Some(chosen) => chosen.fill(Cli::command()).try_get_matches().map_err(|error| said(&error))?,
        None => matches,
    };
    let mut cli =
        Cli::from_arg_matches(&matches).map_err(|error| said(&error.format(&mut Cli::command())))?;
    if let args::Command::Health(health) = &mut cli.command {
        let context = health.connection.context.as_ref();
        let given =
            leaf(&matches).value_source("url").is_some_and(|source| source != ValueSource::DefaultValue);
        health.has_url = given || context.is_some_and(|context| !context.name.is_empty());
    }
    if let Some(fault) = cli.command.fault() {
        return Err(said(&of_whom(&mut root(), &matches).error(ErrorKind::ArgumentConflict, fault)));
    }
    Ok(cli)
}

/// What the context says, of a command that takes one.
fn context(matches: &ArgMatches) -> Result<Option<Chosen>, ExitCode> {
    if !takes_context(of_whom(&mut root(), matches)) {
        return Ok(None);
    }
    let command = leaf(matches);
    // Who takes a context has `--json`.
    chosen(command, Store::of_user().as_ref()).map_err(|failure| failure.report(command.get_flag("json")))
}

/// The variable that stands for a flag, where that is what is empty.
fn empty_variable(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidValue {
        return None;
    }
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = arg.strip_prefix("--")?.split(' ').next()?;
    let variable = format!("SEALSTREAM_{}", flag.to_uppercase());
    std::env::var_os(&variable).is_some_and(|value| value.is_empty()).then_some(variable)
}

/// Says what clap has to say: the help and the version on stdout, where it is a failure that they cannot be written.
fn said(error: &clap::Error) -> ExitCode {
    if let Some(variable) = empty_variable(error) {
        let fault = format!("{variable} is empty: give it a value, or unset it");
        return said(&Cli::command().error(ErrorKind::ValueValidation, fault));
    }
    match error.print().and_then(|()| io::stdout().flush()) {
        Err(fault) if !error.use_stderr() => Failure::output(&fault).report(false),
        _ => u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// The command line with the names by which its commands are called.
fn root() -> Command {
    let mut root = Cli::command();
    root.build();
    root
}

/// The command that is to be carried out: what is said of it shows its usage.
fn of_whom<'a>(command: &'a mut Command, matches: &ArgMatches) -> &'a mut Command {
    match matches.subcommand() {
        Some((name, matches)) if command.find_subcommand(name).is_some() => {
            of_whom(command.find_subcommand_mut(name).expect("it was just found"), matches)
        }
        _ => command,
    }
}

/// What was given to the command itself.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| leaf(matches))
}
