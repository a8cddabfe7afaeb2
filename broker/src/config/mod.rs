//! The broker's configuration: a TOML file, then environment variables, then flags; later layers win.
//!
//! Every key has a default, so that an empty configuration is a broker that works on this machine. Unknown keys are
//! errors that name the nearest known one; [`load`] says which layer a bad value came from.

mod auth;
mod groups;
mod layers;
mod live;
mod monitor;
mod quotas;
mod tls;
mod traces;
mod units;
mod words;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sealstream_transport::admission::{
    AdmissionLimits, DEFAULT_ADDRESS_RATE, DEFAULT_HANDSHAKES, DEFAULT_RETRY_ABOVE, DEFAULT_UNVALIDATED_RATE,
};
use sealstream_transport::gcra::Limit;
use sealstream_transport::quic;
use serde::{Deserialize, Serialize};

pub use auth::{ActionName, Anonymous, Auth, AuthRule, EffectName};
pub use groups::Groups;
pub(crate) use layers::nearest;
pub use layers::{ConfigError, Origin, Resolved, keys, load};
pub use monitor::{Monitor, MonitorListen};
pub use quotas::{AddressQuota, IdentityQuota, OnRedisLoss, Quotas, Rate, StoreName};
pub use tls::{
    ClientCertificates, CrlExpired, CrlUnknown, ExpiredClients, MAX_IDENTITIES, Paths, Pin, Resumption, Tls,
    TlsIdentity,
};
pub use traces::{Collector, TraceLevel, Traces};
pub use units::{Size, Span};

use crate::server;

/// The most that a limit by number can be.
const MANY: usize = 1_000_000;

/// 1,024 connections: up to 42 KiB of heap each, over QUIC with a client certificate: 42 MiB.
const CONNECTIONS: usize = 1024;

/// The most handshakes a second that a limit can be; beyond it 0 says the same.
const FAST: u32 = 1_000_000;

/// Everything that an operator can set. The defaults are those of [`Config::default`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The broker's name, for people; the default is the host's name.
    pub name: String,
    /// The cluster's name: a client that asks for another is refused.
    pub cluster: String,
    /// Where the log is kept. One running broker per directory.
    pub data_dir: PathBuf,
    /// The addresses to listen on, each by every one of `transports`.
    pub listen: Vec<SocketAddr>,
    /// `tls` (TCP), `quic` (UDP), or both.
    pub transports: Vec<TransportName>,
    /// Certificates.
    pub tls: Tls,
    /// Who may connect, and do what.
    pub auth: Auth,
    /// What a topic is made with where its creator does not say.
    pub topics: Topics,
    /// Consumer groups.
    pub groups: Groups,
    /// The log.
    pub log: Log,
    /// Bounds.
    pub limits: Limits,
    /// How much each identity and address may spend.
    pub quotas: Quotas,
    /// QUIC.
    pub quic: Quic,
    /// Faults on purpose.
    pub drill: Drill,
    /// Health, metrics and the status page.
    pub monitor: Monitor,
    /// Spans for a collector.
    pub traces: Traces,
}

/// A transport, as the configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportName {
    /// TLS 1.3 over TCP.
    Tls,
    /// QUIC over UDP.
    Quic,
}

/// What a topic is made with where its creator does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// 1 to 1,024.
    pub partitions: u32,
    /// What an acknowledgement promises.
    pub durability: DurabilityName,
    /// Records older than this may be deleted; `0s` keeps them for ever.
    pub retention: Span,
    /// The oldest records of a partition beyond this may be deleted; `0` keeps all.
    pub retention_bytes: Size,
    /// How long a segment takes appends before the next one begins, however few there are; `0s` is for ever. Retention lets go of whole
    /// segments.
    pub segment_age: Span,
}

/// What an acknowledgement promises, as the configuration and the command line name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityName {
    /// On the disk: survives power loss.
    Disk,
    /// In the page cache: survives the end of the broker's process, not power loss.
    Memory,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How many shards, 1 to 64. Fixed when the data directory is made.
    pub shards: u32,
    /// When a segment is full and the next one begins: 1 MiB to 1 GiB.
    pub segment_bytes: Size,
    /// Room on the disk that is kept for deletions and commits when it is full: 0, or 1 MiB to 64 GiB.
    pub reserve: Size,
    /// How much of the newest batches is kept in memory for readers at the end, over all shards.
    pub tail_cache: Size,
}

