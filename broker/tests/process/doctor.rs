//! `doctor` on real machines, well and ill.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Broker, House, Ran};
use crate::mistakes::{Authority, free_port, serve_as};

/// What `doctor --json` found, and whether it was content.
struct Told {
    ok: bool,
    findings: Vec<(String, String, String)>,
}

impl Told {
    #[track_caller]
    fn by(house: &House, args: &[&str]) -> Self {
        let ran = house.run(["doctor", "--json"].iter().chain(args).copied());
        let Ran { status, stdout, stderr } = ran;
        let told: Value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        let ok = told["ok"].as_bool().unwrap();
        assert_eq!(status.code(), Some(i32::from(!ok)), "{told}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = told["findings"].as_array().unwrap().iter();
        let findings = findings.map(|found| {
            let said = format!("{}: {}", text(&found["text"]), text(&found["remedy"]));
            (text(&found["level"]), text(&found["check"]), said)
        });
        let findings: Vec<_> = findings.collect();
        assert_eq!(ok, findings.iter().all(|(level, _, _)| level != "fail"), "{findings:?}");
        Self { ok, findings }
    }

    /// There is a finding of this level and subject that holds all of `parts`.
    #[track_caller]
    fn has(&self, level: &str, check: &str, parts: &[&str]) -> &Self {
        let fits = |(found, subject, said): &(String, String, String)| {
            found == level && subject == check && parts.iter().all(|part| said.contains(part))
        };
        assert!(self.findings.iter().any(fits), "no {level} of {check} with {parts:?} in {}", self.shown());
        self
    }

    fn shown(&self) -> String {
        self.findings.iter().fold(String::new(), |mut text, (level, check, said)| {
            writeln!(text, "{level} {check} {said}").unwrap();
            text
        })
    }
}

/// Everything below a directory, with its size.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push((entry.path(), entry.metadata().unwrap().len()));
        found.extend(contents(&entry.path()));
    }
    found.sort();
    found
}

/// A configuration for the port of a broker that runs, or will.
fn configured(house: &House, port: u16, more: &str) {
    house.write("s.toml", format!("listen = [\"127.0.0.1:{port}\"]\n{more}"));
}

#[test]
fn before_the_first_start_all_is_well_and_nothing_is_left_behind() {
    let house = House::new();
    configured(&house, free_port(), "");
    let told = Told::by(&house, &["--config", "s.toml"]);
    assert!(told.ok, "{}", told.shown());
    told.has("ok", "configuration", &["s.toml is valid"])
        .has("ok", "keys", &["the first start makes a development CA"])
        .has("ok", "ports", &["TCP 127.0.0.1", "is free"])
        .has("ok", "ports", &["UDP 127.0.0.1", "is free"])
        .has("ok", "disk", &["sealstream-data (not there yet", "free of"])
        .has("ok", "disk", &["a sync takes"])
        .has("ok", "limits", &["files may be open"])
        .has("ok", "reach", &["no broker is running"]);
    assert!(told.findings.iter().any(|(_, check, _)| check == "clock"), "{}", told.shown());
    let left: Vec<_> = contents(&house.path("")).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [house.path("s.toml")]);
}

#[test]
fn a_running_broker_is_reached_by_both_transports_and_its_directory_stays_as_it_is() {
    let house = House::new();
    let broker = house.serve();
    configured(&house, broker.port, "");
    let before = contents(&house.path("sealstream-data"));
    let told = Told::by(&house, &["--config", "s.toml"]);
    assert!(told.ok, "{}", told.shown());
    told.has("ok", "keys", &["localhost.pem", "DNS:localhost", "good until"])
        .has("ok", "ports", &["TCP", "is held by a Sealstream broker"])
        .has("ok", "ports", &["UDP", "is held, by the broker on TCP"])
        .has("ok", "reach", &["tls://127.0.0.1", "takes us for anonymous", "TLS_"])
        .has("ok", "reach", &["quic://127.0.0.1", "takes us for anonymous", "good until"])
        .has("ok", "reach", &["anonymous may produce, consume, admin on every topic"]);
    assert_eq!(contents(&house.path("sealstream-data")), before);

    // From a client's side, and for people.
    let text = house.run(["doctor", "--url", &broker.quic()]).ok();
    assert!(text.lines().all(|line| line.starts_with("ok    ")), "{text}");
    assert!(text.contains("quic://localhost") && !text.contains("disk"), "{text}");
    broker.stop();
}

#[test]
fn what_would_keep_a_broker_from_starting_fails_with_the_remedy() {
    let house = House::new();
    house.write("bad.toml", "[limits]\nsesions = 5\n");
    Told::by(&house, &["--config", "bad.toml"]).has(
        "fail",
        "configuration",
        &["limits.sesions", "limits.sessions"],
    );

    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    // Does not wait for whoever asks: what it is shows at once.
    std::thread::spawn(move || held.incoming().for_each(drop));
    configured(&house, port, "data_dir = \"/proc/nowhere\"\n");
    Told::by(&house, &["--config", "s.toml"])
        .has("fail", "ports", &["no Sealstream broker", "stop it", "listen"])
        .has("fail", "disk", &["cannot write /proc/", "chown", "data_dir"]);

    configured(&house, free_port(), "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n");
    Told::by(&house, &["--config", "s.toml"]).has("fail", "keys", &["server.pem"]);
    let authority = Authority::new(&house);
    let (old, new) = (authority.issue("localhost", -7200, -60), authority.issue("localhost", -60, 3600));
    house.write("server.pem", old.certificate.pem());
    house.write("server.key", old.key.serialize_pem());
    Told::by(&house, &["--config", "s.toml"]).has("fail", "keys", &["server.pem", "expired on", "renew it"]);
    house.write("server.pem", new.certificate.pem());
    Told::by(&house, &["--config", "s.toml"]).has("fail", "keys", &["does not match", "server.key"]);
}

