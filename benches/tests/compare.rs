//! The comparison as a whole, with rounds so small that they mean nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Who is always there.
const CONTESTANTS: [&str; 9] = [
    "tokio TCP",
    "tokio-rustls",
    "quinn",
    "quinn, tuned",
    "ring's AES-128-GCM",
    "Sealstream tls, memory",
    "Sealstream tls, disk",
    "Sealstream quic, memory",
    "Sealstream quic, disk",
];

/// What is measured.
const WORKLOADS: [&str; 11] = [
    "limits",
    "records",
    "latency",
    "connects",
    "idle",
    "start",
    "growth with clients",
    "growth with partitions",
    "growth with records",
    "growth with what is stored",
    "steady",
];

#[test]
fn a_quick_run_measures_all_that_is_here_names_what_is_not_and_writes_tables_json_and_charts() {
    let out = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--quick", "--nats-server", "/nonexistent/nats-server", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{stdout}\n{stderr}");

    let json: Value = serde_json::from_str(&read(out.path(), "compare.json")).unwrap();
    let figures = json["figures"].as_array().unwrap();
    let all =
        |field: &str| figures.iter().map(|figure| figure[field].as_str().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(all("workload"), BTreeSet::from(WORKLOADS));
    let contestants = all("contestant");
    for contestant in CONTESTANTS {
        assert!(contestants.contains(contestant), "{contestant} of {contestants:?}");
    }
    for figure in figures {
        let median = figure["median"].as_f64().unwrap();
        assert!(median.is_finite() && median >= 0.0, "{figure}");
        assert_eq!(figure["rounds"].as_array().unwrap().len(), 1, "{figure}");
    }
    let missing = json["missing"].to_string();
    assert!(missing.contains("NATS JetStream"), "{missing}");
    assert_eq!(json["failures"], Value::Array(Vec::new()));

    let marks = json["marks"].as_array().unwrap();
    let numbers: BTreeSet<_> = marks.iter().map(|mark| mark["number"].as_str().unwrap()).collect();
    assert_eq!(numbers, BTreeSet::from(["1", "2", "3", "4", "5", "6", "7", "8"]));
    // Nobody is found under a name that a mark does not know: only what needs a peer, the large rounds or a built binary is not measured.
    let unmeasured =
        marks.iter().filter(|mark| mark["met"].is_null()).map(|mark| mark["what"].as_str().unwrap());
    for what in unmeasured {
        let known =
            ["JetStream", "10000", "1,000 partitions", "256 clients", "idle connection", "the binary"];
        assert!(known.iter().any(|known| what.contains(known)), "{what} is not measured");
    }

    let tables = read(out.path(), "compare.md");
    assert!(stdout.contains(tables.trim_end()), "what is written is printed");
    assert!(tables.contains("## The marks") && tables.contains("| Sealstream quic, disk |"), "{tables}");
    let charts: Vec<_> = fs::read_dir(out.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "svg"))
        .collect();
    assert!(charts.contains(&"records-produce.svg".to_owned()), "{charts:?}");
    for chart in charts {
        let chart = read(out.path(), &chart);
        assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"), "{chart}");
    }
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).expect("a file of the comparison")
}
