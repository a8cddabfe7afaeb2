//! Each command is typed once, in an order in which one makes what the next one shows. A command that is not typed fails the test.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use sealstream_broker::cli::args::Cli;

use super::tmux::Terminal;

/// A command, the line that is typed, and what is to be read on the screen; exit code 0.
const TYPED: &[(&str, &str, &[&str])] = &[
    ("config check", "sealstream config check", &["ok: the configuration is valid"]),
    ("config show", "sealstream config show", &["cluster = \"sealstream\"", "[limits]"]),
    ("health", "sealstream health", &["ok: broker", "you are anonymous"]),
    (
        "context add",
        "sealstream context add here --url $SEALSTREAM_URL --ca $SEALSTREAM_CA --check",
        &["added here", "which answers"],
    ),
    ("context use", "sealstream context use here", &["using here", "SEALSTREAM_URL is set, and wins"]),
    (
        "context list",
        "unset SEALSTREAM_URL SEALSTREAM_CA; sealstream context list",
        &["CONTEXT  URL", "*  here"],
    ),
    ("context show", "sealstream context show", &["here, in use", "ca.pem"]),
    (
        "topic create",
        "sealstream topic create t --partitions 2",
        &["TOPIC  PARTITIONS", "t      2           disk"],
    ),
    ("topic list", "sealstream topic list", &["t      2"]),
    ("topic alter", "sealstream topic alter t --retention 12h", &["12h"]),
    ("topic describe", "sealstream topic describe t", &["retention   12h", "PARTITION  START  END"]),
    ("produce", "printf 'a\\nb\\n' | sealstream produce t", &["2 records, 2 B in"]),
    ("consume", "sealstream consume t --group g", &["\na", "\nb"]),
    ("group list", "sealstream group list", &["GROUP  MEMBERS", "g      0"]),
    ("group describe", "sealstream group describe g", &["TOPIC  PARTITION  COMMITTED", "t      1"]),
    ("group seek", "sealstream group seek g t --to beginning", &["PARTITION  OFFSET"]),
    ("group delete", "sealstream group delete g --yes", &["deleted g"]),
    ("status", "sealstream status", &["sessions", "tail cache", "TOPIC  PARTITIONS"]),
    ("tls show", "sealstream tls show", &["CN=localhost", "days left"]),
    ("tls reload", "sealstream tls reload", &["unchanged:"]),
    ("token create", "sealstream token create bill --expires 1h", &["slt1_", "token bill for token:bill"]),
    ("token list", "sealstream token list", &["token:bill"]),
    ("token revoke", "sealstream token revoke bill", &["revoked bill"]),
    ("auth check", "sealstream auth check anonymous produce t", &["allowed: anonymous produce t"]),
    (
        "bench produce",
        "sealstream bench produce --bytes 1MiB",
        &["produced 1024 records", "bare tokio-rustls"],
    ),
    ("bench consume", "sealstream bench consume --bytes 1MiB --no-baseline", &["consumed 1024 records"]),
    ("bench latency", "sealstream bench latency --rate 100 --duration 1s", &["p99"]),
    ("bench connect", "sealstream bench connect --connections 4", &["resumed"]),
    ("doctor", "sealstream doctor", &["ok"]),
    ("log verify", "sealstream log verify broker --while-running", &["PARTITION", "sound"]),
    ("log dump", "sealstream log dump broker --topic t --records", &["segment 0", "appended"]),
    ("log snapshot", "sealstream log snapshot broker copy", &["checked and sound"]),
    ("topic delete", "sealstream topic delete t --yes", &["deleted t"]),
    ("context remove", "sealstream context remove here", &["removed here", "now none is"]),
    (
        "completions",
        "source <(sealstream completions bash); complete -p sealstream",
        &["-F _sealstream_or_contexts sealstream"],
    ),
    ("man", "sealstream man --dir man && ls man", &["pages in man", "sealstream-topic-list.1"]),
    // It is the broker that all of these talk to, in a terminal of its own.
    ("serve", "sealstream help serve", &["Usage: sealstream serve"]),
];

/// Every command that does something, by the name that is typed; `all` are those too that only have others below them.
fn commands(all: bool) -> BTreeSet<String> {
    fn walk(command: &clap::Command, name: &str, all: bool, found: &mut BTreeSet<String>) {
        if all || !command.has_subcommands() {
            found.insert(name.trim_start().to_owned());
        }
        for below in command.get_subcommands() {
            walk(below, &format!("{name} {}", below.get_name()), all, found);
        }
    }
    let mut found = BTreeSet::new();
    walk(&Cli::command(), "", all, &mut found);
    found
}

#[test]
fn every_command_is_typed() {
    let typed: BTreeSet<_> = TYPED.iter().map(|(command, ..)| (*command).to_owned()).collect();
    assert_eq!(typed, commands(false));
}

#[test]
#[ignore = "needs tmux"]
fn every_command_does_in_a_terminal_what_it_says() {
    let broker = Terminal::open();
    broker.line("sealstream serve --data-dir broker --listen 127.0.0.1:0");
    let screen = broker.wait_for("the line to paste", |screen| screen.contains("SEALSTREAM_CA="));
    let ready = "Ready. For a client, paste this into another terminal:";
    assert!(screen.contains(ready), "{screen}");
    // As a user would who marks it with the mouse: the terminal has broken it, the shell gets it whole.
    let at = screen.find("export SEALSTREAM_URL").unwrap();
    let export: String = screen[at..].lines().take_while(|line| !line.is_empty()).collect();

    let client = Terminal::open();
    // The data directory by the same name in both.
    client.run(&format!("ln -s {} broker", broker.house.path("broker").display()));
    assert_eq!(client.run(&export).code, 0);
    for (command, line, expected) in TYPED {
        let shown = client.run(line);
        assert_eq!(shown.code, 0, "{command}: {}", shown.text);
        for text in *expected {
            assert!(shown.text.contains(text), "{command}: `{text}` is not to be seen:\n{}", shown.text);
        }
    }

    broker.press("C-c");
    let stopped = broker.prompt();
    assert_eq!(stopped.code, 0, "{}", stopped.text);
    assert!(stopped.text.contains("the log is sealed"), "{}", stopped.text);
}

#[test]
#[ignore = "needs tmux"]
fn every_help_fits_the_width_of_a_terminal_and_the_first_fits_its_screen() {
    let terminal = Terminal::open();
    for command in commands(true) {
        for line in [format!("sealstream {command} --help"), format!("sealstream help {command}")] {
            let shown = terminal.run(&line);
            assert_eq!(shown.code, 0, "{line}: {}", shown.text);
            assert!(shown.text.contains("Usage: sealstream"), "{line}: {}", shown.text);
            assert!(!terminal.is_broken(), "{line}: the terminal had to break a line:\n{}", shown.text);
        }
    }
    let shown = terminal.run("sealstream --help");
    // The line that was typed, and the prompt after it, fit on the screen with it.
    assert!(shown.text.lines().count() < 25, "{}", shown.text);
}
