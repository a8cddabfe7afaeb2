//! A disk that is really full: who is told, by what, and how it goes on.

use super::http::{Answer, ask, get, until};
use crate::harness::{House, feed};

/// What `/metrics` has of a series.
fn metric(monitor: &str, series: &str) -> Option<f64> {
    let text = get(monitor, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(series)).map(str::trim);
    line.map(|value| value.parse().unwrap())
}

#[test]
#[ignore = "needs to mount a tmpfs, as root"]
fn on_a_full_disk_a_broker_is_not_ready_and_says_why_until_retention_has_made_room() {
    let house = House::new();
    let mounted = house.mount("small", "48m");
    house.write("s.toml", "data_dir = \"small/data\"\n[log]\nreserve = \"4MiB\"\n");
    let broker = house.serve_with("s.toml");
    let (url, monitor) = (broker.tls(), broker.monitor());
    let there = ["--url", &url, "--ca", "small/data/dev-ca/ca.pem"];
    let client = |args: &[&'static str]| house.command(args.iter().copied().chain(there));
    feed(client(&["topic", "create", "t", "--segment-bytes", "2MiB"]), Vec::new()).ok();
    assert_eq!(get(&monitor, "/readyz"), "ready\n");
    assert_eq!(metric(&monitor, "sealstream_not_ready{reason=\"disk_full\"}"), Some(0.0));

    let lines = vec![b"x".repeat(1000); 60_000].join(&b'\n');
    let refused = feed(client(&["produce", "t", "--timeout", "3s", "--json"]), lines).failed();
    let refused = refused.lines().last().unwrap();
    let error: serde_json::Value = serde_json::from_str(refused).unwrap_or_else(|_| panic!("{refused}"));
    assert!(error["error"].as_str().unwrap().contains("no space left on the broker's disk"), "{error}");
    assert!(metric(&monitor, "sealstream_produce_refused_total{code=\"disk-full\"}").unwrap() > 0.0);
    // Not only for as long as somebody is refused.
    let not_ready = |answer: &Answer| answer.code == 503;
    let answer = until(|| ask(&monitor, "GET", "/readyz").unwrap(), not_ready);
    assert!(answer.body.starts_with("not ready\ndisk_full: the disk is full"), "{}", answer.body);
    assert!(answer.body.contains("free some space, delete topics, or shorten"), "{}", answer.body);
    assert_eq!(metric(&monitor, "sealstream_not_ready{reason=\"disk_full\"}"), Some(1.0));
    assert_eq!(get(&monitor, "/healthz"), "ok\n");
    let error = house.run(["health", "--monitor", &monitor]).failed();
    assert!(error.contains("disk_full: ") && error.contains("free some space"), "{error}");

    // Readers go on, and so does what makes room.
    let read = feed(client(&["consume", "t", "--count", "1"]), Vec::new());
    assert_eq!(read.ok().len(), 1001);
    feed(client(&["topic", "alter", "t", "--retention-bytes", "4MiB"]), Vec::new()).ok();
    until(|| ask(&monitor, "GET", "/readyz").unwrap(), |answer| answer.code == 200);
    assert_eq!(metric(&monitor, "sealstream_not_ready{reason=\"disk_full\"}"), Some(0.0));
    feed(client(&["produce", "t"]), b"there is room\n".to_vec()).ok();
    broker.stop();
    drop(mounted);
}
