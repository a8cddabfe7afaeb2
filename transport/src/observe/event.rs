//! What observers are told.

use std::net::SocketAddr;
use std::time::Duration;

use crate::admission::Shed;
use crate::error::HandshakeError;
use crate::peer::{Identity, Negotiated, TransportKind};
use crate::tls::{Side, TicketUse};

/// A handshake that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeStart {
    /// Which end we are.
    pub side: Side,
    /// The backend.
    pub transport: TransportKind,
    /// Whence it comes, or whither it goes.
    pub remote_addr: SocketAddr,
}

impl HandshakeStart {
    /// A handshake that begins.
    pub fn new(side: Side, transport: TransportKind, remote_addr: SocketAddr) -> Self {
        Self { side, transport, remote_addr }
    }
}

/// What a client said first.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ClientHelloSeen<'a> {
    /// The name it asks for (SNI).
    pub server_name: Option<&'a str>,
    /// Whether it offered the application protocol that is required.
    pub offers_alpn: bool,
}

impl<'a> ClientHelloSeen<'a> {
    pub(crate) fn new(server_name: Option<&'a str>, offers_alpn: bool) -> Self {
        Self { server_name, offers_alpn }
    }
}

/// A peer that was accepted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct VerifiedSeen<'a> {
    /// Who it is, if it showed a certificate, now or in the handshake that this one resumes.
    pub identity: Option<&'a Identity>,
}

impl<'a> VerifiedSeen<'a> {
    pub(crate) fn new(identity: Option<&'a Identity>) -> Self {
        Self { identity }
    }
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Certificates were exchanged and verified.
    Full,
    /// A ticket vouched for an earlier handshake.
    Resumed,
    /// There is no connection.
    Failed(FailureCause),
}

impl Outcome {
    /// `full`, `resumed` or `failed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why a handshake failed. A closed list: they are labels of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCause {
    /// The deadline passed.
    TimedOut,
    /// There is no common application protocol.
    Alpn,
    /// The chain does not end in a trusted root.
    UntrustedIssuer,
    /// A certificate is outside its validity.
    Expired,
    /// A certificate was revoked.
    Revoked,
    /// A certificate is valid, for somebody else.
    UnexpectedPeer,
    /// A client certificate is required, and none was shown.
    ClientCertificateMissing,
    /// A certificate cannot be used for another reason.
    BadCertificate,
    /// The peer refused us.
    RefusedByPeer,
    /// The peer does not speak TLS 1.3.
    Protocol,
    /// The connection broke.
    Disconnected,
    /// We gave it up: the program is shutting down.
    Abandoned,
}

impl FailureCause {
    /// Every cause.
    pub const ALL: [Self; 12] = [
        Self::TimedOut,
        Self::Alpn,
        Self::UntrustedIssuer,
        Self::Expired,
        Self::Revoked,
        Self::UnexpectedPeer,
        Self::ClientCertificateMissing,
        Self::BadCertificate,
        Self::RefusedByPeer,
        Self::Protocol,
        Self::Disconnected,
        Self::Abandoned,
    ];

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Alpn => "alpn",
            Self::UntrustedIssuer => "untrusted_issuer",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UnexpectedPeer => "unexpected_peer",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::BadCertificate => "bad_certificate",
            Self::RefusedByPeer => "refused_by_peer",
            Self::Protocol => "protocol",
            Self::Disconnected => "disconnected",
            Self::Abandoned => "abandoned",
        }
    }
}

impl From<&HandshakeError> for FailureCause {
    fn from(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::TimedOut { .. } => Self::TimedOut,
            HandshakeError::Alpn { .. } => Self::Alpn,
            HandshakeError::UntrustedIssuer { .. } => Self::UntrustedIssuer,
            HandshakeError::Expired { .. } => Self::Expired,
            HandshakeError::Revoked { .. } => Self::Revoked,
            HandshakeError::Unexpected { .. } => Self::UnexpectedPeer,
            HandshakeError::ClientCertificateRequired => Self::ClientCertificateMissing,
            HandshakeError::BadCertificate { .. } => Self::BadCertificate,
            HandshakeError::RefusedByPeer { .. } => Self::RefusedByPeer,
            HandshakeError::Protocol { .. } => Self::Protocol,
            HandshakeError::Disconnected { .. } => Self::Disconnected,
        }
    }
}

/// A handshake that has ended, and what it cost.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HandshakeEnd<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// The error behind a failure, with its details; `None` where it was abandoned.
    pub error: Option<&'a HandshakeError>,
    /// From the start, waiting for the peer and for a turn included.
    pub duration: Duration,
    /// Time of a processor spent in this process.
    pub cpu: Duration,
    /// Bytes of the peer: TLS records on TCP, handshake messages on QUIC.
    pub received: u64,
    /// Bytes for the peer, likewise.
    pub sent: u64,
    /// Suite, group and application protocol, once agreed on.
    pub negotiated: Option<&'a Negotiated>,
    /// The name that the client asked for (SNI), where it is known: on the accepting side.
    pub server_name: Option<&'a str>,
    /// What became of the ticket that the client offered; on the accepting side.
    pub ticket: TicketUse,
    /// Tickets issued; on the accepting side.
    pub tickets_issued: u32,
}

impl HandshakeEnd<'_> {
    pub(super) fn new(outcome: Outcome, duration: Duration) -> Self {
        Self {
            outcome,
            error: None,
            duration,
            cpu: Duration::ZERO,
            received: 0,
            sent: 0,
            negotiated: None,
            server_name: None,
            ticket: TicketUse::NotOffered,
            tickets_issued: 0,
        }
    }
}

/// A connection that was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShedConnection {
    /// The backend.
    pub transport: TransportKind,
    /// Whence it came.
    pub remote_addr: SocketAddr,
    /// Which limit it would have broken.
    pub cause: Shed,
}

impl ShedConnection {
    /// A connection that was turned away.
    pub fn new(transport: TransportKind, remote_addr: SocketAddr, cause: Shed) -> Self {
        Self { transport, remote_addr, cause }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_cause_has_a_name_of_its_own() {
        let names: HashSet<_> = FailureCause::ALL.into_iter().map(FailureCause::name).collect();
        assert_eq!(names.len(), FailureCause::ALL.len());
    }
}
