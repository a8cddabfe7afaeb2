//! What is wrong gives one clear error that names the thing and the remedy.

use crate::harness::{House, Process, feed};

#[test]
fn a_data_directory_has_one_broker() {
    let house = House::new();
    let broker = house.serve();
    let error = house.run(["serve", "--listen", "127.0.0.1:0"]).failed();
    assert!(error.contains("sealstream-data") && error.contains("in use"), "{error}");
    broker.stop();
}

#[test]
fn an_address_in_use_says_so() {
    let house = House::new();
    let broker = house.serve();
    let listen = format!("127.0.0.1:{}", broker.port);
    let error = house.run(["serve", "--data-dir", "other", "--listen", &listen]).failed();
    assert!(error.contains(&listen) && error.contains("in use"), "{error}");
    broker.stop();
}

#[test]
fn a_data_directory_of_a_newer_version_is_left_alone() {
    let house = House::new();
    house.serve().stop();
    let format = house.path("sealstream-data/format");
    let text = std::fs::read_to_string(&format).unwrap();
    let newer: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_ne!(newer, text);
    std::fs::write(&format, newer).unwrap();
    let error = house.run(["serve", "--listen", "127.0.0.1:0"]).failed();
    assert!(error.contains("sealstream-data") && error.contains("newer"), "{error}");
}

#[test]
fn an_unknown_key_in_the_configuration_names_the_nearest() {
    let house = House::new();
    house.write("s.toml", "[limits]\nsesions = 5\n");
    for command in [["serve", "--config", "s.toml"].as_slice(), &["config", "check", "--config", "s.toml"]] {
        let error = house.run(command.iter().copied()).failed();
        assert!(error.contains("limits.sesions") && error.contains("limits.sessions"), "{error}");
        assert!(!house.path("sealstream-data").exists(), "nothing was made");
    }
}

/// What the configuration's check lets pass, the broker takes.
#[test]
fn the_least_and_the_most_that_the_configuration_allows_are_served() {
    let least = "[limits]\nidle = \"1s\"\nfirst_frame = \"1ms\"\nframe = \"64KiB\"\ndecompressed_batch = \"64KiB\"\n\
        session_window = \"64KiB\"\nin_flight = \"64KiB\"\narriving = \"64KiB\"\nconnections = 1\nsessions = 1\n[topics]\npartitions = 1\n";
    let most = "[limits]\nidle = \"24h\"\nfirst_frame = \"24h\"\nsession_window = \"1GiB\"\nin_flight = \"4095MiB\"\narriving = \"4095MiB\"\n\
        connections = 1000000\nsessions = 1000000\n[topics]\npartitions = 1024\n";
    for config in [least, most] {
        let house = House::new();
        house.write("s.toml", config);
        house.run(["config", "check", "--config", "s.toml"]).ok();
        let mut broker =
            Process::start(&mut house.command(["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"]));
        broker.wait_for("ready");
        broker.signal("TERM");
        assert!(broker.wait().success(), "{}", broker.said);
    }
    let house = House::new();
    house.write("s.toml", "[limits]\nfirst_frame = \"0s\"\n");
    let error = house.run(["config", "check", "--config", "s.toml"]).failed();
    assert!(error.contains("limits.first_frame"), "{error}");
}

#[test]
fn key_files_that_are_missing_or_do_not_match_are_named() {
    let house = House::new();
    house.serve().stop();
    let dir = house.path("sealstream-data/dev-ca");
    let (cert, other) = (dir.join("localhost.pem"), dir.join("ca.key"));
    let check = |key: &str| {
        house.write("s.toml", format!("[tls]\ncert = {:?}\nkey = {key:?}\n", cert.display().to_string()));
        house.run(["config", "check", "--config", "s.toml"]).failed()
    };
    let error = check("nowhere.key");
    assert!(error.contains("nowhere.key"), "{error}");
    let error = check(&other.display().to_string());
    assert!(error.contains("does not match") && error.contains("localhost.pem"), "{error}");
    house.write("noise.key", [0xff; 1000]);
    let error = check("noise.key");
    assert!(error.contains("noise.key"), "{error}");
}

#[test]
fn a_bad_file_of_client_cas_is_named_also_where_the_certificate_is_a_development_one() {
    let house = House::new();
    house.write("s.toml", "[tls]\nclient_certificates = \"optional\"\nclient_ca = [\"clients.pem\"]\n");
    house.write("clients.pem", "nothing of the kind");
    let error = house.run(["config", "check", "--config", "s.toml"]).failed();
    assert!(error.contains("clients.pem"), "{error}");
}

#[test]
fn config_show_prints_every_key_and_can_be_used_as_a_file() {
    let house = House::new();
    let pins = format!("client_pins = [\"{}\"]\n", "0a".repeat(32));
    let tls = "[tls]\nclient_certificates = \"required\"\nclient_ca = \"clients.pem\"\n";
    house.write("s.toml", format!("{tls}{pins}[[tls.identity]]\ncert = \"a\"\nkey = \"b\"\n"));
    let env = [("SEALSTREAM_TLS_CERT", "server.pem"), ("SEALSTREAM_TLS_KEY", "server.key")];
    let mut command = house.command(["config", "show", "--config", "s.toml"]);
    let shown = crate::harness::Ran::from(command.envs(env).output().unwrap()).ok();
    for key in
        ["watch = true", "resumption = \"tickets\"", "# staple is not set", "# ticket_secret is not set"]
    {
        assert!(shown.lines().any(|line| line.starts_with(key)), "{key}: {shown}");
    }
    for key in ["retry_above", "address_rate", "crl_expired", "expired_clients", "resumption_cache"] {
        assert!(shown.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}: {shown}");
    }
    house.write("again.toml", &shown);
    let again = house.run(["config", "show", "--config", "again.toml"]).ok();
    let values = |text: &str| {
        text.lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&shown), values(&again));
}

