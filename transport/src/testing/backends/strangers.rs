//! Peers made without this crate's transport: rustls over whatever carries bytes, and quinn as it comes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a foreign client says.
const WORD: &[u8] = b"a foreign word";

/// What a foreign server listens to at most.
const MAX_WORD: usize = 1024;

const LOCALHOST: &str = "localhost";

/// Speaks to a server over `io`: see [`foreign_client`](crate::testing::security_suite::SecurityFixture::foreign_client).
pub(super) async fn tls_client(
    io: impl AsyncRead + AsyncWrite + Unpin,
    config: ClientConfig,
) -> io::Result<bool> {
    let mut early_data_allowed = false;
    let name = ServerName::try_from(LOCALHOST).map_err(io::Error::other)?;
    let mut tls = TlsConnector::from(Arc::new(config))
        .connect_with(name, io, |session| early_data_allowed = session.early_data().is_some())
        .await?;
    tls.write_all(WORD).await?;
    tls.shutdown().await?;
    heard(read_all(&mut tls).await?)?;
    Ok(early_data_allowed)
}

/// Echoes to a client over `io`, and notes whether it sent early data.
pub(super) async fn tls_server(
    io: impl AsyncRead + AsyncWrite + Unpin,
    config: Arc<ServerConfig>,
    early_data: Arc<AtomicBool>,
) -> io::Result<()> {
    let mut tls = match TlsAcceptor::from(config).accept(io).into_fallible().await {
        Ok(tls) => tls,
        Err((error, mut io)) => {
            // Its alert is to arrive.
            io.shutdown().await?;
            return Err(error);
        }
    };
    if tls.get_mut().1.early_data().is_some() {
        early_data.store(true, Ordering::SeqCst);
    }
    let word = read_all(&mut tls).await?;
    tls.write_all(&word).await?;
    tls.shutdown().await
}

/// The same over QUIC.
pub(super) async fn quic_client(addr: SocketAddr, config: ClientConfig) -> io::Result<bool> {
    let mut endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    endpoint.set_default_client_config(quic_client_config(config)?);
    let connecting = endpoint.connect(addr, LOCALHOST).map_err(io::Error::other)?;
    let (connection, early_data_allowed) = match connecting.into_0rtt() {
        Ok((connection, _accepted)) => (connection, true),
        Err(connecting) => (connecting.await?, false),
    };
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(WORD).await?;
    send.finish().map_err(io::Error::other)?;
    let echo = recv.read_to_end(MAX_WORD).await.map_err(io::Error::other);
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    heard(echo?)?;
    Ok(early_data_allowed)
}

/// A client's configuration for quinn.
pub(super) fn quic_client_config(config: ClientConfig) -> io::Result<quinn::ClientConfig> {
    let crypto = QuicClientConfig::try_from(config).map_err(io::Error::other)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

/// A server by quinn, which lives as long as the tasks returned.
pub(super) fn quic_server(config: ServerConfig) -> io::Result<(SocketAddr, JoinSet<()>)> {
    let crypto = QuicServerConfig::try_from(config).map_err(io::Error::other)?;
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into())?;
    let addr = endpoint.local_addr()?;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut clients = JoinSet::new();
        while let Some(incoming) = endpoint.accept().await {
            clients.spawn(quic_echo(incoming));
        }
    });
    Ok((addr, serving))
}

/// How it ends is seen by the client.
async fn quic_echo(incoming: quinn::Incoming) -> Option<()> {
    let connection = incoming.await.ok()?;
    let (mut send, mut recv) = connection.accept_bi().await.ok()?;
    let word = recv.read_to_end(MAX_WORD).await.ok()?;
    send.write_all(&word).await.ok()?;
    send.finish().ok()?;
    connection.closed().await;
    Some(())
}

async fn read_all(tls: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    tls.take(MAX_WORD as u64).read_to_end(&mut heard).await?;
    Ok(heard)
}

fn heard(echo: impl AsRef<[u8]>) -> io::Result<()> {
    if echo.as_ref() == WORD { Ok(()) } else { Err(io::Error::other("another word came back")) }
}

/// Whether a datagram of a client holds a 0-RTT packet: a long header of type 1 (RFC 9000, section 17.2), alone or behind
/// an Initial packet. What is looked at is neither encrypted nor masked.
pub(super) fn holds_early_data(datagram: &[u8]) -> bool {
    const LONG_HEADER: u8 = 0x80;
    const TYPE: u8 = 0x30;
    const INITIAL: u8 = 0x00;
    const ZERO_RTT: u8 = 0x10;
    /// First byte and version.
    const PREFIX: usize = 5;

    let mut rest = datagram;
    while let Some(&first) = rest.first().filter(|&&first| first & LONG_HEADER != 0) {
        if first & TYPE == ZERO_RTT {
            return true;
        }
        let Some(after) = rest.get(PREFIX..) else { return false };
        // Destination and source connection ID, each behind a byte of length.
        let after = [(); 2].iter().try_fold(after, |after, ()| {
            let (&length, after) = after.split_first()?;
            after.get(usize::from(length)..)
        });
        let token = if first & TYPE == INITIAL { after.and_then(skip_counted) } else { after };
        let Some(next) = token.and_then(skip_counted) else { return false };
        rest = next;
    }
    false
}

/// What follows a variable-length integer (RFC 9000, section 16) and as many bytes as it says.
fn skip_counted(bytes: &[u8]) -> Option<&[u8]> {
    let first = *bytes.first()?;
    let width = 1_usize << (first >> 6);
    let (integer, after) = bytes.split_at_checked(width)?;
    let count = integer[1..].iter().fold(u64::from(first & 0x3f), |sum, &byte| sum << 8 | u64::from(byte));
    after.get(usize::try_from(count).ok()?..)
}
