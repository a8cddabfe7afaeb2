//! Brokers that are killed, stopped and started again, with data in flight.

use std::collections::HashMap;
use std::io::Write;
use std::process::Stdio;

use crate::harness::{House, Process, feed};

/// Lines that go through a kill: enough for several batches on either side of it.
const LINES: u32 = 60_000;

#[test]
fn every_line_is_there_once_although_the_broker_was_killed_half_way() {
    for scheme in ["tls", "quic"] {
        let house = House::new();
        let mut broker = house.serve();
        let port = broker.port;
        let url = format!("{scheme}://localhost:{port}");
        house.run(["topic", "create", "t", "--url", &url]).ok();
        let mut produce = house.command(["produce", "t", "--batch-bytes", "16KiB", "--url", &url]);
        let mut produce = Process::start(produce.stdin(Stdio::piped()));
        let mut stdin = produce.child.stdin.take().unwrap();
        let half = LINES / 2;
        let line = |n: u32| format!("line number {n} of many\n");
        for n in 0..half {
            stdin.write_all(line(n).as_bytes()).unwrap();
        }
        broker.process.kill();
        let broker = house.serve_on(&format!("127.0.0.1:{port}"));
        for n in half..LINES {
            stdin.write_all(line(n).as_bytes()).unwrap();
        }
        drop(stdin);
        let status = produce.wait();
        assert!(status.success(), "{}", produce.said);

        let all = house.run(["consume", "t", "--url", &url]).ok();
        let mut times = HashMap::new();
        for line in all.lines() {
            *times.entry(line).or_insert(0) += 1;
        }
        assert_eq!(all.lines().count(), LINES as usize, "over {scheme}");
        assert!(times.values().all(|times| *times == 1), "over {scheme}");
        assert!(
            all.lines().enumerate().all(|(n, found)| format!("{found}\n") == line(u32::try_from(n).unwrap()))
        );
        broker.stop();
    }
}

#[test]
fn an_acknowledged_line_survives_a_kill() {
    let house = House::new();
    let mut broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--durability", "memory", "--url", &url]).ok();
    feed(house.command(["produce", "t", "--url", &url]), b"precious\n".to_vec()).ok();
    broker.process.kill();
    let broker = house.serve();
    assert_eq!(house.run(["consume", "t", "--url", &broker.tls()]).ok(), "precious\n");
    broker.stop();
}

#[test]
fn a_stopped_broker_starts_again_with_everything() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--partitions", "2", "--url", &url]).ok();
    feed(house.command(["produce", "t", "--partition", "1", "--url", &url]), b"kept\n".to_vec()).ok();
    let ca = crate::harness::read(&house.path("sealstream-data/dev-ca/ca.pem"));
    broker.stop();
    house.run(["log", "verify", "sealstream-data"]).ok();
    let broker = house.serve();
    assert_eq!(house.run(["consume", "t", "--url", &broker.tls()]).ok(), "kept\n");
    assert_eq!(crate::harness::read(&house.path("sealstream-data/dev-ca/ca.pem")), ca, "the CA stays");
    broker.stop();
}

#[test]
fn a_second_signal_stops_at_once() {
    let house = House::new();
    let mut broker = house.serve();
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let mut command = house.command(["consume", "t", "--follow", "--url", &url]);
    let _follower = Process::start(command.stdout(Stdio::null()));
    broker.process.signal("INT");
    broker.process.wait_for("SIGINT");
    broker.process.signal("INT");
    assert!(broker.process.wait().success());
}
