//! TLS 1.3 over TCP, by tokio-rustls. One connection carries one stream; a further stream is a further connection that
//! resumes the session.
//!
//! ```text
//! TcpTransport ── listen ──► Listener ── accept ──► Incoming ── handshake ──► Inbound ── accept ──► Stream (one)
//!             ╲── connect ─► Outbound ── open ──► Stream, the dialled one; then each dials and resumes
//!
//! Stream { recv, send } ──► Connection (one TLS session under one lock) ── both halves gone ──► Lingering
//! ```

mod connection;
mod inbound;
mod lingering;
mod listener;
mod outbound;
mod plaintext;
mod socket;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::{ConnectError, ListenError};
use crate::options::TransportOptions;
use crate::peer::TransportKind;
use crate::tls::{Profile, Receiver};
use crate::transport::{BoxFuture, Listener, Outbound, Server, Transport};

use lingering::Lingering;

pub use lingering::{LINGER_BYTES, LINGER_TIME, MAX_LINGERING};
pub use listener::ACCEPT_PAUSE;

/// Carries streams over TCP and TLS 1.3. Cheap to clone: clones share everything.
#[derive(Clone, Debug)]
pub struct TcpTransport {
    shared: Arc<Shared>,
}

/// What listeners, connections and outgoing links of one transport share.
#[derive(Debug)]
struct Shared {
    tls: Receiver,
    profile: Profile,
    options: TransportOptions,
    lingering: Lingering,
}

impl TcpTransport {
    /// A transport that reads its certificates and trust from `tls` at each handshake.
    pub fn new(tls: Receiver, options: TransportOptions) -> Self {
        let profile =
            Profile { kind: TransportKind::Tls, alpn: options.alpn.clone(), key_log: options.key_log };
        Self { shared: Arc::new(Shared { tls, profile, options, lingering: Lingering::new() }) }
    }

    /// Resolves once no closed connection waits any more for its peer to take the last bytes: at most
    /// [`LINGER_TIME`] after the last stream is gone. Await it before the process ends.
    pub async fn drained(&self) {
        self.shared.lingering.drained().await;
    }
}

impl Transport for TcpTransport {
    fn kind(&self) -> TransportKind {
        TransportKind::Tls
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async move {
            let listener = listener::TcpListener::bind(addr, Arc::clone(&self.shared))?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, Result<Box<dyn Outbound>, ConnectError>> {
        Box::pin(async move {
            let outbound = outbound::TcpOutbound::connect(Arc::clone(&self.shared), server.clone()).await?;
            Ok(Box::new(outbound) as Box<dyn Outbound>)
        })
    }
}
