//! What is served, as metrics for Prometheus: read when they are collected, so that they are never behind.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::tls::{Receiver, Reloader, ServedIdentity, Snapshot, unix_now};

/// Certificates, staples, revocation lists and the trust epoch of a [`Receiver`], and the reloads behind it. One series for
/// each identity.
///
/// ```no_run
/// use prometheus_client::registry::Registry;
/// use sealstream_transport::observe::ServedMetrics;
///
/// # fn register(registry: &mut Registry, receiver: sealstream_transport::tls::Receiver) {
/// ServedMetrics::new(receiver).register(registry);
/// # }
/// ```
#[derive(Clone)]
pub struct ServedMetrics {
    receiver: Receiver,
    reloader: Option<Reloader>,
}

impl ServedMetrics {
    /// Of what this receiver gives.
    pub fn new(receiver: Receiver) -> Self {
        Self { receiver, reloader: None }
    }

    /// Counts the reloads of the receiver's store too.
    #[must_use]
    pub fn with_reloads(mut self, reloader: Reloader) -> Self {
        self.reloader = Some(reloader);
        self
    }

    /// Enters every family, under names that begin with `tls_`.
    pub fn register(self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("tls").register_collector(Box::new(self));
    }

    fn encode_served(snapshot: &Snapshot, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = unix_now();
        let each = |identity: &ServedIdentity| [("certificate", identity.origin().to_owned())];
        family(
            &mut encoder,
            ("certificate_expiry", "Time until the certificate expires; negative once it has"),
            Some(&Unit::Seconds),
            MetricType::Gauge,
            snapshot.identities().iter().map(|identity| {
                (each(identity).to_vec(), ConstGauge::new(identity.holder().not_after.saturating_sub(now)))
            }),
        )?;
        family(
            &mut encoder,
            ("staple_expiry", "Time until the stapled OCSP response is served no more"),
            Some(&Unit::Seconds),
            MetricType::Gauge,
            snapshot.identities().iter().filter_map(|identity| {
                let left = identity.staple()?.next_update().saturating_sub(now);
                Some((each(identity).to_vec(), ConstGauge::new(left)))
            }),
        )?;
        family(
            &mut encoder,
            (
                "revocations_expiry",
                "Time until the first of the revocation lists for clients is due to be replaced",
            ),
            Some(&Unit::Seconds),
            MetricType::Gauge,
            snapshot
                .client_revocations()
                .next_update()
                .map(|due| (Vec::new(), ConstGauge::new(due.saturating_sub(now)))),
        )?;
        family(
            &mut encoder,
            ("certificate", "The certificates that are served"),
            Some(&Unit::Other("info".to_owned())),
            MetricType::Gauge,
            snapshot.identities().iter().map(|identity| {
                let serial = hex(&identity.holder().serial);
                let [certificate] = each(identity);
                (vec![certificate, ("serial", serial)], ConstGauge::new(1_i64))
            }),
        )?;
        family(
            &mut encoder,
            ("trust_epoch", "What is trusted: changes when older tickets and identities may no longer do"),
            Some(&Unit::Other("info".to_owned())),
            MetricType::Gauge,
            [(vec![("epoch", snapshot.epoch().to_string())], ConstGauge::new(1_i64))],
        )
    }
}

impl Collector for ServedMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(reloader) = &self.reloader {
            let counts = reloader.counts();
            let outcomes = [("accepted", counts.accepted), ("refused", counts.refused)];
            let reloads = outcomes
                .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], ConstCounter::new(count)));
            let help = "Times that certificates and trust were loaded anew";
            family(&mut encoder, ("reloads", help), None, MetricType::Counter, reloads)?;
        }
        Self::encode_served(&self.receiver.current(), encoder)
    }
}

impl fmt::Debug for ServedMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedMetrics").finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Encodes a family; of one that is empty what it is, so that it is known.
fn family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    unit: Option<&Unit>,
    kind: MetricType,
    series: impl IntoIterator<Item = (Vec<(&'static str, String)>, M)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
    for (labels, metric) in series {
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::testing::pki::{Authority, Leaf};
    use crate::tls::{Material, Store, Trigger};

    fn text(metrics: &ServedMetrics) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.clone().register(&mut registry);
        encode(&mut text, &registry).unwrap();
        text
    }

    /// The value of a series that begins like this.
    fn value(text: &str, name: &str) -> i64 {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn what_is_served_now_is_told_and_what_a_reload_made_of_it() {
        let authority = Authority::new("CA");
        let hour = std::time::Duration::from_hours(1);
        let issued = authority.issue(&Leaf::localhost().lasting(hour));
        let serial = hex(&issued.serial());
        let first = Material::new().with_server_identity(issued.identity());
        let store = Arc::new(Store::new(&first).unwrap());
        let longer = authority.issue(&Leaf::localhost().lasting(24 * hour)).identity();
        let reloader = Reloader::new(Arc::clone(&store), move || {
            Ok(Material::new().with_server_identity(longer.clone()))
        });
        let metrics = ServedMetrics::new(store.receiver()).with_reloads(reloader.clone());
        let before = text(&metrics);
        let left = value(&before, "tls_certificate_expiry_seconds{certificate=");
        assert!((3_500..=3_600).contains(&left), "{before}");
        assert!(before.contains(&format!("serial=\"{serial}\"")), "{before}");
        assert_eq!(value(&before, "tls_reloads_total{outcome=\"accepted\"}"), 0);
        assert!(before.contains(&format!("epoch=\"{}\"", store.receiver().epoch())), "{before}");
        reloader.reload(Trigger::Request).await;
        let after = text(&metrics);
        assert!(value(&after, "tls_certificate_expiry_seconds{certificate=") > 80_000, "{after}");
        assert_eq!(value(&after, "tls_reloads_total{outcome=\"accepted\"}"), 1);
        let families = |what| after.lines().filter(|line| line.starts_with(what)).count();
        assert_eq!(families("# TYPE "), families("# HELP "));
    }
}
