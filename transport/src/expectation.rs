//! What a client demands of a server's certificate.

use std::fmt;

/// What the certificate of a server must show, on top of a chain to a trusted root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expectation {
    /// A DNS name or IP address among the subject alternative names (RFC 9525).
    Name(String),
    /// Exactly this SPIFFE ID; DNS names do not count.
    SpiffeId(String),
    /// A leaf whose `SubjectPublicKeyInfo` has this SHA-256; the name is checked too. A pin adds to chain validation and
    /// never replaces it.
    Pin {
        /// The DNS name or IP address that is expected besides.
        name: String,
        /// SHA-256 over the `SubjectPublicKeyInfo` in DER.
        spki_sha256: [u8; 32],
    },
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "name {name}"),
            Self::SpiffeId(id) => write!(f, "{id}"),
            Self::Pin { name, .. } => write!(f, "name {name} with a pinned key"),
        }
    }
}
