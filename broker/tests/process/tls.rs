//! Certificates loaded anew while the broker runs: by request and by signal, and bad ones never.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use crate::harness::{Broker, House, PATIENCE, Process};

/// A CA in files, and what it issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(house: &House, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        house.write(&format!("{name}.pem"), params.self_signed(&key).unwrap().pem());
        Self { issuer: Issuer::new(params, key) }
    }

    /// Puts a certificate for localhost and its key into `server.pem` and `server.key`.
    fn issue(&self, house: &House) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        house.write("server.pem", params.signed_by(&key, &self.issuer).unwrap().pem());
        house.write("server.key", key.serialize_pem());
    }
}

/// The configuration of a broker with a certificate of ours. What is not watched is loaded when a test says so.
const CONFIG: &str = "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nwatch = false\n";

fn serve(house: &House) -> (Authority, Broker) {
    serve_with(house, CONFIG)
}

fn serve_with(house: &House, config: &str) -> (Authority, Broker) {
    let authority = Authority::new(house, "ca");
    authority.issue(house);
    house.write("s.toml", config);
    let mut process =
        Process::start(&mut house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]));
    let line = process.wait_for("listening on tls://");
    let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    process.wait_for("no permissions are configured");
    (authority, Broker { process, port })
}

fn tls(house: &House, broker: &Broker, command: &str) -> crate::harness::Ran {
    house.run(["tls", command, "--json", "--ca", "ca.pem", "--url", &broker.tls()])
}

fn shown(house: &House, broker: &Broker) -> Value {
    serde_json::from_str(&tls(house, broker, "show").ok()).unwrap()
}

fn serial(house: &House, broker: &Broker) -> String {
    let shown = shown(house, broker);
    assert_eq!(shown["certificates"][0]["default"], true);
    shown["certificates"][0]["serial"].as_str().unwrap().to_owned()
}

#[test]
fn a_renewed_certificate_is_served_after_a_reload_and_trust_is_the_same() {
    let house = House::new();
    let (authority, broker) = serve(&house);
    let (before, epoch) = (serial(&house, &broker), shown(&house, &broker)["epoch"].clone());
    authority.issue(&house);
    let reloaded: Value = serde_json::from_str(&tls(&house, &broker, "reload").ok()).unwrap();
    assert_eq!(reloaded["outcome"], "changed");
    assert_eq!(reloaded["trust_changed"], false);
    assert_eq!(reloaded["epoch"], epoch);
    assert_ne!(serial(&house, &broker), before);
    let again: Value = serde_json::from_str(&tls(&house, &broker, "reload").ok()).unwrap();
    assert_eq!(again["outcome"], "unchanged");
    broker.stop();
}

#[test]
fn a_bad_file_changes_nothing_and_is_named_by_reload_by_show_and_in_the_log() {
    let house = House::new();
    let (authority, mut broker) = serve(&house);
    let before = serial(&house, &broker);
    house.write("server.pem", [0xff; 1000]);
    let refused = tls(&house, &broker, "reload");
    let outcome: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(outcome["outcome"], "refused");
    let error = refused.failed();
    assert!(error.contains("server.pem") && error.contains("still is"), "{error}");
    broker.process.wait_for("server.pem");
    let after = shown(&house, &broker);
    assert_eq!(after["certificates"][0]["serial"], before.as_str());
    assert_eq!(after["reloads"]["refused"], 1);
    assert_eq!(after["reloads"]["last"]["outcome"], "refused");
    assert!(after["reloads"]["last"]["text"].as_str().unwrap().contains("server.pem"));
    let text = house.run(["tls", "show", "--ca", "ca.pem", "--url", &broker.tls()]).ok();
    assert!(text.contains("refused: ") && text.contains("server.pem"), "{text}");
    // The next good one is taken.
    authority.issue(&house);
    tls(&house, &broker, "reload").ok();
    assert_ne!(serial(&house, &broker), before);
    broker.stop();
}

