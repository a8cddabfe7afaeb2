//! Readiness, `sealstream health`, and where the monitor listens.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use sealstream_transport::testing::pki::{Authority, Leaf};

use super::http::{Answer, ask, get, until};
use crate::harness::{House, Process};

#[test]
fn a_broker_that_is_well_is_alive_and_ready_and_health_says_so() {
    let house = House::new();
    let broker = house.serve();
    let monitor = broker.monitor();
    assert_eq!(get(&monitor, "/healthz"), "ok\n");
    assert_eq!(get(&monitor, "/readyz"), "ready\n");
    assert!(house.run(["health", "--monitor", &monitor]).ok().starts_with("ok: the broker is ready"));
    let json = house.run(["health", "--json", "--monitor", &monitor]).ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["ok"], true);
    // By the configuration that the broker has.
    house.write("m.toml", format!("[monitor]\nlisten = \"{monitor}\"\n"));
    assert!(house.run(["health", "--config", "m.toml"]).ok().contains(&monitor));
    broker.stop();
    let error = house.run(["health", "--monitor", &monitor]).failed();
    assert!(
        error.contains(&format!("no monitor answers on {monitor}")) && error.contains("--url"),
        "{error}"
    );
}

#[test]
fn a_broker_that_drains_is_alive_and_not_ready() {
    let house = House::new();
    let mut broker = house.serve();
    let (url, monitor) = (broker.tls(), broker.monitor());
    house.run(["topic", "create", "events", "--url", &url]).ok();
    // Its session goes on after it was told that the broker stops, for a second of quiet: it hears nothing of it.
    let mut producer = house
        .command(["produce", "events", "--linger", "1", "--url", &url])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    producer.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    let is_stored = |status: &serde_json::Value| status["totals"]["produced_records"] == 1;
    until(|| super::http::status(&monitor), is_stored);
    let stopped = Command::new("kill").args(["-STOP", &producer.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    broker.process.signal("TERM");
    let draining = |answer: &Answer| answer.code == 503;
    let answer = until(|| ask(&monitor, "GET", "/readyz").unwrap(), draining);
    assert!(answer.body.starts_with("not ready\ndraining: "), "{}", answer.body);
    assert_eq!(get(&monitor, "/healthz"), "ok\n");
    assert!(broker.process.wait().success(), "{}", broker.process.said);
    producer.kill().unwrap();
    producer.wait().unwrap();
}

#[test]
fn a_certificate_that_ends_makes_the_broker_not_ready_and_a_renewed_one_ready_again() {
    let house = House::new();
    let authority = Authority::new("CA");
    let issue = |lasting: Duration| {
        let issued = authority.issue(&Leaf::localhost().lasting(lasting));
        house.write("server.key", issued.key_pem());
        house.write("server.pem", issued.chain_pem());
    };
    issue(Duration::from_secs(2));
    house.write("s.toml", "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nwatch = false\n");
    let mut process =
        Process::start(&mut house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]));
    process.wait_for("no permissions are configured");
    let monitor = process.monitor("http://");
    let expired = |answer: &Answer| answer.body.contains("certificate_expired: the certificate server.pem");
    let answer = until(|| ask(&monitor, "GET", "/readyz").unwrap(), expired);
    assert_eq!(answer.code, 503);
    let error = house.run(["health", "--monitor", &monitor]).failed();
    assert!(error.contains("not ready: certificate_expired: ") && error.contains("renew it"), "{error}");
    issue(Duration::from_hours(24));
    process.signal("HUP");
    until(|| ask(&monitor, "GET", "/readyz").unwrap(), |answer| answer.code == 200);
}

#[test]
fn a_port_that_is_taken_is_named_with_the_key_and_off_is_off() {
    let house = House::new();
    let broker = house.serve();
    let monitor = broker.monitor();
    let other = House::new();
    let error = other
        .command(["serve", "--listen", "127.0.0.1:0"])
        .env("SEALSTREAM_MONITOR_LISTEN", &monitor)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&error.stderr);
    assert!(!error.status.success());
    assert!(said.contains(&monitor) && said.contains("monitor.listen") && said.contains("\"off\""), "{said}");
    broker.stop();

    let mut silent = Process::start(
        other.command(["serve", "--listen", "127.0.0.1:0"]).env("SEALSTREAM_MONITOR_LISTEN", "off"),
    );
    silent.wait_for("export SEALSTREAM_URL=");
    assert!(!silent.said.contains("monitor on"), "{}", silent.said);
    other.write("off.toml", "[monitor]\nlisten = \"off\"\n");
    let error = other.run(["health", "--config", "off.toml"]).failed();
    assert!(error.contains("monitor.listen is \"off\"") && error.contains("--url"), "{error}");
}

#[test]
fn the_development_certificate_is_not_shown_to_others_than_this_machine() {
    let house = House::new();
    house.write("s.toml", "[monitor]\nlisten = \"0.0.0.0:0\"\n");
    let error = house.run(["config", "check", "--config", "s.toml"]).failed();
    assert!(error.contains("monitor.listen on 0.0.0.0:0 needs tls.cert and tls.key"), "{error}");
}
