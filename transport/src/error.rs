//! One error per operation, each saying whose fault it is and whether trying again can help.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why a listener could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another socket holds the address.
    #[error("{addr} is in use: stop the process that listens there, or listen on another port")]
    AddressInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The port is privileged.
    #[error("no permission to listen on {addr}: ports below 1024 need root or CAP_NET_BIND_SERVICE")]
    PermissionDenied {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// There is no identity to serve with.
    #[error("no certificate to listen with on {addr}: a listener needs an identity")]
    NoIdentity {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Anything else that the machine said.
    #[error("cannot listen on {addr}: {source}")]
    Io {
        /// The address asked for.
        addr: SocketAddr,
        /// What the machine said.
        source: io::Error,
    },
}

impl ListenError {
    /// Names what the machine said about binding `addr`.
    pub(crate) fn of(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { addr },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { addr },
            _ => Self::Io { addr, source },
        }
    }
}

/// Why a handshake failed, on either side. The message names the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The deadline passed.
    #[error("the handshake took longer than {after:?}")]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The peers share no application protocol, or the peer offered none.
    #[error("no common application protocol: {detail}")]
    Alpn {
        /// Which protocol is required and what the peer did.
        detail: String,
    },
    /// The chain does not end in a trusted root.
    #[error("untrusted certificate: {detail}")]
    UntrustedIssuer {
        /// What is missing.
        detail: String,
    },
    /// The certificate is outside its validity.
    #[error("certificate expired or not yet valid: {detail}")]
    Expired {
        /// The dates.
        detail: String,
    },
    /// The certificate was revoked by its issuer.
    #[error("revoked certificate: {detail}")]
    Revoked {
        /// What says so, and the remedy.
        detail: String,
    },
    /// The certificate is valid, for somebody else.
    #[error("the peer is not who was expected: {detail}")]
    Unexpected {
        /// What was expected and what the certificate shows.
        detail: String,
    },
    /// The server demands a client certificate and got none.
    #[error("a client certificate is required")]
    ClientCertificateRequired,
    /// The certificate cannot be used for another reason.
    #[error("bad certificate: {detail}")]
    BadCertificate {
        /// What is wrong with it.
        detail: String,
    },
    /// The peer refused us with a TLS alert.
    #[error("the peer refused the handshake: {detail}")]
    RefusedByPeer {
        /// The alert.
        detail: String,
    },
    /// The peer speaks something else, or an older TLS.
    #[error("not a usable TLS 1.3 handshake: {detail}")]
    Protocol {
        /// What was wrong.
        detail: String,
    },
    /// The connection broke meanwhile.
    #[error("the connection broke during the handshake: {detail}")]
    Disconnected {
        /// What the machine said.
        detail: String,
    },
}

impl HandshakeError {
    /// Whether no retry can cure it: certificates, identities and protocols do not change by waiting a second.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::TimedOut { .. } | Self::Disconnected { .. })
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address took the connection.
    #[error("cannot connect to {target}: {source}")]
    Unreachable {
        /// The endpoint and the address tried last.
        target: String,
        /// What the machine said.
        source: io::Error,
    },
    /// The deadline for reaching the endpoint passed.
    #[error("connecting to {target} took longer than {after:?}{}", silence(.target))]
    TimedOut {
        /// The endpoint.
        target: String,
        /// The deadline.
        after: Duration,
    },
    /// The endpoint was reached; the handshake failed.
    #[error("{target}: {source}")]
    Handshake {
        /// The endpoint.
        target: String,
        /// Why.
        source: HandshakeError,
    },
    /// Neither of the two roads of `auto://` leads there.
    #[error("{tls}; and over QUIC {}", briefly(.quic))]
    NeitherWay {
        /// Why not over QUIC.
        quic: Box<ConnectError>,
        /// Why not over TCP.
        tls: Box<ConnectError>,
    },
    /// The local configuration cannot be used.
    #[error("{0}")]
    Configuration(String),
}

/// The remedy where nothing was heard over UDP. Silence is all there is to go by: a port that nobody listens on is silent too where
/// the network drops what would say so.
fn silence(target: &str) -> &'static str {
    if target.starts_with("quic://") {
        ": UDP may be blocked on the way, or nothing listens on that UDP port; auto:// falls back to TCP, and tls:// uses TCP alone"
    } else {
        ""
    }
}

/// Without the remedy: the other road was tried.
fn briefly(quic: &ConnectError) -> String {
    match quic {
        ConnectError::TimedOut { after, .. } => format!("nothing was heard for {after:?}"),
        other => other.to_string(),
    }
}

impl ConnectError {
    /// Whether no retry can cure it.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Handshake { source, .. } => source.is_permanent(),
            Self::Configuration(_) => true,
            Self::Resolve { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NeitherWay { .. } => false,
        }
    }
}

/// Why a further stream could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer allowed no further stream in time.
    #[error("no stream could be opened within {after:?}")]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The connection is gone; connect again.
    #[error("the connection is closed: {reason}")]
    Closed {
        /// What the backend knows of the cause.
        reason: String,
    },
    /// On TCP: the further dial failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}
