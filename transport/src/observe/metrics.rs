//! Handshakes as metrics for Prometheus. Every label comes from a closed list, so that their number is bounded, and
//! every counter is there from the start with zero.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::HandshakeObserver;
use super::event::{FailureCause, HandshakeEnd, HandshakeStart, Outcome, ShedConnection};
use crate::admission::Shed;
use crate::peer::TransportKind;
use crate::tls::{Side, TicketFault, TicketUse};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Durations from 0.1 ms, a resumption on one machine, by doubling to 13 s, beyond the deadline.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 18))
}

/// Time of a processor from 20 µs by doubling to 10 ms.
fn cpu_times() -> Histogram {
    Histogram::new(exponential_buckets(2e-5, 2.0, 10))
}

/// Counts handshakes. Give one to the transports as an observer, and [`register`](Self::register) its families where they are
/// collected.
#[derive(Clone, Debug)]
pub struct HandshakeMetrics {
    duration: Family<Labels<3>, Histogram>,
    cpu: Family<Labels<3>, Histogram>,
    failures: Family<Labels<3>, Counter>,
    tickets_issued: Family<Labels<1>, Counter>,
    tickets: Family<Labels<2>, Counter>,
    in_flight: Family<Labels<2>, Gauge>,
    shed: Family<Labels<2>, Counter>,
    received: Family<Labels<2>, Counter<u64, AtomicU64>>,
    sent: Family<Labels<2>, Counter<u64, AtomicU64>>,
}

const TRANSPORTS: [TransportKind; 2] = [TransportKind::Tls, TransportKind::Quic];

fn transport(kind: TransportKind) -> (&'static str, &'static str) {
    let name = match kind {
        TransportKind::Tls => "tls",
        TransportKind::Quic => "quic",
        TransportKind::Memory => "memory",
    };
    ("transport", name)
}

fn side(side: Side) -> (&'static str, &'static str) {
    ("side", if side == Side::Server { "server" } else { "client" })
}

fn ticket(name: &'static str) -> (&'static str, &'static str) {
    ("result", name)
}

impl HandshakeMetrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let metrics = Self {
            duration: Family::new_with_constructor(durations),
            cpu: Family::new_with_constructor(cpu_times),
            failures: Family::default(),
            tickets_issued: Family::default(),
            tickets: Family::default(),
            in_flight: Family::default(),
            shed: Family::default(),
            received: Family::default(),
            sent: Family::default(),
        };
        for kind in TRANSPORTS.map(transport) {
            for end in [Side::Server, Side::Client].map(side) {
                for cause in FailureCause::ALL {
                    drop(metrics.failures.get_or_create(&[kind, end, ("cause", cause.name())]));
                }
                drop(metrics.in_flight.get_or_create(&[kind, end]));
            }
            // Of a server from the start, so that the first of each is seen as a rise.
            let end = side(Side::Server);
            for outcome in ["full", "resumed", "failed"] {
                drop(metrics.duration.get_or_create(&[kind, end, ("kind", outcome)]));
                drop(metrics.cpu.get_or_create(&[kind, end, ("kind", outcome)]));
            }
            drop(metrics.received.get_or_create(&[kind, end]));
            drop(metrics.sent.get_or_create(&[kind, end]));
            let faults = TicketFault::ALL.map(TicketFault::name);
            for name in ["not_offered", "accepted"].into_iter().chain(faults) {
                drop(metrics.tickets.get_or_create(&[kind, ticket(name)]));
            }
            for cause in Shed::ALL {
                drop(metrics.shed.get_or_create(&[kind, ("cause", cause.name())]));
            }
            drop(metrics.tickets_issued.get_or_create(&[kind]));
        }
        metrics
    }

    /// Enters every family, under names that begin with `tls_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tls");
        registry.register_with_unit(
            "handshake_duration",
            "Time from the first byte of a handshake to its end, by kind: full, resumed or failed",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "handshake_cpu",
            "Time of a processor that a handshake took in this process, by kind",
            Unit::Seconds,
            self.cpu.clone(),
        );
        registry.register("handshake_failures", "Handshakes that failed, by cause", self.failures.clone());
        registry.register("tickets_issued", "Tickets that clients were given", self.tickets_issued.clone());
        registry.register(
            "tickets_offered",
            "Client handshakes by what became of their ticket: not offered, accepted, or why it was refused",
            self.tickets.clone(),
        );
        registry.register("handshakes_in_flight", "Handshakes under way", self.in_flight.clone());
        registry.register(
            "connections_shed",
            "Connections turned away before their handshake, by the limit that they would have broken",
            self.shed.clone(),
        );
        registry.register_with_unit(
            "handshake_received",
            "Bytes received in handshakes",
            Unit::Bytes,
            self.received.clone(),
        );
        registry.register_with_unit(
            "handshake_sent",
            "Bytes sent in handshakes",
            Unit::Bytes,
            self.sent.clone(),
        );
    }
}

