//! A peer that does what a test says: it accepts streams, and each test plays the broker's part by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sealstream_client::wire::{FrameReader, FrameWriter};
use sealstream_client::{Client, ClientBuilder, RetryPolicy};
use sealstream_protocol::Limits;
use sealstream_protocol::message::hello::{Hello, Welcome};
use sealstream_protocol::message::produce::{OpenTopic, Produce, TopicOpened};
use sealstream_protocol::message::{Fault, Message};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{Listener, Stream, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

/// Longer than any deadline of a test's client: whoever waits for so long waits for nothing.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// The topic of every script.
pub(crate) const TOPIC: Uuid = Uuid::from_u128(0x7091c);

/// A broker without a will of its own.
pub(crate) struct Fake {
    pub(crate) network: MemoryNetwork,
    pub(crate) addr: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Fake {
    /// Listens in a network of its own.
    pub(crate) async fn start() -> Self {
        Self::start_in(MemoryNetwork::new()).await
    }

    /// Listens in a network that others are in too.
    pub(crate) async fn start_in(network: MemoryNetwork) -> Self {
        let listener = network.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        Self::behind(network, listener)
    }

    /// Takes what comes by this listener.
    pub(crate) fn behind(network: MemoryNetwork, listener: Box<dyn Listener>) -> Self {
        let addr = listener.local_addr();
        let (sender, streams) = mpsc::channel(64);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(incoming) = listener.accept().await {
                let sender = sender.clone();
                counter.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    let Ok(inbound) = incoming.handshake().await else { return };
                    while let Some(stream) = inbound.accept().await {
                        if sender.send(stream).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { network, addr, streams, connections, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("tls://{}", self.addr)
    }

    /// A client of this peer that gives up after ten seconds.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder()
            .url(self.url())
            .transport(Arc::new(self.network.clone()))
            .name("test")
            .idle(Duration::from_secs(30))
            .hello_timeout(Duration::from_secs(2))
            .request_timeout(Duration::from_secs(2))
            .close_timeout(Duration::from_secs(1))
            .retry(RetryPolicy::default().retry_for(Duration::from_secs(10)))
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// The next stream that a client opens.
    pub(crate) async fn stream(&mut self) -> Stream {
        timeout(PATIENCE, self.streams.recv()).await.expect("a stream in time").expect("a stream")
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether a client has opened another stream.
    pub(crate) fn has_stream(&mut self) -> bool {
        !self.streams.is_empty()
    }

    /// The next session, welcomed.
    pub(crate) async fn session(&mut self) -> Peer {
        let mut peer = Peer::new(self.stream().await);
        peer.welcome(|_| {}).await;
        peer
    }

    /// The next Produce session, welcomed and its topic opened with so many partitions.
    pub(crate) async fn produce_session(&mut self, partitions: u32) -> Peer {
        let mut peer = self.session().await;
        peer.open_topic(partitions).await;
        peer
    }
}

/// The broker's side of one session.
pub(crate) struct Peer {
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
}

impl Peer {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            reader: FrameReader::new(stream.recv, Limits::MAX_FRAME),
            writer: FrameWriter::new(stream.send),
        }
    }

    /// Hears the Hello and answers it, as `change` has it.
    pub(crate) async fn welcome(&mut self, change: impl FnOnce(&mut Welcome)) -> Hello {
        let Message::Hello(hello) = self.hear().await else { panic!("the first frame is not Hello") };
        let mut welcome = welcome();
        welcome.idle_ms = hello.idle_ms;
        change(&mut welcome);
        self.say(Message::Welcome(welcome)).await;
        hello
    }

    /// Hears the topic asked for and opens it.
    pub(crate) async fn open_topic(&mut self, partitions: u32) -> OpenTopic {
        let Message::OpenTopic(open) = self.hear().await else { panic!("not OpenTopic") };
        let opened = TopicOpened { handle: open.handle, id: TOPIC, partitions };
        self.say(Message::TopicOpened(opened)).await;
        open
    }

    /// The next frame but for pings, which are answered.
    pub(crate) async fn hear(&mut self) -> Message {
        self.hear_or_end().await.expect("a frame, not the end")
    }

    /// The next frame but for pings; `None` at the clean end.
    pub(crate) async fn hear_or_end(&mut self) -> Option<Message> {
        loop {
            match timeout(PATIENCE, self.reader.next()).await.expect("a frame in time").expect("a frame") {
                Some(Message::Ping(ping)) => {
                    let answer =
                        Message::Pong(sealstream_protocol::message::hello::Pong { nonce: ping.nonce });
                    self.say(answer).await;
                }
                message => return message,
            }
        }
    }

    /// The next batch. Who asks meanwhile how many partitions there are is told of no more than it knows.
    pub(crate) async fn batch(&mut self) -> Produce {
        loop {
            match self.hear().await {
                Message::Produce(produce) => return produce,
                Message::OpenTopic(open) => {
                    let opened = TopicOpened { handle: open.handle, id: TOPIC, partitions: 1 };
                    self.say(Message::TopicOpened(opened)).await;
                }
                other => panic!("not a batch: {other:?}"),
            }
        }
    }

    pub(crate) async fn say(&mut self, message: Message) {
        self.writer.feed(&message);
        self.writer.flush().await.expect("the client reads");
    }

    pub(crate) async fn ack(&mut self, request: u64, base_offset: u64) {
        let ack =
            sealstream_protocol::message::produce::Ack { request, base_offset, epoch: 1, duplicate: false };
        self.say(Message::Ack(ack)).await;
    }

    pub(crate) async fn refuse(&mut self, request: u64, fault: Fault) {
        let refused = sealstream_protocol::message::produce::ProduceRefused { request, fault };
        self.say(Message::ProduceRefused(refused)).await;
    }

    /// Ends the writing side cleanly.
    pub(crate) async fn finish(&mut self) {
        // The client may be gone already.
        let _ = self.writer.finish(Duration::from_secs(1)).await;
    }
}

/// What a broker says that has nothing to hide.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        idle_ms: 30_000,
        max_frame: Limits::MAX_FRAME,
        max_decompressed_batch: Limits::MAX_DECOMPRESSED_BATCH,
        window: 8 << 20,
        broker: "fake".to_owned(),
        cluster: "test".to_owned(),
        incarnation: Uuid::from_u128(1),
        identity: "anonymous".to_owned(),
    }
}
