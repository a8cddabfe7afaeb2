//! The page, read: which shapes it has for which command.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The shapes of each command, in the order of the page.
pub(super) struct Page(BTreeMap<String, Vec<Value>>);

impl Page {
    /// A paragraph that begins with commands in backticks, separated by commas, is about these; the blocks behind it are theirs.
    pub(super) fn read() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md")).unwrap();
        let mut page: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut about: Vec<String> = Vec::new();
        let mut block: Option<String> = None;
        let mut begins = true;
        for line in text.lines() {
            match &mut block {
                Some(shape) if line == "```" => {
                    let shape: Value =
                        serde_json::from_str(shape).unwrap_or_else(|error| panic!("{shape}: {error}"));
                    assert!(!about.is_empty(), "of which command is {shape}?");
                    for command in &about {
                        page.entry(command.clone()).or_default().push(shape.clone());
                    }
                    block = None;
                }
                Some(shape) => *shape += line,
                None if line == "```json" => block = Some(String::new()),
                None if begins && line.starts_with('`') => about = commands(line),
                None => {}
            }
            begins = line.is_empty();
        }
        Self(page)
    }

    pub(super) fn shapes(&self, command: &str) -> &[Value] {
        self.0.get(command).unwrap_or_else(|| panic!("docs/json.md has no shape of `{command}`"))
    }

    pub(super) fn commands(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }
}

/// Of a paragraph like "`a`, `b`: what they print" the names; of one that only speaks of something, as "`quotas.redis`, where …", what
/// it is about stays none of the commands, and has no block.
fn commands(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = line;
    while let Some((name, behind)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        names.push(name.to_owned());
        rest = behind.strip_prefix(", ").unwrap_or(behind);
    }
    names
}
