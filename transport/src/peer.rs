//! Who is on the other side, and how that was established.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Which backend carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TransportKind {
    /// TLS 1.3 over TCP.
    Tls,
    /// QUIC (RFC 9000).
    Quic,
    /// In memory, for tests.
    Memory,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Memory => "memory",
        })
    }
}

/// Whether a handshake authenticated afresh or by a ticket of an earlier one (RFC 8446, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// Certificates were exchanged and verified.
    Full,
    /// A ticket vouched for an earlier full handshake.
    Resumed,
}

/// What the handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Negotiated {
    /// The cipher suite, by its IANA name.
    pub suite: &'static str,
    /// The key exchange group, by its IANA name; `None` where the session does not tell.
    pub group: Option<&'static str>,
    /// The application protocol (RFC 7301).
    pub alpn: Vec<u8>,
}

impl Negotiated {
    /// What a handshake agreed on.
    pub fn new(suite: &'static str, group: Option<&'static str>, alpn: impl Into<Vec<u8>>) -> Self {
        Self { suite, group, alpn: alpn.into() }
    }
}

/// Who a verified certificate says the peer is. Only what chain validation accepted is ever in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The SPIFFE ID: the one URI SAN, `spiffe://trust-domain/path`.
    pub spiffe_id: Option<String>,
    /// DNS subject alternative names, in the certificate's order.
    pub dns_names: Vec<String>,
    /// E-mail subject alternative names, in the certificate's order.
    pub emails: Vec<String>,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// SHA-256 over the leaf's `SubjectPublicKeyInfo` in DER.
    pub spki_sha256: [u8; 32],
    /// The serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// The end of the leaf's validity, in seconds since the Unix epoch.
    pub not_after: i64,
}

/// The other side of a connection. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// The backend.
    pub transport: TransportKind,
    /// The address that the connection came from or went to.
    pub remote_addr: SocketAddr,
    /// What the handshake agreed on; `None` on the bare in-memory backend.
    pub negotiated: Option<Arc<Negotiated>>,
    /// Full or resumed.
    pub handshake: Handshake,
    /// Who it is, if it showed a certificate.
    pub identity: Option<Arc<Identity>>,
    /// Where keying material comes from; `None` on the bare in-memory backend.
    pub exporter: Option<Exporter>,
}

impl Peer {
    /// A peer of which nothing else is known: no TLS session, no certificate. What is known, say in its fields.
    pub fn new(transport: TransportKind, remote_addr: SocketAddr, handshake: Handshake) -> Self {
        Self { transport, remote_addr, negotiated: None, handshake, identity: None, exporter: None }
    }

    /// Fills `output` with keying material that only the two ends of this TLS session can compute (RFC 8446, section
    /// 7.5; RFC 5705), to bind something else to it. Both ends get the same bytes for the same label and context, which
    /// may be empty; another label or context gives other bytes.
    pub fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportError> {
        match &self.exporter {
            Some(exporter) => exporter.0.export(output, label, context),
            None => Err(ExportError::NotSealed),
        }
    }
}

/// Why keying material could not be exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The connection is closed, and its secrets went with it.
    #[error("the connection is closed: export keying material while it lives")]
    Closed,
    /// The backend has no TLS session.
    #[error("this connection has no TLS session to export keying material from")]
    NotSealed,
    /// The output asked for is empty or longer than the hash allows (255 times its length).
    #[error("that much keying material cannot be exported: ask for 1 to 8160 bytes")]
    Length,
}

/// What a backend exports keying material with. It must not keep the connection alive.
pub trait ExportsKeyingMaterial: Send + Sync {
    /// Fills `output`; see [`Peer::export_keying_material`].
    fn export(&self, output: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ExportError>;
}

/// A backend's exporter, shared by everyone who holds the [`Peer`].
#[derive(Clone)]
pub struct Exporter(Arc<dyn ExportsKeyingMaterial>);

impl Exporter {
    /// Wraps a backend's exporter.
    pub fn new(backend: impl ExportsKeyingMaterial + 'static) -> Self {
        Self(Arc::new(backend))
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}
