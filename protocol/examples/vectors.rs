//! Writes the files of vectors, and the dumps into the page of the protocol, from what the codec writes today.
//!
//! Run it after a change of the protocol, and look at the difference: version 1 is frozen once groups work.
#![expect(clippy::unwrap_used, reason = "a tool of the tests")]

#[path = "../tests/page/access.rs"]
mod access;
#[path = "../tests/page/bad.rs"]
mod bad;
#[path = "../tests/page/groups.rs"]
mod groups;
#[path = "../tests/page/json.rs"]
mod json;
#[path = "../tests/page/layout.rs"]
mod layout;
#[path = "../tests/page/reading.rs"]
mod reading;
#[path = "../tests/page/samples.rs"]
mod samples;
#[path = "../tests/page/status.rs"]
mod status;
#[path = "../tests/page/tls.rs"]
mod tls;
#[path = "../tests/page/vectors.rs"]
mod vectors;

use std::fs;
use std::path::Path;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("../docs/protocol.md");
    let markdown = vectors::fill_in(&fs::read_to_string(&page).unwrap());
    for (name, content) in vectors::files(&layout::Page::parse(&markdown)) {
        write(&root.join("vectors").join(name), &content);
    }
    write(&page, &markdown);
}

fn write(path: &Path, content: &str) {
    if fs::read_to_string(path).unwrap_or_default() != content {
        fs::write(path, content).unwrap();
        println!("written: {}", path.display());
    }
}
