//! Messages at three in the morning: each names what is wrong and what to do, in the words of the command line.

use std::net::{Ipv4Addr, UdpSocket};

use crate::harness::{House, feed};

#[test]
fn what_a_broker_refuses_comes_with_the_flag_or_the_command_that_helps() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    let failed = |args: &[&str]| house.run([args, &["--url", &url]].concat()).failed();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let error = failed(&["topic", "create", "t"]);
    assert!(error.contains("--if-not-exists leaves it as it is"), "{error}");
    let error = failed(&["consume", "nope"]);
    assert!(error.contains("cannot consume topic nope"), "{error}");
    let error = failed(&["topic", "describe", "u"]);
    assert!(
        error.contains("`sealstream topic create`") && error.contains("`sealstream topic list`"),
        "{error}"
    );
    for args in [&["group", "describe", "g"][..], &["group", "delete", "g", "--yes"]] {
        let error = failed(args);
        assert!(error.contains("`sealstream group list` shows which there are"), "{error}");
    }
    let error = failed(&["consume", "t", "--from", "5"]);
    assert!(error.contains("the nearest is 0: start there: --from takes an offset, a time"), "{error}");

    house.write("token", "slt1_nonsense");
    let error = failed(&["topic", "list", "--token-file", "token"]);
    assert!(
        error.contains("the token is refused") && error.contains("--token-file or SEALSTREAM_TOKEN"),
        "{error}"
    );
    assert_eq!(error.matches("token create").count(), 1, "said twice: {error}");
    let error = failed(&["topic", "list", "--token-file", "nowhere"]);
    assert!(
        error.contains("cannot read the token file nowhere") && error.contains("correct the path"),
        "{error}"
    );
    broker.stop();
}

#[test]
fn records_get_the_headers_that_are_given() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.quic();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let produce =
        house.command(["produce", "t", "--header", "type=a=b", "--header", "empty=", "--url", &url]);
    feed(produce, b"one\ntwo\n".to_vec()).ok();
    let read = house.run(["consume", "t", "--json", "--url", &url]).ok();
    for line in read.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let expected = serde_json::json!([
            { "name": "type", "value": "a=b" },
            { "name": "empty", "value": "" },
        ]);
        assert_eq!(record["headers"], expected);
    }
    assert_eq!(read.lines().count(), 2);
    let error = house.run(["produce", "t", "--file", ".", "--url", &url]).failed();
    assert!(error.contains("cannot read .: it is a directory"), "{error}");
    broker.stop();
}

#[test]
fn a_directory_that_is_not_the_right_one_is_told_from_one_that_has_not_what_is_asked_for() {
    let house = House::new();
    let broker = house.serve();
    house.run(["topic", "create", "t", "--url", &broker.tls()]).ok();
    broker.stop();
    for command in ["verify", "dump"] {
        let error = house.run(["log", command, "elsewhere"]).failed();
        assert!(error.contains("data_dir of the configuration names it"), "{error}");
    }
    let dump = |args: &[&str]| house.run([&["log", "dump", "sealstream-data"], args].concat());
    let error = dump(&["--topic", "u"]).failed();
    assert!(error.contains("no topic \"u\" in sealstream-data: it has t"), "{error}");
    for asked in
        [&["--partition", "7"][..], &["--topic", "t", "--partition", "7"], &["--partition", "7", "--json"]]
    {
        let error = dump(asked).failed();
        assert!(
            error.contains("no partition 7") && error.contains("without --partition all are shown"),
            "{error}"
        );
    }
    for to in ["sealstream-data/copy", "sealstream-data/a/b", "./sealstream-data"] {
        let error = house.run(["log", "snapshot", "sealstream-data", to]).failed();
        assert!(error.contains("lies in sealstream-data") && error.contains("outside of it"), "{error}");
    }
    assert!(!house.path("sealstream-data/a").exists());
    house.run(["log", "snapshot", "sealstream-data", "sealstream-data-copy"]).ok();
}

#[test]
fn what_is_no_monitor_is_told_from_a_broker_that_is_not_there() {
    let house = House::new();
    let broker = house.serve();
    let address = format!("127.0.0.1:{}", broker.port);
    let error = house.run(["health", "--monitor", &address]).failed();
    assert!(error.contains("is no monitor of a broker (it answered 400)"), "{error}");
    broker.stop();
    let error = house.run(["health", "--monitor", &address]).failed();
    assert!(error.contains("no monitor answers") && error.contains("is the broker running?"), "{error}");
}

#[test]
fn a_single_attempt_takes_no_longer_than_the_time_that_is_given() {
    let house = House::new();
    let hole = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("quic://127.0.0.1:{}", hole.local_addr().unwrap().port());
    let error = house.run(["health", "--timeout", "300ms", "--url", &url]).failed();
    assert!(error.contains("took longer than 300ms") && error.contains("UDP may be blocked"), "{error}");
}

#[test]
fn arguments_that_do_not_go_together_are_told_with_the_usage_of_their_command() {
    let house = House::new();
    let ran = house.run(["consume", "t", "--group", "g", "--from", "5"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(ran.stderr.contains("sealstream group seek g t --to 5"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Usage: sealstream consume"), "{}", ran.stderr);
}
