//! A peer that speaks plaintext HTTP to a port that speaks TLS: a person with curl, a browser, the probe of a load balancer.
//!
//! It is known by its first bytes, before anything is read, and is answered in its own language. That costs a response that fits
//! the empty buffer of a fresh socket, and a place among the sockets that linger; no place among the handshakes.

use tokio::net::TcpStream;

use super::Shared;
use crate::error::HandshakeError;

/// Bytes that are looked at: the longest method and the blank behind it. A first segment holds more.
pub(super) const LOOK: usize = 8;

/// How a request begins (RFC 9110, section 9), that of an HTTP/2 client with prior knowledge too (RFC 9113, section 3.4). A TLS
/// record begins with byte 22.
const BEGINNINGS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI * ",
];

/// Whether a connection that begins with these bytes is one of plaintext HTTP.
pub(super) fn is_http(begun: &[u8]) -> bool {
    BEGINNINGS.iter().any(|beginning| begun.starts_with(beginning))
}

/// Answers with `text` and closes the connection. The answer lingers until the peer has read it.
pub(super) fn refuse(socket: TcpStream, text: &str, shared: &Shared) -> HandshakeError {
    // A response of this size fits; of a longer text the peer gets what does.
    let _ = socket.try_write(response(text).as_bytes());
    drop(shared.lingering.close(socket));
    let detail = "the peer sent a plaintext HTTP request, and was told what listens here".to_owned();
    HandshakeError::Protocol { detail }
}

fn response(text: &str) -> String {
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_beginning_and_tls_and_noise_are_not_taken_for_one() {
        for request in ["GET / HTTP/1.1", "HEAD /", "OPTIONS ", "CONNECT a", "PRI * HT"] {
            assert!(is_http(&request.as_bytes()[..request.len().min(LOOK)]), "{request}");
        }
        for other in
            [b"\x16\x03\x01\x02\0\x01\0\x01".as_slice(), b"GET", b"get / HT", b"GETAWAY!", b"SSH-2.0-", b""]
        {
            assert!(!is_http(other), "{other:?}");
        }
        assert!(BEGINNINGS.iter().all(|beginning| beginning.len() <= LOOK));
    }

    #[test]
    fn the_length_that_is_told_is_that_of_the_body() {
        let response = response("bücher");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 400 ")
                && head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        assert_eq!(body, "bücher\n");
    }
}