/// Bounds. What is beyond one is refused with a retry-after, never queued without end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Sessions at once, over all connections.
    pub sessions: usize,
    /// Handshakes at once; beyond it a connection is turned away before any cryptography.
    pub handshakes: usize,
    /// Handshakes a second that one address may begin (of IPv6 one /64); 0 is no limit.
    pub address_rate: u32,
    /// How many of them may come at once.
    pub address_burst: u32,
    /// Handshakes a second that all QUIC peers together may begin whose address is not validated yet; 0 is no limit.
    pub unvalidated_rate: u32,
    /// How many of them may come at once.
    pub unvalidated_burst: u32,
    /// With more handshakes than this under way, QUIC peers must validate their address first (Retry); 0 always asks.
    pub retry_above: usize,
    /// The largest frame, at most 16 MiB.
    pub frame: Size,
    /// The largest batch after decompression, at most 32 MiB.
    pub decompressed_batch: Size,
    /// Bytes of batches that one Produce session may have unanswered.
    pub session_window: Size,
    /// Bytes of batches unanswered over all sessions.
    pub in_flight: Size,
    /// Bytes of frames that are still arriving, over all sessions.
    pub arriving: Size,
    /// The whole handshake.
    pub handshake: Span,
    /// From the handshake to the first frame.
    pub first_frame: Span,
    /// The longest idle deadline that a client may ask for.
    pub idle: Span,
    /// How long a shutdown waits for sessions to finish.
    pub shutdown: Span,
}

/// QUIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quic {
    /// Generic segmentation offload: off for network cards and tunnels that drop its packets.
    pub gso: bool,
    /// The largest UDP payload in bytes: lower it for paths that lose larger datagrams in silence.
    pub max_mtu: u16,
    /// Bytes written to clients and not acknowledged, over all connections, beyond 512 KiB that each may have.
    pub send_budget: Size,
    /// Bytes that have come from clients and are not read, over all connections, beyond 256 KiB of each stream.
    pub receive_budget: Size,
}

/// Faults that an operator brings about on purpose, to see what they do and what is noticed of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drill {
    /// A Produce session that opens this topic panics; without a name none does.
    pub panic_topic: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            cluster: "sealstream".into(),
            data_dir: "./sealstream-data".into(),
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, sealstream_protocol::DEFAULT_PORT))],
            transports: vec![TransportName::Tls, TransportName::Quic],
            tls: Tls::default(),
            auth: Auth::default(),
            topics: Topics::default(),
            groups: Groups::default(),
            log: Log::default(),
            limits: Limits::default(),
            quotas: Quotas::default(),
            quic: Quic::default(),
            drill: Drill::default(),
            monitor: Monitor::default(),
            traces: Traces::default(),
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            partitions: 1,
            durability: DurabilityName::Disk,
            retention: Span::secs(7 * 24 * 3600),
            retention_bytes: Size(0),
            segment_age: Span::secs(24 * 3600),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { shards: 4, segment_bytes: Size::mib(256), reserve: Size::mib(64), tail_cache: Size::mib(64) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            connections: CONNECTIONS,
            sessions: server::MAX_SESSIONS,
            handshakes: DEFAULT_HANDSHAKES,
            address_rate: small(DEFAULT_ADDRESS_RATE.count()),
            address_burst: small(DEFAULT_ADDRESS_RATE.burst()),
            unvalidated_rate: small(DEFAULT_UNVALIDATED_RATE.count()),
            unvalidated_burst: small(DEFAULT_UNVALIDATED_RATE.burst()),
            retry_above: DEFAULT_RETRY_ABOVE,
            frame: Size(sealstream_protocol::Limits::MAX_FRAME.into()),
            decompressed_batch: Size(sealstream_protocol::Limits::MAX_DECOMPRESSED_BATCH.into()),
            session_window: Size(server::PRODUCE_WINDOW.into()),
            in_flight: Size(server::PRODUCE_BUDGET.into()),
            arriving: Size(server::ARRIVING_BUDGET.into()),
            handshake: Span::secs(10),
            first_frame: Span(server::FIRST_FRAME_DEADLINE),
            idle: Span(server::IDLE_MAX),
            shutdown: Span::secs(10),
        }
    }
}

impl Default for Quic {
    fn default() -> Self {
        Self {
            gso: true,
            max_mtu: quic::MAX_MTU,
            send_budget: Size(quic::DEFAULT_SEND_BUDGET),
            receive_budget: Size(quic::DEFAULT_RECEIVE_BUDGET),
        }
    }
}

impl Config {
    /// Where the secret behind the tickets is kept.
    pub fn ticket_secret(&self) -> PathBuf {
        self.tls.ticket_secret.clone().unwrap_or_else(|| self.data_dir.join("tickets.secret"))
    }

