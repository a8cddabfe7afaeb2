//! What cannot be written to stdout is a failure: nothing is committed for it, and no secret is lost without a word.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::harness::{House, Ran, feed};

/// Runs a command with stdout closed, as `>&-` in a shell.
fn closed(house: &House, args: &[&str]) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$0" "$@" >&-"#, env!("CARGO_BIN_EXE_sealstream")]).args(args);
    let told = house.command(["help"]);
    shell.current_dir(told.get_current_dir().unwrap());
    for (name, value) in told.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap().into()
}

/// Runs a command whose stdout is full.
fn full(house: &House, args: &[&str]) -> Ran {
    let mut command = house.command(args.iter().copied());
    command.stdout(File::create("/dev/full").unwrap()).stderr(Stdio::piped()).output().unwrap().into()
}

#[test]
fn what_a_closed_stdout_did_not_take_is_not_committed() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    feed(house.command(["produce", "t", "--url", &url]), b"1\n2\n3\n".to_vec()).ok();
    let consume = ["consume", "t", "--group", "g", "--count", "2", "--url", &url];
    for ran in [closed(&house, &consume), full(&house, &consume)] {
        let error = ran.failed();
        assert!(error.contains("cannot write to stdout"), "{error}");
    }
    assert_eq!(house.run(consume).ok(), "1\n2\n", "all is there still");
    // That nobody wants it is no fault.
    let mut null = house.command(["consume", "t", "--url", &url]);
    assert!(null.stdout(Stdio::null()).status().unwrap().success());
    broker.stop();
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let house = House::new();
    for args in [&["--version"][..], &["help"], &["--help"], &["topic", "--help"], &["completions", "fish"]] {
        let error = full(&house, args).failed();
        assert!(error.contains("cannot write to stdout"), "{args:?}: {error}");
    }
}

#[test]
fn a_token_whose_secret_could_not_be_written_says_how_to_revoke_it() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    for json in [&[][..], &["--json"]] {
        let create = [&["token", "create", "lost", "--url", &url][..], json].concat();
        let error = full(&house, &create).failed();
        assert!(error.contains("its secret is lost: `sealstream token revoke lost`"), "{error}");
        house.run(["token", "revoke", "lost", "--url", &url]).ok();
    }
    closed(&house, &["token", "create", "none", "--url", &url]).failed();
    assert_eq!(house.run(["token", "list", "--url", &url]).ok(), "", "none was made");
    broker.stop();
}
