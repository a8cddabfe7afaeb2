//! Both ends over bare tokio-rustls: what anybody would write, without delay, and closed in good order.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use sealstream_transport::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::ends::{Accept, Conversation, Dial, Held, Lane, WORD, anywhere};
use super::world::{CountingTicketer, NAME, World};

/// Listens.
pub struct Acceptor {
    listener: TcpListener,
    tls: TlsAcceptor,
    ticketer: Arc<CountingTicketer>,
}

impl Acceptor {
    /// Listens, with the configuration of a world.
    pub async fn new(world: &World) -> Self {
        let (config, ticketer) = world.bare_server();
        Self::with(config, ticketer).await
    }

    /// The same, with a configuration of such a world.
    pub async fn with(config: ServerConfig, ticketer: Arc<CountingTicketer>) -> Self {
        let listener = TcpListener::bind(anywhere()).await.expect("a free port");
        Self { listener, tls: TlsAcceptor::from(Arc::new(config)), ticketer }
    }

    async fn next(&self) -> TcpStream {
        let (socket, _) = self.listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("an option of TCP");
        socket
    }
}

impl Accept for Acceptor {
    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    fn accept(&self) -> BoxFuture<'_, Conversation> {
        Box::pin(async {
            let handshake = self.tls.accept(self.next().await);
            Conversation(Box::pin(async move {
                let mut stream = handshake.await.expect("a handshake");
                assert_eq!(stream.read_u8().await.expect("a word"), WORD);
                stream.write_u8(WORD).await.expect("a client that waits");
                stream.flush().await.expect("a client that waits");
                Box::new(Accepted(TlsStream::Server(stream))) as Box<dyn Held>
            }))
        })
    }

    fn size_of_handshake(&self) -> BoxFuture<'_, usize> {
        Box::pin(async { size_of_val(&self.tls.accept(self.next().await)) })
    }

    fn resumed(&self) -> usize {
        self.ticketer.accepted()
    }
}

struct Accepted(TlsStream<TcpStream>);

impl Held for Accepted {
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self(mut stream) = *self;
        Box::pin(async move {
            assert_eq!(stream.read(&mut [0]).await.expect("a clean end"), 0);
            stream.shutdown().await.expect("a client that waits");
        })
    }
}

/// Dials.
pub struct Dialler {
    tls: TlsConnector,
    port: u16,
}

impl Dialler {
    /// Dials that port.
    pub fn new(world: &World, port: u16) -> Self {
        Self::with(world.bare_client(), port)
    }

    /// The same, with a configuration of such a world.
    pub fn with(config: ClientConfig, port: u16) -> Self {
        Self { tls: TlsConnector::from(Arc::new(config)), port }
    }
}

impl Dial for Dialler {
    fn dial(&self, lane: Lane) -> BoxFuture<'static, Box<dyn Held>> {
        let (tls, addr) = (self.tls.clone(), (lane.host(), self.port));
        Box::pin(async move {
            let socket = TcpStream::connect(addr).await.expect("a connection");
            socket.set_nodelay(true).expect("an option of TCP");
            let name = ServerName::try_from(NAME).expect("a name");
            let mut stream = tls.connect(name, socket).await.expect("a handshake");
            stream.write_u8(WORD).await.expect("a server that listens");
            stream.flush().await.expect("a server that listens");
            assert_eq!(stream.read_u8().await.expect("an answer"), WORD);
            Box::new(Dialled(TlsStream::Client(stream))) as Box<dyn Held>
        })
    }
}

struct Dialled(TlsStream<TcpStream>);

impl Held for Dialled {
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self(mut stream) = *self;
        Box::pin(async move {
            stream.shutdown().await.expect("a server that waits");
            assert_eq!(stream.read(&mut [0]).await.expect("a clean end"), 0);
        })
    }
}
