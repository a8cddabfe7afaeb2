//! Lines go in, the same lines come out.

use crate::harness::{House, feed};

/// Text with what real text has: empty lines, `\r`, bytes that are no UTF-8, a line of half a megabyte, no newline at the end.
fn text() -> Vec<u8> {
    let mut text = b"first\n\nwith \r\n\xff\xfe no text\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 500_000));
    for n in 0..20_000 {
        text.extend(format!("\nline {n} of many").bytes());
    }
    text
}

fn goes_round(scheme: &str, extra: &[&str]) {
    let house = House::new();
    let broker = house.serve();
    let url = format!("{scheme}://localhost:{}", broker.port);
    house.run(["topic", "create", "text", "--url", &url]).ok();
    let produce = ["produce", "text", "--url", &url].into_iter().chain(extra.iter().copied());
    feed(house.command(produce), text()).ok();
    let consumed = house.run(["consume", "text", "--url", &url]);
    assert!(consumed.status.success(), "{}", consumed.stderr);
    let mut expected = text();
    expected.push(b'\n');
    assert!(consumed.stdout == expected, "{} bytes came back of {}", consumed.stdout.len(), expected.len());
    broker.stop();
}

#[test]
fn text_comes_back_the_same_over_tls() {
    goes_round("tls", &[]);
}

#[test]
fn text_comes_back_the_same_over_quic_and_compressed() {
    goes_round("quic", &["--compression", "lz4"]);
}

#[test]
fn auto_finds_a_way() {
    goes_round("auto", &[]);
}

#[test]
fn keys_choose_partitions_and_json_shows_them() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "users", "--partitions", "4", "--url", &url]).ok();
    let lines: Vec<u8> = (0..100).flat_map(|n| format!("user-{}\thit {n}\n", n % 7).into_bytes()).collect();
    feed(house.command(["produce", "users", "--key-separator", "\t", "--url", &url]), lines).ok();
    let shown = house.run(["consume", "users", "--format", "json", "--url", &url]).ok();
    let mut partitions = std::collections::HashMap::new();
    let mut values = 0;
    for line in shown.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = record["key"].as_str().unwrap().to_owned();
        let partition = record["partition"].as_u64().unwrap();
        assert_eq!(*partitions.entry(key).or_insert(partition), partition, "a key has one partition");
        assert!(record["value"].as_str().unwrap().starts_with("hit "));
        values += 1;
    }
    assert_eq!((values, partitions.len()), (100, 7));
    broker.stop();
}

#[test]
fn consume_starts_where_it_is_told_to_and_stops_after_so_many() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "n", "--url", &url]).ok();
    feed(house.command(["produce", "n", "--url", &url]), b"a\nb\nc\nd\n".to_vec()).ok();
    let consume = |args: &[&str]| {
        house.run(["consume", "n", "--url", &url].into_iter().chain(args.iter().copied())).ok()
    };
    assert_eq!(consume(&["--from", "2"]), "c\nd\n");
    assert_eq!(consume(&["--from", "1", "--count", "2"]), "b\nc\n");
    assert_eq!(consume(&["--from", "end"]), "");
    assert_eq!(consume(&["--from", "1970-01-01T00:00:00Z"]), "a\nb\nc\nd\n");
    assert_eq!(consume(&["--from", "2500-01-01T00:00:00Z"]), "");
    broker.stop();
}

#[test]
fn follow_waits_for_records_that_are_still_to_come() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "live", "--url", &url]).ok();
    let mut follower = house
        .command(["consume", "live", "--follow", "--count", "2", "--url", &url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    for line in ["one\n", "two\n"] {
        feed(house.command(["produce", "live", "--url", &url]), line.into()).ok();
    }
    let output = {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut follower.stdout.take().unwrap(), &mut text).unwrap();
        assert!(follower.wait().unwrap().success());
        text
    };
    assert_eq!(output, "one\ntwo\n");
    broker.stop();
}

#[test]
fn a_reader_that_has_enough_ends_consume_without_a_complaint() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "much", "--url", &url]).ok();
    feed(house.command(["produce", "much", "--url", &url]), text()).ok();
    let mut consume = house
        .command(["consume", "much", "--url", &url])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = consume.stdout.take().unwrap();
    let mut first = [0; 5];
    std::io::Read::read_exact(&mut stdout, &mut first).unwrap();
    assert_eq!(&first, b"first");
    drop(stdout);
    let output = consume.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    broker.stop();
}

#[test]
fn topics_are_made_listed_described_altered_and_deleted() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.quic();
    let topic =
        |args: &[&str]| house.run(["topic"].into_iter().chain(args.iter().copied()).chain(["--url", &url]));
    topic(&["create", "a", "--partitions", "3", "--durability", "memory"]).ok();
    let again = topic(&["create", "a"]).failed();
    assert!(again.contains("topic a") && again.contains("exists"), "{again}");
    topic(&["create", "a", "--if-not-exists"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&topic(&["list", "--json"]).ok()).unwrap();
    assert_eq!(listed["topic"], "a");
    assert_eq!(listed["partitions"], 3);
    assert_eq!(listed["durability"], "memory");
    topic(&["alter", "a", "--retention", "12h"]).ok();
    let described: serde_json::Value =
        serde_json::from_str(&topic(&["describe", "a", "--json"]).ok()).unwrap();
    assert_eq!(described["retention_ms"], 12 * 3600 * 1000);
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    topic(&["delete", "a", "--yes"]).ok();
    assert_eq!(topic(&["list"]).ok(), "");
    assert!(topic(&["describe", "a"]).failed().contains('a'));
    broker.stop();
}
