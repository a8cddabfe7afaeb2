//! The ten most likely mistakes: each gets a message that names the remedy. `docs/operations.md` has them in a table.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use sealstream_protocol::ALPN;
use sealstream_transport::testing::pki;
use sealstream_transport::tls;

use crate::harness::{Broker, House, Process, feed};

/// A CA in `ca.pem`, and what it issues.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

pub(crate) struct Issued {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new(house: &House) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        house.write("ca.pem", params.self_signed(&key).unwrap().pem());
        Self(Issuer::new(params, key))
    }

    /// A certificate for `name`, valid from and to so many seconds after now.
    pub(crate) fn issue(&self, name: &str, from: i64, to: i64) -> Issued {
        let now = SystemTime::now();
        let at = |seconds: i64| {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { now - distance } else { now + distance }
        };
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(from).into(), at(to).into());
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

/// Something that listens, and answers each connection by `answer` until the test's end.
fn listen(answer: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            answer(socket);
        }
    });
    port
}

/// A TLS server that completes a handshake, with or without our application protocol.
fn listen_tls(issued: &Issued, alpn: &[&[u8]]) -> u16 {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let config = Arc::new(config);
    listen(move |mut socket| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        // The client's alert ends it.
        while connection.complete_io(&mut socket).is_ok_and(|(read, written)| read + written > 0) {}
    })
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// What `topic list` complains of, at once.
#[track_caller]
fn complaint(house: &House, url: &str) -> String {
    house.run(["topic", "list", "--timeout", "0s", "--ca", "ca.pem", "--url", url]).failed()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

fn with_ca() -> (House, Authority) {
    let house = House::new();
    let authority = Authority::new(&house);
    (house, authority)
}

#[test]
fn a_port_that_nothing_listens_on_says_how_to_start_a_broker_and_where_its_port_is_given() {
    let (house, _) = with_ca();
    let error = complaint(&house, &format!("tls://localhost:{}", free_port()));
    assert_says(&error, &["nothing listens there", "sealstream serve", "--url", "7420"]);
}

#[test]
fn a_port_that_something_else_listens_on_says_so_whatever_it_speaks() {
    let (house, authority) = with_ca();
    let greets = listen(|mut socket| drop(socket.write_all(b"220 mail.example ESMTP\r\n")));
    // As a broker's page for monitoring, or any other web server without TLS.
    let web = listen(|mut socket| {
        drop(socket.read(&mut [0; 1024]));
        drop(socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
    });
    let hangs_up = listen(drop);
    let secure_web = listen_tls(&authority.issue("localhost", -60, 3600), &[b"h2", b"http/1.1"]);
    let plain_tls = listen_tls(&authority.issue("localhost", -60, 3600), &[]);
    for port in [greets, web, hangs_up, secure_web, plain_tls] {
        let error = complaint(&house, &format!("tls://localhost:{port}"));
        assert_says(&error, &["is no Sealstream broker", "correct the port in --url", "7420"]);
    }
}

/// A request in plain text, and what came back.
fn ask_in_http(broker: &Broker, request: &[u8]) -> String {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port)).unwrap();
    socket.write_all(request).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_http_client_is_told_what_listens_here_and_the_log_says_that_it_came() {
    let house = House::new();
    let mut broker = house.serve();
    for request in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = ask_in_http(&broker, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_says(&answer, &["Sealstream", "TLS 1.3", "sealstream health --url tls://"]);
    }
    broker.process.wait_for("the peer sent a plaintext HTTP request");
    house.run(["health", "--url", &broker.tls()]).ok();
    // A storm of them is told in a few lines.
    for _ in 0..50 {
        ask_in_http(&broker, b"GET / HTTP/1.1\r\n\r\n");
    }
    broker.process.signal("TERM");
    assert!(broker.process.wait().success(), "{}", broker.process.said);
    let lines = broker.process.said.lines().filter(|line| line.contains("plaintext HTTP")).count();
    assert!((1..20).contains(&lines), "{lines} lines:\n{}", broker.process.said);
    assert_says(&broker.process.said, &["held_back"]);
}

#[test]
#[ignore = "needs curl"]
fn curl_is_told_what_listens_here_and_over_https_the_log_says_what_it_wanted() {
    let house = House::new();
    let mut broker = house.serve();
    let curl = |url: String| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--noproxy", "*", &url])
            .output();
        output.expect("curl is there")
    };
    let plain = curl(format!("http://localhost:{}/", broker.port));
    assert!(plain.status.success(), "{plain:?}");
    assert_says(&String::from_utf8(plain.stdout).unwrap(), &["Sealstream", "TLS 1.3"]);
    let sealed = curl(format!("https://localhost:{}/", broker.port));
    assert!(!sealed.status.success());
    let line = broker.process.wait_for("this server requires sealstream/1");
    assert_says(&line, &["http/1.1"]);
    broker.stop();
}

