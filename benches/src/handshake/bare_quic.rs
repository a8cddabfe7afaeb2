//! Both ends over bare quinn, as it comes: its default transport configuration, and one socket for all that is dialled.

use std::future::IntoFuture;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use sealstream_transport::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ends::{Accept, Conversation, Dial, Held, Lane, WORD, anywhere};
use super::world::{CountingTicketer, NAME, World};

/// Listens.
pub struct Acceptor {
    endpoint: Endpoint,
    ticketer: Arc<CountingTicketer>,
}

impl Acceptor {
    /// In the runtime that is to drive it.
    pub fn new(world: &World) -> Self {
        let (config, ticketer) = world.bare_server();
        Self::with(config, ticketer)
    }

    /// The same, with a configuration of such a world.
    pub fn with(config: rustls::ServerConfig, ticketer: Arc<CountingTicketer>) -> Self {
        let crypto = QuicServerConfig::try_from(config).expect("TLS 1.3");
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        Self { endpoint: Endpoint::server(config, anywhere()).expect("a free port"), ticketer }
    }
}

impl Accept for Acceptor {
    fn port(&self) -> u16 {
        self.endpoint.local_addr().expect("an address").port()
    }

    fn accept(&self) -> BoxFuture<'_, Conversation> {
        Box::pin(async {
            let incoming = self.endpoint.accept().await.expect("the endpoint is open");
            Conversation(Box::pin(async move {
                let connection = incoming.await.expect("a handshake");
                let (mut send, mut recv) = connection.accept_bi().await.expect("a stream");
                assert_eq!(recv.read_u8().await.expect("a word"), WORD);
                assert_eq!(AsyncReadExt::read(&mut recv, &mut [0]).await.expect("a clean end"), 0);
                send.write_u8(WORD).await.expect("a client that waits");
                send.finish().expect("an open stream");
                // The client may have closed the connection before its acknowledgement has left.
                let _ = send.stopped().await;
                Box::new(Accepted(connection)) as Box<dyn Held>
            }))
        })
    }

    fn size_of_handshake(&self) -> BoxFuture<'_, usize> {
        Box::pin(async {
            let incoming = self.endpoint.accept().await.expect("the endpoint is open");
            size_of_val(&incoming.into_future())
        })
    }

    fn resumed(&self) -> usize {
        self.ticketer.accepted()
    }
}

struct Accepted(Connection);

impl Held for Accepted {
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self(connection) = *self;
        Box::pin(async move { assert!(connection.accept_bi().await.is_err(), "no further stream") })
    }
}

/// Dials.
pub struct Dialler {
    endpoint: Endpoint,
    port: u16,
}

impl Dialler {
    /// In the runtime that is to drive it.
    pub fn new(world: &World, port: u16) -> Self {
        Self::with(world.bare_client(), port)
    }

    /// The same, with a configuration of such a world.
    pub fn with(config: rustls::ClientConfig, port: u16) -> Self {
        let crypto = QuicClientConfig::try_from(config).expect("TLS 1.3");
        let mut endpoint = Endpoint::client(anywhere()).expect("a free port");
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        Self { endpoint, port }
    }
}

impl Dial for Dialler {
    fn dial(&self, lane: Lane) -> BoxFuture<'static, Box<dyn Held>> {
        let connecting = self.endpoint.connect((lane.host(), self.port).into(), NAME).expect("an address");
        Box::pin(async move {
            let connection = connecting.await.expect("a handshake");
            let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
            send.write_u8(WORD).await.expect("a server that listens");
            send.finish().expect("an open stream");
            assert!(send.stopped().await.expect("a server that reads").is_none());
            assert_eq!(recv.read_u8().await.expect("an answer"), WORD);
            assert_eq!(AsyncReadExt::read(&mut recv, &mut [0]).await.expect("a clean end"), 0);
            Box::new(Dialled(connection)) as Box<dyn Held>
        })
    }
}

struct Dialled(Connection);

impl Held for Dialled {
    /// As ours does: the connection is closed when its last holder lets go of it.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self.0);
        Box::pin(async {})
    }
}
