//! One object that connects by whatever scheme an endpoint names.

use std::sync::Arc;

use super::auto::Auto;
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::ConnectError;
use crate::options::TransportOptions;
use crate::quic::QuicTransport;
use crate::tcp::TcpTransport;
use crate::tls::Receiver;
use crate::transport::{Outbound, Server, Transport};

/// Connects to `tls://`, `quic://` and `auto://` endpoints. One serves a whole process: it holds the sockets of outgoing
/// QUIC and the memory of where UDP is blocked.
#[derive(Debug)]
pub struct Connector {
    tls: Arc<TcpTransport>,
    quic: Arc<QuicTransport>,
    auto: Auto,
    default_port: u16,
}

impl Connector {
    /// Reads trust and client identity from `tls` at each handshake. Binds and dials nothing yet.
    pub fn new(tls: &Receiver, options: &TransportOptions) -> Self {
        let quic = Arc::new(QuicTransport::new(tls.clone(), options.clone()));
        let tls = Arc::new(TcpTransport::new(tls.clone(), options.clone()));
        let auto = Auto::new(Arc::clone(&quic) as Arc<dyn Transport>, Arc::clone(&tls) as Arc<dyn Transport>);
        Self { tls, quic, auto, default_port: options.default_port }
    }

    /// Parses an endpoint URL; one that names no port has the default port of the options.
    pub fn endpoint(&self, url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(url, self.default_port)
    }

    /// Resolves, connects and completes a handshake, each under its deadline.
    ///
    /// Cancellation safe: a dropped future leaves no socket and no task behind.
    pub async fn connect(&self, server: &Server) -> Result<Box<dyn Outbound>, ConnectError> {
        match server.endpoint.scheme {
            Scheme::Tls => self.tls.connect(server).await,
            Scheme::Quic => self.quic.connect(server).await,
            Scheme::Auto => self.auto.connect(server).await,
        }
    }

    /// Resolves once every connection that was closed has said so to its peer, or has had its time. Await it before the
    /// process ends.
    pub async fn drained(&self) {
        tokio::join!(self.tls.drained(), self.quic.drained());
    }
}
