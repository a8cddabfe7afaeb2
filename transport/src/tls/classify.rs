//! Names the cause of a failed handshake, the same on every backend.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};
use x509_parser::time::ASN1Time;

use super::verifier::Mismatch;
use crate::error::HandshakeError;
use crate::stream::StreamError;

/// Which end of the handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// We dialled.
    Client,
    /// We accepted.
    Server,
}

/// Names the cause of a TLS failure met by `side`, which requires the protocol `alpn`.
pub(crate) fn classify(error: &Error, side: Side, alpn: &[u8]) -> HandshakeError {
    match error {
        Error::NoApplicationProtocol => alpn_error(side, alpn),
        Error::InvalidCertificate(fault) => certificate(fault, side),
        Error::NoCertificatesPresented if side == Side::Server => HandshakeError::ClientCertificateRequired,
        Error::AlertReceived(alert) => alert_received(*alert, side, alpn),
        Error::PeerIncompatible(fault) => HandshakeError::Protocol { detail: incompatible(fault) },
        Error::InvalidMessage(fault) => {
            HandshakeError::Protocol { detail: format!("the peer does not seem to speak TLS ({fault:?})") }
        }
        other => HandshakeError::Protocol { detail: other.to_string() },
    }
}

/// Names the cause of a failure that the I/O layer reported: a TLS failure if it carries one, else a broken connection.
pub(crate) fn classify_io(error: &io::Error, side: Side, alpn: &[u8]) -> HandshakeError {
    if let Some(tls) = tls_error(error) {
        return classify(tls, side, alpn);
    }
    let detail = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the peer closed it".to_owned(),
        io::ErrorKind::ConnectionReset => "the peer reset it".to_owned(),
        _ => error.to_string(),
    };
    HandshakeError::Disconnected { detail }
}

/// What an established stream reports when TLS fails beneath it. The refusal of a client certificate arrives here: in
/// TLS 1.3 the client is done before the server has judged it.
pub(crate) fn stream_error(error: &Error, side: Side) -> StreamError {
    match error {
        Error::AlertReceived(alert) if side == Side::Client && refuses_identity(*alert) => {
            StreamError::Refused { reason: meaning(*alert) }
        }
        Error::AlertReceived(alert) => {
            StreamError::ConnectionLost { reason: format!("the peer sent the alert {}", name(*alert)) }
        }
        other => StreamError::ConnectionLost { reason: other.to_string() },
    }
}

/// What webpki found wrong with a certificate, in rustls' terms, which carry the details on.
pub(super) fn fault(error: webpki::Error) -> Error {
    use webpki::Error as Fault;
    let fault = match error {
        Fault::BadDer | Fault::BadDerTime | Fault::TrailingData(_) => CertificateError::BadEncoding,
        Fault::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        Fault::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Fault::UnknownIssuer => CertificateError::UnknownIssuer,
        Fault::CertRevoked => CertificateError::Revoked,
        Fault::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Fault::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        // Its issuer is a namesake of one that is trusted, with another key.
        Fault::InvalidSignatureForPublicKey | Fault::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateError::UnknownIssuer
        }
        Fault::RequiredEkuNotFoundContext(_) | Fault::EmptyEkuExtension => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(fault)
}

/// The TLS failure inside an I/O error, if it is one.
pub(crate) fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

pub(super) fn alpn_error(side: Side, alpn: &[u8]) -> HandshakeError {
    let ours = String::from_utf8_lossy(alpn);
    let detail = match side {
        Side::Client => format!("this client requires {ours}, which the server does not speak"),
        Side::Server => format!("this server requires {ours}, which the client did not offer"),
    };
    HandshakeError::Alpn { detail }
}

/// The refusal of a client that offered these protocols, none of them `alpn`. What it says is told in part: its first
/// [`MAX_OFFERED`] protocols, of each so many bytes.
pub(super) fn alpn_refusal<'a>(alpn: &[u8], offered: impl Iterator<Item = &'a [u8]>) -> HandshakeError {
    let shown =
        |protocol: &[u8]| protocol[..protocol.len().min(MAX_OFFERED_BYTES)].escape_ascii().to_string();
    let offered: Vec<_> = offered.take(MAX_OFFERED).map(shown).collect();
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
    let ours = String::from_utf8_lossy(alpn);
    let detail =
        format!("this server requires {ours}, which the client did not offer (it offered {offered})");
    HandshakeError::Alpn { detail }
}

/// What is told of a client's protocols: a web browser offers two, of eight bytes at most.
const MAX_OFFERED: usize = 4;
const MAX_OFFERED_BYTES: usize = 16;

/// "it expired on DATE; the clock here says DATE".
pub(super) fn expired_on(not_after: i64, now: i64) -> String {
    let apart = now.saturating_sub(not_after);
    let doubt = if apart <= CLOCK_MARGIN_SECS { doubt(apart) } else { String::new() };
    format!("it expired on {}; the clock here says {}{doubt}", date(not_after), date(now))
}

/// "it becomes valid on DATE; the clock here says DATE". Nobody hands out certificates for the future: a clock is in doubt,
/// whatever the margin.
pub(super) fn becomes_valid_on(not_before: i64, now: i64) -> String {
    let doubt = doubt(not_before.saturating_sub(now));
    format!("it becomes valid on {}; the clock here says {}{doubt}", date(not_before), date(now))
}

