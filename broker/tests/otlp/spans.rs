//! Which spans there are, whose they are, and what they say.

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::collector::{Collector, Mood, number, text};
use crate::harness::House;
use crate::{produce, serve, stopped};

/// What a batch spends its time with, one after the other.
const STEPS: [&str; 6] = ["quota_us", "checked_us", "memory_us", "queued_us", "written_us", "synced_us"];

fn micros(span: &Span) -> i64 {
    i64::try_from((span.end_time_unix_nano - span.start_time_unix_nano) / 1000).unwrap()
}

#[test]
fn a_produce_is_told_step_by_step_within_its_session_and_connection_over_both_transports() {
    let (house, collector) = (House::new(), Collector::start(Mood::Takes));
    let broker = serve(&house, &format!("http://127.0.0.1:{}", collector.port), "", &[]);
    let ways = [("tls", broker.tls()), ("quic", broker.quic())];
    for (name, url) in &ways {
        house.run(["topic", "create", name, "--url", url]).ok();
        produce(&house, url, name);
        let read = house.run(["consume", name, "--count", "2", "--url", url]).ok();
        assert_eq!(read, "one\ntwo\n");
    }
    let said = stopped(broker);
    assert!(said.contains(&format!("traces go to http://127.0.0.1:{}/v1/traces", collector.port)), "{said}");
    // The last of them were sent when it stopped.
    let traces = collector.traces();
    for (name, _) in &ways {
        let batch = traces.one("produce", &[("topic", name)]);
        assert_eq!(
            (number(batch, "partition"), number(batch, "offset"), number(batch, "records")),
            (0, 0, 2)
        );
        assert!(number(batch, "bytes") > 0);
        assert_eq!(text(batch, "outcome").unwrap(), "stored");
        let steps: Vec<i64> = STEPS.iter().map(|step| number(batch, step)).collect();
        assert!(steps.iter().all(|step| *step >= 0), "{steps:?}");
        // The span begins before the first step and ends after the last; a millisecond for two clocks.
        assert!(steps.iter().sum::<i64>() <= micros(batch) + 1000, "{steps:?} in {}", micros(batch));

        let session = traces.parent(batch);
        assert_eq!(session.name, "session");
        assert_eq!(text(session, "kind").unwrap(), "produce");
        assert_eq!(text(session, "identity").unwrap(), "anonymous");
        assert!(text(session, "client").unwrap().contains("sealstream"), "{session:?}");
        assert!(number(session, "id") > 0);
        let connection = traces.parent(session);
        assert_eq!(connection.name, "connection");
        assert_eq!(text(connection, "transport").unwrap(), *name);
        assert_eq!(text(connection, "identity").unwrap(), "anonymous");
        assert_eq!(text(connection, "handshake").unwrap(), "full");
        assert!(text(connection, "suite").unwrap().starts_with("TLS_"), "{connection:?}");
        assert!(text(connection, "remote").unwrap().starts_with("127.0.0.1:"));
        assert!(connection.parent_span_id.is_empty(), "a trace begins with its connection");
        for (inner, outer) in [(batch, session), (session, connection)] {
            assert_eq!(inner.trace_id, outer.trace_id);
            assert!(inner.start_time_unix_nano >= outer.start_time_unix_nano);
        }

        let read = traces.one("consume", &[("topic", name), ("outcome", "read")]);
        assert_eq!((number(read, "offset"), number(read, "records")), (0, 2));
        assert_eq!(number(read, "bytes") > 0, number(read, "read_us") >= 0);
        assert_eq!(text(traces.parent(read), "kind").unwrap(), "consume");
    }
    let creating = traces.named("admin", &[("request", "CreateTopic"), ("outcome", "done")]);
    assert_eq!(creating.len(), 2);
    assert_eq!(text(traces.parent(creating[0]), "kind").unwrap(), "admin");
    // The line of the log that tells of it stands with it.
    let event = creating[0].events.iter().find(|event| event.name == "topic created");
    assert!(event.is_some(), "{:?}", creating[0].events);
    assert_eq!(traces.resource("service.name"), "sealstream");
    assert_eq!(traces.resource("sealstream.cluster"), "sealstream");
    assert_eq!(traces.resource("service.version"), env!("CARGO_PKG_VERSION"));
    assert!(!traces.resource("service.instance.id").is_empty());
}

#[test]
fn a_refusal_is_an_error_by_the_name_of_its_fault() {
    let (house, collector) = (House::new(), Collector::start(Mood::Takes));
    let broker = serve(&house, &format!("http://localhost:{}/base/", collector.port), "", &[]);
    house.run(["topic", "describe", "nothing", "--url", &broker.tls()]).failed();
    stopped(broker);
    let traces = collector.traces();
    let refused = traces.one("admin", &[("request", "DescribeTopic")]);
    assert_eq!(text(refused, "outcome").unwrap(), "unknown-topic");
    assert_eq!(refused.status.as_ref().unwrap().code(), StatusCode::Error);
    assert!(collector.received().iter().all(|request| request.path == "/base/v1/traces"));
}

#[test]
fn a_group_is_joined_in_a_span_and_at_level_info_there_are_no_requests() {
    for (level, joins) in [("debug", 1), ("info", 0)] {
        let (house, collector) = (House::new(), Collector::start(Mood::Takes));
        let url = format!("http://127.0.0.1:{}", collector.port);
        let broker = serve(&house, &url, &format!("level = \"{level}\"\n"), &[]);
        house.run(["topic", "create", "t", "--url", &broker.tls()]).ok();
        produce(&house, &broker.tls(), "t");
        house.run(["consume", "t", "--group", "g", "--count", "2", "--url", &broker.tls()]).ok();
        stopped(broker);
        let traces = collector.traces();
        let joined = traces.named("join", &[("group", "g"), ("outcome", "joined")]);
        assert_eq!(joined.len(), joins, "{level}");
        assert_eq!(traces.named("produce", &[]).len(), joins, "{level}");
        assert_eq!(traces.named("session", &[("kind", "group")]).len(), 1, "{level}");
    }
}
