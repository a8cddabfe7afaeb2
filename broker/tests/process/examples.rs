//! The client's examples, as a reader of them would run them: against a broker that is there, by what the environment says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::SystemTime;

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

use crate::harness::{Broker, House, Process, Ran, feed};

/// The examples, in the directory where cargo puts them. `cargo test --workspace` has built them; where they are missing or
/// older than their sources, they are built here.
fn binary(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let target = Path::new(env!("CARGO_BIN_EXE_sealstream")).parent().unwrap();
    let path = target.join("examples").join(name);
    BUILT.call_once(|| {
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("client");
        let made = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        if newest(&client.join("src")).max(newest(&client.join("examples"))) <= made {
            return;
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "sealstream-client", "--examples"]).current_dir(client);
        if target.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the examples cannot be built");
    });
    assert!(path.exists(), "{}: cargo build -p sealstream-client --examples", path.display());
    path
}

/// When something in a directory was changed last.
fn newest(dir: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed =
            if path.is_dir() { self::newest(&path) } else { path.metadata().unwrap().modified().unwrap() };
        newest = newest.max(changed);
    }
    newest
}

/// An example in the house, where the development CA is found, with the broker's URL.
fn example(house: &House, broker: &Broker, name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary(name));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SEALSTREAM_") {
            command.env_remove(name);
        }
    }
    command.env("SEALSTREAM_URL", broker.tls()).current_dir(house.path("")).args(args).stdin(Stdio::null());
    command
}

fn run(house: &House, broker: &Broker, name: &str, args: &[&str]) -> Ran {
    example(house, broker, name, args).output().unwrap().into()
}

#[test]
fn the_first_program_of_the_documentation_has_twenty_lines_and_produces_and_consumes() {
    let source = include_str!("../../../client/examples/hello.rs");
    assert!(source.lines().count() <= 20, "{} lines", source.lines().count());
    let house = House::new();
    let broker = house.serve();
    let said = run(&house, &broker, "hello", &[]).ok();
    assert_eq!(said, "stored in partition 0 at offset 0\nread b\"hello\"\n");
    let said = run(&house, &broker, "hello", &[]).ok();
    assert_eq!(said, "stored in partition 0 at offset 1\nread b\"hello\"\nread b\"hello\"\n");
    broker.stop();
}

#[test]
fn words_are_counted_by_two_members_of_a_group() {
    let house = House::new();
    let broker = house.serve();
    house.run(["topic", "create", "lines", "--partitions", "4", "--url", &broker.tls()]).ok();
    let lines: Vec<String> =
        (0..500).map(|n| format!("{n}\tthe quick fox and THE lazy dog {}", n % 3)).collect();
    let produce = ["produce", "lines", "--key-separator", "\t", "--url", &broker.tls()];
    feed(house.command(produce), lines.join("\n").into()).ok();
    let count = || {
        let mut command = example(&house, &broker, "word_count", &["count", "lines", "counts"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let members = [count(), count()];
    let mut counted = 0;
    for member in members {
        let said = Ran::from(member.wait_with_output().unwrap()).ok();
        let number = said.strip_prefix("counted ").and_then(|said| said.strip_suffix(" words\n"));
        counted += number.unwrap_or_else(|| panic!("{said}")).parse::<u64>().unwrap();
    }
    assert_eq!(counted, 500 * 8, "each line by one of them");
    let shown = run(&house, &broker, "word_count", &["show", "counts"]).ok();
    assert_eq!(shown, "1000 the\n500 and\n500 dog\n500 fox\n500 lazy\n500 quick\n167 0\n167 1\n166 2\n");
    assert!(run(&house, &broker, "word_count", &[]).failed().contains("usage: word_count"));
    broker.stop();
}

#[test]
fn requests_are_answered_and_the_server_leaves_in_order() {
    let house = House::new();
    let broker = house.serve();
    let mut serve = example(&house, &broker, "request_reply", &["serve"]);
    let mut server = Process::start(serve.stdout(Stdio::piped()));
    let mut lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "serving");
    for (question, reply) in [("two pears", "TWO PEARS\n"), ("grüße", "GRÜSSE\n")] {
        assert_eq!(run(&house, &broker, "request_reply", &["ask", question]).ok(), reply);
    }
    server.signal("INT");
    let status = server.wait();
    assert!(status.success(), "{}", server.said);
    assert_eq!(lines.next().unwrap().unwrap(), "served");
    let described = house.run(["group", "describe", "servers", "--json", "--url", &broker.tls()]).ok();
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["members"].as_array().unwrap().len(), 0, "it has left: {described}");
    broker.stop();
}

#[test]
fn what_is_delivered_twice_is_in_the_database_once() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "events", "--partitions", "3", "--url", &url]).ok();
    let lines: Vec<String> = (0..20_000).map(|n| format!("{n}\tevent {n}")).collect();
    let produce = ["produce", "events", "--key-separator", "\t", "--batch-bytes", "4KiB", "--url", &url];
    feed(house.command(produce), lines.join("\n").into()).ok();
    let copy = || example(&house, &broker, "sqlite_sink", &["copy", "events", "events.db"]);

    // Killed when it has stored something, which it may not have committed.
    let mut killed = copy().stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(killed.stdout.take().unwrap()).read_line(&mut first).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(first.starts_with("stored "), "{first}");
    let count = || {
        let counted = run(&house, &broker, "sqlite_sink", &["count", "events.db"]).ok();
        counted.trim_end().parse::<u32>().unwrap()
    };
    let before = count();
    assert!((1..20_000).contains(&before), "{before} were copied before it was killed");

    // Two go on, once the broker has given up the one that was killed.
    let others =
        [copy(), copy()].map(|mut copy| copy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    for other in others {
        Ran::from(other.wait_with_output().unwrap()).ok();
    }
    assert_eq!(count(), 20_000);

    // Everything again.
    house.run(["group", "seek", "sqlite-sink", "events", "--to", "beginning", "--url", &url]).ok();
    let said = Ran::from(copy().output().unwrap()).ok();
    let stored = said.lines().filter_map(|line| line.strip_prefix("stored "));
    let of = stored.map(|line| line.split(' ').map(|word| word.parse().unwrap_or(0)).collect::<Vec<u32>>());
    let (stored, seen) = of.fold((0, 0), |(stored, seen), words| (stored + words[0], seen + words[2]));
    assert_eq!((stored, seen), (0, 20_000), "all of it came again, and changed nothing");
    assert_eq!(count(), 20_000);
    broker.stop();
}

