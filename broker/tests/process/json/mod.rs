//! What `--json` prints is what docs/json.md says.

mod page;
mod shape;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::CommandFactory as _;
use sealstream_broker::cli::args::Cli;
use serde_json::Value;

use self::page::Page;
use crate::harness::{Broker, House, Process, Ran, feed};

/// A broker with a topic `t` of two partitions, in which are a record of text and one of bytes, and a group `g` that has read them.
struct Site {
    house: House,
    broker: Broker,
    url: String,
}

impl Site {
    fn new() -> Self {
        let house = House::new();
        let broker = house.serve();
        let site = Self { house, url: broker.tls(), broker };
        site.client(&["topic", "create", "t", "--partitions", "2"]);
        let produce = site.house.command(["produce", "t", "--key-separator", ",", "--url", &site.url]);
        feed(produce, b"a,1\n\xff,\xfe\n".to_vec()).ok();
        site.client(&["consume", "t", "--group", "g"]);
        site
    }

    fn client(&self, args: &[&str]) -> String {
        self.local(&[args, &["--url", &self.url]].concat())
    }

    fn local(&self, args: &[&str]) -> String {
        self.house.run([args, &["--json"]].concat()).ok()
    }
}

/// One test a command: it runs it on a site of its own, and holds each line against the page.
macro_rules! commands {
    ($($test:ident: $command:literal => $run:expr;)*) => {
        mod the_lines_are_as_the_page_says_of {
            $(#[test]
            fn $test() {
                super::check($command, $run);
            })*
        }

        /// The commands that are tested.
        const TESTED: &[&str] = &[$($command),*];
    };
}

commands! {
    topic_create: "topic create" => |site| site.client(&["topic", "create", "u"]);
    topic_list: "topic list" => |site| site.client(&["topic", "list"]);
    topic_describe: "topic describe" => |site| site.client(&["topic", "describe", "t"]);
    topic_alter: "topic alter" => |site| site.client(&["topic", "alter", "t", "--retention", "1h"]);
    topic_delete: "topic delete" => |site| site.client(&["topic", "delete", "t", "--yes"]);
    produce: "produce" => |site| {
        let produce = site.house.command(["produce", "t", "--json", "--url", &site.url]);
        super::feed(produce, b"one\n".to_vec()).ok()
    };
    consume: "consume" => |site| site.client(&["consume", "t"]);
    consume_interrupted: "consume (interrupted)" => super::interrupted;
    group_list: "group list" => |site| site.client(&["group", "list"]);
    group_describe: "group describe" => super::group_with_a_member;
    group_seek: "group seek" => |site| site.client(&["group", "seek", "g", "t", "--to", "beginning"]);
    group_delete: "group delete" => |site| site.client(&["group", "delete", "g", "--yes"]);
    health: "health" => |site| site.client(&["health"]);
    status: "status" => |site| site.client(&["status"]);
    serve: "serve" => |_| super::log_of_a_broker();
    config_check: "config check" => |site| site.local(&["config", "check"]);
    config_show: "config show" => |site| site.local(&["config", "show"]);
    tls_show: "tls show" => |site| site.client(&["tls", "show"]);
    tls_reload: "tls reload" => |site| site.client(&["tls", "reload"]);
    token_create: "token create" => |site| site.client(&["token", "create", "a", "--expires", "1h"]);
    token_list: "token list" => |site| {
        site.client(&["token", "create", "a"]);
        site.client(&["token", "list"])
    };
    token_revoke: "token revoke" => |site| {
        site.client(&["token", "create", "a"]);
        site.client(&["token", "revoke", "a"])
    };
    auth_check: "auth check" => |site| {
        let asked = site.client(&["auth", "check", "anonymous", "produce", "t"]);
        let rule = "[[auth.rule]]\nidentity = \"dns:a\"\nactions = [\"produce\"]\ntopics = [\"t\"]\n";
        site.house.write("rules.toml", rule);
        asked + &site.local(&["auth", "check", "dns:a", "produce", "t", "--config", "rules.toml"])
    };
    log_verify: "log verify" => |site| site.local(&["log", "verify", "sealstream-data", "--while-running"]);
    log_dump: "log dump" => super::dump_of_a_damaged_log;
    log_dump_interrupted: "log dump (interrupted)" => super::interrupted_dump;
    log_snapshot: "log snapshot" => |site| site.local(&["log", "snapshot", "sealstream-data", "copy"]);
    bench_produce: "bench produce" => |site| site.client(&["bench", "produce", "--bytes", "1MiB"]);
    doctor: "doctor" => |site| site.client(&["doctor"]);
    bench_latency: "bench latency" => |site| {
        site.client(&["bench", "latency", "--rate", "200", "--duration", "1s"])
    };
    bench_connect: "bench connect" => |site| site.client(&["bench", "connect", "--connections", "4"]);
    bench_consume: "bench consume" => |site| {
        site.client(&["bench", "consume", "--bytes", "1MiB", "--no-baseline"])
    };
    context_add: "context add" => |site| site.local(&["context", "add", "a", "--url", "tls://a"]);
    context_list: "context list" => |site| {
        site.local(&["context", "add", "a", "--url", "tls://a", "--use"]);
        site.local(&["context", "list"])
    };
    context_show: "context show" => |site| {
        site.local(&["context", "add", "a", "--url", "tls://a", "--use"]);
        site.local(&["context", "show"])
    };
    context_use: "context use" => |site| {
        site.local(&["context", "add", "a", "--url", "tls://a"]);
        site.local(&["context", "use", "a"]) + &site.local(&["context", "use", "--none"])
    };
    context_remove: "context remove" => |site| {
        site.local(&["context", "add", "a", "--url", "tls://a"]);
        site.local(&["context", "remove", "a"])
    };
    error: "error" => |site| {
        let refused = site.house.run(["topic", "describe", "nope", "--json", "--url", &site.url]).failed();
        refused + &super::start_that_fails(site)
    };
}

