//! The variables of OpenTelemetry, and TLS to the collector.

use sealstream_transport::testing::pki::{Authority, Leaf};

use crate::collector::{Collector, Mood};
use crate::harness::{House, Ran};
use crate::{serve, serving, stopped};

#[test]
fn the_variables_of_opentelemetry_are_followed_and_their_headers_sent_and_not_said() {
    let (house, collector) = (House::new(), Collector::start(Mood::Takes));
    let url = format!("http://127.0.0.1:{}", collector.port);
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector-token"),
        ("OTEL_SERVICE_NAME", "orders-broker"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.instance.id=seven"),
        ("SEALSTREAM_LOG", "trace"),
    ];
    let broker = serve(&house, "environment", "", &env);
    house.run(["topic", "list", "--url", &broker.tls()]).ok();
    let said = stopped(broker);
    assert!(!said.contains("collector-token"), "{said}");
    let traces = collector.traces();
    assert_eq!(traces.resource("service.name"), "orders-broker");
    assert_eq!(traces.resource("service.instance.id"), "seven");
    assert_eq!(traces.resource("deployment.environment"), "test");
    assert_eq!(traces.resource("sealstream.cluster"), "sealstream");
    for request in collector.received() {
        assert_eq!(request.authorization.as_deref(), Some("Bearer collector-token"));
        assert_eq!(request.path, "/v1/traces");
    }
}

#[test]
fn what_is_not_sampled_is_not_sent_and_nothing_is_sent_where_opentelemetry_is_off() {
    for (name, value) in [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SDK_DISABLED", "true")] {
        let (house, collector) = (House::new(), Collector::start(Mood::Takes));
        let broker = serve(&house, &format!("http://127.0.0.1:{}", collector.port), "", &[(name, value)]);
        house.run(["topic", "list", "--url", &broker.tls()]).ok();
        stopped(broker);
        assert!(collector.received().is_empty(), "{name}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_served() {
    let house = House::new();
    let refused = |config: &str, env: &[(&str, &str)]| -> String {
        let ran: Ran = serving(&house, config, env).output().unwrap().into();
        ran.failed()
    };
    let environment = "[traces]\notlp = \"environment\"\n";
    let error = refused(environment, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert!(error.contains("http/protobuf") && error.contains("4318"), "{error}");
    let error = refused(environment, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]);
    assert!(error.contains("unsealed") && error.contains("https://"), "{error}");
    let error = refused("[traces]\notlp = \"https://localhost\"\nca = \"missing.pem\"\n", &[]);
    assert!(error.contains("missing.pem"), "{error}");
}

#[test]
fn a_collector_over_tls_gets_traces_if_it_is_trusted_and_otherwise_none() {
    let (house, authority) = (House::new(), Authority::new("CA"));
    let collector = Collector::sealed(&authority.issue(&Leaf::localhost()));
    let url = format!("https://localhost:{}", collector.port);
    house.write("ca.pem", authority.pem());
    let mut broker = serve(&house, &url, "", &[]);
    house.run(["topic", "list", "--url", &broker.tls()]).ok();
    let line = broker.process.wait_for("traces are lost");
    assert!(line.contains("UnknownIssuer"), "{line}");
    stopped(broker);
    assert!(collector.received().is_empty());

    let broker = serve(&house, &url, "ca = \"ca.pem\"\n", &[]);
    for _ in 0..2 {
        house.run(["topic", "list", "--url", &broker.tls()]).ok();
    }
    collector.until("a request", |traces| traces.named("admin", &[]).len() == 2);
    stopped(broker);
}
