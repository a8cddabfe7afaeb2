//! Where requests come in: HTTP on loopback, the transport's TLS anywhere else.

use std::io;
use std::net::SocketAddr;

use sealstream_transport::admission::{Admission, AdmissionLimits};
use sealstream_transport::observe::{HandshakeLog, HandshakeObserver, Observers};
use sealstream_transport::tls::Receiver;
use sealstream_transport::{Incoming, ListenError, Listener, TcpTransport, Transport, TransportOptions};
use tokio::net::{TcpListener, TcpStream};

use super::MonitorError;
use super::http::PLACES;

/// The application protocol of HTTP/1.1 (RFC 7301, section 6).
const HTTP_ALPN: &str = "http/1.1";

/// The port of an `https` URL that names none.
const HTTPS_PORT: u16 = 443;

/// Whether an address gets HTTP: it is of this machine only.
pub(super) fn is_plain(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

/// An address that is listened on.
#[derive(Debug)]
pub(super) enum Door {
    /// HTTP.
    Plain(TcpListener, SocketAddr),
    /// HTTPS.
    Sealed(Box<dyn Listener>),
}

/// Somebody at the door.
#[derive(Debug)]
pub(super) enum Caller {
    Plain(TcpStream, SocketAddr),
    /// Before its handshake.
    Sealed(Box<dyn Incoming>),
}

impl Door {
    pub(super) async fn open(addr: SocketAddr, tls: &Receiver) -> Result<Self, MonitorError> {
        if is_plain(addr) {
            let listen = async {
                let listener = TcpListener::bind(addr).await?;
                let local = listener.local_addr()?;
                Ok((listener, local))
            };
            let (listener, local) = listen.await.map_err(|error: io::Error| match error.kind() {
                io::ErrorKind::AddrInUse => MonitorError::InUse(addr),
                _ => MonitorError::Io(addr, error),
            })?;
            return Ok(Self::Plain(listener, local));
        }
        let mut options = TransportOptions::new(HTTP_ALPN, HTTPS_PORT);
        // Places of its own: it is there when the broker has none left, which is when it is needed.
        let mut limits = AdmissionLimits::default();
        limits.connections = PLACES;
        options.admission = Admission::new(limits)
            .expect("a bound on connections changes nothing about the defaults' validity");
        options.observers = Observers::new([
            std::sync::Arc::new(HandshakeLog::new()) as std::sync::Arc<dyn HandshakeObserver>
        ]);
        let listener = TcpTransport::new(tls.clone(), options).listen(addr).await;
        listener.map(Self::Sealed).map_err(|error| match error {
            ListenError::AddressInUse { addr } => MonitorError::InUse(addr),
            error => error.into(),
        })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Plain(_, local) => *local,
            Self::Sealed(listener) => listener.local_addr(),
        }
    }

    /// The next caller; `None` once it is closed. Cancellation safe.
    pub(super) async fn accept(&self) -> io::Result<Option<Caller>> {
        match self {
            Self::Plain(listener, _) => {
                let (stream, remote) = listener.accept().await?;
                Ok(Some(Caller::Plain(stream, remote)))
            }
            Self::Sealed(listener) => Ok(listener.accept().await.map(Caller::Sealed)),
        }
    }

    pub(super) async fn close(&self) {
        if let Self::Sealed(listener) = self {
            listener.close().await;
        }
    }
}