/// Each line must have one of the command's shapes, and each shape must have been seen.
fn check(command: &str, run: impl Fn(&Site) -> String) {
    let page = Page::read();
    let shapes = page.shapes(command);
    let site = Site::new();
    let lines = run(&site);
    assert!(!lines.is_empty(), "{command} printed nothing");
    let mut seen = BTreeSet::new();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let faults: Vec<_> = shapes.iter().map(|shape| shape::fault(shape, &value)).collect();
        match faults.iter().position(Option::is_none) {
            Some(fitting) => seen.insert(fitting),
            None => panic!("{command}: {line}\ndoes not fit docs/json.md: {faults:#?}"),
        };
    }
    assert_eq!(seen.len(), shapes.len(), "{command}: not every shape of the page was printed: {lines}");
    site.broker.stop();
}

fn interrupted(site: &Site) -> String {
    let args = ["consume", "t", "--follow", "--json", "--group", "other", "--url", &site.url];
    let mut process = Process::start(site.house.command(args).stdout(Stdio::piped()));
    // Once it has written something it is under way.
    let mut stdout = process.child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0]).unwrap();
    process.signal("INT");
    process.wait();
    process.said.clone()
}

fn group_with_a_member(site: &Site) -> String {
    let args = ["consume", "t", "--follow", "--group", "busy", "--url", &site.url];
    let mut process = Process::start(site.house.command(args).stdout(Stdio::piped()));
    let mut stdout = process.child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0]).unwrap();
    let shown = site.client(&["group", "describe", "busy"]);
    assert!(shown.contains("sealstream command line"), "it has a member: {shown}");
    shown + &site.client(&["group", "describe", "g"])
}

/// A second broker in the directory of the first.
fn start_that_fails(site: &Site) -> String {
    let mut command = site.house.command(["serve", "--listen", "127.0.0.1:0"]);
    let ran: Ran = command.env_remove("SEALSTREAM_LOG_FORMAT").output().unwrap().into();
    ran.failed()
}

fn log_of_a_broker() -> String {
    let house = House::new();
    let mut command = house.command(["serve", "--listen", "127.0.0.1:0"]);
    // Its stderr is no terminal.
    let mut process = Process::start(command.env_remove("SEALSTREAM_LOG_FORMAT"));
    process.wait_for("export SEALSTREAM_URL=");
    process.signal("TERM");
    assert!(process.wait().success());
    process.said.clone()
}

fn dump_of_a_damaged_log(site: &Site) -> String {
    site.local(&["log", "snapshot", "sealstream-data", "copy"]);
    let logs = walk(&site.house.path("copy"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "log"));
    // The last byte of one partition's only entry, which is its record's.
    let path = logs.min().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    site.local(&["log", "dump", "copy", "--records"])
}

fn interrupted_dump(site: &Site) -> String {
    let lines: Vec<u8> = (0..100_000).flat_map(|n| format!("{n},line\n").into_bytes()).collect();
    let produce = site.house.command(["produce", "t", "--key-separator", ",", "--url", &site.url]);
    feed(produce, lines).ok();
    let args = ["log", "dump", "sealstream-data", "--records", "--json"];
    let mut process = Process::start(site.house.command(args).stdout(Stdio::piped()));
    // More is to come than a pipe holds.
    let mut stdout = process.child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut [0]).unwrap();
    process.signal("INT");
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    process.wait();
    process.said.clone()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// The commands that have `--json`.
fn with_json(command: &clap::Command, name: &str, found: &mut BTreeSet<String>) {
    if command.get_arguments().any(|arg| arg.get_id() == "json") {
        found.insert(name.trim_start().to_owned());
    }
    for below in command.get_subcommands() {
        with_json(below, &format!("{name} {}", below.get_name()), found);
    }
}

#[test]
fn every_command_with_json_is_on_the_page_and_tested() {
    let mut wanted = BTreeSet::from(
        ["error", "consume (interrupted)", "log dump (interrupted)", "serve"].map(str::to_owned),
    );
    with_json(&Cli::command(), "", &mut wanted);
    assert_eq!(TESTED.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), wanted);
    assert_eq!(Page::read().commands(), wanted);
}