/// A certificate that ended this short a time ago may be one that is renewed daily and was not, or a clock that is off: time zones
/// that were mistaken are 14 h at most.
const CLOCK_MARGIN_SECS: i64 = 24 * 60 * 60;

fn doubt(apart: i64) -> String {
    let (number, unit) = match apart {
        ..120 => (apart, "s"),
        120..7200 => (apart / 60, "min"),
        7200..172_800 => (apart / 3600, "h"),
        _ => (apart / 86_400, "days"),
    };
    format!(" ({number} {unit} apart: see first whether the clock is right)")
}

fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds)
        .map_or_else(|_| format!("{seconds} s after 1970"), |time| time.to_string())
}

fn seconds(time: rustls_pki_types::UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn certificate(fault: &CertificateError, side: Side) -> HandshakeError {
    match fault {
        CertificateError::UnknownIssuer => HandshakeError::UntrustedIssuer {
            detail:
                "it does not chain to a trusted root: trust its CA, or send the intermediate certificates"
                    .to_owned(),
        },
        CertificateError::ExpiredContext { time, not_after } => {
            HandshakeError::Expired { detail: expired_on(seconds(*not_after), seconds(*time)) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            HandshakeError::Expired { detail: becomes_valid_on(seconds(*not_before), seconds(*time)) }
        }
        CertificateError::Expired | CertificateError::NotValidYet => {
            HandshakeError::Expired { detail: fault.to_string() }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            HandshakeError::Unexpected { detail: fault.to_string() }
        }
        CertificateError::Other(other) if other.0.is::<Mismatch>() => {
            HandshakeError::Unexpected { detail: other.0.to_string() }
        }
        CertificateError::Revoked => {
            HandshakeError::Revoked { detail: "its issuer has revoked it: get a new one".to_owned() }
        }
        CertificateError::InvalidPurpose => {
            let whom = if side == Side::Client { "servers" } else { "clients" };
            HandshakeError::BadCertificate {
                detail: format!(
                    "its certificate is not for {whom} (extended key usage): have another issued"
                ),
            }
        }
        CertificateError::BadSignature => HandshakeError::BadCertificate {
            detail: "a signature of the handshake was not made by its key".to_owned(),
        },
        other => HandshakeError::BadCertificate { detail: other.to_string() },
    }
}

fn incompatible(fault: &PeerIncompatible) -> String {
    match fault {
        PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
            "the peer speaks no TLS 1.3, which is the only version accepted".to_owned()
        }
        other => format!("the peer's TLS has nothing in common with ours ({other:?})"),
    }
}

fn alert_received(alert: AlertDescription, side: Side, alpn: &[u8]) -> HandshakeError {
    match alert {
        AlertDescription::NoApplicationProtocol => alpn_error(side, alpn),
        AlertDescription::CertificateRequired => HandshakeError::ClientCertificateRequired,
        AlertDescription::ProtocolVersion => HandshakeError::Protocol {
            detail: "the peer speaks no TLS 1.3, which is the only version accepted".to_owned(),
        },
        other => HandshakeError::RefusedByPeer { detail: meaning(other) },
    }
}

/// Whether an alert is about our certificate rather than about the conversation.
fn refuses_identity(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

fn name(alert: AlertDescription) -> String {
    alert.as_str().map_or_else(|| format!("number {}", u8::from(alert)), str::to_owned)
}

fn meaning(alert: AlertDescription) -> String {
    let told = match alert {
        AlertDescription::CertificateRequired => "it requires a client certificate",
        AlertDescription::UnknownCA => "it does not trust the issuer of our certificate",
        AlertDescription::CertificateExpired => "to it our certificate has expired or is not yet valid",
        AlertDescription::CertificateRevoked => "our certificate has been revoked",
        AlertDescription::BadCertificate => "our certificate is not the one it expects, or is damaged",
        AlertDescription::CertificateUnknown => "our certificate is not the one it expects",
        AlertDescription::UnsupportedCertificate => {
            "our certificate is for another purpose (extended key usage)"
        }
        AlertDescription::AccessDenied => "our certificate is valid but not admitted",
        AlertDescription::DecryptError => "a signature of ours did not verify",
        _ => return name(alert),
    };
    format!("{}: {told}", name(alert))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn dates_that_are_missed_by_little_put_the_clock_in_doubt_and_both_times_are_told() {
        let told = expired_on(1_000_000_000, 1_000_000_000 + 180);
        for part in ["Sep  9 01:46:40 2001", "Sep  9 01:49:40 2001", "3 min apart", "clock is right"] {
            assert!(told.contains(part), "{told}");
        }
        let told = expired_on(1_000_000_000, 1_000_000_000 + 2 * DAY);
        assert!(!told.contains("apart"), "{told}");
        let told = becomes_valid_on(1_000_000_000 + 400 * DAY, 1_000_000_000);
        assert!(told.contains("400 days apart"), "{told}");
    }

    #[test]
    fn of_what_a_client_offers_no_more_is_told_than_a_line_holds() {
        let (long, odd) = ([b'a'; 255], b"\n\x1b[31m");
        let offered = [b"h2".as_slice(), odd, &long, b"http/1.1", b"fifth"];
        let told = alpn_refusal(b"test/1", offered.into_iter()).to_string();
        assert!(
            told.contains("requires test/1")
                && told.contains("h2, \\n\\x1b[31m, aaaaaaaaaaaaaaaa, http/1.1)"),
            "{told}"
        );
        assert!(alpn_refusal(b"test/1", std::iter::empty()).to_string().contains("it offered none"));
    }
}
