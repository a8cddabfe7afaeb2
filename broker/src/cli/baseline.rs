//! The yardstick of `bench`: the same number of bytes over bare tokio-rustls on loopback, with nothing of ours in between.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sealstream_transport::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Failure;

/// What one write hands over and one read asks for. Larger ones gain nothing: a TLS record holds 16 KiB.
const CHUNK: usize = 64 << 10;

/// The yardstick is measured over so many bytes at the most: a second or less, and long enough to be past slow start.
const MOST: u64 = 512 << 20;

/// Bytes per second of bare tokio-rustls, one connection, one direction, TLS 1.3, ring.
pub(super) async fn bytes_per_second(bytes: u64) -> Result<f64, Failure> {
    let bytes = bytes.clamp(1, MOST);
    let (server, client) = configurations()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let sink = async move {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let mut stream = TlsAcceptor::from(server).accept(socket).await?;
        let mut buffer = vec![0; CHUNK];
        let mut left = bytes;
        while left > 0 {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(read as u64);
        }
        // The answer ends the measurement: the last byte was read, not only sent.
        stream.write_all(&[0]).await?;
        stream.flush().await
    };
    let source = async move {
        let socket = TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a DNS name");
        let mut stream = TlsConnector::from(client).connect(name, socket).await?;
        let chunk = vec![b'x'; CHUNK];
        let start = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            stream.write_all(&chunk[..length]).await?;
            left -= length as u64;
        }
        stream.flush().await?;
        stream.read_u8().await?;
        Ok::<Duration, std::io::Error>(start.elapsed())
    };
    // Two tasks, so that they may run on two cores as client and broker do.
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(sink);
    let elapsed = source.await?;
    while let Some(joined) = tasks.join_next().await {
        joined??;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 2^29")]
    Ok(bytes as f64 / elapsed.as_secs_f64())
}

/// A certificate for localhost that is signed by itself, and a client that trusts it.
fn configurations() -> Result<(Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>), Failure> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let client = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(server), Arc::new(client)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_yardstick_moves_every_byte() {
        assert!(bytes_per_second(3 * CHUNK as u64 + 1).await.unwrap() > 0.0);
    }
}
