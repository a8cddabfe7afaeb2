use clap::{Command, CommandFactory as _, Parser as _};

use super::Cli;

/// The columns of a terminal that nobody has made larger.
const COLUMNS: usize = 80;

/// Its lines, less the one of the prompt that comes after.
const LINES: usize = 23;

/// Commands that one looks up often.
const WITH_EXAMPLES: [&str; 12] = [
    "serve",
    "produce",
    "consume",
    "status",
    "topic create",
    "group seek",
    "token create",
    "auth check",
    "tls show",
    "log dump",
    "context add",
    "completions",
];

/// Every command, with its name as it is typed.
fn commands() -> Vec<(String, Command)> {
    fn walk(name: &str, command: &Command, all: &mut Vec<(String, Command)>) {
        all.push((name.trim_start().to_owned(), command.clone()));
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            walk(&format!("{name} {}", below.get_name()), below, all);
        }
    }
    let mut root = Cli::command().term_width(COLUMNS);
    root.build();
    let mut all = Vec::new();
    walk("", &root, &mut all);
    all
}

fn behind(command: &Command) -> String {
    let text = command.get_after_long_help().or_else(|| command.get_after_help());
    text.map(ToString::to_string).unwrap_or_default()
}

#[test]
fn the_arguments_fit_together() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_eighty_columns() {
    for (name, mut command) in commands() {
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
            }
        }
    }
}

#[test]
fn every_command_explains_itself() {
    for (name, _) in commands() {
        for flag in ["-h", "--help"] {
            let words = ["sealstream"].into_iter().chain(name.split(' ').filter(|word| !word.is_empty()));
            let shown = Cli::try_parse_from(words.chain([flag])).unwrap_err();
            assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayHelp, "{name}: {shown}");
        }
    }
}

#[test]
fn no_line_of_a_help_is_torn() {
    for (name, command) in commands() {
        let text = behind(&command);
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with(' ') {
                assert!(line.len() <= COLUMNS, "{name}: an example would be wrapped: {line}");
            } else if !line.is_empty() && !line.ends_with(':') {
                // One line in the text, whatever the width: it is broken by the terminal's.
                let next = lines.peek().copied().unwrap_or("");
                assert!(next.is_empty(), "{name}: a paragraph is broken by hand: {line} / {next}");
            }
        }
    }
}

#[test]
fn the_first_help_fits_a_screen_and_shows_every_command_that_is_not_hidden() {
    let help = Cli::command().term_width(COLUMNS).render_help().to_string();
    assert!(help.lines().count() <= LINES, "{} lines:\n{help}", help.lines().count());
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let shown =
            help.lines().any(|line| line.trim_start().starts_with(&format!("{} ", command.get_name())));
        assert!(shown, "{}\n{help}", command.get_name());
    }
}

#[test]
fn the_examples_are_there_and_are_taken_by_the_parser() {
    let all = commands();
    for wanted in WITH_EXAMPLES {
        let (_, command) = all.iter().find(|(name, _)| name == wanted).unwrap();
        assert!(behind(command).contains("Examples:\n  "), "{wanted}");
    }
    for (name, command) in all {
        for example in behind(&command).lines().filter_map(ours) {
            let words = words(&example);
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{name}: {example}: {words:?}: {error}");
            }
        }
    }
}

/// What of an example's line is for the binary.
fn ours(line: &str) -> Option<String> {
    let at = line.find("sealstream ").filter(|_| line.starts_with("  "))?;
    let end = line.find([';', ')']).unwrap_or(line.len());
    Some(line[at..end].to_owned())
}

/// Words as a shell cuts them, up to a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.replace("$'\\t'", "TAB").chars() {
        match c {
            '\'' => quoted = !quoted,
            '|' | '<' | '>' if !quoted => break,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            c => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[test]
fn who_mistypes_a_command_or_a_flag_is_told_the_nearest() {
    let told = |args: &[&str]| Cli::try_parse_from([&["sealstream"], args].concat()).unwrap_err().to_string();
    assert!(told(&["topc", "list"]).contains("'topic'"));
    assert!(told(&["topic", "lst"]).contains("'list'"));
    assert!(told(&["produce", "t", "--partion", "1"]).contains("'--partition'"));
    assert!(told(&["consume", "t", "--format", "jso"]).contains("'json'"));
}

#[test]
fn every_argument_says_what_it_is_and_every_flag_that_has_a_default_says_which() {
    for (name, command) in commands() {
        for arg in command.get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{name}: {arg}");
            let by_hand = help.contains("[default");
            assert!(!by_hand || arg.get_default_values().is_empty(), "{name}: {arg}: two defaults");
        }
    }
}
