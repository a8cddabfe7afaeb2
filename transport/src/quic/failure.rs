//! Names in the transport's own terms why a QUIC connection or handshake failed.

use std::io;

use quinn::{ConnectionError, TransportErrorCode};
use rustls::AlertDescription;

use super::session::Outcome;
use crate::error::{ConnectError, HandshakeError};
use crate::stream::StreamError;
use crate::tls::{self, Side};

/// TLS alerts as codes of QUIC: 0x100 and the alert (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// The alert in a code of the peer, if it is one.
fn alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let code = u64::from(code);
    let alert = u8::try_from(code & 0xff).ok()?;
    CRYPTO_ERRORS.contains(&code).then(|| alert.into())
}

/// Why a handshake failed: what our TLS found, or what the peer's TLS told, or how the connection ended.
pub(super) fn handshake(
    error: &ConnectionError,
    outcome: &Outcome,
    side: Side,
    alpn: &[u8],
) -> HandshakeError {
    if let Some(Err(cause)) = outcome.get() {
        return cause.clone();
    }
    match error {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(alert) => tls::classify(&rustls::Error::AlertReceived(alert), side, alpn),
            None => HandshakeError::Disconnected { detail: reason(error) },
        },
        ConnectionError::VersionMismatch => HandshakeError::Protocol {
            detail: "the peer does not speak QUIC version 1, which is the only one accepted".to_owned(),
        },
        ConnectionError::TransportError(fault) => HandshakeError::Protocol { detail: fault.to_string() },
        _ => HandshakeError::Disconnected { detail: reason(error) },
    }
}

/// Why a connection to `target` could not be made.
pub(super) fn connect(
    target: String,
    error: &ConnectionError,
    outcome: &Outcome,
    alpn: &[u8],
) -> ConnectError {
    if refused_at_the_door(error) && outcome.get().is_none() {
        let source = io::Error::new(io::ErrorKind::ConnectionRefused, "the server takes no connections now");
        return ConnectError::Unreachable { target, source };
    }
    ConnectError::Handshake { target, source: handshake(error, outcome, Side::Client, alpn) }
}

fn refused_at_the_door(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ConnectionClosed(close)
        if close.error_code == TransportErrorCode::CONNECTION_REFUSED)
}

/// What a half of a stream reports when the connection beneath it is gone.
///
/// In TLS 1.3 a client is done before the server has judged its certificate: the refusal arrives here.
pub(super) fn stream(error: &ConnectionError, side: Side) -> StreamError {
    if let ConnectionError::ConnectionClosed(close) = error
        && let Some(alert) = alert(close.error_code)
    {
        return tls::stream_error(&rustls::Error::AlertReceived(alert), side);
    }
    StreamError::ConnectionLost { reason: reason(error) }
}

/// The end of a connection in words.
pub(super) fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            format!("the peer closed it with code {}", close.error_code)
        }
        ConnectionError::ConnectionClosed(close) => format!("the peer's QUIC gave it up: {close}"),
        ConnectionError::LocallyClosed => "it was closed here".to_owned(),
        ConnectionError::Reset => "the peer does not know it any more: it seems to have restarted".to_owned(),
        ConnectionError::TimedOut => "nothing was heard from the peer for the idle timeout".to_owned(),
        other => other.to_string(),
    }
}