#[test]
fn a_broker_whose_ca_is_not_known_says_how_to_give_it() {
    let (house, _) = with_ca();
    let broker = House::new();
    let broker = broker.serve();
    for url in [broker.tls(), broker.quic()] {
        assert_says(&complaint(&house, &url), &["untrusted", "--ca", "SEALSTREAM_CA", "dev-ca/ca.pem"]);
    }
    let error = house.run(["topic", "list", "--ca", "nowhere.pem", "--url", &broker.tls()]).failed();
    assert_says(&error, &["nowhere.pem"]);
    broker.stop();
}

#[test]
fn an_expired_certificate_says_since_when_and_how_to_renew_it() {
    let (house, authority) = with_ca();
    let port = listen_tls(&authority.issue("localhost", -40 * 86_400, -30 * 86_400), &[ALPN]);
    let error = complaint(&house, &format!("tls://localhost:{port}"));
    assert_says(&error, &["it expired on", "the clock here says", "renew", "sealstream tls reload"]);
    assert!(!error.contains("apart"), "nobody's clock is off by a month: {error}");
}

#[test]
fn a_broker_does_not_start_with_an_expired_certificate_and_names_the_file() {
    let (house, authority) = with_ca();
    let issued = authority.issue("localhost", -7200, -3600);
    house.write("server.pem", issued.certificate.pem());
    house.write("server.key", issued.key.serialize_pem());
    house.write("s.toml", "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n");
    for command in [["serve", "--listen", "127.0.0.1:0"].as_slice(), &["config", "check"]] {
        let error = house.run(command.iter().copied().chain(["--config", "s.toml"])).failed();
        assert_says(&error, &["server.pem", "it expired on", "60 min apart", "renew it"]);
    }
}

#[test]
fn a_clock_that_is_off_is_suspected_and_both_times_are_told() {
    let (house, authority) = with_ca();
    for (from, to, fault) in [
        (300, 7200, "it becomes valid on"),
        (-7200, -300, "it expired on"),
        (86_400 * 500, 86_400 * 600, "it becomes valid on"),
    ] {
        let port = listen_tls(&authority.issue("localhost", from, to), &[ALPN]);
        let error = complaint(&house, &format!("tls://localhost:{port}"));
        assert_says(
            &error,
            &[fault, "the clock here says", "apart: see first whether the clock is right", "set the clock"],
        );
    }
}

/// A broker that serves a certificate for `name`.
pub(crate) fn serve_as(house: &House, authority: &Authority, name: &str, more: &str) -> Broker {
    let issued = authority.issue(name, -60, 3600);
    house.write("server.pem", issued.certificate.pem());
    house.write("server.key", issued.key.serialize_pem());
    house.write("s.toml", format!("{more}[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n"));
    let mut process =
        Process::start(&mut house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]));
    let line = process.wait_for("listening on tls://");
    let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    process.wait_for("permissions are configured");
    Broker { process, port }
}

#[test]
fn a_name_that_the_certificate_does_not_have_is_told_with_those_that_it_has() {
    let (house, authority) = with_ca();
    let broker = serve_as(&house, &authority, "broker.example", "");
    for url in [broker.tls(), broker.quic()] {
        let error = complaint(&house, &url);
        assert_says(
            &error,
            &["localhost", "broker.example", "use a name of the certificate in --url", "tls.cert"],
        );
    }
    broker.stop();
}

#[test]
fn where_udp_is_blocked_quic_names_the_ways_round_and_auto_takes_one() {
    let (house, authority) = with_ca();
    let broker = serve_as(&house, &authority, "localhost", "transports = [\"tls\"]\n");
    // Takes datagrams and says nothing, as a firewall does that drops them.
    let _hole = UdpSocket::bind((Ipv4Addr::LOCALHOST, broker.port)).unwrap();
    let error = complaint(&house, &broker.quic());
    assert_says(&error, &["UDP may be blocked", "auto://", "tls://"]);
    let auto = format!("auto://localhost:{}", broker.port);
    house.run(["topic", "list", "--ca", "ca.pem", "--url", &auto]).ok();
    broker.stop();
}