impl Default for HandshakeMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl HandshakeObserver for HandshakeMetrics {
    fn start(&self, start: &HandshakeStart) {
        self.in_flight.get_or_create(&[transport(start.transport), side(start.side)]).inc();
    }

    fn finish(&self, start: &HandshakeStart, end: &HandshakeEnd<'_>) {
        let (kind, which) = (transport(start.transport), side(start.side));
        self.in_flight.get_or_create(&[kind, which]).dec();
        let labels = [kind, which, ("kind", end.outcome.name())];
        self.duration.get_or_create(&labels).observe(end.duration.as_secs_f64());
        self.cpu.get_or_create(&labels).observe(end.cpu.as_secs_f64());
        self.received.get_or_create(&[kind, which]).inc_by(end.received);
        self.sent.get_or_create(&[kind, which]).inc_by(end.sent);
        if let Outcome::Failed(cause) = end.outcome {
            self.failures.get_or_create(&[kind, which, ("cause", cause.name())]).inc();
        }
        if start.side == Side::Server {
            self.tickets_issued.get_or_create(&[kind]).inc_by(end.tickets_issued.into());
            let name = match end.ticket {
                TicketUse::NotOffered => "not_offered",
                TicketUse::Accepted => "accepted",
                TicketUse::Refused(fault) => fault.name(),
            };
            self.tickets.get_or_create(&[kind, ticket(name)]).inc();
        }
    }

    fn shed(&self, shed: &ShedConnection) {
        self.shed.get_or_create(&[transport(shed.transport), ("cause", shed.cause.name())]).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(metrics: &HandshakeMetrics) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn every_cause_is_there_from_the_start_and_every_family_has_help() {
        let text = text(&HandshakeMetrics::new());
        for cause in FailureCause::ALL {
            let line = format!(
                "tls_handshake_failures_total{{transport=\"quic\",side=\"server\",cause=\"{}\"}} 0",
                cause.name()
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
        for cause in Shed::ALL {
            let name = cause.name();
            assert!(
                text.contains(&format!("tls_connections_shed_total{{transport=\"tls\",cause=\"{name}\"}} 0"))
            );
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(families, text.lines().filter(|line| line.starts_with("# HELP ")).count());
    }

    #[test]
    fn a_handshake_is_counted_once_where_it_belongs() {
        let metrics = HandshakeMetrics::new();
        let addr = "192.0.2.1:1".parse().unwrap();
        let start = HandshakeStart::new(Side::Server, TransportKind::Tls, addr);
        metrics.start(&start);
        assert!(text(&metrics).contains("tls_handshakes_in_flight{transport=\"tls\",side=\"server\"} 1"));
        let mut end = HandshakeEnd::new(Outcome::Failed(FailureCause::Alpn), Duration::from_millis(3));
        end.ticket = TicketUse::Refused(TicketFault::OtherEpoch);
        metrics.finish(&start, &end);
        let text = text(&metrics);
        for line in [
            "tls_handshakes_in_flight{transport=\"tls\",side=\"server\"} 0",
            "tls_handshake_failures_total{transport=\"tls\",side=\"server\",cause=\"alpn\"} 1",
            "tls_handshake_failures_total{transport=\"tls\",side=\"client\",cause=\"alpn\"} 0",
            "tls_tickets_offered_total{transport=\"tls\",result=\"other_epoch\"} 1",
            "tls_handshake_duration_seconds_count{transport=\"tls\",side=\"server\",kind=\"failed\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
