//! `consume --group`: where it starts, what it commits, how it ends.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::harness::{House, Process, feed};

fn produce(house: &House, url: &str, lines: std::ops::Range<u32>) {
    let text = lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
    feed(house.command(["produce", "t", "--url", url]), text.into()).ok();
}

fn numbers(text: &str) -> Vec<u32> {
    let mut all: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_group_reads_every_record_once_over_many_runs_and_a_count_commits_no_more_than_it_wrote() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--partitions", "3", "--url", &url]).ok();
    produce(&house, &url, 0..100);
    let consume = |args: &[&str]| {
        let base = ["consume", "t", "--group", "g", "--url", &url];
        house.run(base.into_iter().chain(args.iter().copied())).ok()
    };
    let mut all = consume(&["--count", "7"]);
    assert_eq!(all.lines().count(), 7);
    all += &consume(&[]);
    assert_eq!(numbers(&all), (0..100).collect::<Vec<_>>());
    assert_eq!(consume(&[]), "", "it is at the end");
    produce(&house, &url, 100..120);
    assert_eq!(numbers(&consume(&[])), (100..120).collect::<Vec<_>>());
    let other = house.run(["consume", "t", "--group", "other", "--url", &url]).ok();
    assert_eq!(
        numbers(&other),
        (0..120).collect::<Vec<_>>(),
        "a group without an offset starts at the beginning"
    );
    broker.stop();
}

#[test]
fn a_group_that_is_moved_back_reads_again_from_there() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    produce(&house, &url, 0..10);
    let consume = || house.run(["consume", "t", "--group", "g", "--url", &url]).ok();
    assert_eq!(numbers(&consume()), (0..10).collect::<Vec<_>>());
    house.run(["group", "seek", "g", "t", "--to", "4", "--url", &url]).ok();
    assert_eq!(numbers(&consume()), (4..10).collect::<Vec<_>>());
    broker.stop();
}

#[test]
fn a_signal_commits_what_was_written_and_leaves_the_group() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.quic();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    produce(&house, &url, 0..10);
    for (signal, code, lines) in [("INT", 130, 0..10), ("TERM", 143, 10..20)] {
        let mut command = house.command(["consume", "t", "--group", "g", "--follow", "--url", &url]);
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let stdout = BufReader::new(process.child.stdout.take().unwrap());
        let written: Vec<_> =
            stdout.lines().take(10).map(|line| line.unwrap().parse::<u32>().unwrap()).collect();
        assert_eq!(written, lines.clone().collect::<Vec<_>>());
        process.signal(signal);
        let status = process.wait();
        assert_eq!(status.code(), Some(code), "{}", process.said);
        assert!(process.said.contains("interrupted: 10 records"), "{}", process.said);
        assert!(process.said.contains("committed for g"), "{}", process.said);
        produce(&house, &url, lines.end..lines.end + 10);
    }
    // The next member has the partition at once: the one before it left.
    let rest = house.run(["consume", "t", "--group", "g", "--url", &url]).ok();
    assert_eq!(numbers(&rest), (20..30).collect::<Vec<_>>());
    broker.stop();
}

#[test]
fn a_start_and_a_group_do_not_go_together_and_the_error_says_where_to_turn() {
    let house = House::new();
    let ran = house.run(["consume", "t", "--group", "g", "--from", "end"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(ran.stderr.contains("sealstream group seek g t --to end"), "{}", ran.stderr);
    let ran = house.run(["consume", "t", "--group", "g", "--partition", "0"]);
    assert_eq!(ran.status.code(), Some(2));
}

#[test]
fn a_group_of_a_topic_that_does_not_exist_fails_and_names_it() {
    let house = House::new();
    let broker = house.serve();
    let complaint = house.run(["consume", "nope", "--group", "g", "--url", &broker.tls()]).failed();
    assert!(complaint.contains("topic nope does not exist"), "{complaint}");
    broker.stop();
}
