//! Nothing secret is shown or logged, whatever the level.

use std::fs::File;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealstream_transport::testing::pki::{Authority, Leaf};

use super::http::{get, until};
use crate::harness::{House, feed, read};

/// A secret, in every form in which it might be written.
fn forms(bytes: &[u8]) -> Vec<String> {
    let hex = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let listed = format!("{bytes:?}");
    // What a log line shortens is looked for by its first half.
    [hex.clone(), hex.to_uppercase(), listed, STANDARD.encode(bytes)]
        .into_iter()
        .map(|text| text[..text.len() / 2].to_owned())
        .chain(std::str::from_utf8(bytes).ok().map(ToOwned::to_owned))
        .collect()
}

#[test]
fn no_token_no_ticket_secret_and_no_key_is_logged_or_shown_even_at_trace_level() {
    let house = House::new();
    let authority = Authority::new("CA");
    let served = authority.issue(&Leaf::localhost());
    house.write("ca.pem", authority.pem());
    house.write("server.key", served.key_pem());
    house.write("server.pem", served.chain_pem());
    house.write("s.toml", "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n");
    let log = house.path("log");
    let mut command = house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0", "--json"]);
    command.env("SEALSTREAM_LOG", "trace").stderr(File::create(&log).unwrap());
    let mut broker = command.spawn().unwrap();
    let logged = || String::from_utf8_lossy(&read(&log)).into_owned();
    let line = |logged: &str, text: &str| {
        let found = logged.split(text).nth(1)?.split(['"', '/']).next()?;
        Some(found.to_owned())
    };
    let said = until(logged, |said| said.contains("no permissions are configured"));
    let url = format!("tls://localhost:{}", line(&said, "listening on tls://127.0.0.1:").unwrap());
    let monitor = line(&said, "monitor on http://").unwrap();

    let flags = ["--ca", "ca.pem", "--url", &url];
    let run = |args: &[&str]| house.run(args.iter().copied().chain(flags)).ok();
    let token = run(&["token", "create", "writer"]).trim().to_owned();
    house.write("token", &token);
    house.write("wrong", "slt1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ");
    run(&["topic", "create", "events"]);
    for file in ["token", "wrong"] {
        let args = ["produce", "events", "--timeout", "1s", "--token-file", file];
        feed(house.command(args.into_iter().chain(flags)), b"one\n".to_vec());
    }
    let mut follower = house
        .command(["consume", "events", "--follow", "--token-file", "token"].into_iter().chain(flags))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = until(|| get(&monitor, "/v1/status"), |status| status.contains("token:writer"));
    let shown = [status, get(&monitor, "/metrics"), get(&monitor, "/"), get(&monitor, "/readyz")].concat();
    follower.kill().unwrap();
    follower.wait().unwrap();
    let stopped = std::process::Command::new("kill").arg(broker.id().to_string()).status().unwrap();
    assert!(stopped.success() && broker.wait().unwrap().success());

    let logged = logged();
    for text in ["\"INFO\"", "\"DEBUG\"", "token:writer"] {
        assert!(logged.contains(text), "{text} is not in the log, which is searched for nothing then");
    }
    let key = served.key_der().secret_der().to_vec();
    let secret = read(&house.path("sealstream-data/tickets.secret"));
    for (name, bytes) in [
        ("the token", token.as_bytes()),
        ("what is secret in the token", &token.as_bytes()["slt1_".len()..]),
        ("the wrong token", b"slt1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ".as_slice()),
        ("the ticket secret", &secret),
        ("the key", &key),
    ] {
        for form in forms(bytes) {
            assert!(!logged.contains(&form), "{name} is in the log as {form}");
            assert!(!shown.contains(&form), "{name} is shown as {form}");
        }
    }
    let lines = served.key_pem();
    for line in lines.lines().filter(|line| !line.starts_with("-----") && line.len() > 16) {
        assert!(!logged.contains(line) && !shown.contains(line), "a line of the key's file is in the open");
    }
}
