//! `context add|use|list|show|remove`: names for how brokers are reached.

pub(super) mod chosen;
mod store;

use std::path::{Path, PathBuf};

use sealstream_protocol::DEFAULT_PORT;
use sealstream_transport::Endpoint;
use serde_json::{Value, json};

pub(super) use self::store::Store;
use self::store::{Context, Contexts};
use super::args::{Connection, ContextAdd, ContextCommand, ContextList, ContextUse};
use super::connect::{SHORT, with_client};
use super::{Failure, output};

/// Carries out a context command.
pub(super) fn run(command: &ContextCommand) -> Result<(), Failure> {
    let store = Store::of_user().ok_or_else(|| {
        Failure::new("neither HOME nor XDG_CONFIG_HOME says where contexts are to be kept: set one of them")
    })?;
    match command {
        ContextCommand::Add(args) => add(args, &store),
        ContextCommand::Use(args) => choose(args, &store),
        ContextCommand::List(args) => list(&store.read()?, args),
        ContextCommand::Show(args) => show(&store, args.name.as_deref(), args.json),
        ContextCommand::Remove(args) => remove(&store, &args.name, args.json),
    }
}

fn add(args: &ContextAdd, store: &Store) -> Result<(), Failure> {
    Endpoint::parse(&args.url, DEFAULT_PORT)?;
    let context = Context {
        url: args.url.clone(),
        ca: file("--ca", args.ca.as_deref())?,
        cert: file("--cert", args.cert.as_deref())?,
        key: file("--key", args.key.as_deref())?,
        token_file: file("--token-file", args.token_file.as_deref())?,
    };
    let taken = |contexts: &Contexts| {
        if contexts.by_name.contains_key(&args.name) && !args.replace {
            return Err(Failure::new(format!(
                "context {} is there already: replace it with --replace",
                args.name
            )));
        }
        Ok(())
    };
    // Before a broker is bothered, and once more when nobody else can come in between.
    taken(&store.read()?)?;
    if args.check {
        check(args, &context)?;
    }
    let in_use = store.change(|contexts| {
        taken(contexts)?;
        contexts.by_name.insert(args.name.clone(), context.clone());
        if args.use_it {
            contexts.in_use = Some(args.name.clone());
        }
        Ok(contexts.in_use.as_ref() == Some(&args.name))
    })?;
    if args.json {
        return output::json(&as_json(&args.name, &context, in_use));
    }
    let checked = if args.check { ", which answers" } else { "" };
    output::line(format_args!("added {}: {}{checked}", args.name, context.url))?;
    if in_use {
        say_in_use(&args.name);
    } else {
        let name = &args.name;
        output::note(format_args!(
            "take it by --context {name}, or always by `sealstream context use {name}`"
        ));
    }
    Ok(())
}

/// A file that is there and can be read, by a path that holds in every directory.
fn file(flag: &str, path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let cannot =
        |error: std::io::Error| Failure::new(format!("{flag}: cannot read {}: {error}", path.display()));
    std::fs::File::open(path).map_err(cannot)?;
    std::path::absolute(path).map(Some).map_err(cannot)
}

/// Has a session with the broker.
fn check(args: &ContextAdd, context: &Context) -> Result<(), Failure> {
    let connection = Connection {
        context: Some(args.name.parse()?),
        url: context.url.clone(),
        ca: context.ca.clone(),
        cert: context.cert.clone(),
        key: context.key.clone(),
        token_file: context.token_file.clone(),
        timeout: None,
        json: args.json,
    };
    with_client(&connection, SHORT, |client| async move {
        client.hello().await?;
        Ok(())
    })
}

