//! Ctrl-C: what was done so far is done and told, and the exit code says that it was not all.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{House, PATIENCE, Process, feed};

#[test]
fn produce_tells_what_was_acknowledged_and_that_is_what_is_stored() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut command = house.command(["produce", "t", "--linger", "1", "--json", "--url", &url]);
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut stdin = process.child.stdin.take().unwrap();
        stdin.write_all(b"one\ntwo\nthr").unwrap();
        // The two lines are there before the signal is: a consumer sees them.
        house.run(["consume", "t", "--follow", "--count", "2", "--url", &url]).ok();
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(code), "{}", process.said);
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&told["records"], &told["interrupted"]), (&2.into(), &true.into()), "{line}");
        drop(stdin);
        let stored = house.run(["consume", "t", "--url", &url]).ok();
        assert_eq!(stored, "one\ntwo\n", "the line that was not finished is not sent");
        house.run(["topic", "delete", "t", "--yes", "--url", &url]).ok();
        house.run(["topic", "create", "t", "--url", &url]).ok();
    }
    broker.stop();
}

#[test]
fn a_second_signal_ends_produce_at_once_while_its_broker_is_away() {
    let house = House::new();
    let mut broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let mut command = house.command(["produce", "t", "--linger", "1", "--url", &url]);
    let mut process = Process::start(command.stdin(Stdio::piped()));
    let mut stdin = process.child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    house.run(["consume", "t", "--follow", "--count", "1", "--url", &url]).ok();
    broker.process.kill();
    process.wait_for("the producer's session is lost");
    // More than the pipe and what is read ahead of it hold: once it is written, records are on their way, to nobody.
    let line = [&[b'x'; 999][..], b"\n"].concat();
    stdin.write_all(&line.repeat(4_000)).unwrap();
    process.signal("INT");
    process.wait_for("acknowledgements; a second Ctrl-C does without");
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(130), "{}", process.said);
}

#[test]
fn consume_counts_what_it_wrote() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.quic();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    feed(house.command(["produce", "t", "--url", &url]), b"a\nb\nc\n".to_vec()).ok();
    for json in [false, true] {
        let format: &[&str] = if json { &["--json"] } else { &[] };
        let args = [&["consume", "t", "--follow", "--url", &url], format].concat();
        let mut process = Process::start(house.command(args).stdout(Stdio::piped()));
        let stdout = BufReader::new(process.child.stdout.take().unwrap());
        assert_eq!(stdout.lines().take(3).count(), 3);
        process.signal("INT");
        assert_eq!(process.wait().code(), Some(130), "{}", process.said);
        let told = process.said.lines().last().unwrap();
        if json {
            let told: Value = serde_json::from_str(told).unwrap();
            assert_eq!((&told["interrupted"], &told["records"]), (&true.into(), &3.into()));
        } else {
            assert!(told.starts_with("interrupted: 3 records, 3 B in"), "{told}");
        }
    }
    broker.stop();
}

/// How many connections the broker has, that of whoever asks among them.
fn connections(house: &House, url: &str) -> u64 {
    let status: Value = serde_json::from_str(&house.run(["status", "--json", "--url", url]).ok()).unwrap();
    status["connections"]["now"].as_u64().unwrap()
}

#[test]
fn benchmarks_end_with_the_figures_so_far_and_leave_no_topic_behind() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    let listed = || house.run(["topic", "list", "--url", &url]).ok();
    for bench in [
        &["bench", "produce", "--no-baseline", "--bytes", "1TiB"][..],
        &["bench", "latency", "--duration", "1day"],
        &["bench", "connect", "--connections", "1000000000"],
    ] {
        let args = [bench, &["--json", "--url", &url]].concat();
        let mut process = Process::start(house.command(args).stdout(Stdio::piped()));
        let begun = Instant::now();
        // They watch for signals before they connect; one makes no topic.
        let under_way = || match bench[1] {
            "connect" => connections(&house, &url) > 1,
            _ => listed().contains("bench-"),
        };
        while !under_way() {
            assert!(begun.elapsed() < PATIENCE, "{bench:?} was not to be seen");
        }
        process.signal("INT");
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(process.wait().code(), Some(130), "{bench:?}: {}", process.said);
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["interrupted"], true, "{line}");
        assert!(!listed().contains("bench-"), "{bench:?}");
    }
    broker.stop();
}

