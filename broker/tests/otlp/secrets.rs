//! Nothing secret is in what a collector gets, nor in the log beside it.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::SOON;
use crate::collector::{Collector, Mood};
use crate::flows::Scene;
use crate::harness::{PATIENCE, read};

const HEADER: &str = "token-of-the-collector-4318";

#[test]
fn nothing_secret_is_exported() {
    let collector = Collector::start(Mood::Takes);
    let traces = format!("[traces]\notlp = \"http://127.0.0.1:{}\"\n", collector.port);
    let mut scene = Scene::new(&traces, 9);
    scene.secrets.add("the header for the collector", HEADER);
    let log = scene.house.path("log");
    let mut command = scene.serve(&["--log-format", "json"]);
    command.envs([SOON, ("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization={HEADER}"))]);
    let mut served = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
    let logged = || String::from_utf8_lossy(&read(&log)).into_owned();
    let begun = Instant::now();
    while !logged().contains("no permissions are configured") {
        assert!(begun.elapsed() < PATIENCE, "{}", logged());
        std::thread::sleep(Duration::from_millis(20));
    }
    let port =
        logged().split("listening on tls://127.0.0.1:").nth(1).unwrap().split('"').next().unwrap().parse();
    scene.play(port.unwrap());
    let stopped = Command::new("kill").arg(served.id().to_string()).status().unwrap();
    assert!(stopped.success() && served.wait().unwrap().success());

    let spans = collector.traces();
    for (name, with) in [
        ("produce", ("outcome", "stored")),
        ("session", ("identity", "token:writer")),
        ("admin", ("request", "CreateToken")),
        ("admin", ("request", "ReloadTls")),
        ("consume", ("outcome", "read")),
    ] {
        assert!(!spans.named(name, &[with]).is_empty(), "no {name} with {with:?} was exported");
    }
    let refused = spans.spans().flat_map(|span| &span.events).any(|event| event.name == "token refused");
    assert!(refused, "the events of spans are exported");
    scene.secrets.assert_absent("what the collector got", &collector.bytes());
    scene.secrets.assert_absent("the log", logged().as_bytes());
}
