//! The client's side of an established connection.

use std::sync::Arc;
use std::time::Duration;

use quinn::ConnectionError;
use tokio::time::timeout;

use super::failure;
use super::link::Link;
use crate::error::{ConnectError, HandshakeError, OpenError};
use crate::peer::Peer;
use crate::stream::{Stream, StreamError};
use crate::transport::{BoxFuture, Outbound};

/// The client's side of an established QUIC connection.
///
/// Dropped, it leaves its streams alone: the connection lives until the last of them is gone.
#[derive(Debug)]
pub(super) struct QuicOutbound {
    link: Arc<Link>,
    /// The endpoint, for messages.
    target: String,
    open_deadline: Duration,
}

impl QuicOutbound {
    pub(super) fn new(link: Arc<Link>, target: String, open_deadline: Duration) -> Self {
        Self { link, target, open_deadline }
    }

    /// A connection whose client certificate was refused after all is a failed handshake: dialling again cannot help.
    fn closed(&self, error: &ConnectionError) -> OpenError {
        match self.link.lost(error) {
            StreamError::Refused { reason } => OpenError::Connect(ConnectError::Handshake {
                target: self.target.clone(),
                source: HandshakeError::RefusedByPeer { detail: reason },
            }),
            StreamError::Distrusted(fallen) => OpenError::Connect(ConnectError::Handshake {
                target: self.target.clone(),
                source: fallen.cause,
            }),
            _ => OpenError::Closed { reason: failure::reason(error) },
        }
    }
}

impl Outbound for QuicOutbound {
    fn open(&self) -> BoxFuture<'_, Result<Stream, OpenError>> {
        Box::pin(async move {
            let after = self.open_deadline;
            // Waits for credit where as many streams are open as the server allows.
            match timeout(after, self.link.connection().open_bi()).await {
                Ok(Ok((send, recv))) => Ok(self.link.stream(send, recv, None)),
                Ok(Err(error)) => Err(self.closed(&error)),
                Err(_) => Err(OpenError::TimedOut { after }),
            }
        })
    }

    fn peer(&self) -> &Peer {
        self.link.peer()
    }

    fn close(&self, code: u32) -> BoxFuture<'_, ()> {
        Box::pin(self.link.close(code))
    }
}
