//! The alert rules and the dashboard speak of metrics that there are, and the rules fire when they should.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealstream_broker::monitor::names;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every metric that a text names, without the suffixes of its series.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let known = names();
    let family = |word: &str| {
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"].into_iter();
        let bare = suffixes.filter_map(|suffix| word.strip_suffix(suffix));
        bare.map(ToOwned::to_owned).find(|bare| known.contains_key(bare)).unwrap_or_else(|| word.to_owned())
    };
    words.filter(|word| word.starts_with("sealstream_")).map(family).collect()
}

#[track_caller]
fn assert_known(path: &str, text: &str) {
    let (known, named) = (names(), metrics(text));
    assert!(named.len() > 5, "{path} names {named:?} only");
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{path} names metrics that there are not: {unknown:?}");
}

#[test]
fn the_rules_and_the_dashboard_name_metrics_that_there_are() {
    for path in ["deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml"] {
        assert_known(path, &read(path));
    }
    let path = "deploy/grafana/sealstream.json";
    let dashboard: Value = serde_json::from_str(&read(path)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert_known(path, &expressions.join("\n"));
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{} has no unit", panel["title"]);
    }
}

/// What stands behind a key, of each rule in the order of the file.
fn values<'a>(rules: &'a str, key: &str) -> Vec<&'a str> {
    rules
        .lines()
        .filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(key))
        .map(str::trim)
        .collect()
}

#[test]
fn every_alert_has_its_grade_a_summary_and_a_place_in_the_docs_and_is_tested() {
    let (rules, tests) = (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml"));
    let operations = read("docs/operations.md");
    let alerts = values(&rules, "alert:");
    assert!(alerts.len() >= 15, "{alerts:?}");
    let (summaries, runbooks) = (values(&rules, "summary:"), values(&rules, "runbook:"));
    let grades = values(&rules, "labels:");
    assert!([summaries.len(), runbooks.len(), grades.len()].iter().all(|count| *count == alerts.len()));
    for ((alert, grade), runbook) in alerts.iter().zip(grades).zip(runbooks) {
        assert!(["{severity: P0}", "{severity: P1}", "{severity: P2}"].contains(&grade), "{alert}: {grade}");
        let (_, anchor) =
            runbook.split_once("docs/operations.md#").unwrap_or_else(|| panic!("{alert}: {runbook}"));
        let anchor = anchor.trim_end_matches('"');
        assert!(
            operations.contains(&format!("<a id=\"{anchor}\"></a>")),
            "{alert}: #{anchor} is not in operations.md"
        );
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "no test has {alert} fire");
    }
}

#[test]
#[ignore = "needs promtool"]
fn the_rules_fire_when_they_should_and_are_silent_otherwise() {
    let rules = root().join("deploy/prometheus");
    for args in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let output = Command::new("promtool").args(args).current_dir(&rules).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

/// Prometheus reads what the broker says as strictly as it reads anything.
#[test]
#[ignore = "needs promtool"]
fn prometheus_takes_the_metrics_as_they_are() {
    use std::io::Write as _;
    use std::process::Stdio;

    let house = crate::harness::House::new();
    let broker = house.serve();
    house.run(["topic", "create", "events", "--url", &broker.tls()]).ok();
    let text = super::http::get(&broker.monitor(), "/metrics");
    // `check metrics` reads the older form, which has neither units nor an end.
    let older: Vec<_> = text.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF").collect();
    let older = older.join("\n") + "\n";
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(older.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // 3 is for advice on names, 1 for what it cannot read.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
    assert!(!said.contains("error while linting"), "{said}");
    broker.stop();
}
