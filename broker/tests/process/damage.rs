//! Damage on the disk, and restored copies, as those who read and those who operate meet them.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Broker, House, PATIENCE, Process, feed};
use crate::monitor::http::get;

/// Appends ten lines, each by itself: a batch each.
fn ten_lines(house: &House, topic: &str, broker: &Broker) {
    for n in 0..10 {
        let line = format!("line {n}\n").into_bytes();
        feed(house.command(["produce", topic, "--url", &broker.tls()]), line).ok();
    }
}

/// The segment of the partition with the most bytes in it, and so many of these are not zero.
fn segment(house: &House) -> (PathBuf, usize) {
    let mut found = Vec::new();
    let mut dirs = vec![house.path("sealstream-data")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.parent().unwrap().parent().unwrap().ends_with("partitions")
                && path.extension().is_some_and(|ext| ext == "log")
            {
                let content = std::fs::read(&path).unwrap();
                let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                found.push((path, used));
            }
        }
    }
    found.into_iter().max_by_key(|(_, used)| *used).unwrap()
}

/// Turns a bit over in the middle of that segment.
fn damage(house: &House) {
    let (path, used) = segment(house);
    let mut content = std::fs::read(&path).unwrap();
    content[used / 2] ^= 1;
    std::fs::write(path, content).unwrap();
}

