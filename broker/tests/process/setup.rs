//! What shells and manuals are told of the command line.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use sealstream_broker::cli::args::Cli;

use crate::harness::{House, Ran};

fn tool(name: &str, args: &[&str]) -> Ran {
    Command::new(name).args(args).output().unwrap_or_else(|error| panic!("{name}: {error}")).into()
}

/// A shell that finds the binary, and the contexts of this house.
fn shell(house: &House, name: &str, args: &[&str]) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_sealstream")).parent().unwrap().display();
    let mut command = Command::new(name);
    command.env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()));
    command.env("XDG_CONFIG_HOME", house.path("config")).current_dir(house.path("")).args(args);
    Ran::from(command.output().unwrap_or_else(|error| panic!("{name}: {error}"))).ok().trim().to_owned()
}

/// Keeps three contexts, two of which begin alike.
fn add_contexts(house: &House) {
    for name in ["prod-eu", "prod-us", "test"] {
        house.run(["context", "add", name, "--url", "tls://a"]).ok();
    }
}

fn script(house: &House, shell: &str) -> String {
    let text = house.run(["completions", shell]).ok();
    house.write(shell, text).display().to_string()
}

#[test]
fn bash_takes_its_completions_and_completes_commands_flags_values_and_contexts() {
    let house = House::new();
    let script = script(&house, "bash");
    tool("bash", &["-n", &script]).ok();
    let complete = |words: &str, current: &str, previous: &str| {
        let count = words.split(' ').count();
        // The function that is registered, whatever its name is.
        let line = format!(
            "source {script}; COMP_WORDS=({words} '{current}'); COMP_CWORD={count}; f=$(complete -p sealstream); f=${{f#*-F }}; \
             ${{f%% *}} sealstream '{current}' '{previous}'; echo \"${{COMPREPLY[@]}}\""
        );
        shell(&house, "bash", &["--norc", "-c", &line])
    };
    assert_eq!(complete("sealstream", "prod", "sealstream"), "produce");
    assert_eq!(complete("sealstream topic", "cr", "topic"), "create");
    assert_eq!(complete("sealstream topic create t", "--parti", "t"), "--partitions");
    assert_eq!(complete("sealstream completions", "f", "completions"), "fish");

    assert_eq!(complete("sealstream context use", "", "use"), "", "there is no context yet");
    add_contexts(&house);
    assert_eq!(complete("sealstream topic list --context", "pr", "--context"), "prod-eu prod-us");
    assert_eq!(complete("sealstream topic list --context", "=", "--context"), "prod-eu prod-us test");
    assert_eq!(complete("sealstream topic list --context =", "t", "="), "test");
    assert_eq!(complete("sealstream context use", "", "use"), "prod-eu prod-us test");
    assert_eq!(complete("sealstream context --color=never show", "prod-u", "show"), "prod-us");
    assert_eq!(complete("sealstream context remove --json", "t", "--json"), "test");
    assert_eq!(complete("sealstream context remove", "--js", "remove"), "--json");
    assert_eq!(complete("sealstream context use test", "t", "test"), "", "there is one already");
}

#[test]
#[ignore = "needs zsh"]
fn zsh_takes_its_completions() {
    let house = House::new();
    tool("zsh", &["-n", &script(&house, "zsh")]).ok();
}

#[test]
#[ignore = "needs fish"]
fn fish_takes_its_completions_and_completes_commands_and_contexts() {
    let house = House::new();
    let script = script(&house, "fish");
    tool("fish", &["--no-config", "-n", &script]).ok();
    let line = format!("source {script}; complete -C 'sealstream topic cr'");
    let shown = tool("fish", &["--no-config", "-c", &line]).ok();
    assert_eq!(shown.split('\t').next(), Some("create"), "{shown}");

    add_contexts(&house);
    let complete = |typed: &str| {
        let shown =
            shell(&house, "fish", &["--no-config", "-c", &format!("source {script}; complete -C '{typed}'")]);
        shown.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete("sealstream topic list --context pr"), ["prod-eu", "prod-us"]);
    assert_eq!(complete("sealstream context use "), ["prod-eu", "prod-us", "test"]);
    assert_eq!(complete("sealstream context remove t"), ["test"]);
    assert_eq!(complete("sealstream context add t"), [""; 0]);
}

/// The names of all pages that there should be.
fn pages() -> Vec<String> {
    fn walk(command: &clap::Command, name: &str, all: &mut Vec<String>) {
        all.push(format!("{name}.1"));
        for below in command.get_subcommands() {
            walk(below, &format!("{name}-{}", below.get_name()), all);
        }
    }
    let mut all = Vec::new();
    walk(&Cli::command(), "sealstream", &mut all);
    all.sort_unstable();
    all
}

fn made(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn every_command_has_a_page_with_its_flags_variables_and_examples() {
    let house = House::new();
    house.run(["man", "--dir", "share/man1"]).ok();
    assert_eq!(made(&house.path("share/man1")), pages());
    let page = std::fs::read_to_string(house.path("share/man1/sealstream-produce.1")).unwrap();
    for text in [
        ".TH SEALSTREAM-PRODUCE 1",
        "\\-\\-key\\-separator",
        "SEALSTREAM_URL",
        ".SH EXAMPLES\n.nf\n",
        "\\(rsr",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let page = std::fs::read_to_string(house.path("share/man1/sealstream.1")).unwrap();
    assert!(page.contains("Exit codes") && page.contains("sealstream\\-topic(1)"), "{page}");
}

#[test]
fn pages_of_a_build_that_says_its_date_are_the_same_on_every_day() {
    let house = House::new();
    let ran: Ran =
        house.command(["man", "--dir", "man"]).env("SOURCE_DATE_EPOCH", "86400").output().unwrap().into();
    ran.ok();
    let page = std::fs::read_to_string(house.path("man/sealstream.1")).unwrap();
    assert!(page.contains("1970-01-02"), "{page}");
}

#[test]
#[ignore = "needs mandoc"]
fn mandoc_finds_no_fault_with_a_page() {
    let house = House::new();
    house.run(["man", "--dir", "man"]).ok();
    for name in pages() {
        let path = house.path("man").join(name).display().to_string();
        let ran = tool("mandoc", &["-T", "lint", "-W", "warning", &path]);
        assert!(ran.status.success() && ran.stdout.is_empty(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
}
