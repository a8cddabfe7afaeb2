//! A broker in this process, over the in-memory network, and clients that speak frames by hand.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::{Clock, SystemClock};
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::server::{Broker, BrokerOptions, RunningBroker};
use sealstream_client::wire::session::{OpenSessionError, hello, open};
use sealstream_client::wire::{FrameReader, FrameWriter, WireError};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, BatchBuilder, Codec};
use sealstream_protocol::entry::Entries;
use sealstream_protocol::message::admin::{BrokerStatus, CreateTopic, ShowStatus, Topic, TopicOptions};
use sealstream_protocol::message::consume::{Data, Position, Subscribe, Subscribed};
use sealstream_protocol::message::hello::{Hello, SessionKind, Welcome};
use sealstream_protocol::message::produce::{Ack, OpenTopic, Produce, ProduceRefused, TopicOpened};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{Endpoint, Expectation, Outbound, Scheme, Server, Stream, Transport};
use tokio::time::timeout;
use uuid::Uuid;

/// Nothing in a test takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestBroker<E = MemoryEngine> {
    pub(crate) network: MemoryNetwork,
    pub(crate) engine: Arc<E>,
    pub(crate) running: RunningBroker,
}

impl TestBroker {
    pub(crate) async fn start() -> Self {
        Self::with(BrokerOptions::default()).await
    }

    pub(crate) async fn with(options: BrokerOptions) -> Self {
        Self::over(options, &MemoryStore::new(4), Arc::new(SystemClock)).await
    }

    /// A broker over what another has left.
    pub(crate) async fn over(options: BrokerOptions, store: &MemoryStore, clock: Arc<dyn Clock>) -> Self {
        Self::on(options, Arc::new(MemoryEngine::over(store, Arc::clone(&clock))), clock).await
    }
}

impl<E: LogEngine + 'static> TestBroker<E> {
    pub(crate) async fn on(options: BrokerOptions, engine: Arc<E>, clock: Arc<dyn Clock>) -> Self {
        let network = MemoryNetwork::new();
        let listener = network.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let shared: Arc<dyn LogEngine> = engine.clone();
        let running = Broker::start_with_clock(options, shared, vec![listener], clock).await.unwrap();
        Self { network, engine, running }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.local_addrs()[0]
    }

    pub(crate) async fn connect(&self) -> Box<dyn Outbound> {
        self.network.connect(&server(self.addr())).await.unwrap()
    }

    pub(crate) async fn stream(&self) -> Stream {
        self.connect().await.open().await.unwrap()
    }

    pub(crate) async fn session(&self, kind: SessionKind) -> Wire {
        self.try_session(greeting(kind)).await.unwrap()
    }

    pub(crate) async fn try_session(&self, hello: Hello) -> Result<Wire, OpenSessionError> {
        Wire::open(self.stream().await, hello).await
    }

    pub(crate) async fn admin(&self) -> Wire {
        self.session(SessionKind::Admin).await
    }

    pub(crate) async fn create(&self, name: &str, partitions: u32) -> Topic {
        self.admin().await.create(name, partitions).await
    }

    /// A Produce session with the topic opened under handle 1.
    pub(crate) async fn producer(&self, topic: &str) -> Wire {
        let mut wire = self.session(SessionKind::Produce).await;
        wire.open_topic(1, topic).await;
        wire
    }

    pub(crate) async fn consumer(&self) -> Wire {
        self.session(SessionKind::Consume).await
    }

    pub(crate) async fn stop(self) {
        self.running.shutdown(PATIENCE).await.unwrap();
    }
}

/// Somebody who does nothing wrong, in sessions that last as long as the test.
pub(crate) struct Bystander {
    producer: Wire,
    consumer: Wire,
    id: Uuid,
    written: u64,
}