#[test]
fn a_hangup_reloads_and_the_configuration_is_read_anew_too() {
    let house = House::new();
    let (_, mut broker) = serve(&house);
    let epoch = shown(&house, &broker)["epoch"].clone();
    let section = "client_certificates = \"optional\"\nclient_ca = \"ca.pem\"\n";
    house.write("s.toml", format!("{CONFIG}{section}"));
    broker.process.signal("HUP");
    broker.process.wait_for("reloaded");
    let shown = shown(&house, &broker);
    assert_eq!(shown["client_certificates"], "optional");
    assert_ne!(shown["epoch"], epoch);
    assert_eq!(shown["reloads"]["last"]["trigger"], "signal");
    assert_eq!(shown["reloads"]["last"]["trust_changed"], true);
    broker.stop();
}

#[test]
fn a_limit_of_connections_holds_for_every_transport_and_can_be_raised_while_the_broker_runs() {
    let house = House::new();
    let limited = |connections| format!("{CONFIG}[limits]\nconnections = {connections}\n");
    let (_, mut broker) = serve_with(&house, &limited(1));
    let list = |url: String| house.run(["topic", "list", "--ca", "ca.pem", "--timeout", "1s", "--url", &url]);
    list(broker.tls()).ok();
    list(broker.quic()).ok();
    let silent = std::net::TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    for url in [broker.tls(), broker.quic()] {
        list(url).failed();
    }
    house.write("s.toml", limited(10));
    broker.process.signal("HUP");
    broker.process.wait_for("reloaded");
    for url in [broker.tls(), broker.quic()] {
        list(url).ok();
    }
    drop(silent);
    broker.stop();
}

#[test]
fn changed_files_are_noticed_by_themselves() {
    let house = House::new();
    let (authority, mut broker) = serve_with(&house, &CONFIG.replace("false", "true"));
    let before = serial(&house, &broker);
    authority.issue(&house);
    broker.process.wait_for("reloaded");
    assert_ne!(serial(&house, &broker), before);
    assert_eq!(shown(&house, &broker)["reloads"]["last"]["trigger"], "files");
    broker.stop();
}

#[test]
fn everything_that_the_configuration_names_is_served_and_shown() {
    let house = House::new();
    let names =
        "client_certificates = \"optional\"\nclient_ca = [\"ca.pem\", \"ca.pem\"]\nresumption = \"cache\"\n";
    let pins = format!("client_pins = [\"{}\"]\n", "0a".repeat(32));
    let other = "[[tls.identity]]\ncert = \"server.pem\"\nkey = \"server.key\"\n";
    let (_, broker) = serve_with(&house, &format!("{CONFIG}{names}{pins}{other}"));
    let shown = shown(&house, &broker);
    let defaults: Vec<_> = shown["certificates"].as_array().unwrap().iter().map(|c| &c["default"]).collect();
    assert_eq!(defaults, [true, false]);
    assert_eq!(shown["client_authorities"], 2);
    assert_eq!(shown["client_pins"], 1);
    assert_eq!(shown["resumption"], "cache");
    broker.stop();
}

#[test]
fn the_secret_of_the_tickets_is_made_once_for_its_owner_only_and_config_check_makes_none() {
    use std::os::unix::fs::PermissionsExt as _;

    let house = House::new();
    house.run(["config", "check"]).ok();
    let path = house.path("sealstream-data/tickets.secret");
    assert!(!path.exists());
    house.serve().stop();
    let made = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    house.serve().stop();
    assert_eq!(std::fs::read(&path).unwrap(), made);
}

#[test]
fn a_hangup_of_a_terminal_that_is_there_reloads_and_of_one_that_was_closed_stops_in_order() {
    let house = House::new();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let side = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut terminal = std::fs::File::from(terminal);
    let mut broker = house
        .command(["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(side)
        .spawn()
        .unwrap();
    let hang_up = || {
        let killed = std::process::Command::new("kill").args(["-HUP", &broker.id().to_string()]).status();
        assert!(killed.unwrap().success());
    };
    wait_for(&mut terminal, "Ready.");
    hang_up();
    wait_for(&mut terminal, "reloaded");
    drop(terminal);
    hang_up();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = broker.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            broker.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{status:?}");
    house.run(["log", "verify", "sealstream-data"]).ok();
}

/// Reads what was written to a terminal until it holds `text`.
fn wait_for(terminal: &mut std::fs::File, text: &str) {
    let mut said = String::new();
    let mut some = [0; 1024];
    while !said.contains(text) {
        let read = std::io::Read::read(terminal, &mut some).unwrap();
        said.push_str(&String::from_utf8_lossy(&some[..read]));
    }
}