#[test]
fn log_dump_ends_with_a_whole_line_and_counts_what_it_showed() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    // More than a pipe holds: the dump cannot come to its end before the signal does.
    let lines: Vec<u8> = (0..100_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    feed(house.command(["produce", "t", "--url", &url]), lines).ok();
    broker.stop();
    for (format, signal, code) in [(&[][..], "INT", 130), (&["--json"], "TERM", 143)] {
        let args = [&["log", "dump", "sealstream-data", "--topic", "t", "--records"], format].concat();
        let mut process = Process::start(house.command(args).stdout(Stdio::piped()));
        let mut stdout = BufReader::new(process.child.stdout.take().unwrap());
        let mut shown = String::new();
        while !shown.contains("\"line 0\"") {
            assert_ne!(stdout.read_line(&mut shown).unwrap(), 0, "{shown}");
        }
        process.signal(signal);
        // What was written before it is read to the end.
        stdout.read_to_string(&mut shown).unwrap();
        assert_eq!(process.wait().code(), Some(code), "{}", process.said);
        assert!(shown.ends_with('\n'), "the last line is not whole: {:?}", shown.lines().last());
        let told = process.said.lines().last().unwrap();
        let records = if format.is_empty() {
            assert!(told.starts_with("interrupted: 1 partition, ") && told.ends_with(" shown"), "{told}");
            shown.lines().filter(|line| line.ends_with('"')).count()
        } else {
            let lines = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let records = lines.filter(|line| line["kind"] == "record").count();
            let told: Value = serde_json::from_str(told).unwrap();
            assert_eq!((&told["interrupted"], &told["partitions"]), (&true.into(), &1.into()), "{told}");
            assert_eq!(told["records"], records, "{told}");
            records
        };
        assert!(0 < records && records < 100_000, "{records}");
        if format.is_empty() {
            assert!(told.contains(&format!(" {records} record")), "{records}: {told}");
        }
    }
}

#[test]
fn produce_that_fails_half_way_says_how_far_it_came() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let produce = house.command(["produce", "t", "--key-separator", ",", "--url", &url]);
    let complaint = feed(produce, b"k,one\nk,two\nnothing\n".to_vec()).failed();
    assert!(complaint.contains("line 3 has no `,`"), "{complaint}");
    assert!(complaint.contains("(2 records are stored)"), "{complaint}");
    assert_eq!(house.run(["consume", "t", "--url", &url]).ok(), "one\ntwo\n");
    broker.stop();
}

#[test]
fn a_reader_that_has_enough_ends_every_command_without_a_complaint() {
    let house = House::new();
    for args in [&["config", "show"][..], &["completions", "bash"], &["help"], &["consume", "--help"]] {
        let mut command = house.command(args.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert!(output.status.success(), "{args:?}: {:?}", output.status);
    }
}

#[test]
fn a_benchmark_whose_broker_is_gone_ends_by_one_signal_and_names_what_it_leaves_behind() {
    for bench in [
        &["bench", "produce", "--no-baseline", "--bytes", "1TiB"][..],
        &["bench", "latency", "--duration", "1day"],
    ] {
        let house = House::new();
        let mut broker = house.serve();
        let url = broker.tls();
        let mut process = Process::start(&mut house.command([bench, &["--url", &url]].concat()));
        let begun = Instant::now();
        while !house.run(["topic", "list", "--url", &url]).ok().contains("bench-") {
            assert!(begun.elapsed() < PATIENCE, "{bench:?} was not to be seen");
        }
        broker.process.kill();
        // Said of a session that was lost, and of one that was just to be opened.
        process.wait_for("error=tls://localhost");
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(1), "{bench:?}: {}", process.said);
        assert!(process.said.contains("`sealstream topic delete bench-"), "{}", process.said);
    }
}

/// What ends a session is the command itself, which is no news to anybody.
#[test]
fn a_reader_that_has_enough_of_records_loses_no_session() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let lines = format!("{}\n", "x".repeat(999)).repeat(4_000);
    feed(house.command(["produce", "t", "--url", &url]), lines.into_bytes()).ok();
    for _ in 0..5 {
        let mut command = house.command(["consume", "t", "--json", "--url", &url]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
    }
    broker.stop();
}