/// A CA, and what it says of whom by a SPIFFE ID.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(house: &House) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "example.org");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        house.write("bundle.pem", params.self_signed(&key).unwrap().pem());
        Self(Issuer::new(params, key))
    }

    /// A certificate without a host name, and its key.
    fn issue(&self, house: &House, name: &str) {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://example.org/{name}");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let file = name.replace('/', "-");
        house.write(&format!("{file}.pem"), params.signed_by(&key, &self.0).unwrap().pem());
        house.write(&format!("{file}.key"), key.serialize_pem());
    }
}

const MUTUAL: &str = r#"
[tls]
cert = "broker.pem"
key = "broker.key"
client_certificates = "required"
client_ca = "bundle.pem"

[[auth.rule]]
identity = "spiffe://example.org/shop/*"
actions = ["produce"]
topics = ["orders"]
effect = "allow"

[[auth.rule]]
identity = "spiffe://example.org/operator"
actions = ["produce", "consume", "admin"]
topics = ["*"]
effect = "allow"
"#;

#[test]
fn broker_and_client_prove_who_they_are_by_spiffe_ids_and_rules_say_what_the_client_may_do() {
    let house = House::new();
    let authority = Authority::new(&house);
    for name in ["broker", "shop/till-3", "operator"] {
        authority.issue(&house, name);
    }
    house.write("s.toml", MUTUAL);
    let mut process =
        Process::start(&mut house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]));
    let line = process.wait_for("listening on tls://");
    let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    let broker = Broker { process, port };
    let as_client = |name: &str, args: &[&str]| {
        let mut command = example(&house, &broker, "mutual_tls", args);
        command.env("SEALSTREAM_CA", "bundle.pem").env("SEALSTREAM_CERT", format!("{name}.pem"));
        Ran::from(command.env("SEALSTREAM_KEY", format!("{name}.key")).output().unwrap())
    };
    let id = "spiffe://example.org/broker";
    // There is no topic yet, and nobody but an operator may make one: a program does, that expects no host name either.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = sealstream_client::Client::builder()
            .url(broker.tls())
            .ca_file(house.path("bundle.pem"))
            .identity_files(house.path("operator.pem"), house.path("operator.key"))
            .expectation(sealstream_client::Expectation::SpiffeId(id.to_owned()))
            .build()
            .unwrap();
        for topic in ["orders", "audit"] {
            client.admin().create_topic(sealstream_client::admin::NewTopic::new(topic)).await.unwrap();
        }
        client.close().await;
    });
    let said = as_client("shop-till-3", &[id, "orders", "two pears"]).ok();
    assert_eq!(said, format!("{id} takes us for spiffe://example.org/shop/till-3\nstored at offset 0\n"));
    let refused = as_client("shop-till-3", &[id, "audit", "two pears"]).failed();
    assert!(refused.contains("may not produce to topic"), "{refused}");
    let other = as_client("shop-till-3", &["spiffe://example.org/other", "orders", "two pears"]).failed();
    assert!(other.contains("spiffe://example.org/other"), "{other}");
    broker.stop();
}
