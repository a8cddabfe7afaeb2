//! The least of a transport: one connection, whose streams are pipes in memory. What it costs is copying.
//!
//! The one that tests have is a feature of the transport, and would have everything above it compiled once more.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use sealstream_transport::error::HandshakeError;
use sealstream_transport::stream::{RecvBackend, SendBackend};
use sealstream_transport::tls::Fallen;
use sealstream_transport::{
    BoxFuture, Handshake, Inbound, Incoming, Listener, Peer, RecvHalf, SendHalf, Stream, TransportKind,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::{Mutex, mpsc};

/// Bytes that a pipe holds: a batch of 128 KiB goes through it in pieces, as it does through a socket.
const PIPE: usize = 64 << 10;

/// Streams that are opened and not yet accepted: more than any path opens at once.
const OPENED: usize = 8;

/// Opens streams.
pub(super) struct Dialer(mpsc::Sender<Stream>);

/// Where the one connection comes from; it is there at once.
pub(super) struct OneConnection(Mutex<mpsc::Receiver<Connection>>);

struct Connection {
    peer: Peer,
    streams: Mutex<mpsc::Receiver<Stream>>,
}

struct Reading(ReadHalf<DuplexStream>);

struct Writing(WriteHalf<DuplexStream>);

/// Both ends.
pub(super) fn connection() -> (Dialer, OneConnection) {
    let (opens, streams) = mpsc::channel(OPENED);
    let (dials, arrives) = mpsc::channel(1);
    let connection = Connection { peer: peer(), streams: Mutex::new(streams) };
    dials.try_send(connection).expect("there is room for one");
    (Dialer(opens), OneConnection(Mutex::new(arrives)))
}

fn peer() -> Peer {
    Peer::new(TransportKind::Memory, SocketAddr::from(([127, 0, 0, 1], 1)), Handshake::Full)
}

fn stream(pipe: DuplexStream) -> Stream {
    let (reading, writing) = split(pipe);
    Stream { recv: RecvHalf::new(Reading(reading)), send: SendHalf::new(Writing(writing)), peer: peer() }
}

impl Dialer {
    pub(super) fn open(&self) -> Stream {
        let (ours, theirs) = duplex(PIPE);
        self.0.try_send(stream(theirs)).expect("the broker accepts");
        stream(ours)
    }
}

impl Listener for OneConnection {
    fn accept(&self) -> BoxFuture<'_, Option<Box<dyn Incoming>>> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(connection) => Some(Box::new(connection) as Box<dyn Incoming>),
                // Open for as long as the broker wants it to be.
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 2))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Incoming for Connection {
    fn remote_addr(&self) -> SocketAddr {
        self.peer.remote_addr
    }

    fn handshake(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Inbound>, HandshakeError>> {
        Box::pin(std::future::ready(Ok(self as Box<dyn Inbound>)))
    }

    fn refuse(self: Box<Self>) {}
}

impl Inbound for Connection {
    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(async { self.streams.lock().await.recv().await })
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn standing(&self) -> BoxFuture<'_, Fallen> {
        Box::pin(std::future::pending())
    }

    fn close(&self, _code: u32) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for OneConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneConnection")
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl RecvBackend for Reading {
    fn stop(&mut self, _code: u32) {}
}

impl SendBackend for Writing {
    fn abort(&mut self, _code: u32) {}
}

impl AsyncRead for Reading {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Writing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
