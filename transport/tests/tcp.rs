//! TLS over TCP passes the suites, and keeps older TLS out.

use sealstream_transport::HandshakeError;
use sealstream_transport::testing::backends::{ALPN, TcpFixture};
use sealstream_transport::testing::run;
use sealstream_transport::testing::stream_suite::StreamFixture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

mod stream {
    use sealstream_transport::testing::backends::TcpFixture;

    sealstream_transport::stream_suite!(TcpFixture::new());
}

mod security {
    use sealstream_transport::testing::backends::TcpFixture;

    sealstream_transport::security_suite!(TcpFixture::new());
}

/// A `ClientHello` (RFC 5246, section 7.4.1.2) of a client that knows nothing newer than TLS 1.2: one cipher suite with
/// forward secrecy, x25519, and the right application protocol.
fn client_hello_of_tls_1_2() -> Vec<u8> {
    fn counted(width: usize, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("a ClientHello is short").to_be_bytes();
        [&length[4 - width..], body].concat()
    }
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &counted(2, body)].concat();
    let extensions = [
        extension(10, &counted(2, &[0x00, 0x1d])),
        extension(11, &counted(1, &[0])),
        extension(13, &counted(2, &[0x04, 0x03, 0x08, 0x04])),
        extension(16, &counted(2, &counted(1, ALPN))),
    ]
    .concat();
    let hello = [
        &[3, 3][..],
        &[7; 32],
        &counted(1, &[]),
        &counted(2, &[0xc0, 0x2b]),
        &counted(1, &[0]),
        &counted(2, &extensions),
    ]
    .concat();
    [&[22, 3, 1][..], &counted(2, &[&[1][..], &counted(3, &hello)].concat())].concat()
}

#[test]
fn a_client_that_knows_tls_1_2_only_is_refused_and_told_so() {
    /// Alert, TLS 1.2, two bytes: fatal, protocol version (RFC 8446, section 6).
    const PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];
    run("tls_1_2", async {
        let fixture = TcpFixture::new();
        let listener = fixture.server().listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut old = TcpStream::connect(listener.local_addr()).await.unwrap();
        old.write_all(&client_hello_of_tls_1_2()).await.unwrap();
        let error = listener.accept().await.unwrap().handshake().await.unwrap_err();
        assert!(matches!(error, HandshakeError::Protocol { .. }), "{error:?}");
        assert!(error.to_string().contains("TLS 1.3"), "{error}");
        let mut answer = Vec::new();
        old.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, PROTOCOL_VERSION);
    });
}
