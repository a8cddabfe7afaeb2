//! Rules and tokens of the real binary: reloaded while sessions are open, asked about, written down.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sealstream_client::{Client, Record};
use serde_json::Value;

use crate::harness::{Broker, House, Process};

/// «Within a second», with a margin for a loaded machine, and for the end of a process.
const PROMISE: Duration = Duration::from_secs(4);

fn rule(identity: &str, actions: &str, topics: &str, effect: &str) -> String {
    format!(
        "[[auth.rule]]\nidentity = \"{identity}\"\nactions = [{actions}]\ntopics = [\"{topics}\"]\neffect = \"{effect}\"\n"
    )
}

const EVERY: &str = "\"produce\", \"consume\", \"admin\"";

/// This machine's clients may do everything.
fn all() -> String {
    rule("anonymous", EVERY, "*", "allow")
}

/// But for this topic.
fn all_but(topic: &str) -> String {
    all() + &rule("anonymous", "\"produce\", \"consume\"", topic, "deny")
}

fn serve(house: &House, config: &str, args: &[&str]) -> Broker {
    house.write("s.toml", config);
    let fixed = ["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"];
    let mut process = Process::start(
        house
            .command(fixed.into_iter().chain(args.iter().copied()))
            .env("SEALSTREAM_LOG", "info,sealstream=debug"),
    );
    let line = process.wait_for("export SEALSTREAM_URL=");
    let url = line.split("SEALSTREAM_URL=").nth(1).unwrap().split(' ').next().unwrap();
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    Broker { process, port }
}

/// Without the watch, so that a test says when.
fn unwatched(rules: &str) -> String {
    format!("[tls]\nwatch = false\n{rules}")
}

/// A consumer that follows a topic, and has read its one record.
fn follow(house: &House, url: &str, topic: &str) -> Process {
    let mut command = house.command(["consume", topic, "--follow", "--url", url]);
    let mut consumer = Process::start(command.stdout(Stdio::piped()));
    let mut out = std::io::BufReader::new(consumer.child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "one\n");
    // Still read from, so that the consumer can write.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    consumer
}

fn produce(house: &House, url: &str, topic: &str) {
    let input = house.write("one", "one\n");
    house.run(["produce", topic, "--file", input.to_str().unwrap(), "--url", url]).ok();
}

/// By every way to have the rules read anew, and on both transports.
#[test]
fn a_permission_that_is_taken_away_ends_open_sessions_within_a_second() {
    for (way, watch) in [("signal", false), ("request", false), ("files", true)] {
        let house = House::new();
        let config = |rules: &str| format!("[tls]\nwatch = {watch}\n{rules}");
        let broker = serve(&house, &config(&all()), &[]);
        for topic in ["kept", "lost"] {
            house.run(["topic", "create", topic, "--url", &broker.tls()]).ok();
            produce(&house, &broker.tls(), topic);
        }
        let mut falling = [broker.tls(), broker.quic()].map(|url| follow(&house, &url, "lost"));
        let mut staying = follow(&house, &broker.tls(), "kept");

        let begun = Instant::now();
        house.write("s.toml", config(&all_but("lost")));
        match way {
            "signal" => broker.process.signal("HUP"),
            "request" => {
                let said = house.run(["tls", "reload", "--url", &broker.tls()]).ok();
                assert!(said.contains("permissions have changed"), "{said}");
            }
            _ => {}
        }
        for consumer in &mut falling {
            let status = consumer.wait();
            assert_eq!(status.code(), Some(1), "{}", consumer.said);
            assert!(
                consumer.said.contains("forbidden") && consumer.said.contains("auth.rule"),
                "{}",
                consumer.said
            );
        }
        assert!(begun.elapsed() < PROMISE, "{way}: {:?}", begun.elapsed());
        let error = house.run(["produce", "lost", "--file", "one", "--url", &broker.tls()]).failed();
        assert!(error.contains("anonymous may not produce to topic \"lost\""), "{error}");
        produce(&house, &broker.tls(), "kept");
        assert!(staying.child.try_wait().unwrap().is_none(), "{way}: who may go on does");
        broker.stop();
    }
}

#[test]
fn rules_at_fault_change_nothing_and_nor_do_good_ones_beside_a_bad_certificate() {
    let house = House::new();
    let mut broker = serve(&house, &unwatched(&all()), &[]);
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let refused = |config: &str, word: &str| {
        house.write("s.toml", unwatched(config));
        let error = house.run(["tls", "reload", "--url", &url]).failed();
        assert!(error.contains(word) && error.contains("still is"), "{error}");
        // As before.
        produce(&house, &url, "t");
    };
    refused(&(all_but("t") + &rule("alice", EVERY, "*", "allow")), "auth.rule, number 3");
    refused("", "auth.rule: no rule is left");
    // The same rules, which would be good, with a TLS file that is not.
    house.write("broken.pem", "no certificate");
    let section = "[tls]\nclient_certificates = \"optional\"\nclient_ca = \"broken.pem\"\n";
    house.write("s.toml", format!("{section}{}", all_but("t")));
    let error = house.run(["tls", "reload", "--url", &url]).failed();
    assert!(error.contains("broken.pem"), "{error}");
    produce(&house, &url, "t");
    broker.process.wait_for("not reloaded");
    house.write("s.toml", unwatched(&all_but("t")));
    house.run(["tls", "reload", "--url", &url]).ok();
    house.run(["produce", "t", "--file", "one", "--url", &url]).failed();
    broker.stop();
}

