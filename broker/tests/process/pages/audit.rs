//! Nothing on a page that nobody runs: blocks of commands, commands in the text, and what the first day breaks.

use std::path::Path;

use clap::CommandFactory as _;
use sealstream_broker::cli::args::Cli;

use super::{Block, blocks, page, root};

/// Who runs a block: it names it. Of `container` the lines are those of the first day.
const RUN: [(&str, &str, &str); 19] = [
    ("README.md", "serve", ".ci/tour"),
    ("README.md", "test", ".ci/run"),
    ("README.md", "tour", ".ci/tour"),
    ("docs/first-day.md", "first-day", ".ci/first-day"),
    ("docs/operations.md", "certificates", "broker/tests/process/certificates.rs"),
    ("docs/operations.md", "systemd", ".ci/manifests"),
    ("docs/operations.md", "configuration", "broker/tests/process/pages/data.rs"),
    ("docs/operations.md", "doctor", "broker/tests/process/pages/data.rs"),
    ("docs/operations.md", "upgrade", "broker/tests/process/pages/data.rs"),
    ("docs/operations.md", "log", "broker/tests/process/pages/data.rs"),
    ("docs/operations.md", "backup", "broker/tests/process/pages/data.rs"),
    ("docs/operations.md", "contexts", "broker/tests/process/pages/operations.rs"),
    ("docs/operations.md", "completions", "broker/tests/process/pages/operations.rs"),
    ("docs/operations.md", "tokens", "broker/tests/process/pages/operations.rs"),
    ("docs/operations.md", "token-replaced", "broker/tests/process/pages/operations.rs"),
    ("docs/operations.md", "rules", "broker/tests/process/pages/operations.rs"),
    ("docs/operations.md", "first-token", "broker/tests/process/pages/operations.rs"),
    ("docs/operations.md", "groups", "broker/tests/process/pages/operations.rs"),
    ("docs/benchmarks.md", "bench", "broker/tests/process/pages/operations.rs"),
];

/// Blocks whose lines are on the page of the first day too, which runs them.
const OF_THE_FIRST_DAY: [&str; 2] = ["container", "metrics"];

/// Words that begin a command.
const COMMANDS: [&str; 16] = [
    "sealstream",
    "cargo",
    "docker",
    "openssl",
    "curl",
    "systemctl",
    "systemd-sysusers",
    "kubectl",
    "install",
    "mv",
    "cp",
    "chown",
    "echo",
    "printf",
    "promtool",
    "mkdir",
];

/// README, what is in docs, and the client's README.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    let docs = docs.filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "md"));
    ["README.md".to_owned(), "client/README.md".to_owned()].into_iter().chain(docs).collect()
}

fn commands(block: &Block) -> Vec<&str> {
    // Programs, data and configuration have words of their own.
    if !["", "sh", "console"].contains(&block.kind.as_str()) {
        return Vec::new();
    }
    let lines = block.text.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line).trim_start());
    let bare = lines.map(|line| match line.split_once(' ') {
        // A variable for one command.
        Some((first, rest)) if first.contains('=') => rest,
        _ => line,
    });
    bare.filter(|line| COMMANDS.contains(&line.split(' ').next().unwrap_or_default())).collect()
}

/// Whether the benchmark, test or example that `cargo` is told to run is there.
fn is_there(command: &str) -> bool {
    let after = |flag: &str| command.split(' ').skip_while(|word| *word != flag).nth(1);
    let Some(name) = after("-p").map(|name| name.trim_start_matches("sealstream-")) else {
        return ["cargo build --release", "cargo run --release -- serve"].contains(&command);
    };
    // The counts of instructions are a package inside that of the benchmarks.
    let places = [root().join(name), root().join("benches").join(name)];
    let Some(package) = places.into_iter().find(|place| place.join("Cargo.toml").exists()) else {
        return false;
    };
    let [bench, test, example] = [("--bench", "benches"), ("--test", "tests"), ("--example", "examples")]
        .map(|(flag, dir)| after(flag).map(|name| package.join(dir).join(name)));
    let target = bench.or(test).or(example);
    let exists = |target: &Path| target.with_extension("rs").exists() || target.join("main.rs").exists();
    target.is_none_or(|target| exists(&target))
}

