//! Both ends over a transport of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealstream_transport::tls::{Receiver, Store};
use sealstream_transport::{
    BoxFuture, Endpoint, Expectation, Handshake, Inbound, Listener, Outbound, QuicTransport, Scheme, Server,
    Stream, TcpTransport, Transport, TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ends::{Accept, Conversation, Dial, Held, Lane, WORD, anywhere};
use super::world::{Case, NAME, World};

/// Listens.
pub struct Acceptor {
    listener: Box<dyn Listener>,
    scheme: Scheme,
    resumed: Arc<AtomicUsize>,
}

impl Acceptor {
    /// Listens, with the material of a world.
    pub async fn new(world: &World, options: TransportOptions) -> Self {
        let store = Store::new(&world.serving()).expect("good material");
        let scheme = world.case.scheme;
        let transport = transport(scheme, store.receiver(), options);
        let listener = transport.listen(anywhere()).await.expect("a free port");
        Self { listener, scheme, resumed: Arc::default() }
    }
}

impl Accept for Acceptor {
    fn port(&self) -> u16 {
        self.listener.local_addr().port()
    }

    fn accept(&self) -> BoxFuture<'_, Conversation> {
        Box::pin(async {
            let incoming = self.listener.accept().await.expect("the listener is open");
            let (handshake, scheme) = (incoming.handshake(), self.scheme);
            let resumed = Arc::clone(&self.resumed);
            Conversation(Box::pin(async move {
                let inbound = handshake.await.expect("a handshake");
                if inbound.peer().handshake == Handshake::Resumed {
                    resumed.fetch_add(1, Ordering::Relaxed);
                }
                let stream = inbound.accept().await.expect("a stream");
                let stream = answer(stream, scheme).await;
                Box::new(Accepted { inbound, stream }) as Box<dyn Held>
            }))
        })
    }

    fn size_of_handshake(&self) -> BoxFuture<'_, usize> {
        Box::pin(async {
            let incoming = self.listener.accept().await.expect("the listener is open");
            size_of_val(&*incoming.handshake())
        })
    }

    fn resumed(&self) -> usize {
        self.resumed.load(Ordering::Relaxed)
    }
}

struct Accepted {
    inbound: Box<dyn Inbound>,
    stream: Option<Stream>,
}

impl Held for Accepted {
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            match self.stream {
                Some(mut stream) => {
                    assert_eq!(stream.recv.read(&mut [0]).await.expect("a clean end"), 0);
                    stream.send.shutdown().await.expect("a client that waits");
                }
                None => assert!(self.inbound.accept().await.is_none(), "no further stream"),
            }
        })
    }
}

async fn answer(mut stream: Stream, scheme: Scheme) -> Option<Stream> {
    assert_eq!(stream.recv.read_u8().await.expect("a word"), WORD);
    if scheme == Scheme::Quic {
        assert_eq!(stream.recv.read(&mut [0]).await.expect("a clean end"), 0);
    }
    stream.send.write_u8(WORD).await.expect("a client that waits");
    if scheme == Scheme::Quic {
        // The client may have closed the connection before its acknowledgement has left.
        let _ = stream.send.shutdown().await;
        return None;
    }
    stream.send.flush().await.expect("a client that waits");
    Some(stream)
}

/// Dials.
pub struct Dialler {
    transport: Arc<dyn Transport>,
    receiver: Receiver,
    alpn: Vec<u8>,
    case: Case,
    port: u16,
}

impl Dialler {
    /// Dials that port.
    pub fn new(world: &World, port: u16, options: TransportOptions) -> Self {
        let store = Store::new(&world.dialling()).expect("good material");
        let (receiver, alpn) = (store.receiver(), options.alpn.clone());
        let transport = transport(world.case.scheme, receiver.clone(), options);
        Self { transport, receiver, alpn, case: world.case, port }
    }

    /// Without tickets a handshake is a full one.
    fn forget(&self, server: &Server) {
        self.receiver.current().forget_tickets(self.transport.kind(), &self.alpn, server);
    }
}

impl Dial for Dialler {
    fn dial(&self, lane: Lane) -> BoxFuture<'static, Box<dyn Held>> {
        let scheme = self.case.scheme;
        let endpoint = Endpoint { scheme, host: lane.host().to_string(), port: self.port };
        let server = Server { endpoint, expectation: Expectation::Name(NAME.to_owned()) };
        if !self.case.resumed {
            self.forget(&server);
        }
        let transport = Arc::clone(&self.transport);
        Box::pin(async move {
            let outbound = transport.connect(&server).await.expect("a connection");
            let mut stream = outbound.open().await.expect("a stream");
            stream.send.write_u8(WORD).await.expect("a server that listens");
            if scheme == Scheme::Quic {
                stream.send.shutdown().await.expect("a server that reads");
            } else {
                stream.send.flush().await.expect("a server that listens");
            }
            assert_eq!(stream.recv.read_u8().await.expect("an answer"), WORD);
            let stream = if scheme == Scheme::Quic {
                assert_eq!(stream.recv.read(&mut [0]).await.expect("a clean end"), 0);
                None
            } else {
                Some(stream)
            };
            Box::new(Dialled { stream, _outbound: outbound }) as Box<dyn Held>
        })
    }
}

struct Dialled {
    stream: Option<Stream>,
    _outbound: Box<dyn Outbound>,
}

impl Held for Dialled {
    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(mut stream) = self.stream {
                stream.send.shutdown().await.expect("a server that waits");
                assert_eq!(stream.recv.read(&mut [0]).await.expect("a clean end"), 0);
            }
        })
    }
}

fn transport(scheme: Scheme, receiver: Receiver, options: TransportOptions) -> Arc<dyn Transport> {
    match scheme {
        Scheme::Quic => Arc::new(QuicTransport::new(receiver, options)),
        _ => Arc::new(TcpTransport::new(receiver, options)),
    }
}
