//! A bound UDP address that yields connections.

use std::fmt;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::Endpoint;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::gate::Gate;
use super::socket;
use crate::admission::{ConnectionPlace, DatagramVerdict};
use crate::error::HandshakeError;
use crate::observe::ShedConnection;
use crate::options::Deadlines;
use crate::peer::TransportKind;
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

    /// Lets a peer in, has it prove its address, or turns it away.
    fn admit(&self, incoming: quinn::Incoming) -> Option<Box<dyn Incoming>> {
        let remote_addr = socket::canonical(incoming.remote_address());
        let options = self.gate.options();
        match options.admission.admit_datagram_peer(remote_addr, incoming.remote_address_validated()) {
            DatagramVerdict::Admit(place) => {
                Some(Box::new(QuicIncoming { incoming, place, gate: Arc::clone(&self.gate) }))
            }
            DatagramVerdict::Retry => {
                if let Err(refused) = incoming.retry() {
                    refused.into_incoming().refuse();
                }
                None
            }
            DatagramVerdict::Refuse(cause) => {
                incoming.refuse();
                let shed = ShedConnection::new(TransportKind::Quic, remote_addr, cause);
                options.observers.each(|observer| observer.shed(&shed));
                None
            }
        }
    }

    /// Ends every accept, and leaves the socket to the connections that need it.
    fn stop(&self, runtime: &Handle) {
        self.closed.cancel();
        if let Some(endpoint) = self.endpoint().take() {
            self.gate.tasks().spawn_on(turn_away(endpoint), runtime);
            self.gate.tasks().close();
        }
    }
}

impl Listener for QuicListener {
    fn accept(&self) -> BoxFuture<'_, Option<Box<dyn Incoming>>> {
        Box::pin(async move {
            let endpoint = self.endpoint().clone()?;
            loop {
                let incoming = tokio::select! {
                    biased;
                    () = self.closed.cancelled() => return None,
                    incoming = endpoint.accept() => incoming?,
                };
                if let Some(admitted) = self.admit(incoming) {
                    return Some(admitted);
                }
                // Turning away waits for nothing: others are to have their turn all the same.
                tokio::task::consume_budget().await;
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop(&Handle::current());
            if !self.gate.has_connections() {
                // What closes already is awaited, so that the address is free when this returns.
                drop(timeout(self.deadlines.close, self.gate.tasks().wait()).await);
            }
        })
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        // Without a runtime nothing moves any more, and there is nobody to turn away.
        if let Ok(runtime) = Handle::try_current() {
            self.stop(&runtime);
        }
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
    place: ConnectionPlace,
    gate: Arc<Gate>,
}

impl Incoming for QuicIncoming {
    fn remote_addr(&self) -> SocketAddr {
        socket::canonical(self.incoming.remote_address())
    }

    fn handshake(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Inbound>, HandshakeError>> {
        Box::pin(async move {
            let inbound = self.gate.handshake(self.incoming, self.place).await?;
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

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::quic::QuicTransport;
    use crate::testing::backends::{ALPN, World};
    use crate::transport::Transport;
    use crate::{Endpoint, Expectation, Scheme, Server, TransportOptions};

    /// Connections after which a token must have come: it travels with the first bytes of the server.
    const CONNECTIONS: usize = 5;

    #[tokio::test]
    async fn a_client_that_comes_back_has_its_address_vouched_for() {
        let world = World::new();
        let options = TransportOptions::new(ALPN, 9);
        let serving = QuicTransport::new(world.server(), options.clone());
        let listener = serving.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let client = QuicTransport::new(world.client(), options);
        let port = listener.local_addr.port();
        let server = Server {
            endpoint: Endpoint { scheme: Scheme::Quic, host: "127.0.0.1".to_owned(), port },
            expectation: Expectation::Name("localhost".to_owned()),
        };
        let mut validated = Vec::new();
        for _ in 0..CONNECTIONS {
            let accept = async {
                let endpoint = listener.endpoint().clone().unwrap();
                let incoming = endpoint.accept().await.unwrap();
                validated.push(incoming.remote_address_validated());
                let place = listener.gate.options().admission.admit(incoming.remote_address()).unwrap();
                let inbound = Arc::clone(&listener.gate).handshake(incoming, place).await.unwrap();
                let mut stream = inbound.accept().await.unwrap();
                stream.send.write_all(b"!").await.unwrap();
                stream.send.shutdown().await.unwrap();
            };
            let connect = async {
                let outbound = client.connect(&server).await.unwrap();
                let mut stream = outbound.open().await.unwrap();
                stream.send.write_all(b"?").await.unwrap();
                assert_eq!(stream.recv.read_u8().await.unwrap(), b'!');
            };
            tokio::join!(accept, connect);
        }
        assert!(!validated[0], "nobody knows it yet");
        assert!(validated.contains(&true), "no token was honoured");
    }
}