#[test]
fn every_block_of_commands_is_run_by_somebody() {
    let first_day = page("docs/first-day.md").replace("\n$ ", "\n");
    let mut seen = Vec::new();
    for path in pages() {
        let text = page(&path);
        for block in blocks(&text) {
            let (at, commands) = (format!("{path}:{}", block.line), commands(&block));
            let Some(name) = block.name.as_deref() else {
                let by_hand = commands.iter().all(|line| line.starts_with("cargo ") && is_there(line));
                assert!(by_hand, "{at}: {commands:?} are run by no test: name the block, and run it");
                continue;
            };
            if OF_THE_FIRST_DAY.contains(&name) {
                assert!(
                    first_day.contains(block.text.trim_end()) || same_lines(&first_day, &block),
                    "{at}: not on the first day"
                );
                continue;
            }
            let run = RUN.iter().find(|(its, known, _)| *its == path && *known == name);
            let (_, _, who) = run.unwrap_or_else(|| panic!("{at}: nobody is known to run the block {name}"));
            let named = match *who {
                ".ci/run" => block.text.trim_end().to_owned(),
                script if script.starts_with(".ci/") => format!("block {name}"),
                _ => format!("\"{name}\""),
            };
            assert!(page(who).contains(&named), "{at}: {who} does not have {named}");
            seen.push((path.clone(), name.to_owned()));
        }
    }
    for (path, name, _) in RUN {
        assert!(seen.contains(&(path.to_owned(), name.to_owned())), "{path} has no block {name}");
    }
}

/// Each command of a block for itself, those over several lines whole.
fn same_lines(first_day: &str, block: &Block) -> bool {
    let joined = |text: &str| text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let all = joined(first_day);
    block.text.replace("\\\n", " ").lines().all(|line| all.contains(&joined(line)))
}

/// Commands that stand in the text, in backquotes.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.starts_with("    "));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// What is wrong with a command of ours as the text has it: words in capitals and `…` stand for something.
fn fault(span: &str) -> Option<String> {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    for word in span.split_whitespace().skip(1) {
        if [r"\|", "|", ">", "#", "help"].contains(&word) {
            break;
        }
        if let Some(flag) = word.trim_start_matches('[').trim_end_matches(']').strip_prefix("--") {
            let flag = flag.split('=').next().unwrap_or_default();
            let known = command.get_arguments().any(|known| known.get_long() == Some(flag));
            if !known && !["help", "version"].contains(&flag) {
                return Some(format!("`{}` has no flag --{flag}", command.get_name()));
            }
        } else if command.has_subcommands() && word.chars().any(|c| c.is_ascii_lowercase()) {
            for name in word.split('|') {
                if command.find_subcommand(name).is_none() {
                    return Some(format!("`{}` has no command {name}", command.get_name()));
                }
            }
            command = command.find_subcommand(word.split('|').next().unwrap_or_default())?;
        }
    }
    None
}

#[test]
fn every_command_in_the_text_is_one_that_there_is() {
    let mut count = 0;
    for path in pages() {
        for span in spans(&page(&path)) {
            if span.starts_with("sealstream ") {
                count += 1;
                let fault = fault(span);
                assert!(fault.is_none(), "{path}: `{span}`: {}", fault.unwrap_or_default());
            } else if span.starts_with("cargo ") && !span.starts_with("cargo doc") {
                assert!(is_there(span), "{path}: `{span}`: there is no such target");
            }
        }
    }
    assert!(count > 40, "{count}");
    assert!(fault("sealstream topic mend").is_some() && fault("sealstream serve --nothing").is_some());
    assert!(fault("sealstream log verify DATA --while-running").is_none());
}

/// The first cells of tables under "When something is wrong", with their last ones.
fn symptoms() -> Vec<(String, String)> {
    let operations = page("docs/operations.md");
    let (_, wrong) = operations.split_once("## When something is wrong").unwrap();
    let cells = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        Some((cells.first()?.clone(), cells.last()?.clone()))
    };
    wrong.lines().filter(|line| line.starts_with("| ")).filter_map(cells).collect()
}

#[test]
fn what_the_first_day_breaks_is_said_as_the_troubleshooting_has_it() {
    let day = page("docs/first-day.md");
    let (_, broken) = day.split_once("## Broken on purpose").unwrap();
    let cases: Vec<_> = broken.split("\n### ").skip(1).collect();
    assert!(cases.len() >= 5, "{}", cases.len());
    let known = symptoms();
    for case in cases {
        let title = case.lines().next().unwrap();
        let paragraph = case.split("<!--").next().unwrap();
        let named: Vec<_> = paragraph.split('*').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{title} names no symptom");
        for symptom in named {
            let row = known.iter().find(|(first, _)| first == symptom);
            let (_, remedy) = row.unwrap_or_else(|| panic!("{title}: {symptom} is in no table"));
            assert!(remedy.len() > 10, "{symptom}: {remedy}");
            let printed: Vec<_> = case.lines().filter(|line| !line.starts_with("$ ")).skip(3).collect();
            let parts: Vec<_> = symptom.split('…').map(str::trim).filter(|part| part.len() > 1).collect();
            let says = |line: &&str| parts.iter().all(|part| line.contains(part));
            assert!(printed.iter().any(says), "{title}: nothing prints {symptom}");
        }
    }
}
