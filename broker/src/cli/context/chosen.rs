//! Which context a command takes its connection from, and what of it.
//!
//! What is given in one place wins over the next: the command line, to which a context that is named there belongs as a whole; the
//! environment; the context of `SEALSTREAM_CONTEXT`, else the one in use; the defaults. A context that was not named on the command
//! line is left aside where a flag or variable names another broker: its credentials are for its own.

use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use sealstream_protocol::DEFAULT_PORT;
use sealstream_transport::Endpoint;

use super::store::{Context, Contexts, Store};
use crate::cli::Failure;
use crate::cli::args::ContextChoice;

/// The flag of every command that takes a context.
const FLAG: &str = "context";

/// The variable that holds a token itself. Without a flag of its own: others could read it off the list of processes.
pub(in crate::cli) const TOKEN_VARIABLE: &str = "SEALSTREAM_TOKEN";

/// What the connection's flags are filled with.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Chosen {
    /// None where the context is left aside.
    context: Option<(String, Context)>,
    /// Whether the environment counts.
    by_flag: bool,
    /// Whether the environment has a token, which wins over a context's unless the context was named on the command line.
    token_in_environment: bool,
}

/// Whether `command` reaches a broker, and so takes a context. Asked of its definition: what was given to it knows its flags in debug
/// builds only.
pub(in crate::cli) fn takes_context(command: &Command) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == FLAG)
}

/// What `matches`, of a command that takes a context, ask for; `None` where nothing needs to be filled in.
pub(in crate::cli) fn chosen(matches: &ArgMatches, store: Option<&Store>) -> Result<Option<Chosen>, Failure> {
    let named = matches.get_one::<ContextChoice>(FLAG);
    let by_flag = matches.value_source(FLAG) == Some(ValueSource::CommandLine);
    let token_in_environment = std::env::var_os(TOKEN_VARIABLE).is_some_and(|token| !token.is_empty());
    let aside = || Ok(Some(Chosen { context: None, by_flag: false, token_in_environment }));
    if named.is_some_and(|choice| choice.name.is_empty()) {
        // By an empty name one asks for none.
        return aside();
    }
    let Some(store) = store else {
        return match named {
            Some(choice) => Err(Failure::new(format!(
                "no context `{}`: neither HOME nor XDG_CONFIG_HOME says where contexts are",
                choice.name
            ))),
            None => Ok(None),
        };
    };
    let contexts = store.read()?;
    let Some(name) = named.map(|choice| &choice.name).or(contexts.in_use.as_ref()) else { return Ok(None) };
    let context = find(&contexts, name, named.is_some(), &store.file)?;
    if !by_flag && names_another(matches, &context.url) {
        return aside();
    }
    let context = Some((name.clone(), context.clone()));
    Ok(Some(Chosen { context, by_flag, token_in_environment }))
}

fn find<'a>(contexts: &'a Contexts, name: &str, named: bool, file: &Path) -> Result<&'a Context, Failure> {
    match contexts.by_name.get(name) {
        Some(context) => Ok(context),
        None if named => contexts.get(name, file),
        None => Err(Failure::new(format!(
            "the context in use, `{name}`, is not in {}: choose another with `sealstream context use`, or none with `--none`",
            file.display()
        ))),
    }
}

/// Whether a flag or variable names another broker than this.
fn names_another(matches: &ArgMatches, url: &str) -> bool {
    let given = matches.value_source("url").is_some_and(|source| source != ValueSource::DefaultValue);
    let Some(other) = matches.get_one::<String>("url").filter(|_| given) else { return false };
    let place = |url: &str| {
        Endpoint::parse(url, DEFAULT_PORT).ok().map(|endpoint| (endpoint.host.to_lowercase(), endpoint.port))
    };
    place(other) != place(url)
}

impl Chosen {
    /// The command line with this in the place of its defaults.
    pub(in crate::cli) fn fill(&self, command: Command) -> Command {
        let command =
            if takes_context(&command) { command.mut_args(|arg| self.fill_arg(arg)) } else { command };
        command.mut_subcommands(|subcommand| self.fill(subcommand))
    }

    fn fill_arg(&self, arg: Arg) -> Arg {
        let id = arg.get_id().to_string();
        let Some((name, context)) = &self.context else {
            return if id == FLAG { without_environment(arg) } else { arg };
        };
        let path = |path: &Option<std::path::PathBuf>| path.clone().map(std::path::PathBuf::into_os_string);
        let value = match &*id {
            "url" => Some(context.url.clone().into()),
            "ca" => path(&context.ca),
            "cert" => path(&context.cert),
            "key" => path(&context.key),
            "token_file" => path(&context.token_file).filter(|_| self.by_flag || !self.token_in_environment),
            FLAG => (!self.by_flag).then(|| ContextChoice::in_use(name).into()),
            _ => return arg,
        };
        let arg = if self.by_flag || id == FLAG { without_environment(arg) } else { arg };
        match value {
            Some(value) => arg.default_value(value),
            None => arg,
        }
    }
}

fn without_environment(arg: Arg) -> Arg {
    arg.env(None::<&'static str>)
}
