//! Who is on the other side, and how that was established.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Which backend carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
pub struct Negotiated {
    /// The cipher suite, by its IANA name.
    pub suite: &'static str,
    /// The key exchange group, by its IANA name; `None` where the session does not tell.
    pub group: Option<&'static str>,
    /// The application protocol (RFC 7301).
    pub alpn: Vec<u8>,
}

/// Who a verified certificate says the peer is. Only what chain validation accepted is ever in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The SPIFFE ID: the one URI SAN, `spiffe://trust-domain/path`.
    pub spiffe_id: Option<String>,
    /// DNS subject alternative names, in the certificate's order.
    pub dns_names: Vec<String>,
    /// E-mail subject alternative names, in the certificate's order.
    pub emails: Vec<String>,
    /// The subject's common name.
    pub common_name: Option<String>,
    /// SHA-256 over the leaf's SubjectPublicKeyInfo in DER.
    pub spki_sha256: [u8; 32],
    /// The serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// The end of the leaf's validity, in seconds since the Unix epoch.
    pub not_after: i64,
}

/// The other side of a connection. Cheap to clone.
#[derive(Clone, Debug)]
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
}
