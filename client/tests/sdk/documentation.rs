//! What can be read of the public face: every type shows how it is used, and none of them is tokio's.

use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(dir: &Path, all: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, all);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                all.push((path, text));
            }
        }
    }
    let mut all = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    all
}

/// The doc comment and the attributes above a line.
fn above<'a>(lines: &'a [&'a str], index: usize) -> impl Iterator<Item = &'a str> {
    lines[..index].iter().rev().take_while(|line| !line.trim().is_empty() && **line != "}").copied()
}

#[test]
fn every_public_type_has_an_example() {
    let mut without = Vec::new();
    let mut types = 0;
    for (path, text) in sources() {
        let lines: Vec<_> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !["pub struct ", "pub enum ", "pub trait "].iter().any(|word| line.starts_with(word)) {
                continue;
            }
            types += 1;
            if !above(&lines, index).any(|line| line.starts_with("/// ```")) {
                without.push(format!("{}:{}: {line}", path.display(), index + 1));
            }
        }
    }
    assert!(types > 50, "only {types} types were found");
    assert!(without.is_empty(), "no example:\n{}", without.join("\n"));
}

#[test]
fn the_readmes_show_the_program_that_the_tests_run() {
    let client = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = fs::read_to_string(client.join("examples/hello.rs")).unwrap();
    let (_, program) = program.split_once('\n').unwrap();
    for readme in ["README.md", "../README.md"] {
        let shown = fs::read_to_string(client.join(readme)).unwrap();
        assert!(shown.contains(&format!("```rust,no_run\n{program}```")), "{readme} shows another program");
    }
}

#[test]
fn no_public_signature_names_a_type_of_tokio_but_its_traits_of_io() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        // What the file takes from tokio, but for the traits, which are a common language.
        let imports: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("use tokio"))
            .flat_map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .filter(|name| name.starts_with(char::is_uppercase) && !name.starts_with("Async"))
            .collect();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for signature in text.split("    pub ").skip(1).filter(|item| !item.starts_with('(')) {
            let signature = signature.split(['{', ';']).next().unwrap();
            let mut names = signature.split(|c: char| !c.is_alphanumeric() && c != '_');
            if names.any(|name| name == "tokio" || imports.contains(&name)) {
                found.push(format!("{}: {}", path.display(), signature.trim()));
            }
        }
    }
    assert!(found.is_empty(), "a type of tokio's:\n{}", found.join("\n"));
}
