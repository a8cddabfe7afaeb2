//! The examples do what they say. Cargo builds them with the tests of the crate.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Beside the directory of the tests' own binaries.
fn example(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap().parent().map(Path::to_owned).unwrap();
    let path = deps.parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build -p sealstream-transport --examples", path.display());
    path
}

#[track_caller]
fn run(name: &str) -> String {
    let output = Command::new(example(name)).output().unwrap();
    let (said, complained) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}: {said}{complained}", output.status);
    assert_eq!(complained, "");
    said
}

#[test]
fn an_rpc_on_streams_knows_its_callers_and_is_the_same_over_both_transports() {
    let said = run("rpc");
    for scheme in ["tls", "quic"] {
        let lines: Vec<_> = said.lines().filter(|line| line.starts_with(scheme)).collect();
        let says = ["ten sums make 165", "whoami says spiffe://example.org/clerk"].into_iter().chain([
            "stop says spiffe://example.org/clerk may not stop this server",
            "sum of pears says no number: invalid digit found in string",
            "stop says as you wish",
        ]);
        for (line, says) in lines.iter().zip(says) {
            assert!(line.ends_with(says), "{line}\ndoes not end with: {says}");
        }
        assert_eq!(lines.len(), 5, "{said}");
    }
    assert!(said.ends_with("both servers have stopped\n"), "{said}");
}

#[test]
fn the_echo_comes_back_over_both_transports_and_the_second_handshake_over_tcp_is_a_resumption() {
    let said = run("echo");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines.iter().all(|line| line.contains("says \"hello, and again\"")), "{said}");
    assert!(lines[0].contains("handshake: Full") && lines[1].contains("handshake: Resumed"), "{said}");
}
