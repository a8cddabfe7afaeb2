//! A terminal of 80 by 24 with a shell in it: typed into, and read back.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{House, PATIENCE};

/// The columns and rows of a terminal that nobody has made larger.
pub(super) const COLUMNS: usize = 80;
const ROWS: usize = 24;

/// How often the screen is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A shell in a tmux server of its own, which ends with it.
pub(super) struct Terminal {
    pub(super) house: House,
}

/// What a line that was typed has shown, and its exit code.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) code: i32,
}

impl Terminal {
    /// Opens it in a directory of its own. Nothing of the tester's environment is in it.
    pub(super) fn open() -> Self {
        let terminal = Self { house: House::new() };
        let home = terminal.house.path("");
        let binaries = Path::new(env!("CARGO_BIN_EXE_sealstream")).parent().unwrap().display();
        let shell = format!(
            "cd {home} && exec env -i HOME={home} PATH={binaries}:/usr/bin:/bin LANG=C.UTF-8 TERM=screen-256color PS1='[$?]$ ' \
             bash --norc --noprofile -i",
            home = home.display(),
        );
        let (columns, rows) = (COLUMNS.to_string(), ROWS.to_string());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, &shell]);
        terminal.wait_for("the prompt", |screen| screen.starts_with("[0]$"));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let socket = self.house.path("tmux");
        let mut command = Command::new("tmux");
        let output =
            command.arg("-S").arg(socket).args(args).env_remove("TMUX").output().expect("tmux is installed");
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Presses a key, by tmux' name for it.
    pub(super) fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Types text.
    pub(super) fn text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Types a line behind a prompt at the top of an empty screen.
    pub(super) fn line(&self, line: &str) {
        self.press("C-l");
        // What was on it has gone over the upper edge.
        self.wait_for("an empty screen", |_| {
            let screen = self.tmux(&["capture-pane", "-p"]);
            screen.trim_end().lines().count() == 1 && is_prompt(&screen)
        });
        self.tmux(&["clear-history"]);
        self.text(line);
        self.press("Enter");
    }

    /// What is to be seen, and what has gone over the upper edge since the line was typed.
    pub(super) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-S", "-"])
    }

    /// The same with the escape sequences of its colours.
    pub(super) fn colours(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e", "-S", "-"])
    }

    /// The same with lines that the terminal had to break in one again.
    fn unbroken(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, seen: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if seen(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what} was not to be seen in time:\n{screen}");
            thread::sleep(LOOK);
        }
    }

    /// Waits for the prompt behind the last line that was typed.
    #[track_caller]
    pub(super) fn prompt(&self) -> Shown {
        let screen = self.wait_for("the next prompt", |screen| {
            screen.lines().filter(|line| is_prompt(line)).count() >= 2
                && screen.trim_end().lines().last().is_some_and(|line| is_prompt(line) && line.ends_with('$'))
        });
        let last = screen.trim_end().lines().last().unwrap();
        // Words that the terminal has broken are whole in what is read.
        let unbroken = self.unbroken();
        let lines: Vec<_> = unbroken.trim_end().lines().map(str::trim_end).collect();
        let (_, before) = lines.split_last().unwrap();
        let code = last.trim_start_matches('[').split(']').next().unwrap().parse().unwrap();
        Shown { text: before.join("\n"), code }
    }

    /// Types a line and waits until it is done.
    #[track_caller]
    pub(super) fn run(&self, line: &str) -> Shown {
        self.line(line);
        self.prompt()
    }

    /// Whether some line was longer than the terminal is wide.
    pub(super) fn is_broken(&self) -> bool {
        let lines = |screen: &str| screen.lines().filter(|line| !line.trim().is_empty()).count();
        lines(&self.screen()) != lines(&self.unbroken())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its shell, and what runs in it, are hung up.
        let socket = self.house.path("tmux");
        drop(Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output());
    }
}

fn is_prompt(line: &str) -> bool {
    let code = line.strip_prefix('[').and_then(|rest| rest.split_once("]$"));
    code.is_some_and(|(code, _)| !code.is_empty() && code.chars().all(|c| c.is_ascii_digit()))
}
