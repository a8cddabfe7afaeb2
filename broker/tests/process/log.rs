//! `log dump` and `log snapshot`, of a running broker and of a stopped one.

use serde_json::Value;

use crate::harness::{House, feed};

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_dump_shows_entries_and_records_of_a_running_broker_and_of_a_stopped_one() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "users", "--partitions", "2", "--url", &url]).ok();
    house.run(["topic", "create", "other", "--url", &url]).ok();
    let lines: Vec<u8> = (0..20).flat_map(|n| format!("user-{n}\tvisit {n}\n").into_bytes()).collect();
    feed(
        house.command(["produce", "users", "--key-separator", "\t", "--partition", "1", "--url", &url]),
        lines,
    )
    .ok();

    let dump =
        |args: &[&str]| house.run(["log", "dump", "sealstream-data"].into_iter().chain(args.iter().copied()));
    let check = || {
        let all = json_lines(&dump(&["--json", "--records", "--topic", "users"]).ok());
        let kinds = |kind: &str| all.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
        assert_eq!(kinds("partition").len(), 2);
        assert_eq!(kinds("partition")[1]["name"], "users");
        assert_eq!(kinds("segment").len(), 1);
        let records = kinds("record");
        assert_eq!(records.len(), 20);
        for (n, record) in records.iter().enumerate() {
            assert_eq!((&record["partition"], &record["offset"]), (&1.into(), &n.into()));
            assert_eq!(
                (record["key"].as_str(), record["value"].as_str()),
                (Some(&*format!("user-{n}")), Some(&*format!("visit {n}")))
            );
        }
        let entry = kinds("entry")[0];
        assert_eq!(
            (&entry["offset"], &entry["sequence"], &entry["epoch"]),
            (&0.into(), &0.into(), &1.into())
        );
        assert!(entry["append_time"].as_i64().unwrap() > 1_577_836_800_000);
        assert!(kinds("fault").is_empty());
    };
    check();
    let some = json_lines(&dump(&["--json", "--partition", "1", "--from", "10", "--count", "1"]).ok());
    let entries: Vec<_> = some.iter().filter(|line| line["kind"] == "entry").collect();
    assert_eq!(entries.len(), 1);
    let end = entries[0]["offset"].as_u64().unwrap() + entries[0]["records"].as_u64().unwrap();
    assert!(end > 10, "the first entry that is shown holds the offset");
    let text = dump(&["--records"]).ok();
    assert!(text.contains("partition users/1") && text.contains("\"user-7\"  \"visit 7\""), "{text}");
    let error = dump(&["--topic", "nothing"]).failed();
    assert!(error.contains("nothing") && error.contains("other, users"), "{error}");
    broker.stop();
    check();
    assert!(house.run(["log", "dump", "nowhere"]).failed().contains("nowhere"));
}

#[test]
fn a_snapshot_of_a_running_broker_is_a_directory_that_another_serves_from() {
    let house = House::new();
    let mut broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "text", "--partitions", "3", "--url", &url]).ok();
    let lines: Vec<u8> = (0..5_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    feed(house.command(["produce", "text", "--url", &url]), lines).ok();
    let made: Value =
        serde_json::from_str(&house.run(["log", "snapshot", "sealstream-data", "copy", "--json"]).ok())
            .unwrap();
    assert_eq!((&made["partitions"], &made["records"]), (&3.into(), &5_000.into()));
    let text = house.run(["log", "snapshot", "sealstream-data", "copy"]).failed();
    assert!(text.contains("copy is not empty"), "{text}");
    assert!(!house.path("copy/tickets.secret").exists() && !house.path("copy/dev-ca").exists());
    let mut before =
        house.run(["consume", "text", "--url", &url]).ok().lines().map(str::to_owned).collect::<Vec<_>>();
    feed(house.command(["produce", "text", "--url", &url]), b"after the copy\n".to_vec()).ok();
    broker.process.kill();

    let report: Value = serde_json::from_str(&house.run(["log", "verify", "copy", "--json"]).ok()).unwrap();
    assert_eq!(report["sound"], true);
    std::fs::rename(house.path("sealstream-data"), house.path("original")).unwrap();
    std::fs::rename(house.path("copy"), house.path("sealstream-data")).unwrap();
    let copy = house.serve();
    let url = copy.tls();
    let mut found =
        house.run(["consume", "text", "--url", &url]).ok().lines().map(str::to_owned).collect::<Vec<_>>();
    before.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, before);
    let described: Value =
        serde_json::from_str(&house.run(["topic", "describe", "text", "--json", "--url", &url]).ok())
            .unwrap();
    assert!(described["partitions"][0]["epoch"].as_u64().unwrap() > 65_536);
    copy.stop();
}

#[test]
fn partitions_are_added_by_the_command_line_and_none_is_removed() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--partitions", "2", "--segment-age", "1h", "--url", &url]).ok();
    house.run(["topic", "alter", "t", "--partitions", "5", "--segment-bytes", "16MiB", "--url", &url]).ok();
    let error = house.run(["topic", "alter", "t", "--partitions", "4", "--url", &url]).failed();
    assert!(error.contains("none removed"), "{error}");
    let shown: Value =
        serde_json::from_str(&house.run(["topic", "describe", "t", "--json", "--url", &url]).ok()).unwrap();
    assert_eq!(shown["partitions"].as_array().unwrap().len(), 5);
    assert_eq!((&shown["segment_bytes"], &shown["segment_ms"]), (&(16 << 20).into(), &3_600_000.into()));
    feed(house.command(["produce", "t", "--partition", "4", "--url", &url]), b"there\n".to_vec()).ok();
    assert_eq!(house.run(["consume", "t", "--url", &url]).ok(), "there\n");
    broker.stop();
}

#[test]
fn a_directory_in_use_is_verified_only_when_asked_to_and_the_refusal_says_how() {
    let house = House::new();
    let broker = house.serve();
    let refused = house.run(["log", "verify", "sealstream-data"]).failed();
    assert!(
        refused.contains("in use by another running broker") && refused.contains("--while-running"),
        "{refused}"
    );
    house.run(["log", "verify", "sealstream-data", "--while-running"]).ok();
    broker.stop();
}
