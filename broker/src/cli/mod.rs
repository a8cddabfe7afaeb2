//! The command line: one function for each command, and what they share.
//!
//! Data goes to stdout, all else to stderr. A command that fails says one sentence that names the thing and the remedy.

pub mod args;
mod auth;
mod baseline;
pub mod bench;
mod config;
mod connect;
mod consume;
mod context;
mod descriptors;
mod doctor;
mod failure;
mod group;
mod health;
mod interrupt;
mod lines;
mod link;
mod log;
mod logging;
mod output;
mod parse;
mod produce;
mod progress;
mod remedy;
mod serve;
mod setup;
mod signals;
mod status;
mod style;
mod tls;
mod token;
mod topic;

use std::process::ExitCode;

use args::{AuthCommand, Cli, Command, ConfigCommand, TlsCommand};
pub use failure::Failure;

/// Carries out what the process was called with.
pub fn main() -> ExitCode {
    style::choose(std::env::args_os());
    match parse::parse() {
        Ok(cli) => run(&cli),
        Err(code) => code,
    }
}

/// Carries out what the command line says.
pub fn run(cli: &Cli) -> ExitCode {
    let outcome = match &cli.command {
        Command::Serve(args) => serve::serve(args),
        Command::Config(ConfigCommand::Check(args)) => config::check(args),
        Command::Config(ConfigCommand::Show(args)) => config::show(args),
        Command::Topic(command) => topic::run(command),
        Command::Group(command) => group::run(command),
        Command::Produce(args) => produce::run(args),
        Command::Consume(args) => consume::run(args),
        Command::Health(args) => health::run(args),
        Command::Status(args) => status::run(args),
        Command::Tls(TlsCommand::Show(args)) => tls::show(args),
        Command::Tls(TlsCommand::Reload(args)) => tls::reload(args),
        Command::Token(command) => token::run(command),
        Command::Auth(AuthCommand::Check(args)) => auth::check(args),
        Command::Log(command) => log::run(command),
        Command::Doctor(args) => doctor::run(args),
        Command::Bench(command) => bench::run(command),
        Command::Context(command) => context::run(command),
        Command::Completions(args) => setup::completions(args),
        Command::Man(args) => setup::man(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.command.wants_json()),
    }
}
