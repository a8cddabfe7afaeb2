//! A bound UDP address that yields connections.

use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::Endpoint;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::socket;
use crate::error::HandshakeError;
use crate::options::Deadlines;
use crate::transport::{BoxFuture, Inbound, Incoming, Listener};

/// A bound UDP address. Its socket is released when the listener is closed and its last connection is gone.
#[derive(Debug)]
pub(super) struct QuicListener {
    /// `None` once closed.
    endpoint: Mutex<Option<Endpoint>>,
    local_addr: SocketAddr,
    closed: CancellationToken,
    gate: Arc<Gate>,
    deadlines: Deadlines,
}

impl QuicListener {
    pub(super) fn new(
        endpoint: Endpoint,
        local_addr: SocketAddr,
        gate: Arc<Gate>,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            endpoint: Mutex::new(Some(endpoint)),
            local_addr,
            closed: CancellationToken::new(),
            gate,
            deadlines,
        }
    }

    fn endpoint(&self) -> MutexGuard<'_, Option<Endpoint>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for QuicListener {
    fn accept(&self) -> BoxFuture<'_, Option<Box<dyn Incoming>>> {
        Box::pin(async move {
            let endpoint = self.endpoint().clone()?;
            let incoming = tokio::select! {
                biased;
                () = self.closed.cancelled() => return None,
                incoming = endpoint.accept() => incoming?,
            };
            Some(Box::new(QuicIncoming { incoming, gate: Arc::clone(&self.gate) }) as Box<dyn Incoming>)
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.closed.cancel();
            let Some(endpoint) = self.endpoint().take() else { return };
            self.gate.tasks().spawn(turn_away(endpoint));
            self.gate.tasks().close();
            if !self.gate.has_connections() {
                // What closes already is awaited, so that the address is free when this returns.
                drop(timeout(self.deadlines.close, self.gate.tasks().wait()).await);
            }
        })
    }
}

/// Refuses whoever still comes while earlier connections live on, so that a client looks elsewhere at once and not after
/// a timeout. Ends, and releases the socket, with the last of them.
async fn turn_away(endpoint: Endpoint) {
    let mut alone = pin!(endpoint.wait_idle());
    let mut ended = false;
    loop {
        tokio::select! {
            biased;
            () = &mut alone, if !ended => {
                ended = true;
                // From here on nobody joins the queue, so that it comes to an end.
                endpoint.set_server_config(None);
            }
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming.refuse(),
                None => return,
            },
            () = ready(()), if ended => return,
        }
    }
}

/// A connection that has proven nothing yet. Dropped, it is refused.
struct QuicIncoming {
    incoming: quinn::Incoming,
    gate: Arc<Gate>,
}

impl Incoming for QuicIncoming {
    fn remote_addr(&self) -> SocketAddr {
        socket::canonical(self.incoming.remote_address())
    }

    fn handshake(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Inbound>, HandshakeError>> {
        Box::pin(async move {
            let inbound = self.gate.handshake(self.incoming).await?;
            Ok(Box::new(inbound) as Box<dyn Inbound>)
        })
    }

    fn refuse(self: Box<Self>) {
        self.incoming.refuse();
    }
}

impl fmt::Debug for QuicIncoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicIncoming").field("remote_addr", &self.remote_addr()).finish_non_exhaustive()
    }
}
