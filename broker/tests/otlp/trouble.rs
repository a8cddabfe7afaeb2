//! A collector that is away, stalls or fails: the broker serves on, keeps no more than its queue holds, and says so once.

use crate::collector::{Collector, Mood};
use crate::harness::House;
use crate::{produce, serve, stopped};

/// What a broker says at its end of what became of its spans: sent, lost, dropped.
fn counts(said: &str) -> [u64; 3] {
    let line =
        said.lines().find(|line| line.contains("traces of this run")).unwrap_or_else(|| panic!("{said}"));
    ["sent=", "lost=", "dropped="].map(|field| {
        let rest = line.split(field).nth(1).unwrap_or_else(|| panic!("{line}"));
        rest.split(' ').next().unwrap().trim().parse().unwrap()
    })
}

#[test]
fn a_collector_that_is_down_slow_or_failing_harms_nobody() {
    for (mood, reason) in [
        (None, "refused"),
        (Some(Mood::Stalls), "no answer within 300ms"),
        (Some(Mood::Fails), "status code: 500"),
    ] {
        let (house, collector) = (House::new(), mood.map(Collector::start));
        // Nobody listens on port 9.
        let port = collector.as_ref().map_or(9, |collector| collector.port);
        let env = [("OTEL_BSP_MAX_QUEUE_SIZE", "4"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "300")];
        let mut broker = serve(&house, &format!("http://127.0.0.1:{port}"), "", &env);
        house.run(["topic", "create", "t", "--url", &broker.tls()]).ok();
        let warned = broker.process.wait_for("traces are lost");
        assert!(warned.contains(reason) && warned.contains("traces.otlp"), "{mood:?}: {warned}");
        for url in [broker.tls(), broker.quic()] {
            for _ in 0..3 {
                produce(&house, &url, "t");
            }
        }
        let read = house.run(["consume", "t", "--count", "12", "--url", &broker.tls()]).ok();
        assert_eq!(read.lines().count(), 12);
        let said = stopped(broker);
        assert_eq!(said.matches("traces are lost").count(), 1, "{mood:?}: {said}");
        let [sent, lost, _] = counts(&said);
        assert_eq!(sent, 0, "{mood:?}");
        assert!(lost > 0, "{mood:?}: {said}");
    }
}

#[test]
fn spans_beyond_the_queue_are_dropped_and_counted_and_a_collector_that_is_back_gets_the_next() {
    let (house, collector) = (House::new(), Collector::start(Mood::Stalls));
    let url = format!("http://127.0.0.1:{}", collector.port);
    let env = [("OTEL_BSP_MAX_QUEUE_SIZE", "2"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000")];
    let mut broker = serve(&house, &url, "", &env);
    // Three spans each, and two places: whatever the exporter has in hand, some find none.
    for _ in 0..6 {
        house.run(["topic", "list", "--url", &broker.tls()]).ok();
    }
    broker.process.wait_for("traces are lost");
    collector.set(Mood::Takes);
    // What was in the queue may have met the collector before its mood changed.
    house.run(["topic", "create", "t", "--url", &broker.tls()]).ok();
    broker.process.wait_for("the collector takes traces again");
    collector.until("a span", |traces| traces.spans().count() > 0);
    let [sent, lost, dropped] = counts(&stopped(broker));
    assert!(sent > 0 && lost > 0 && dropped > 0, "{sent} sent, {lost} lost, {dropped} dropped");
    assert_eq!(sent, collector.traces().spans().count() as u64, "what was sent came, once");
}
