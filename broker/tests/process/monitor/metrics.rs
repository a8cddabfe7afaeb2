//! What `/metrics` says, and that every bit of it is documented.

use std::collections::{BTreeMap, BTreeSet};

use sealstream_broker::monitor::{names, reference};

use super::http::{get, until};
use crate::harness::{House, feed};

/// Families by name, each with its kind, and the labels of its series.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Reads the format as strictly as it is meant: each series behind its description, `# EOF` at the end.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name, value) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            let family = families.entry(name.to_owned()).or_default();
            match what {
                "HELP" => {
                    assert!(family.help.is_empty(), "{name} is described twice");
                    value.clone_into(&mut family.help);
                    name.clone_into(&mut current);
                }
                "TYPE" => value.clone_into(&mut family.kind),
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{value}")), "{name} does not end in its unit {value}");
                }
                other => panic!("{other} is no description"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} stands behind {current}"));
        assert!(["", "_total", "_sum", "_count", "_bucket"].contains(&suffix), "{line}");
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
        let family = families.get_mut(&current).unwrap();
        family.labels.extend(labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
    }
    families
}

/// The value of the series that begins like this.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line =
        text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_metric_is_documented_with_unit_help_and_labels_and_what_went_through_is_counted() {
    let house = House::new();
    house.write("s.toml", "[[quotas.identity]]\npattern = \"*\"\nproduced = \"1MiB/s\"\n");
    let broker = house.serve_with("s.toml");
    let (url, monitor) = (broker.tls(), broker.monitor());
    house.run(["topic", "create", "events", "--partitions", "2", "--url", &url]).ok();
    house.run(["topic", "create", "quick", "--durability", "memory", "--url", &url]).ok();
    for topic in ["events", "quick"] {
        feed(house.command(["produce", topic, "--url", &url]), b"one\ntwo\nthree\n".to_vec()).ok();
    }
    house.run(["consume", "events", "--group", "readers \"of\" all", "--count", "2", "--url", &url]).ok();
    let committed = |text: &String| text.contains("group_lag_records{group=\"readers \\\"of\\\" all\"} 1\n");
    let text = until(|| get(&monitor, "/metrics"), committed);

    for (series, expected) in [
        ("sealstream_produced_records_total{topic=\"events\"}", 3.0),
        ("sealstream_produced_records_total{topic=\"(other)\"}", 0.0),
        ("sealstream_produce_ack_seconds_count{durability=\"disk\"}", 1.0),
        ("sealstream_produce_ack_seconds_count{durability=\"memory\"}", 1.0),
        ("sealstream_topics", 2.0),
        ("sealstream_partitions", 3.0),
        ("sealstream_ready", 1.0),
        ("sealstream_sessions_opened_total{kind=\"produce\"}", 2.0),
        ("sealstream_group_members{group=\"readers \\\"of\\\" all\"}", 0.0),
        ("sealstream_log_reserve_in_use", 0.0),
        ("sealstream_log_sync_failures_total", 0.0),
        ("sealstream_budget_limit_bytes{budget=\"produce\"}", f64::from(64 << 20)),
    ] {
        let found = value(&text, series);
        assert!((found - expected).abs() < 0.5, "{series} is {found} and not {expected}");
    }
    assert!(value(&text, "sealstream_consumed_records_total{topic=\"events\"}") >= 2.0);
    assert!(value(&text, "sealstream_log_sync_seconds_count{file=\"segments\"}") >= 1.0);
    assert!(value(&text, "sealstream_disk_free_bytes") > 0.0);
    assert!(value(&text, "sealstream_tls_certificate_expiry_seconds{") > 0.0);
    let full =
        "sealstream_tls_handshake_duration_seconds_count{transport=\"tls\",side=\"server\",kind=\"full\"}";
    assert!(value(&text, full) >= 5.0);

    let documented = names();
    for (name, family) in parse(&text) {
        let labels = documented.get(&name).unwrap_or_else(|| panic!("{name} is not documented"));
        assert!(!family.help.is_empty() && !family.kind.is_empty(), "{name}: {family:?}");
        for label in &family.labels {
            assert!(labels.contains(&&**label), "{name} has a label {label} that is not documented");
        }
    }
    broker.stop();
}

#[test]
fn the_page_of_metrics_is_what_the_registry_says() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    assert!(
        page == reference(),
        "docs/metrics.md is behind: cargo run -p sealstream-broker --example metrics > docs/metrics.md"
    );
}
