//! What most members of the suite begin with: a server that serves, or one connection with both its sides at hand.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::fixture::StreamFixture;
use crate::stream::{Stream, StreamError};
use crate::transport::{Inbound, Incoming, Listener, Outbound, Server, Transport};

/// The first byte of a stream, without which the peer does not know of it.
const HELLO: u8 = 0x5e;

/// Streams accepted that no test has asked for yet: more than any test opens at once.
const ACCEPTED: usize = 512;

/// Any free port of this machine.
pub(super) fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A server that accepts every connection and every stream, and a client to reach it.
pub(super) struct Bed {
    pub(super) client: Arc<dyn Transport>,
    pub(super) target: Server,
    streams: mpsc::Receiver<Stream>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Bed {
    pub(super) async fn new(fixture: &dyn StreamFixture) -> Self {
        let listener: Arc<dyn Listener> =
            fixture.server().listen(anywhere()).await.expect("a free port").into();
        let target = fixture.target(listener.local_addr());
        let (accepted, streams) = mpsc::channel(ACCEPTED);
        let connections = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, accepted, Arc::clone(&connections)));
        Self { client: fixture.client(), target, streams, connections, _tasks: tasks }
    }

    pub(super) async fn connect(&self) -> Box<dyn Outbound> {
        self.client.connect(&self.target).await.expect("a server that listens is reached")
    }

    /// The next stream that reached the server, past its hello.
    pub(super) async fn accept(&mut self) -> Stream {
        let mut stream = self.streams.recv().await.expect("the server serves");
        welcome(&mut stream).await;
        stream
    }

    /// Both sides of a new stream: the client's and the server's.
    pub(super) async fn open(&mut self, outbound: &dyn Outbound) -> (Stream, Stream) {
        let client = open(outbound).await;
        (client, self.accept().await)
    }

    /// The next stream that says hello, past those that were given up before they could.
    pub(super) async fn accept_living(&mut self) -> Stream {
        loop {
            let mut stream = self.streams.recv().await.expect("the server serves");
            if stream.recv.read_u8().await.is_ok_and(|byte| byte == HELLO) {
                return stream;
            }
        }
    }

    /// Hands every stream that reaches the server to a task of its own from now on, until what is returned is dropped.
    pub(super) fn answer_all<A: Future<Output = ()> + Send + 'static>(
        &mut self,
        answer: fn(Stream) -> A,
    ) -> JoinSet<()> {
        let (_, nothing) = mpsc::channel(1);
        let mut streams = std::mem::replace(&mut self.streams, nothing);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut answers = JoinSet::new();
            while let Some(stream) = streams.recv().await {
                while answers.try_join_next().is_some() {}
                answers.spawn(answer(stream));
            }
        });
        task
    }

    /// Drops whatever streams reached the server and were not asked for.
    pub(super) fn forget_streams(&mut self) {
        while self.streams.try_recv().is_ok() {}
    }

    /// The connections that the server still waits on, for their handshake or for their next stream.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(listener: Arc<dyn Listener>, accepted: mpsc::Sender<Stream>, connections: Arc<AtomicUsize>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = listener.accept().await {
        while tasks.try_join_next().is_some() {}
        connections.fetch_add(1, Ordering::SeqCst);
        let (accepted, connections) = (accepted.clone(), connections.clone());
        tasks.spawn(async move {
            serve_connection(incoming, accepted).await;
            connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve_connection(incoming: Box<dyn Incoming>, accepted: mpsc::Sender<Stream>) {
    let Ok(inbound) = incoming.handshake().await else { return };
    while let Some(stream) = inbound.accept().await {
        if accepted.send(stream).await.is_err() {
            return;
        }
    }
}

/// A stream that says hello.
pub(super) async fn open(outbound: &dyn Outbound) -> Stream {
    let mut stream = outbound.open().await.expect("a stream");
    stream.send.write_all(&[HELLO]).await.expect("the first byte");
    stream.send.flush().await.expect("the first byte");
    stream
}

async fn welcome(stream: &mut Stream) {
    assert_eq!(stream.recv.read_u8().await.expect("the first byte"), HELLO);
}

/// One connection, with both its sides at hand.
pub(super) struct Link {
    pub(super) listener: Box<dyn Listener>,
    pub(super) outbound: Box<dyn Outbound>,
    pub(super) inbound: Box<dyn Inbound>,
}

impl Link {
    pub(super) async fn new(fixture: &dyn StreamFixture) -> Self {
        let listener = fixture.server().listen(anywhere()).await.expect("a free port");
        let target = fixture.target(listener.local_addr());
        Self::over(fixture, listener, target).await
    }

    /// A connection to `listener` by way of `target`.
    pub(super) async fn over(
        fixture: &dyn StreamFixture,
        listener: Box<dyn Listener>,
        target: Server,
    ) -> Self {
        let client = fixture.client();
        let (outbound, inbound) = tokio::join!(client.connect(&target), async {
            let incoming = listener.accept().await.expect("the listener is open");
            incoming.handshake().await
        });
        Self {
            listener,
            outbound: outbound.expect("a server that listens is reached"),
            inbound: inbound.expect("the handshake succeeds"),
        }
    }

    /// Both sides of a new stream. On backends with a connection a stream, it may be asked for once.
    pub(super) async fn open(&self) -> (Stream, Stream) {
        let client = open(&*self.outbound).await;
        let mut server = self.inbound.accept().await.expect("the stream that was opened");
        welcome(&mut server).await;
        (client, server)
    }
}

/// Runs two tasks at once, in parallel, to their ends.
pub(super) async fn both<A, B>(
    a: impl Future<Output = A> + Send + 'static,
    b: impl Future<Output = B> + Send + 'static,
) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
{
    let (mut left, mut right) = (JoinSet::new(), JoinSet::new());
    left.spawn(a);
    right.spawn(b);
    let (a, b) = tokio::join!(left.join_next(), right.join_next());
    (a.expect("one task").expect("no panic"), b.expect("one task").expect("no panic"))
}

/// The stream error that an operation ended with.
pub(super) fn stream_error<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> StreamError {
    let error = outcome.expect_err("an end that is not clean");
    StreamError::of(&error).cloned().unwrap_or_else(|| panic!("not a stream error: {error:?}"))
}
