//! A server and its clients on both transports, with traffic on an open stream of each.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sealstream_transport::testing::backends::ALPN;
use sealstream_transport::testing::{PATIENCE, eventually};
use sealstream_transport::tls::{Fallen, Material, Published, Store};
use sealstream_transport::{
    ConnectError, Endpoint, Expectation, Handshake, HandshakeError, Inbound, Listener, Outbound,
    QuicTransport, Scheme, Server, Stream, StreamError, TcpTransport, Transport, TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The promise, and what a loaded machine may add to it.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(1);
const MACHINE_MARGIN: Duration = Duration::from_secs(1);

/// Bytes of one message: two in flight fill no window.
const MESSAGE: usize = 4096;

/// Rounds that must pass after a change before a stream counts as untouched.
const ROUNDS_AFTER: u64 = 20;

pub(crate) const SCHEMES: [Scheme; 2] = [Scheme::Tls, Scheme::Quic];

fn transport(scheme: Scheme, store: &Store) -> Box<dyn Transport> {
    let options = TransportOptions::new(ALPN, 9);
    match scheme {
        Scheme::Quic => Box::new(QuicTransport::new(store.receiver(), options)),
        _ => Box::new(TcpTransport::new(store.receiver(), options)),
    }
}

/// A server that echoes, and notes who lost its standing.
pub(crate) struct Hall {
    pub(crate) scheme: Scheme,
    pub(crate) store: Store,
    addr: SocketAddr,
    pub(crate) fallen: mpsc::UnboundedReceiver<Fallen>,
    _tasks: JoinSet<()>,
}

impl Hall {
    pub(crate) async fn open(scheme: Scheme, material: &Material) -> Self {
        let store = Store::new(material).unwrap();
        let listening = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = transport(scheme, &store).listen(listening).await.unwrap();
        let addr = listener.local_addr();
        #[expect(clippy::disallowed_methods, reason = "a test's few messages")]
        let (told, fallen) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, told));
        Self { scheme, store, addr, fallen, _tasks: tasks }
    }

    pub(crate) fn server(&self) -> Server {
        let endpoint = Endpoint { scheme: self.scheme, host: "127.0.0.1".into(), port: self.addr.port() };
        Server { endpoint, expectation: Expectation::Name("localhost".into()) }
    }
}

async fn accept(listener: Box<dyn Listener>, told: mpsc::UnboundedSender<Fallen>) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = listener.accept().await {
        let told = told.clone();
        tasks.spawn(async move {
            let Ok(inbound) = incoming.handshake().await else { return };
            tokio::select! {
                () = echo(&*inbound) => {}
                fallen = inbound.standing() => {
                    let _ = told.send(fallen);
                    // As a server that is slow to say goodbye: the transport must end it.
                    std::future::pending::<()>().await;
                }
            }
        });
    }
}

async fn echo(inbound: &dyn Inbound) {
    let mut tasks = JoinSet::new();
    while let Some(mut stream) = inbound.accept().await {
        tasks.spawn(async move {
            if tokio::io::copy(&mut stream.recv, &mut stream.send).await.is_ok() {
                let _ = stream.send.shutdown().await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// A client with its own trust, identity and sessions.
pub(crate) struct Guest {
    pub(crate) store: Store,
    transport: Box<dyn Transport>,
    server: Server,
}

impl Guest {
    pub(crate) fn new(hall: &Hall, material: &Material) -> Self {
        let store = Store::new(material).unwrap();
        Self { transport: transport(hall.scheme, &store), store, server: hall.server() }
    }

    /// How the next connection is established; it has exchanged a byte when this returns.
    pub(crate) async fn visit(&self) -> Result<Handshake, HandshakeError> {
        let refused = |error: ConnectError| match error {
            ConnectError::Handshake { source, .. } => source,
            other => panic!("{other}"),
        };
        let outbound = self.transport.connect(&self.server).await.map_err(refused)?;
        let kind = outbound.peer().handshake;
        let mut stream = outbound.open().await.map_err(|error| match error {
            sealstream_transport::OpenError::Connect(error) => refused(error),
            other => panic!("{other}"),
        })?;
        let told = async {
            stream.send.write_all(b"?").await?;
            stream.send.flush().await?;
            stream.recv.read_u8().await
        };
        // The refusal of a client certificate arrives with the first read.
        match told.await {
            Ok(_) => Ok(kind),
            Err(error) => match StreamError::of(&error) {
                Some(StreamError::Refused { reason }) => {
                    Err(HandshakeError::RefusedByPeer { detail: reason.clone() })
                }
                _ => panic!("{error}"),
            },
        }
    }

    /// Leaves tickets for this many visits.
    pub(crate) async fn visit_before(&self) {
        for _ in 0..2 {
            self.visit().await.unwrap();
        }
    }

    pub(crate) async fn traffic(&self) -> Traffic {
        let outbound = self.transport.connect(&self.server).await.unwrap();
        let stream = outbound.open().await.unwrap();
        Traffic::over(outbound, stream).await
    }
}

/// An open stream on which numbered messages go round.
pub(crate) struct Traffic {
    rounds: Arc<AtomicU64>,
    stop: CancellationToken,
    task: JoinHandle<Result<u64, std::io::Error>>,
}

impl Traffic {
    async fn over(outbound: Box<dyn Outbound>, stream: Stream) -> Self {
        let (rounds, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let going = go_round(outbound, stream, Arc::clone(&rounds), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "joined below")]
        let task = tokio::spawn(going);
        let traffic = Self { rounds, stop, task };
        traffic.goes_on().await;
        traffic
    }

    async fn goes_on(&self) {
        let from = self.rounds.load(Ordering::Relaxed);
        eventually("traffic goes on", || {
            self.rounds.load(Ordering::Relaxed) >= from + ROUNDS_AFTER || self.task.is_finished()
        })
        .await;
    }

    /// It goes on as if nothing had happened, and ends with every byte.
    pub(crate) async fn lives(self) {
        self.goes_on().await;
        self.stop.cancel();
        let rounds = timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        assert_eq!(rounds, self.rounds.load(Ordering::Relaxed));
    }

    /// It ends with an error, in time; which is returned.
    pub(crate) async fn dies(self, changed: Instant) -> std::io::Error {
        let ended = timeout(GONE_WITHIN + MACHINE_MARGIN, self.task).await;
        let error = ended.expect("still there").unwrap().unwrap_err();
        assert!(changed.elapsed() < GONE_WITHIN + MACHINE_MARGIN, "gone after {:?}", changed.elapsed());
        error
    }
}

async fn go_round(
    outbound: Box<dyn Outbound>,
    mut stream: Stream,
    rounds: Arc<AtomicU64>,
    stop: CancellationToken,
) -> Result<u64, std::io::Error> {
    let mut answer = vec![0; MESSAGE];
    let mut round = 0_u64;
    while !stop.is_cancelled() {
        let message: Vec<u8> = round.to_be_bytes().iter().copied().cycle().take(MESSAGE).collect();
        stream.send.write_all(&message).await?;
        stream.send.flush().await?;
        stream.recv.read_exact(&mut answer).await?;
        assert_eq!(answer, message, "round {round}");
        round += 1;
        rounds.store(round, Ordering::Relaxed);
    }
    stream.send.shutdown().await?;
    assert_eq!(stream.recv.read_to_end(&mut answer).await?, 0);
    drop(outbound);
    Ok(round)
}

/// Publishes on a thread that may block, as a program does.
pub(crate) fn publish(store: &Store, material: &Material) -> Published {
    tokio::task::block_in_place(|| store.publish(material)).unwrap()
}