#[test]
fn an_untrusted_certificate_is_no_reason_to_wait() {
    let house = House::new();
    let stranger = House::new();
    let broker = house.serve();
    for url in [broker.tls(), broker.quic(), format!("auto://localhost:{}", broker.port)] {
        let start = std::time::Instant::now();
        let error = stranger.run(["topic", "list", "--url", &url]).failed();
        assert!(error.contains("untrusted"), "{error}");
        assert!(start.elapsed() < std::time::Duration::from_secs(8), "it was not tried again");
    }
    broker.stop();
}

#[test]
fn an_unknown_topic_is_named_with_the_remedy() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    for command in [["consume", "nil"], ["produce", "nil"]] {
        let error = feed(house.command(command.into_iter().chain(["--url", &url])), b"x\n".to_vec()).failed();
        assert!(error.contains("nil") && error.contains("topic create"), "{error}");
    }
    // No broker is asked.
    let refused = house.run(["topic", "create", "a\u{7}b", "--url", &url]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.contains("the name has '\\u{7}' at byte 1"), "{}", refused.stderr);
    broker.stop();
}

#[test]
fn nobody_there_is_a_failure_of_health() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    assert!(house.run(["health", "--url", &url]).ok().contains("ok"));
    broker.stop();
    let error = house.run(["health", "--url", &url]).failed();
    assert!(error.contains("localhost"), "{error}");
    let error = house.run(["health", "--url", &url, "--json"]).failed();
    let error: serde_json::Value = serde_json::from_str(error.trim()).unwrap();
    assert!(error["error"].is_string());
}

#[test]
fn words_that_mean_nothing_are_a_usage_error() {
    let house = House::new();
    assert_eq!(house.run(["sevre"]).status.code(), Some(2));
    assert_eq!(house.run(["consume", "t", "--from", "yesterday"]).status.code(), Some(2));
    assert_eq!(house.run(["topic", "delete", "t"]).status.code(), Some(2));
}

#[test]
fn a_line_too_long_for_a_record_is_named_by_its_number() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let mut input = b"fine\n".to_vec();
    input.resize(input.len() + (17 << 20), b'x');
    let error = feed(house.command(["produce", "t", "--url", &url]), input).failed();
    assert!(error.contains("line 2"), "{error}");
    broker.stop();
}

#[test]
fn a_connection_that_says_nothing_sensible_stops_nobody() {
    let house = House::new();
    let mut broker = house.serve();
    let url = broker.tls();
    let mut garbage = std::net::TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    std::io::Write::write_all(&mut garbage, &[b'G'; 10_000]).unwrap();
    let silent = std::net::TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    feed(house.command(["produce", "t", "--url", &url]), b"x\n".to_vec()).ok();
    assert_eq!(house.run(["consume", "t", "--url", &url]).ok(), "x\n");
    drop(silent);
    assert!(broker.process.child.try_wait().unwrap().is_none());
    broker.stop();
}

#[test]
fn a_data_directory_that_is_made_among_other_things_is_told_of_once() {
    let house = House::new();
    std::fs::create_dir(house.path("etc")).unwrap();
    house.write("etc/passwd", "root");
    let told = "other things lie: if it was named by mistake";
    for first in [true, false] {
        let checked = house.command(["doctor"]).env("SEALSTREAM_DATA_DIR", "etc").output().unwrap();
        let checked = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(checked.contains("no data directory yet, and holds `passwd`"), first, "{checked}");
        let mut process =
            Process::start(&mut house.command(["serve", "--data-dir", "etc", "--listen", "127.0.0.1:0"]));
        process.wait_for("export SEALSTREAM_URL=");
        process.signal("TERM");
        assert!(process.wait().success());
        assert_eq!(process.said.contains(told), first, "{}", process.said);
    }
}

#[test]
fn a_broker_whose_address_is_taken_makes_nothing() {
    let house = House::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let error = house.run(["serve", "--listen", &listen]).failed();
    assert!(error.contains(&listen) && error.contains("in use"), "{error}");
    assert!(!house.path("sealstream-data").exists(), "a data directory was made");
}

#[test]
fn an_empty_variable_and_a_word_that_is_no_level_are_named() {
    let house = House::new();
    for name in ["SEALSTREAM_CA", "SEALSTREAM_URL"] {
        let output = house.command(["topic", "list"]).env(name, "").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("{name} is empty")), "{error}");
        assert_eq!(output.status.code(), Some(2));
    }
    let output = house.command(["topic", "list"]).env("SEALSTREAM_LOG", "blah").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("SEALSTREAM_LOG: `blah` is no level"), "{error}");
    let output = house.command(["produce", "t", "--timeout", "0s"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--timeout must be longer than zero"), "{error}");
}