#[test]
fn the_first_start_says_who_may_do_everything_and_one_with_rules_that_they_hold() {
    let house = House::new();
    let broker = serve(&house, "", &[]);
    let said = broker.process.said.clone();
    assert!(said.contains("no permissions are configured: clients on this machine"), "{said}");
    broker.stop();
    let broker = serve(&house, &all(), &[]);
    let said = broker.process.said.clone();
    assert!(said.contains("permissions are configured: what no rule allows is denied"), "{said}");
    assert!(!said.contains("no permissions"), "{said}");
    broker.stop();
}

/// From a fresh broker to one whose clients come with tokens, as the page for operators has it.
#[test]
fn tokens_are_made_used_listed_and_revoked_by_the_command_line() {
    let house = House::new();
    let writing = rule("token:writer", "\"produce\"", "orders.*", "allow");
    let broker = serve(&house, &format!("{}{writing}", all()), &[]);
    let url = &broker.tls();
    house.run(["topic", "create", "orders.eu", "--url", url]).ok();
    let made = house.run(["token", "create", "writer", "--expires", "30days", "--url", url]);
    assert!(made.stderr.contains("token writer for token:writer, good until"), "{}", made.stderr);
    assert!(!made.stderr.contains("slt1_"), "{}", made.stderr);
    let token = made.ok();
    assert_eq!(token.trim_end().len(), 53);
    house.write("token", &token);
    let again = house.run(["token", "create", "writer", "--url", url]).failed();
    assert!(again.contains("token-exists"), "{again}");
    let stolen = ["token", "create", "x", "--identity", "dns:ops.example.org", "--url", url];
    let error = house.run(stolen).failed();
    assert!(error.contains("auth.token_identities"), "{error}");

    house.write("one", "one\n");
    let write = ["produce", "orders.eu", "--file", "one", "--url", url, "--token-file", "token"];
    house.run(write).ok();
    let read = house.run(["consume", "orders.eu", "--url", url, "--token-file", "token"]).failed();
    assert!(read.contains("token:writer may not consume topic \"orders.eu\""), "{read}");
    let mut by_variable = house.command(["topic", "list", "--url", url]);
    let listed = by_variable.env("SEALSTREAM_TOKEN", token.trim_end()).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains("orders.eu"));
    let listed = house.run(["token", "list", "--json", "--url", url]).ok();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["name"], &listed["identity"]), (&"writer".into(), &"token:writer".into()));
    assert!(listed["last_used_ms"].is_i64() && listed.get("token").is_none(), "{listed}");
    let table = house.run(["token", "list", "--url", url]).ok();
    assert!(table.contains("LAST USED") && !table.contains("slt1_"), "{table}");

    let gone = house.run(["token", "revoke", "writer", "--url", url]).ok();
    assert!(gone.contains("revoked writer"), "{gone}");
    let error = house.run(write).failed();
    assert!(error.contains("unauthenticated") && error.contains("revoked"), "{error}");
    let mut mistyped = token.clone();
    mistyped.replace_range(20..21, if &token[20..21] == "x" { "y" } else { "x" });
    house.write("token", mistyped);
    let error = house.run(write).failed();
    assert!(error.contains("mistyped"), "{error}");
    broker.stop();
}

#[test]
fn auth_check_gives_the_same_answer_from_a_file_and_from_the_broker() {
    let house = House::new();
    let rules = rule("dns:*", "\"produce\", \"consume\"", "orders.*", "allow")
        + &rule("dns:guest", "\"consume\"", "orders.secret", "deny")
        + &rule("anonymous", "\"admin\"", "*", "allow");
    let broker = serve(&house, &rules, &[]);
    let url = broker.tls();
    for (identity, action, topic, allowed, number) in [
        ("dns:guest", "consume", "orders.eu", true, Some(1)),
        ("dns:guest", "consume", "orders.secret", false, Some(2)),
        ("dns:guest", "admin", "orders.eu", false, None),
        ("anonymous", "admin", "*", true, Some(3)),
    ] {
        let question = ["auth", "check", identity, action, topic];
        let ask = |rest: &[&str]| house.run(question.into_iter().chain(rest.iter().copied())).ok();
        let online = ask(&["--url", &url]);
        assert_eq!(online, ask(&["--config", "s.toml"]));
        let word = if allowed { "allowed: " } else { "denied: " };
        assert!(online.starts_with(word), "{online}");
        match number {
            Some(number) => assert!(online.contains(&format!("rule {number}: ")), "{online}"),
            None => assert!(online.contains("no rule allows it"), "{online}"),
        }
        let online = ask(&["--url", &url, "--json"]);
        assert_eq!(online, ask(&["--config", "s.toml", "--json"]));
        let value: Value = serde_json::from_str(&online).unwrap();
        assert_eq!(value["allowed"], allowed);
        assert_eq!(value["rule"]["number"].as_u64(), number);
    }
    // Before the file is in use.
    house.write("next.toml", all());
    let next =
        house.run(["auth", "check", "dns:guest", "consume", "orders.eu", "--config", "next.toml"]).ok();
    assert!(next.starts_with("denied: "), "{next}");
    let error = house.run(["auth", "check", "anonymous", "consume", "b", "--config", "absent.toml"]).failed();
    assert!(error.contains("absent.toml"), "{error}");
    let usage = house.run(["auth", "check", "anonymous", "write", "b"]);
    assert_eq!(usage.status.code(), Some(2));
    broker.stop();
}