#[test]
fn damage_that_a_running_broker_meets_is_an_error_at_once_and_shows_everywhere() {
    let house = House::new();
    let broker = house.serve();
    house.run(["topic", "create", "events", "--url", &broker.tls()]).ok();
    house.run(["topic", "create", "other", "--url", &broker.tls()]).ok();
    ten_lines(&house, "events", &broker);
    broker.stop();
    damage(&house);
    // After a clean end a start reads nothing of it.
    let mut broker = house.serve();
    let url = broker.tls();
    let read_only = || {
        let shown = house.run(["topic", "describe", "events", "--json", "--url", &url]).ok();
        serde_json::from_str::<Value>(&shown).unwrap()["partitions"][0]["read_only"].as_bool().unwrap()
    };
    assert!(!read_only());

    let begun = Instant::now();
    for _ in 0..3 {
        let ran = house.run(["consume", "events", "--url", &url]);
        let read = String::from_utf8(ran.stdout.clone()).unwrap();
        assert!(read.starts_with("line 0\n") && read.lines().count() < 10, "{read}");
        let error = ran.failed();
        let offset = format!("the log is damaged at offset {}:", read.lines().count());
        for text in [&*offset, "sealstream log verify", "--from", "restores it"] {
            assert!(error.contains(text), "{text} is not in {error}");
        }
    }
    assert!(begun.elapsed() < Duration::from_mins(1), "nobody waits for what does not heal");
    let line =
        broker.process.wait_for("the log is corrupt below its durable end: the partition is read-only");
    assert!(line.contains("ERROR") && line.contains("topic=\"events\""), "{line}");
    assert!(read_only());
    assert!(get(&broker.monitor(), "/metrics").contains("\nsealstream_partitions_read_only 1\n"));
    let refused =
        feed(house.command(["produce", "events", "--timeout", "1s", "--url", &url]), b"refused\n".to_vec());
    assert!(refused.failed().contains("its log is corrupt"));
    feed(house.command(["produce", "other", "--url", &url]), b"taken\n".to_vec()).ok();
    let behind = house.run(["consume", "events", "--from", "9", "--url", &url]).ok();
    assert_eq!(behind, "line 9\n", "what lies behind the damage can be read");
    broker.process.signal("TERM");
    broker.process.wait_for("the log is sealed");
    broker.process.wait();
    let lines = broker.process.said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    assert_eq!(
        lines.filter(|line| line.contains("log")).count(),
        1,
        "one line is enough: {}",
        broker.process.said
    );

    let ran = house.run(["log", "verify", "sealstream-data"]);
    let text = String::from_utf8(ran.stdout.clone()).unwrap();
    assert!(
        text.contains("events/0") && text.contains("RECORDS and END count what lies before it"),
        "{text}"
    );
    let error = ran.failed();
    assert!(error.contains("delete its topic (events)"), "{error}");
    let report = house.run(["log", "verify", "sealstream-data", "--json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let partitions = report["partitions"].as_array().unwrap();
    let damaged: Vec<_> = partitions.iter().filter(|at| !at["damaged"].is_null()).collect();
    assert_eq!((damaged.len(), &damaged[0]["name"]), (1, &"events".into()));

    // The next start knows it, without anybody reading.
    let broker = house.serve();
    let shown = house.run(["topic", "describe", "events", "--url", &broker.tls()]).ok();
    assert!(shown.contains("read-only"), "{shown}");
    broker.stop();
}

#[test]
fn a_start_says_what_it_recovered_where_the_end_before_was_not_a_clean_one() {
    let house = House::new();
    let mut broker = house.serve();
    house.run(["topic", "create", "events", "--url", &broker.tls()]).ok();
    ten_lines(&house, "events", &broker);
    assert!(!broker.process.said.contains("recovered"), "{}", broker.process.said);
    broker.process.kill();
    let broker = house.serve();
    let said = broker.process.said.clone();
    let told: Vec<_> = said.lines().filter(|line| line.contains("the log ")).collect();
    let [unclean, recovered] = told[..] else { panic!("two lines were due: {said}") };
    assert!(unclean.contains("the log was not closed cleanly"), "{unclean}");
    assert!(recovered.contains("the log is recovered") && recovered.contains("partitions=1"), "{recovered}");
    assert!(recovered.contains("bytes=") && recovered.contains("ms="), "{recovered}");
    broker.stop();
    let broker = house.serve();
    assert!(!broker.process.said.contains("the log "), "{}", broker.process.said);
    broker.stop();
}

#[test]
fn a_follower_that_was_further_than_a_restored_copy_is_told_so_with_the_remedy() {
    for grown in [false, true] {
        let house = House::new();
        let mut broker = house.serve();
        let (port, url) = (broker.port, broker.tls());
        house.run(["topic", "create", "events", "--url", &url]).ok();
        ten_lines(&house, "events", &broker);
        house.run(["log", "snapshot", "sealstream-data", "copy"]).ok();
        ten_lines(&house, "events", &broker);
        let mut follow = house.command(["consume", "events", "--follow", "--url", &url]);
        let mut follow = Process::start(follow.stdout(Stdio::piped()));
        let mut read = String::new();
        let mut stdout = follow.child.stdout.take().unwrap();
        let mut buffer = [0; 4096];
        let begun = Instant::now();
        while read.lines().count() < 20 {
            let len = stdout.read(&mut buffer).unwrap();
            read.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
            assert!(len > 0 && begun.elapsed() < PATIENCE, "{read}");
        }
        if grown {
            // It is away while the copy grows past it.
            follow.signal("STOP");
        }
        broker.process.kill();
        std::fs::rename(house.path("sealstream-data/dev-ca"), house.path("copy/dev-ca")).unwrap();
        std::fs::rename(house.path("sealstream-data"), house.path("original")).unwrap();
        std::fs::rename(house.path("copy"), house.path("sealstream-data")).unwrap();
        let broker = house.serve_on(&format!("127.0.0.1:{port}"));
        if grown {
            ten_lines(&house, "events", &broker);
            ten_lines(&house, "events", &broker);
            follow.signal("CONT");
        }
        let error = follow.wait_for("error: ");
        for text in [
            "was cut, or restored from a copy",
            "from offset 10 on",
            "start again from that offset",
            "--from",
        ] {
            assert!(error.contains(text), "{text} is not in {error}");
        }
        assert_eq!(follow.wait().code(), Some(1));
        broker.stop();
    }
}
