//! What an operator sees of what the broker holds.

use serde_json::Value;

use crate::harness::{House, feed};

#[test]
fn status_shows_people_and_programs_what_is_held_and_its_bounds() {
    let house = House::new();
    house.write(
        "s.toml",
        "[limits]\nin_flight = \"32MiB\"\narriving = \"24MiB\"\n[log]\ntail_cache = \"8MiB\"\n",
    );
    let broker = house.serve_with("s.toml");
    let url = broker.tls();
    house.run(["topic", "create", "events", "--partitions", "3", "--url", &url]).ok();
    feed(house.command(["produce", "events", "--url", &url]), b"one\ntwo\n".to_vec()).ok();

    let text = house.run(["status", "--url", &url]).ok();
    let shown = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let shown: Vec<_> = shown.collect();
    for line in [
        "arriving 0 B of 24.0 MiB",
        "produce 0 B of 32.0 MiB; 8.0 MiB a session",
        "sessions 1 of 2048",
        "groups 0 of 1000",
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line} is not in {text}");
    }
    assert!(shown.iter().any(|line| line.starts_with("events 3 ")), "{text}");

    let json = house.run(["status", "--json", "--url", &url]).ok();
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["produce"]["limit"], 32 << 20);
    assert_eq!((&status["arriving"]["now"], &status["arriving"]["limit"]), (&0.into(), &(24 << 20).into()));
    assert_eq!(status["cache"]["limit"], 8 << 20);
    assert!(status["cache"]["now"].as_u64().unwrap() > 0);
    assert_eq!(status["connections"]["now"], 1);
    assert_eq!(status["largest_topics"][0]["name"], "events");
    assert!(status["log"]["batches"].as_u64().unwrap() > 0);
    broker.stop();
}