#[test]
fn where_neither_way_leads_to_a_broker_auto_says_so_of_both() {
    let (house, _) = with_ca();
    let port = free_port();
    let _hole = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let error = complaint(&house, &format!("auto://localhost:{port}"));
    assert_says(
        &error,
        &["Connection refused", "over QUIC nothing was heard", "nothing listens there", "sealstream serve"],
    );
}

#[test]
fn a_missing_token_says_how_to_give_one_and_who_makes_them() {
    let house = House::new();
    house.write("s.toml", "[auth]\nanonymous = \"never\"\n");
    let broker = house.serve_with("s.toml");
    for url in [broker.tls(), broker.quic()] {
        let error = house.run(["topic", "list", "--url", &url]).failed();
        assert_says(
            &error,
            &["--token-file", "SEALSTREAM_TOKEN", "--cert and --key", "sealstream token create"],
        );
    }
    broker.stop();
}

#[test]
fn the_ca_of_another_development_broker_is_told_as_missing() {
    let (house, other) = (House::new(), House::new());
    let broker = house.serve();
    other.serve().stop();
    let ca = other.path("sealstream-data/dev-ca/ca.pem");
    for url in [broker.tls(), broker.quic()] {
        let error = house.run(["topic", "list", "--ca", ca.to_str().unwrap(), "--url", &url]).failed();
        assert_says(&error, &["untrusted certificate", "give the CA's file by --ca or SEALSTREAM_CA"]);
    }
    broker.stop();
}

#[test]
fn a_certificate_for_another_purpose_is_refused_where_it_is_loaded() {
    let house = House::new();
    let authority = pki::Authority::new("CA");
    house.write("ca.pem", authority.pem());
    let issued = authority.issue(&pki::Leaf::localhost().for_clients());
    house.write("server.pem", issued.chain_pem());
    house.write("server.key", issued.key_pem());
    house.write("s.toml", "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n");
    for command in [["serve", "--listen", "127.0.0.1:0"].as_slice(), &["config", "check"]] {
        let error = house.run(command.iter().copied().chain(["--config", "s.toml"])).failed();
        assert_says(&error, &["server.pem", "not for servers", "serverAuth"]);
    }
}

#[test]
fn an_unknown_topic_says_how_to_make_it() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    for command in [["consume", "nil"].as_slice(), &["produce", "nil"], &["topic", "describe", "nil"]] {
        let args = command.iter().copied().chain(["--url", &url]);
        assert_says(
            &feed(house.command(args), b"x\n".to_vec()).failed(),
            &["nil", "sealstream topic create"],
        );
    }
    broker.stop();
}

#[test]
#[ignore = "needs to mount a tmpfs, as root"]
fn a_full_disk_says_to_the_producer_and_in_the_log_what_makes_room() {
    let house = House::new();
    let mounted = house.mount("small", "24m");
    house.write("s.toml", "data_dir = \"small/data\"\n[log]\nreserve = \"4MiB\"\n");
    let mut broker = house.serve_with("s.toml");
    let url = broker.tls();
    let ca = "small/data/dev-ca/ca.pem";
    house.run(["topic", "create", "t", "--url", &url, "--ca", ca]).ok();
    let lines = vec![b"x".repeat(1000); 40_000].join(&b'\n');
    let produce = house.command(["produce", "t", "--timeout", "6s", "--url", &url, "--ca", ca]);
    let error = feed(produce, lines).failed();
    assert_says(&error, &["no space left on the broker's disk", "free some", "retention", "log.reserve"]);
    let line = broker.process.wait_for("cannot append");
    assert_says(&line, &["free some", "retention", "reserve"]);
    let found = house.run(["doctor", "--config", "s.toml"]);
    let found = String::from_utf8(found.stdout).unwrap();
    assert_says(
        &found,
        &["it is full, and producers are refused", "is on tmpfs: it is gone when the machine restarts"],
    );
    assert!(!found.contains("fallocate"), "{found}");
    broker.stop();
    drop(mounted);
}
