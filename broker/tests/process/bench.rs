//! `bench latency` and `bench connect` against a real broker. No figure is asserted: what they count is.

use serde_json::Value;

use crate::harness::House;

#[track_caller]
fn json(house: &House, args: &[&str]) -> Value {
    let args = ["bench"].iter().chain(args).chain(&["--json"]).copied();
    serde_json::from_str(&house.run(args).ok()).unwrap()
}

/// So many were counted, and their percentiles are in order.
#[track_caller]
fn assert_counted(times: &Value, count: u64) {
    assert_eq!(times["count"], count, "{times}");
    let values: Vec<_> =
        ["p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms"].map(|key| times[key].as_f64().unwrap()).to_vec();
    assert!(values.is_sorted() && values[4] > 0.0, "{times}");
}

#[test]
fn latency_counts_every_batch_until_its_answer_and_until_a_consumer_over_both_transports() {
    let house = House::new();
    let broker = house.serve();
    for url in [broker.tls(), broker.quic()] {
        let run = [
            "latency",
            "--rate",
            "400",
            "--record-bytes",
            "100B",
            "--batch-records",
            "4",
            "--duration",
            "2s",
            "--url",
            &url,
        ];
        let found = json(&house, &run);
        for kind in ["acknowledged", "received", "sent_late"] {
            assert_counted(&found[kind], 200);
        }
        assert_eq!((&found["batches_unsent"], &found["durability"]), (&Value::from(0), &Value::from("disk")));
        let (acknowledged, late) =
            (found["acknowledged"]["max_ms"].as_f64(), found["sent_late"]["max_ms"].as_f64());
        assert!(acknowledged >= late, "a batch was acknowledged before it was sent: {found}");
    }
    let topics = house.run(["topic", "list", "--url", &broker.tls()]).ok();
    assert!(!topics.contains("bench-"), "{topics}");
    broker.stop();
}

#[test]
fn a_rate_that_nobody_could_send_is_said_not_to_have_been_reached_and_what_was_not_sent_counts() {
    let house = House::new();
    let broker = house.serve();
    let url = broker.tls();
    let run = [
        "latency",
        "--rate",
        "2000000",
        "--record-bytes",
        "8B",
        "--duration",
        "100ms",
        "--durability",
        "memory",
        "--url",
        &url,
    ];
    let found = json(&house, &run);
    assert_eq!(found["rate_reached"], false, "{found}");
    let sent = found["rate_sent"].as_f64().unwrap();
    assert!(sent > 0.0 && sent < 1_980_000.0, "{found}");
    assert_counted(&found["acknowledged"], 200_000);
    let text = house.run(["bench"].iter().chain(&run).copied()).ok();
    assert!(text.contains("the rate was not reached") && text.contains("of 2000000 records/s"), "{text}");
    let error = house.run(["bench", "latency", "--rate", "0", "--url", &url]).failed();
    assert!(error.contains("--rate"), "{error}");
    broker.stop();
}

#[test]
fn connect_makes_full_and_resumed_connections_over_both_transports_and_says_which_were_resumed() {
    let house = House::new();
    let broker = house.serve();
    let auto = format!("auto://localhost:{}", broker.port);
    let found = json(&house, &["connect", "--connections", "40", "--parallel", "4", "--url", &auto]);
    let runs: Vec<_> = found["runs"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = runs
        .iter()
        .map(|run| (run["transport"].as_str().unwrap(), run["asked_for"].as_str().unwrap()))
        .collect();
    assert_eq!(kinds, [("tls", "full"), ("tls", "resumed"), ("quic", "full"), ("quic", "resumed")]);
    for run in runs {
        assert_counted(&run["handshake"], 40);
        let resumed = if run["asked_for"] == "full" { 0 } else { 40 };
        assert_eq!((&run["resumed"], &run["failed"]), (&Value::from(resumed), &Value::from(0)), "{run}");
    }
    let text = house.run(["bench", "connect", "--connections", "8", "--url", &broker.tls()]).ok();
    assert!(text.contains("resumed") && text.contains("per second") && !text.contains("quic"), "{text}");
    broker.stop();
}

#[test]
fn connections_that_a_broker_does_not_resume_or_turns_away_are_not_counted_as_if() {
    let house = House::new();
    house.write("s.toml", "[tls]\nresumption = \"off\"\n[limits]\naddress_rate = 1\naddress_burst = 24\n");
    let broker = house.serve_with("s.toml");
    let url = broker.tls();
    let run = ["connect", "--connections", "20", "--parallel", "1", "--url", &url];
    let found = json(&house, &run);
    let runs = found["runs"].as_array().unwrap();
    assert_eq!((&runs[0]["handshakes"], &runs[0]["failed"]), (&Value::from(20), &Value::from(0)), "{found}");
    let resumed = &runs[1];
    assert_eq!(resumed["resumed"], 0, "{found}");
    assert!(resumed["failed"].as_u64() > Some(0) && resumed["failure"].is_string(), "{found}");
    broker.stop();
}
