//! Endpoint URLs: `tls://host:port`, `quic://host:port`, `auto://host:port`.

/// How to reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS 1.3 over TCP.
    Tls,
    /// QUIC.
    Quic,
    /// QUIC, or TLS over TCP where UDP is blocked.
    Auto,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How to reach it.
    pub scheme: Scheme,
    /// A DNS name in ASCII, or an IP address without brackets.
    pub host: String,
    /// The port, TCP or UDP.
    pub port: u16,
}
