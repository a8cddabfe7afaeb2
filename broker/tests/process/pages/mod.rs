//! The commands that the pages show: each is run as it stands there, by a test or a script, or said to be run by none.
//!
//! A comment above a fenced block names it: `<!-- tokens -->`. `audit` has who runs which, and fails on a block that nobody runs.

mod audit;
mod data;
mod operations;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::House;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("")
}

/// A page, by its path in the repository.
pub(crate) fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A block of a page.
pub(crate) struct Block {
    /// What a comment above names it.
    pub(crate) name: Option<String>,
    /// `sh`, `console`, `toml`; empty for what is only indented.
    pub(crate) kind: String,
    /// The number of its first line.
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// All blocks of a page: fenced ones, and lines indented by four.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut name, mut fence) = (Vec::<Block>::new(), None, false);
    for (number, line) in (1..).zip(page.lines()) {
        let open = blocks.last_mut().filter(|_| fence);
        if let Some(kind) = line.strip_prefix("```") {
            if !fence {
                let kind = kind.split(',').next().unwrap_or_default().to_owned();
                blocks.push(Block { name: name.take(), kind, line: number + 1, text: String::new() });
            }
            fence = !fence;
        } else if let Some(block) = open {
            block.text += line;
            block.text.push('\n');
        } else if let Some(marked) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            name = Some(marked.to_owned());
        } else if let Some(indented) = line.strip_prefix("    ") {
            let text = indented.to_owned() + "\n";
            blocks.push(Block { name: None, kind: String::new(), line: number, text });
        } else {
            name = None;
        }
    }
    blocks
}

/// The text of a page's block of that name; of several of one name all of them.
#[track_caller]
pub(crate) fn block(path: &str, name: &str) -> String {
    let blocks = blocks(&page(path));
    let named = blocks.into_iter().filter(|block| block.name.as_deref() == Some(name));
    let text: String = named.map(|block| block.text).collect();
    assert!(!text.is_empty(), "{path} has no block {name}");
    text
}

/// A shell in a house, where `sealstream` is the binary and nothing of the tester's is in the environment.
pub(crate) struct Shell<'a> {
    house: &'a House,
    env: BTreeMap<&'static str, String>,
}

impl<'a> Shell<'a> {
    pub(crate) fn new(house: &'a House) -> Self {
        let bin = house.path("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let binary = bin.join("sealstream");
        if !binary.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sealstream"), binary).unwrap();
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let home = house.path("").display().to_string();
        let config = house.path("config").display().to_string();
        Self { house, env: [("PATH", path), ("HOME", home), ("XDG_CONFIG_HOME", config)].into() }
    }

    /// With a variable.
    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.env.insert(name, value);
        self
    }

    /// Runs lines up to the first that fails, which none may, and gives what they wrote to stdout.
    #[track_caller]
    pub(crate) fn run(&self, lines: &str) -> String {
        let output = self.command(&["-e", "-u", "-c", lines]).output().unwrap();
        let (said, wrote) =
            (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{lines}\n{}: {said}{wrote}", output.status);
        wrote.into_owned()
    }

    /// Runs each command of a `console` block, and sees that it prints what is shown.
    #[track_caller]
    pub(crate) fn walk(&self, shown: &str) {
        let mut steps: Vec<(&str, String)> = Vec::new();
        for line in shown.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push((command, String::new())),
                (None, Some((_, output))) => *output += &(line.to_owned() + "\n"),
                (None, None) => panic!("{line} is printed by no command"),
            }
        }
        assert!(!steps.is_empty());
        for (command, printed) in steps {
            let output = self.command(&["-c", command]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{command}: {said}");
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SEALSTREAM_") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .envs(&self.env)
            .current_dir(self.house.path(""))
            .stdin(std::process::Stdio::null());
        command
    }
}
