//! One object that connects by whatever scheme an endpoint names.

use std::sync::Arc;

use super::auto::Auto;
use crate::endpoint::Scheme;
use crate::error::ConnectError;
use crate::transport::{Outbound, Server, Transport};

/// Connects to `tls://`, `quic://` and `auto://` endpoints.
#[derive(Debug)]
pub struct Connector {
    tls: Arc<dyn Transport>,
    quic: Arc<dyn Transport>,
    auto: Auto,
}

impl Connector {
    /// Connects over these two backends.
    pub fn over(tls: Arc<dyn Transport>, quic: Arc<dyn Transport>) -> Self {
        let auto = Auto::new(Arc::clone(&quic), Arc::clone(&tls));
        Self { tls, quic, auto }
    }

    /// Resolves, connects and completes a handshake, each under its deadline. Cancellation safe.
    pub async fn connect(&self, server: &Server) -> Result<Box<dyn Outbound>, ConnectError> {
        match server.endpoint.scheme {
            Scheme::Tls => self.tls.connect(server).await,
            Scheme::Quic => self.quic.connect(server).await,
            Scheme::Auto => self.auto.connect(server).await,
        }
    }
}
