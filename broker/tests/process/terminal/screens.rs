//! What is only to be seen in a terminal: colours, progress, Ctrl-C, completion by a key.

use super::tmux::Terminal;
use crate::harness::Broker;

/// A terminal whose shell knows a broker with a topic `t`.
fn with_broker() -> (Terminal, Broker) {
    let terminal = Terminal::open();
    let broker = terminal.house.serve();
    let shown = terminal.run(&format!("export SEALSTREAM_URL={}; sealstream topic create t", broker.tls()));
    assert_eq!(shown.code, 0, "{}", shown.text);
    (terminal, broker)
}

#[test]
#[ignore = "needs tmux"]
fn lines_typed_by_hand_are_asked_for_and_counted_at_ctrl_c() {
    let (terminal, broker) = with_broker();
    terminal.line("sealstream produce t");
    terminal.wait_for("what to do", |screen| screen.contains("each line becomes a record of t; Ctrl-D ends"));
    terminal.text("one");
    terminal.press("Enter");
    terminal.text("two");
    terminal.press("Enter");
    let url = broker.tls();
    terminal.house.run(["consume", "t", "--follow", "--count", "2", "--url", &url]).ok();
    terminal.press("C-c");
    let shown = terminal.prompt();
    assert_eq!(shown.code, 130);
    assert!(shown.text.contains("interrupted: 2 records, 6 B in"), "{}", shown.text);
    terminal.line("sealstream produce t");
    terminal.wait_for("what to do", |screen| screen.contains("Ctrl-D ends"));
    terminal.press("C-d");
    let shown = terminal.prompt();
    assert_eq!(shown.code, 0);
    assert!(shown.text.contains("0 records"), "{}", shown.text);
}

#[test]
#[ignore = "needs tmux"]
fn long_work_shows_a_line_that_moves_and_is_gone_in_the_end() {
    let (terminal, broker) = with_broker();
    let moving = |screen: &str| {
        let line = screen.lines().rfind(|line| line.contains("B/s, ")).map(str::trim_end);
        line.is_some_and(|line| line.contains(" records, ") && line.chars().count() <= 80)
    };
    terminal.line("yes a line | sealstream produce t");
    let first = terminal.wait_for("progress", moving);
    terminal.wait_for("progress that moves", |screen| moving(screen) && screen != first);
    terminal.press("C-c");
    let shown = terminal.prompt();
    assert_eq!(shown.code, 130, "{}", shown.text);
    assert!(!moving(&shown.text), "the line is still there: {}", shown.text);
    assert!(shown.text.contains("interrupted: ") && shown.text.contains(" to t"), "{}", shown.text);

    terminal.line("sealstream consume t --follow > out");
    terminal.wait_for("progress", moving);
    terminal.press("C-c");
    let shown = terminal.prompt();
    assert_eq!(shown.code, 130, "{}", shown.text);
    assert!(!moving(&shown.text) && shown.text.contains(" from t"), "{}", shown.text);

    let shown = terminal.run("sealstream produce t --file out 2> log; cat log");
    assert_eq!(shown.text.lines().count(), 2, "nothing but the total goes into a file: {}", shown.text);
    broker.stop();
}

#[test]
#[ignore = "needs tmux"]
fn colours_are_for_terminals_and_can_be_had_or_refused() {
    let (terminal, broker) = with_broker();
    // tmux writes what it has; the line that was typed has none.
    let coloured = |line: &str| {
        terminal.run(line);
        terminal.colours().contains('\u{1b}')
    };
    assert!(coloured("sealstream topic list"), "the heading");
    assert!(coloured("sealstream topic describe nope"), "the error");
    assert!(coloured("sealstream --help"), "the help");
    assert!(coloured("sealstream doctor"), "the findings");
    for line in [
        "sealstream topic list | cat",
        "NO_COLOR=1 sealstream topic list",
        "NO_COLOR=1 sealstream topic describe nope",
        "NO_COLOR=1 sealstream --help",
        "TERM=dumb sealstream topic list",
        "sealstream topic list --color never",
        "sealstream --color=never topic describe nope",
        "sealstream topic list --json",
        "sealstream doctor | cat",
        "NO_COLOR=1 sealstream doctor",
        "sealstream doctor --json --color always",
    ] {
        assert!(!coloured(line), "{line}");
    }
    assert!(coloured("sealstream topic list --color always | cat"));
    assert!(coloured("sealstream doctor --color always | cat"));
    broker.stop();
}

#[test]
#[ignore = "needs tmux"]
fn a_reader_that_has_enough_and_a_second_ctrl_c_leave_no_complaint() {
    let (terminal, mut broker) = with_broker();
    terminal.run("yes | head -n 200000 | sealstream produce t");
    let shown = terminal.run("sealstream consume t | head -n 2");
    assert_eq!(shown.text.lines().skip(1).collect::<Vec<_>>(), ["y", "y"]);
    terminal.line("yes | sealstream produce t");
    terminal.wait_for("progress", |screen| screen.contains("B/s, "));
    broker.process.kill();
    terminal.wait_for("a warning", |screen| screen.contains("WARN"));
    terminal.press("C-c");
    terminal.wait_for("what it waits for", |screen| screen.contains("a second Ctrl-C does without"));
    terminal.press("C-c");
    assert_eq!(terminal.prompt().code, 130);
}

#[test]
#[ignore = "needs tmux"]
fn the_tab_key_completes_commands() {
    let terminal = Terminal::open();
    terminal.run("source <(sealstream completions bash)");
    terminal.line("");
    terminal.text("sealstream tok");
    terminal.press("Tab");
    terminal.text("cr");
    terminal.press("Tab");
    terminal.wait_for("the whole command", |screen| screen.contains("sealstream token create"));
}

/// Keeps two contexts whose names begin differently.
fn with_contexts() -> Terminal {
    let terminal = Terminal::open();
    let shown = terminal.run("for c in prod test; do sealstream context add $c --url tls://a; done");
    assert_eq!(shown.code, 0, "{}", shown.text);
    terminal
}

/// Types beginnings of contexts' names and has them completed.
fn complete_contexts(terminal: &Terminal) {
    for (typed, whole) in [
        ("sealstream topic list --context pr", "--context prod"),
        ("sealstream health --context=t", "--context=test"),
        ("sealstream context use te", "context use test"),
        ("sealstream context remove p", "context remove prod"),
    ] {
        terminal.text(typed);
        terminal.press("Tab");
        terminal.wait_for(whole, |screen| screen.contains(whole));
        terminal.press("C-u");
    }
}

#[test]
#[ignore = "needs tmux"]
fn the_tab_key_completes_contexts_in_bash() {
    let terminal = with_contexts();
    terminal.run("source <(sealstream completions bash)");
    complete_contexts(&terminal);
}

#[test]
#[ignore = "needs tmux and zsh"]
fn the_tab_key_completes_contexts_in_zsh() {
    let terminal = with_contexts();
    // Loaded as an installed one is, by the first Tab.
    terminal.run("mkdir zfunc && sealstream completions zsh > zfunc/_sealstream");
    terminal.line("PS1='[%?]$ ' zsh -f");
    terminal.prompt();
    terminal.run("fpath+=($PWD/zfunc); autoload -Uz compinit; compinit -u");
    complete_contexts(&terminal);
}

#[test]
#[ignore = "needs tmux and fish"]
fn the_tab_key_completes_contexts_in_fish() {
    let terminal = with_contexts();
    terminal.line("fish --no-config -C 'sealstream completions fish | source'");
    terminal.wait_for("the prompt of fish", |screen| screen.trim_end().ends_with(['>', '#']));
    complete_contexts(&terminal);
}
