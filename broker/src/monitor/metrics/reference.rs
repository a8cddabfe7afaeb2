//! `docs/metrics.md`, made from the registry itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use sealstream_transport::observe::{HandshakeMetrics, ServedMetrics};
use sealstream_transport::tls::{Material, Store};

use super::PREFIX;
use super::broker::BrokerMetrics;
use super::families::{self, Unit};
use super::labels::LABELS;

/// What the families of the transport count, and by which labels: they say the rest themselves.
const TRANSPORT: [(&str, &str, &[&str]); 15] = [
    ("tls_certificate_expiry_seconds", "seconds", &["certificate"]),
    ("tls_certificate_info", "certificates", &["certificate", "serial"]),
    ("tls_connections_shed", "connections", &["transport", "cause"]),
    ("tls_handshake_cpu_seconds", "seconds", &["transport", "side", "kind"]),
    ("tls_handshake_duration_seconds", "seconds", &["transport", "side", "kind"]),
    ("tls_handshake_failures", "handshakes", &["transport", "side", "cause"]),
    ("tls_handshake_received_bytes", "bytes", &["transport", "side"]),
    ("tls_handshake_sent_bytes", "bytes", &["transport", "side"]),
    ("tls_handshakes_in_flight", "handshakes", &["transport", "side"]),
    ("tls_reloads", "reloads", &["outcome"]),
    ("tls_revocations_expiry_seconds", "seconds", &[]),
    ("tls_staple_expiry_seconds", "seconds", &["certificate"]),
    ("tls_tickets_issued", "tickets", &["transport"]),
    ("tls_tickets_offered", "handshakes", &["transport", "result"]),
    ("tls_trust_epoch_info", "epochs", &["epoch"]),
];

/// A family as the registry describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Described {
    kind: String,
    help: String,
}

/// Every family that a broker can show, by its whole name without the suffix of a counter, with its labels.
pub fn names() -> BTreeMap<String, &'static [&'static str]> {
    let own = families::ALL.iter().map(|family| (family.full_name(), family.labels));
    let transport = TRANSPORT.iter().map(|(name, _, labels)| (format!("{PREFIX}_{name}"), *labels));
    own.chain(transport).collect()
}

/// The page of all metrics, in Markdown.
///
/// # Panics
///
/// If a family is described in one place and not in the other: a test calls it.
pub fn reference() -> String {
    let units: BTreeMap<String, &str> = families::ALL
        .iter()
        .map(|family| {
            let (Unit::Named(unit) | Unit::Things(unit)) = family.unit;
            (family.full_name(), unit)
        })
        .chain(TRANSPORT.iter().map(|(name, unit, _)| (format!("{PREFIX}_{name}"), *unit)))
        .collect();
    let described = described();
    let known = names();
    for name in described.keys().chain(known.keys()) {
        assert!(described.contains_key(name), "{name} is not in the registry");
        assert!(known.contains_key(name), "{name} has no entry among the families of the reference");
    }
    let mut page = String::from(HEAD);
    for (name, Described { kind, help }) in &described {
        assert!(!help.is_empty(), "{name} has no help");
        let suffix = if kind == "counter" { "_total" } else { "" };
        let labels: Vec<_> = known[name].iter().map(|label| format!("`{label}`")).collect();
        for label in known[name] {
            assert!(LABELS.iter().any(|(bounded, _)| bounded == label), "{label} has no bound");
        }
        let unit = units[name];
        let help = help.trim_end_matches('.');
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{name}{suffix}` | {kind} | {unit} | {} | {help} |", labels.join(", "));
    }
    page.push_str("\n## Labels\n\n| label | values |\n|---|---|\n");
    for (label, values) in LABELS {
        let _ = writeln!(page, "| `{label}` | {values} |");
    }
    page
}

const HEAD: &str = "# Metrics

What `/metrics` of the monitor shows ([operations](operations.md#the-monitor)), in the form of OpenMetrics. This page is generated: \
`cargo run -p sealstream-broker --example metrics > docs/metrics.md`, and a test compares it.

Counters count from the start of the process. A histogram has the series `_bucket`, `_sum` and `_count`.

| metric | kind | unit | labels | what it tells |
|---|---|---|---|---|
";

/// What a registry without a broker describes: every family, most without a series.
fn described() -> BTreeMap<String, Described> {
    let mut registry = Registry::with_prefix(PREFIX);
    HandshakeMetrics::new().register(&mut registry);
    let store = Store::new(&Material::new()).expect("nothing is at fault where nothing is given");
    let reloader = sealstream_transport::tls::Reloader::new(store.into(), || Ok(Material::new()));
    let receiver =
        Store::new(&Material::new()).expect("nothing is at fault where nothing is given").receiver();
    ServedMetrics::new(receiver).with_reloads(reloader).register(&mut registry);
    registry.register_collector(Box::new(BrokerMetrics(None)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    let mut families: BTreeMap<String, Described> = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("# ") else { continue };
        let mut words = rest.splitn(3, ' ');
        let (Some(what), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let family = families.entry(name.to_owned()).or_default();
        match what {
            "HELP" => value.clone_into(&mut family.help),
            "TYPE" => value.clone_into(&mut family.kind),
            _ => {}
        }
    }
    families
}