    /// What the types cannot say: bounds, and keys that need each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (key, text) in [("name", &self.name), ("cluster", &self.cluster)] {
            within(&format!("the length of {key}"), text.len(), 0, 255)?;
        }
        within("log.shards", self.log.shards, 1, 64)?;
        within("log.segment_bytes", self.log.segment_bytes, Size::mib(1), Size::mib(1024))?;
        if self.log.reserve != Size(0) {
            within("log.reserve", self.log.reserve, Size::mib(1), Size::mib(64 << 10))?;
        }
        within("topics.partitions", self.topics.partitions, 1, 1024)?;
        within("limits.frame", self.limits.frame, Size(64 << 10), Self::default().limits.frame)?;
        let batch = Self::default().limits.decompressed_batch;
        within("limits.decompressed_batch", self.limits.decompressed_batch, Size(64 << 10), batch)?;
        within("limits.session_window", self.limits.session_window, Size(64 << 10), Size::mib(1024))?;
        within("limits.in_flight", self.limits.in_flight, self.limits.frame, Size::mib(4095))?;
        within("quic.max_mtu", self.quic.max_mtu, quic::MIN_MTU, quic::MAX_MTU)?;
        within("quic.send_budget", self.quic.send_budget, Size(0), Size::mib(64 << 10))?;
        within("quic.receive_budget", self.quic.receive_budget, Size(0), Size::mib(64 << 10))?;
        within("limits.arriving", self.limits.arriving, self.limits.frame, Size::mib(4095))?;
        self.limits.check_handshakes()?;
        self.quotas.check(self.limits.frame)?;
        for (key, span) in
            [("limits.handshake", self.limits.handshake), ("limits.first_frame", self.limits.first_frame)]
        {
            within(key, span, Span(Duration::from_millis(1)), Span::secs(24 * 3600))?;
        }
        within("limits.idle", self.limits.idle, Span::secs(1), Span::secs(24 * 3600))?;
        if self.data_dir.as_os_str().is_empty() {
            return Err("data_dir is empty: name a directory, or leave it out for ./sealstream-data".into());
        }
        let mut listen = self.listen.iter().filter(|addr| addr.port() != 0);
        let twice = |addr: &&SocketAddr| self.listen.iter().filter(|other| other == addr).count() > 1;
        if let Some(addr) = listen.find(twice) {
            return Err(format!("listen names {addr} twice: keep one"));
        }
        if self.listen.is_empty() || self.transports.is_empty() {
            return Err("listen and transports must name at least one address and one transport".into());
        }
        self.monitor.check(&self.listen)?;
        self.traces.check()?;
        self.groups.check()?;
        self.tls.check()?;
        self.auth.rules()?;
        if let (None, Some(addr)) = (&self.tls.cert, self.listen.iter().find(|a| !a.ip().is_loopback())) {
            return Err(format!(
                "listening on {addr} needs tls.cert and tls.key: the development certificate is for localhost only"
            ));
        }
        let monitor = self.monitor.listen.addresses(&self.listen)?;
        if let (None, Some(addr)) = (&self.tls.cert, monitor.iter().find(|a| !a.ip().is_loopback())) {
            return Err(format!(
                "monitor.listen on {addr} needs tls.cert and tls.key: away from loopback it speaks HTTPS, and the development \
                 certificate is for localhost only"
            ));
        }
        Ok(())
    }
}

impl Limits {
    /// What the listeners go by.
    pub fn admission(&self) -> AdmissionLimits {
        // The check has made sure that there is one.
        let limit =
            |rate: u32, burst: u32| Limit::new(rate.into(), Duration::from_secs(1), burst.into()).ok();
        let mut limits = AdmissionLimits::default();
        limits.connections = self.connections;
        limits.handshakes = self.handshakes;
        limits.address_rate = limit(self.address_rate, self.address_burst);
        limits.unvalidated_rate = limit(self.unvalidated_rate, self.unvalidated_burst);
        limits.retry_above = self.retry_above;
        limits
    }

    fn check_handshakes(&self) -> Result<(), String> {
        within("limits.connections", self.connections, 1, MANY)?;
        within("limits.sessions", self.sessions, 1, MANY)?;
        within("limits.handshakes", self.handshakes, 1, MANY)?;
        within("limits.address_rate", self.address_rate, 0, FAST)?;
        within("limits.address_burst", self.address_burst, 1, FAST)?;
        within("limits.unvalidated_rate", self.unvalidated_rate, 0, FAST)?;
        within("limits.unvalidated_burst", self.unvalidated_burst, 1, FAST)?;
        if self.retry_above > self.handshakes {
            return Err(format!(
                "limits.retry_above is {} and limits.handshakes {}: beyond the latter nobody is asked any more, so set the former \
                 at or below it",
                self.retry_above, self.handshakes
            ));
        }
        Ok(())
    }
}

fn within<T: Copy + PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    low: T,
    high: T,
) -> Result<(), String> {
    if value < low || value > high {
        return Err(format!("{key} is {value}: it must be from {low} to {high}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_configured_is_what_the_transport_does_by_itself_but_for_the_connections() {
        let limits = Limits::default();
        let mut transport = AdmissionLimits::default();
        transport.connections = limits.connections;
        assert_eq!(limits.admission(), transport);
    }

    #[test]
    fn a_rate_of_nothing_is_no_limit_and_every_limit_that_is_allowed_can_be_kept() {
        let limits = Limits { address_rate: 0, unvalidated_rate: 0, ..Limits::default() };
        assert_eq!((limits.admission().address_rate, limits.admission().unvalidated_rate), (None, None));
        for (rate, burst) in [(1, 1), (1, FAST), (FAST, 1), (FAST, FAST)] {
            let limits = Limits {
                connections: MANY,
                handshakes: MANY,
                address_rate: rate,
                address_burst: burst,
                ..Limits::default()
            };
            assert_eq!(limits.check_handshakes(), Ok(()));
            assert!(limits.admission().address_rate.is_some(), "{rate} and {burst}");
            assert_eq!(limits.admission().validate(), Ok(()));
        }
    }
}