fn choose(args: &ContextUse, store: &Store) -> Result<(), Failure> {
    let name = args.name.clone().filter(|_| !args.none);
    store.change(|contexts| {
        if let Some(name) = &name {
            contexts.get(name, &store.file)?;
        }
        contexts.in_use.clone_from(&name);
        Ok(())
    })?;
    if args.json {
        return output::json(&json!({ "in_use": name }));
    }
    match name {
        Some(name) => {
            output::line(format_args!("using {name}"))?;
            say_in_use(&name);
            Ok(())
        }
        None => output::line("using no context"),
    }
}

/// Says what the one in use does not hold for.
fn say_in_use(name: &str) {
    for variable in ["SEALSTREAM_CONTEXT", "SEALSTREAM_URL"] {
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            output::note(format_args!(
                "{variable} is set, and wins over the context in use: unset it, or say --context {name}"
            ));
        }
    }
}

fn list(contexts: &Contexts, args: &ContextList) -> Result<(), Failure> {
    if args.names {
        return contexts.by_name.keys().try_for_each(output::line);
    }
    let in_use = |name: &String| contexts.in_use.as_ref() == Some(name);
    if args.json {
        return contexts
            .by_name
            .iter()
            .try_for_each(|(name, context)| output::json(&as_json(name, context, in_use(name))));
    }
    if contexts.by_name.is_empty() {
        output::note("no contexts: make one with `sealstream context add NAME --url URL`");
        return Ok(());
    }
    let heading = ["", "CONTEXT", "URL", "CREDENTIALS"].map(str::to_owned).to_vec();
    let rows = contexts.by_name.iter().map(|(name, context)| {
        let star = if in_use(name) { "*" } else { "" };
        vec![star.to_owned(), name.clone(), context.url.clone(), credentials(context).to_owned()]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

fn credentials(context: &Context) -> &'static str {
    match (&context.cert, &context.token_file) {
        (None, None) => "-",
        (Some(_), None) => "certificate",
        (None, Some(_)) => "token",
        (Some(_), Some(_)) => "certificate, token",
    }
}

fn show(store: &Store, name: Option<&str>, json: bool) -> Result<(), Failure> {
    let contexts = store.read()?;
    let Some(name) = name.or(contexts.in_use.as_deref()) else {
        return Err(Failure::new(
            "no context is in use: name one, or see `sealstream context list`; without one a command takes \
             tls://localhost:7420",
        ));
    };
    let context = contexts.get(name, &store.file)?;
    let in_use = contexts.in_use.as_deref() == Some(name);
    if json {
        return output::json(&as_json(name, context, in_use));
    }
    let path =
        |path: &Option<PathBuf>| path.as_ref().map_or("-".to_owned(), |path| path.display().to_string());
    output::line(format_args!("context     {name}{}", if in_use { ", in use" } else { "" }))?;
    output::line(format_args!("url         {}", context.url))?;
    output::line(format_args!("ca          {}", path(&context.ca)))?;
    output::line(format_args!("cert        {}", path(&context.cert)))?;
    output::line(format_args!("key         {}", path(&context.key)))?;
    output::line(format_args!("token file  {}", path(&context.token_file)))?;
    output::line(format_args!("kept in     {}", store.file.display()))
}

fn remove(store: &Store, name: &str, json: bool) -> Result<(), Failure> {
    let was_in_use = store.change(|contexts| {
        contexts.get(name, &store.file)?;
        contexts.by_name.remove(name);
        let was_in_use = contexts.in_use.as_deref() == Some(name);
        if was_in_use {
            contexts.in_use = None;
        }
        Ok(was_in_use)
    })?;
    if json {
        return output::json(&json!({ "removed": name, "was_in_use": was_in_use }));
    }
    output::line(format_args!("removed {name}"))?;
    if was_in_use {
        output::note("it was the one in use: now none is");
    }
    Ok(())
}

fn as_json(name: &str, context: &Context, in_use: bool) -> Value {
    json!({
        "context": name, "in_use": in_use, "url": context.url, "ca": context.ca, "cert": context.cert,
        "key": context.key, "token_file": context.token_file,
    })
}