impl Bystander {
    /// One with a topic of its own.
    pub(crate) async fn beside<E: LogEngine + 'static>(broker: &TestBroker<E>) -> Self {
        broker.create("innocent", 1).await;
        let producer = broker.producer("innocent").await;
        let mut consumer = broker.consumer().await;
        consumer.subscribe(1, "innocent", 0, Position::Beginning).await;
        Self { producer, consumer, id: Uuid::new_v4(), written: 0 }
    }

    /// It writes a record and reads it.
    pub(crate) async fn assert_served(&mut self) {
        self.producer.produce(self.written, 0, batch(self.id, self.written, "fine")).await;
        assert_eq!(self.producer.recv_ack().await.base_offset, self.written);
        assert_eq!(self.consumer.recv_values(1).await, ["fine"]);
        self.written += 1;
    }

    /// What it wrote last comes back: it reads, though it may not be able to write.
    pub(crate) async fn assert_reads<E: LogEngine + 'static>(&self, broker: &TestBroker<E>) {
        let mut consumer = broker.consumer().await;
        consumer.subscribe(1, "innocent", 0, Position::Offset(self.written - 1)).await;
        assert_eq!(consumer.recv_values(1).await, ["fine"]);
    }
}

pub(crate) fn server(addr: SocketAddr) -> Server {
    Server {
        endpoint: Endpoint { scheme: Scheme::Tls, host: addr.ip().to_string(), port: addr.port() },
        expectation: Expectation::Name("localhost".into()),
    }
}

pub(crate) fn greeting(kind: SessionKind) -> Hello {
    hello(kind, "test".into(), Duration::from_mins(1))
}

/// One session, spoken frame by frame.
pub(crate) struct Wire {
    pub(crate) welcome: Option<Welcome>,
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
    /// Held while the session lasts.
    pub(crate) connection: Option<Box<dyn Outbound>>,
}

impl Wire {
    pub(crate) async fn open(stream: Stream, hello: Hello) -> Result<Self, OpenSessionError> {
        let session = open(stream, hello, Limits::MAX_FRAME, PATIENCE).await?;
        Ok(Self {
            welcome: Some(session.welcome),
            reader: session.reader,
            writer: session.writer,
            connection: None,
        })
    }

    /// Without saying Hello.
    pub(crate) fn raw(stream: Stream) -> Self {
        let reader = FrameReader::new(stream.recv, Limits::MAX_FRAME);
        Self { welcome: None, reader, writer: FrameWriter::new(stream.send), connection: None }
    }

