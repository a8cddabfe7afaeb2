//! `/metrics`: one reading, and what the transport counts, as `OpenMetrics`.
//!
//! Everything is read when it is asked for, so that nothing is ever behind; what sessions do they count themselves, by relaxed additions. Each
//! family stands in [`families`] with its unit, its help and its labels; a family without series has its description all the same. Every label
//! comes from a closed list, or from a bounded one that is in [`labels`].

mod broker;
mod families;
mod labels;
mod reference;

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

pub use self::reference::{names, reference};

use self::broker::BrokerMetrics;
use super::Watched;
use super::reading::Reading;

/// The type of the answer.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What every name begins with.
const PREFIX: &str = "sealstream";

/// Everything, as text. Without a reading (the log is being opened) what the transport counts, and that the broker is not ready.
pub(super) fn text(watched: &Watched, reading: Option<Reading>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    watched.handshakes.register(&mut registry);
    watched.tls.metrics().register(&mut registry);
    registry.register_collector(Box::new(BrokerMetrics(reading)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