fn client(house: &House, url: &str, token: Option<&Path>) -> Client {
    let builder = Client::builder().url(url).ca_file(house.path("sealstream-data/dev-ca/ca.pem"));
    match token {
        Some(file) => builder.token_file(file).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

#[test]
fn denials_and_changes_are_audit_lines_with_who_what_and_why_and_never_a_secret() {
    let house = House::new();
    let rules = all() + &rule("token:billing", "\"produce\"", "secret", "deny");
    let mut broker = serve(&house, &unwatched(&rules), &["--log-format", "json"]);
    let url = broker.tls();
    house.run(["topic", "create", "secret", "--url", &url]).ok();
    let token = house.run(["token", "create", "billing", "--url", &url]).ok();
    let file = house.write("token", &token);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = client(&house, &url, Some(&file));
        for _ in 0..50 {
            let error = client.producer("secret").open().await.unwrap_err();
            assert!(!error.is_retryable(), "{error}");
        }
        client.close().await;
        let client = self::client(&house, &url, None);
        let producer = client.producer("secret").open().await.unwrap();
        producer.send(Record::new("x")).await.unwrap().await.unwrap();
        client.close().await;
    });
    house.write("token", "letmein");
    house.run(["topic", "list", "--token-file", "token", "--url", &url]).failed();
    house.write("s.toml", unwatched(&(rules + &all())));
    house.run(["tls", "reload", "--url", &url]).ok();
    house.run(["token", "revoke", "billing", "--url", &url]).ok();
    broker.process.signal("TERM");
    assert!(broker.process.wait().success());

    let said = &broker.process.said;
    assert!(!said.contains(token.trim_end()) && !said.contains("letmein"));
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let audit = |message: &str| -> Vec<&Value> {
        let wanted =
            |line: &&Value| line["target"] == "sealstream::audit" && line["fields"]["message"] == message;
        lines.iter().filter(wanted).map(|line| &line["fields"]).collect()
    };
    let denied = audit("denied");
    assert!((1..=10).contains(&denied.len()), "{}: a loop writes few lines", denied.len());
    assert_eq!(denied[0]["identity"], "token:billing");
    assert_eq!((&denied[0]["action"], &denied[0]["topic"]), (&"produce".into(), &"secret".into()));
    assert_eq!(denied[0]["rule"], "rule 2: deny token:billing to produce secret");
    assert!(denied[0]["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{}", denied[0]);
    let told =
        denied.len() as u64 + denied.iter().map(|line| line["held_back"].as_u64().unwrap()).sum::<u64>();
    let rest: u64 = audit("denials since the last lines of this cause")
        .iter()
        .map(|line| line["held_back"].as_u64().unwrap())
        .sum();
    assert_eq!(told + rest, 50);
    let refused = audit("token refused");
    assert!(refused[0]["reason"].as_str().unwrap().contains("no token"), "{}", refused[0]);
    assert_eq!(audit("permissions changed")[0]["rules"], 3);
    let done: Vec<_> = audit("done").into_iter().map(|line| (&line["what"], &line["thing"])).collect();
    let expected: [(Value, Value); 4] = [
        ("create topic".into(), "secret".into()),
        ("create token".into(), "billing".into()),
        ("reload TLS".into(), "tls".into()),
        ("revoke token".into(), "billing".into()),
    ];
    assert_eq!(done, expected.each_ref().map(|(what, thing)| (what, thing)));
}

#[test]
fn a_question_is_asked_as_identities_are_written() {
    let house = House::new();
    let rule = "[[auth.rule]]\nidentity = \"dns:Up.Example\"\nactions = [\"produce\"]\ntopics = [\"t\"]\n";
    let broker = serve(&house, &format!("{}{rule}", all()), &[]);
    let ask = ["auth", "check", "dns:Up.Example", "produce", "t"];
    for whom in [&["--url", &broker.tls()][..], &["--config", "s.toml"]] {
        let said = house.run([&ask[..], whom].concat()).ok();
        assert!(said.starts_with("allowed: "), "{said}");
    }
    broker.stop();
}