    pub(crate) async fn send(&mut self, message: impl Into<Message>) {
        self.writer.feed(&message.into());
        self.flush().await.unwrap();
    }

    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        timeout(PATIENCE, self.writer.flush()).await.expect("the broker reads")
    }

    /// The next frame that is not a ping.
    pub(crate) async fn recv(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.reader.next()).await.expect("the broker answers");
            match message.expect("the session lives").expect("the session goes on") {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    /// The fault that ends the session, and that the stream then ends cleanly.
    pub(crate) async fn recv_error(&mut self) -> Fault {
        let Message::Error(fault) = self.recv().await else { panic!("an Error frame was due") };
        self.recv_end().await;
        fault
    }

    pub(crate) async fn recv_end(&mut self) {
        let end = timeout(PATIENCE, self.reader.next()).await.expect("the broker ends the stream");
        assert_eq!(end.expect("the end is clean"), None);
    }

    pub(crate) async fn create(&mut self, name: &str, partitions: u32) -> Topic {
        let options = TopicOptions::default();
        let request = CreateTopic { name: name.into(), partitions, if_not_exists: false, options };
        self.send(Message::CreateTopic(request)).await;
        match self.recv().await {
            Message::Topic(topic) => topic,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn open_topic(&mut self, handle: u32, name: &str) -> TopicOpened {
        self.send(Message::OpenTopic(OpenTopic { handle, name: name.into(), id: None })).await;
        match self.recv().await {
            Message::TopicOpened(opened) => opened,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a batch for partition `partition` of handle 1.
    pub(crate) async fn produce(&mut self, request: u64, partition: u32, batch: Bytes) {
        self.writer.feed(&Message::Produce(Produce { request, handle: 1, partition, batch }));
        self.flush().await.unwrap();
    }

    pub(crate) async fn recv_ack(&mut self) -> Ack {
        match self.recv().await {
            Message::Ack(ack) => ack,
            other => panic!("an Ack was due: {other:?}"),
        }
    }

    pub(crate) async fn recv_refusal(&mut self) -> ProduceRefused {
        match self.recv().await {
            Message::ProduceRefused(refused) => refused,
            other => panic!("a refusal was due: {other:?}"),
        }
    }

    pub(crate) async fn subscribe(
        &mut self,
        subscription: u32,
        topic: &str,
        partition: u32,
        position: Position,
    ) -> Subscribed {
        self.send(Message::Subscribe(subscription_to(subscription, topic, partition, position))).await;
        match self.recv().await {
            Message::Subscribed(subscribed) => subscribed,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn recv_data(&mut self) -> Data {
        match self.recv().await {
            Message::Data(data) => data,
            other => panic!("Data was due: {other:?}"),
        }
    }

    /// Reads Data until it holds `count` values.
    pub(crate) async fn recv_values(&mut self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        while found.len() < count {
            found.extend(values(self.recv_data().await.entries).into_iter().map(|(_, value)| value));
        }
        found
    }

    /// Whether an answer is there without waiting for one: a ping that comes back first says that there is none.
    pub(crate) async fn assert_silent(&mut self) {
        let nonce = rand::random();
        self.send(Message::Ping(sealstream_protocol::message::hello::Ping { nonce })).await;
        match self.recv().await {
            Message::Pong(pong) => assert_eq!(pong.nonce, nonce),
            other => panic!("nothing was due: {other:?}"),
        }
    }

    pub(crate) async fn finish(mut self) {
        self.writer.finish(PATIENCE).await.unwrap();
    }
}

pub(crate) fn subscription_to(
    subscription: u32,
    topic: &str,
    partition: u32,
    position: Position,
) -> Subscribe {
    let topic = topic.into();
    Subscribe { subscription, topic, partition, position, topic_id: None, epoch: None, group: None }
}

/// A batch of one record a value.
pub(crate) fn batch_of(codec: Codec, producer: Uuid, sequence: u64, values: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for value in values {
        builder.push(1_000, None, value.as_bytes(), &[]).unwrap();
    }
    builder.build(producer, sequence)
}

/// A batch of one record.
pub(crate) fn batch(producer: Uuid, sequence: u64, value: &str) -> Bytes {
    batch_of(Codec::None, producer, sequence, &[value]).into_bytes()
}

/// The records in a Data frame: their offsets and values.
pub(crate) fn values(entries: Bytes) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for entry in Entries::new(entries) {
        let entry = entry.unwrap();
        for record in entry.batch.records(&Limits::default()).unwrap() {
            let record = record.unwrap();
            let offset = entry.header.base_offset + u64::from(record.offset_delta);
            found.push((offset, String::from_utf8(record.value.to_vec()).unwrap()));
        }
    }
    found
}

#[track_caller]
pub(crate) fn assert_code(fault: &Fault, code: FaultCode) {
    assert_eq!(fault.code_known(), Some(code), "{fault}");
}

/// What the broker holds.
pub(crate) async fn show(admin: &mut Wire) -> BrokerStatus {
    admin.send(Message::ShowStatus(ShowStatus {})).await;
    match admin.recv().await {
        Message::BrokerStatus(status) => *status,
        other => panic!("{other:?}"),
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    // By the real clock: one that is paused stands still while this looks again and again.
    let start = std::time::Instant::now();
    let waiting = async {
        while !condition().await {
            assert!(start.elapsed() < PATIENCE, "never: {what}");
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