#[test]
fn what_will_go_wrong_later_is_warned_of() {
    let house = House::new();
    let authority = Authority::new(&house);
    let issued = authority.issue("localhost", -40 * 86_400, 3 * 86_400);
    house.write("server.pem", issued.certificate.pem());
    let key = house.write("server.key", issued.key.serialize_pem());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let tls = "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n[topics]\nretention = \"0s\"\n[limits]\nsessions = 1000000\n";
    configured(&house, free_port(), tls);
    let told = Told::by(&house, &["--config", "s.toml"]);
    assert!(told.ok, "{}", told.shown());
    told.has("warn", "keys", &["server.pem", "for DNS:localhost", "tls reload"])
        .has("warn", "keys", &["everybody on this machine can read", "chmod 0600"])
        .has("warn", "configuration", &["for ever", "topics.retention"])
        .has("warn", "limits", &["with everything at its bound", "limits.sessions"]);
}

#[test]
fn a_name_that_clients_ask_for_and_no_certificate_has_is_found_on_both_sides() {
    let house = House::new();
    let authority = Authority::new(&house);
    let broker = serve_as(&house, &authority, "broker.example", "");
    let more = std::fs::read_to_string(house.path("s.toml")).unwrap();
    configured(&house, broker.port, &more);
    let url = broker.tls();
    let asked = Told::by(&house, &["--config", "s.toml", "--ca", "ca.pem", "--url", &url]);
    asked.has("fail", "keys", &["no certificate is for localhost", "tls.identity"]).has(
        "fail",
        "reach",
        &["broker.example", "use a name of the certificate in --url"],
    );
    // By its own configuration it is reached under the name that it has.
    let own = Told::by(&house, &["--config", "s.toml", "--ca", "ca.pem"]);
    assert!(own.ok, "{}", own.shown());
    own.has("ok", "reach", &["tls://127.0.0.1"]);
    Told::by(&house, &["--config", "s.toml"]).has("fail", "reach", &["untrusted", "--ca"]);
    broker.stop();
}

#[test]
fn a_way_that_is_closed_fails_where_it_is_asked_for_and_is_warned_of_elsewhere() {
    let house = House::new();
    let authority = Authority::new(&house);
    let broker: Broker = serve_as(&house, &authority, "localhost", "transports = [\"tls\"]\n");
    let _hole = UdpSocket::bind((Ipv4Addr::LOCALHOST, broker.port)).unwrap();
    let look = |url: &str| Told::by(&house, &["--timeout", "3s", "--ca", "ca.pem", "--url", url]);
    let told = look(&broker.tls());
    assert!(told.ok, "{}", told.shown());
    told.has("ok", "reach", &["tls://localhost"]).has(
        "warn",
        "reach",
        &["quic://localhost", "only clients of quic://"],
    );
    look(&broker.quic()).has("fail", "reach", &["quic://localhost", "UDP may be blocked", "auto://"]);
    broker.stop();
}

#[test]
fn who_is_not_let_in_and_who_may_do_nothing_is_told() {
    let house = House::new();
    house.write("closed.toml", "[auth]\nanonymous = \"never\"\n");
    let broker = house.serve_with("closed.toml");
    Told::by(&house, &["--url", &broker.tls()]).has("fail", "reach", &["--token-file", "SEALSTREAM_TOKEN"]);
    broker.stop();
    house.write(
        "narrow.toml",
        "[[auth.rule]]\nidentity = \"anonymous\"\nactions = [\"consume\"]\ntopics = [\"public.*\"]\neffect = \"allow\"\n",
    );
    let broker = house.serve_with("narrow.toml");
    let url = format!("auto://localhost:{}", broker.port);
    let told = Told::by(&house, &["--url", &url, "--cert", "nowhere.pem", "--key", "me.key"]);
    told.has("fail", "reach", &["cannot read the certificate file nowhere.pem"]);
    assert_eq!(told.findings.iter().filter(|(_, check, _)| check == "reach").count(), 1, "{}", told.shown());
    let token = house.write("me.token", "slt1_nonsense");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    Told::by(&house, &["--url", &broker.tls(), "--token-file", "me.token"])
        .has("warn", "keys", &["everybody on this machine can read me.token", "chmod 0600 me.token"])
        .has("fail", "reach", &["the token is refused"]);
    let told = Told::by(&house, &["--url", &broker.tls()]);
    told.has("ok", "reach", &["anonymous may do nothing that holds for all topics", "auth check anonymous"]);
    broker.stop();
}

/// Both round: the page each line and the sum, the doctor what it shows.
#[test]
fn the_bound_of_memory_is_the_one_that_the_page_for_operators_has() {
    fn bound(text: &str, before: &str) -> u64 {
        let (_, rest) = text.split_once(before).unwrap();
        let (bound, _) = rest.split_once(" with everything at its bound").unwrap();
        bound.parse::<bytesize::ByteSize>().unwrap().as_u64()
    }
    let house = House::new();
    configured(&house, free_port(), "");
    let told = bound(&Told::by(&house, &["--config", "s.toml"]).shown(), "the broker holds ");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = bound(&std::fs::read_to_string(page).unwrap(), "That is ");
    assert!(told.abs_diff(page) < page / 20, "{told}, and the page says {page}");
}
