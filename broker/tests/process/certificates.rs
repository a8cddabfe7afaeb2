//! The lines of docs/operations.md that make certificates: as they stand there, and then renewed under traffic.

use std::process::Stdio;
use std::time::Instant;

use crate::harness::{Broker, House, PATIENCE, Process, feed};
use crate::pages::{Shell, block};

#[test]
#[ignore = "needs openssl"]
fn the_page_makes_certificates_that_serve_and_are_renewed_under_traffic() {
    let house = House::new();
    let lines = block("docs/operations.md", "certificates");
    let shell = Shell::new(&house);
    shell.run(&lines);
    house.write(
        "s.toml",
        "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_certificates = \"required\"\nclient_ca = \"ca.pem\"\n",
    );
    let args = ["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"];
    let mut process = Process::start(&mut house.command(args));
    let line = process.wait_for("listening on tls://");
    let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    process.wait_for("no permissions are configured");
    let broker = Broker { process, port };
    let ask = |url: &str, args: &[&str]| {
        let trust = ["--url", url, "--ca", "ca.pem", "--cert", "app.pem", "--key", "app.key"];
        house.command(args.iter().copied().chain(trust))
    };
    let serial = |url: &str| {
        let shown = ask(url, &["tls", "show", "--json"]).output().unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        shown["certificates"][0]["serial"].clone()
    };
    let (tls, quic) = (broker.tls(), broker.quic());
    feed(ask(&tls, &["topic", "create", "events"]), Vec::new()).ok();
    let followers: Vec<_> = [&tls, &quic]
        .into_iter()
        .map(|url| {
            let mut follow = ask(url, &["consume", "events", "--follow", "--count", "2"]);
            follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    feed(ask(&tls, &["produce", "events"]), b"before\n".to_vec()).ok();

    let before = serial(&tls);
    assert!(before.is_string(), "{before}");
    let renewal = lines.lines().skip(2).take(3).collect::<Vec<_>>().join("\n");
    assert!(renewal.contains("server.pem") && !renewal.contains("app.pem"), "{renewal}");
    shell.run(&renewal);
    let since = Instant::now();
    while serial(&quic) == before {
        assert!(since.elapsed() < PATIENCE, "the renewed certificate is never served");
    }

    feed(ask(&quic, &["produce", "events"]), b"after\n".to_vec()).ok();
    for follower in followers {
        let followed = follower.wait_with_output().unwrap();
        assert!(followed.status.success(), "{}", String::from_utf8_lossy(&followed.stderr));
        assert_eq!(followed.stdout, b"before\nafter\n");
    }
    broker.stop();
}
