//! Contexts: what a command takes from them, and what it does not.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{House, Ran};

/// A house with a broker's development CA moved away, so that nothing but a flag or a context finds it.
fn house_with_hidden_ca() -> (House, crate::harness::Broker) {
    let house = House::new();
    let broker = house.serve();
    std::fs::copy(house.path("sealstream-data/dev-ca/ca.pem"), house.path("ca.pem")).unwrap();
    std::fs::remove_file(house.path("sealstream-data/dev-ca/ca.pem")).unwrap();
    (house, broker)
}

fn with_environment(house: &House, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = house.command(args.iter().copied());
    command.envs(env.iter().copied()).output().unwrap().into()
}

#[test]
fn a_context_reaches_its_broker_once_it_is_named_or_used() {
    let (house, broker) = house_with_hidden_ca();
    let url = broker.tls();
    let added = house.run(["context", "add", "home", "--url", &url, "--ca", "ca.pem", "--check"]).ok();
    assert!(added.contains("which answers"), "{added}");
    assert!(!house.run(["health", "--url", &url]).status.success(), "without the context its CA is unknown");
    house.run(["health", "--context", "home"]).ok();
    assert!(with_environment(&house, &[("SEALSTREAM_CONTEXT", "home")], &["health"]).status.success());
    house.run(["context", "use", "home"]).ok();
    house.run(["health"]).ok();
    // Paths hold in every directory.
    let elsewhere = tempfile::tempdir().unwrap();
    let ran: Ran = house.command(["health"]).current_dir(elsewhere.path()).output().unwrap().into();
    ran.ok();
    // The same broker by another transport is still the same broker.
    house.run(["health", "--url", &broker.quic()]).ok();
    house.run(["context", "use", "--none"]).ok();
    assert!(!house.run(["health", "--url", &url]).status.success());
    broker.stop();
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_context_in_use() {
    let house = House::new();
    let refused = |port: &str, ran: Ran| {
        let complaint = ran.failed();
        assert!(complaint.contains(&format!("tls://localhost:{port}")), "{complaint}");
        complaint
    };
    house.run(["context", "add", "one", "--url", "tls://localhost:1", "--use"]).ok();
    house.run(["context", "add", "two", "--url", "tls://localhost:2"]).ok();
    let complaint = refused("1", house.run(["health"]));
    assert!(complaint.contains("(context one)"), "{complaint}");
    let variable = [("SEALSTREAM_URL", "tls://localhost:3")];
    let complaint = refused("3", with_environment(&house, &variable, &["health"]));
    assert!(!complaint.contains("context"), "{complaint}");
    refused("4", with_environment(&house, &variable, &["health", "--url", "tls://localhost:4"]));
    // Named on the command line it is a flag: it stands in place of the environment.
    let complaint = refused("2", with_environment(&house, &variable, &["health", "--context", "two"]));
    assert!(complaint.contains("(context two)"), "{complaint}");
    refused("5", house.run(["health", "--context", "two", "--url", "tls://localhost:5"]));
    refused("2", with_environment(&house, &[("SEALSTREAM_CONTEXT", "two")], &["health"]));
    // Without any, `health` asks the monitor of this machine.
    let complaint = house.run(["health", "--context", "", "--monitor", "127.0.0.1:1"]).failed();
    assert!(complaint.contains("no monitor answers on 127.0.0.1:1"), "{complaint}");
}

#[test]
fn credentials_of_a_context_go_to_its_own_broker_only() {
    let house = House::new();
    house.write("s.toml", "[auth]\nanonymous = \"always\"\n");
    let broker = house.serve_with("s.toml");
    let url = broker.tls();
    let token = house.run(["token", "create", "a", "--url", &url]).ok();
    house.write("a.token", &token);
    let identity = |env: &[(&str, &str)], args: &[&str]| {
        let shown = with_environment(&house, env, &[&["health", "--json"], args].concat()).ok();
        let health: serde_json::Value = serde_json::from_str(&shown).unwrap();
        health["identity"].as_str().unwrap().to_owned()
    };
    let token_file = ["--token-file", "a.token"];
    let add = |name: &str, url: &str, rest: &[&str]| {
        let args = [&["context", "add", name, "--url", url], rest].concat();
        house.run(args).ok();
    };
    add("mine", &url, &token_file);
    add("bare", &url, &[]);
    add("other", "tls://localhost:1", &token_file);
    assert_eq!(identity(&[], &["--context", "mine"]), "token:a");
    house.run(["context", "use", "other"]).ok();
    assert_eq!(identity(&[], &["--url", &url]), "anonymous", "a context in use is for its own broker");
    // A token of the environment wins over a context that is in use, and is not sent along with one that is named.
    let token = [("SEALSTREAM_TOKEN", token.trim())];
    assert_eq!(identity(&token, &["--url", &url]), "token:a");
    assert_eq!(identity(&token, &["--context", "bare"]), "anonymous");
    house.run(["context", "use", "mine"]).ok();
    let wrong = with_environment(&house, &[("SEALSTREAM_TOKEN", "wrong")], &["health"]).failed();
    assert!(wrong.contains("token"), "{wrong}");
    broker.stop();
}

#[test]
fn a_context_is_added_shown_replaced_and_removed() {
    let house = House::new();
    let add = |rest: &[&str]| house.run([&["context", "add", "prod"], rest].concat());
    let complaint = add(&["--url", "tls://a", "--ca", "nowhere.pem"]).failed();
    assert!(complaint.contains("--ca: cannot read nowhere.pem"), "{complaint}");
    let complaint = add(&["--url", "http://a"]).failed();
    assert!(complaint.contains("tls://"), "{complaint}");
    let complaint = add(&["--url", "tls://localhost:1", "--check"]).failed();
    assert!(complaint.contains("localhost:1"), "{complaint}");
    assert_eq!(house.run(["context", "list"]).ok(), "", "what failed its check is not kept");
    add(&["--url", "tls://a.example", "--use"]).ok();
    let file = house.path("config/sealstream/contexts.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let complaint = add(&["--url", "tls://b.example"]).failed();
    assert!(complaint.contains("--replace"), "{complaint}");
    add(&["--url", "tls://b.example", "--replace"]).ok();
    let shown = house.run(["context", "show"]).ok();
    assert!(shown.contains("prod, in use") && shown.contains("tls://b.example"), "{shown}");
    let complaint = house.run(["context", "use", "prdo"]).failed();
    assert!(complaint.contains("did you mean `prod`?"), "{complaint}");
    let removed = house.run(["context", "remove", "prod"]);
    assert!(removed.stderr.contains("now none is"), "{}", removed.stderr);
    assert_eq!(house.run(["context", "list"]).ok(), "");
    for name in ["a b", "", "-x"] {
        let ran = house.run(["context", "add", "--url", "tls://a", "--", name]);
        assert_eq!(ran.status.code(), Some(2), "{name}: {}", ran.stderr);
    }
}

#[test]
fn a_file_at_fault_is_named_with_the_nearest_key_by_every_client_command() {
    let house = House::new();
    house.run(["context", "add", "prod", "--url", "tls://a.example", "--use"]).ok();
    let file = house.path("config/sealstream/contexts.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "tken_file = \"x\"\n").unwrap();
    for args in [&["health"][..], &["context", "list"], &["topic", "list"]] {
        let complaint = house.run(args.iter().copied()).failed();
        assert!(complaint.contains("contexts.toml"), "{complaint}");
        assert!(complaint.contains("did you mean `context.prod.token_file`?"), "{complaint}");
    }
    let complaint = house.run(["health", "--json"]).failed();
    let object: serde_json::Value = serde_json::from_str(&complaint).unwrap();
    assert!(object["error"].as_str().unwrap().contains("contexts.toml"));
    // What takes no context goes on.
    house.run(["config", "check"]).ok();
}

#[test]
fn names_can_be_had_alone_for_scripts() {
    let house = House::new();
    assert_eq!(house.run(["context", "list", "--names"]).ok(), "", "nothing to be taken for a name");
    for name in ["b", "a"] {
        house.run(["context", "add", name, "--url", "tls://a", "--use"]).ok();
    }
    assert_eq!(house.run(["context", "list", "--names"]).ok(), "a\nb\n");
}
