//! Connections whose peer is no longer trusted.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealstream_client::wire::session::{hello, open};
use sealstream_client::wire::{FrameReader, Session, WireError};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::message::admin::{CreateTopic, TopicOptions};
use sealstream_protocol::message::consume::{Position, Subscribe};
use sealstream_protocol::message::hello::{Ping, SessionKind};
use sealstream_protocol::message::produce::{OpenTopic, Produce};
use sealstream_protocol::message::{FaultCode, Message};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{Endpoint, Expectation, Outbound, Scheme, Server, Transport as _};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::*;
use crate::log::memory::{MemoryEngine, MemoryStore};
use crate::server::{Broker, BrokerOptions, RunningBroker};

/// Nothing takes this long unless it is broken. The clock of these tests stands still while something can be done.
const PATIENCE: Duration = Duration::from_mins(1);

/// «Gone within a second», the promise of the transport and ours together.
const SECOND: Duration = Duration::from_secs(1);

/// A broker without listeners, with the topic `events`, and a network to reach it by.
struct World {
    broker: RunningBroker,
    engine: Arc<MemoryEngine>,
    network: MemoryNetwork,
    listener: Box<dyn Listener>,
}

/// A connection of a client, and the way to let it fall.
struct Connection {
    outbound: Box<dyn Outbound>,
    fall: oneshot::Sender<&'static str>,
    /// Ends with the broker's side.
    gone: tokio::task::JoinHandle<()>,
}

impl World {
    async fn new() -> Self {
        let engine =
            Arc::new(MemoryEngine::over(&MemoryStore::new(1), Arc::new(crate::log::clock::SystemClock)));
        let broker = Broker::start(BrokerOptions::default(), engine.clone(), Vec::new()).await.unwrap();
        let options = TopicOptions::default();
        let events = CreateTopic { name: "events".into(), partitions: 1, if_not_exists: false, options };
        broker.core.topics.create(events).await.unwrap();
        let network = MemoryNetwork::new();
        let listener = network.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        Self { broker, engine, network, listener }
    }

    async fn connect(&self) -> Connection {
        let addr = self.listener.local_addr();
        let server = Server {
            endpoint: Endpoint { scheme: Scheme::Tls, host: addr.ip().to_string(), port: addr.port() },
            expectation: Expectation::Name("localhost".into()),
        };
        let accepted = async { self.listener.accept().await.unwrap().handshake().await.unwrap() };
        let (outbound, inbound) = tokio::join!(self.network.connect(&server), accepted);
        let (fall, fallen) = oneshot::channel();
        let core = Arc::clone(&self.broker.core);
        let fallen = async {
            match fallen.await {
                Ok(why) => why,
                Err(_) => pending().await,
            }
        };
        let gone =
            self.broker.core.tasks.spawn(async move { attend(&core, &*inbound, addr, pin!(fallen)).await });
        Connection { outbound: outbound.unwrap(), fall, gone }
    }

    async fn session(&self, connection: &Connection, kind: SessionKind) -> Session {
        let stream = connection.outbound.open().await.unwrap();
        let greeting = hello(kind, "test".into(), Duration::from_mins(1));
        open(stream, greeting, Limits::MAX_FRAME, PATIENCE).await.unwrap()
    }

    /// A Produce session with the topic opened under handle 1.
    async fn producer(&self, connection: &Connection) -> Session {
        let mut session = self.session(connection, SessionKind::Produce).await;
        say(&mut session, Message::OpenTopic(OpenTopic { handle: 1, name: "events".into(), id: None })).await;
        assert!(matches!(hear(&mut session.reader).await, Message::TopicOpened(_)));
        session
    }
}

async fn say(session: &mut Session, message: Message) {
    session.writer.feed(&message);
    session.writer.flush().await.unwrap();
}

async fn hear(reader: &mut FrameReader) -> Message {
    timeout(PATIENCE, reader.next()).await.unwrap().unwrap().expect("a frame, not the end")
}

/// Whoever hears this has been told why, and that it is over.
async fn hear_the_reason(reader: &mut FrameReader) {
    let Message::Error(fault) = hear(reader).await else { panic!("an Error was due") };
    assert_eq!(fault.code_known(), Some(FaultCode::NoLongerTrusted));
    assert!(fault.text.contains("revoked") && fault.text.contains("connect again"), "{}", fault.text);
    assert_eq!(timeout(PATIENCE, reader.next()).await.unwrap().unwrap(), None, "and a clean end");
}

fn batch(producer: Uuid, sequence: u64, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, &vec![b'x'; bytes], &[]).unwrap();
    builder.build(producer, sequence).into_bytes()
}

fn produce(request: u64, batch: Bytes) -> Message {
    Message::Produce(Produce { request, handle: 1, partition: 0, batch })
}

#[tokio::test(start_paused = true)]
async fn every_session_of_a_connection_that_falls_is_told_why_and_all_of_it_is_gone_within_a_second() {
    let world = World::new().await;
    let connection = world.connect().await;
    let mut admin = world.session(&connection, SessionKind::Admin).await;
    let mut producer = world.producer(&connection).await;
    let mut consumer = world.session(&connection, SessionKind::Consume).await;
    let mut strange = connection.outbound.open().await.unwrap();
    // Half a Hello.
    tokio::io::AsyncWriteExt::write_all(&mut strange.send, &[9, 0]).await.unwrap();
    say(&mut admin, Message::Ping(Ping { nonce: 1 })).await;
    hear(&mut admin.reader).await;
    let fallen = Instant::now();
    connection.fall.send("the certificate was revoked").unwrap();
    for reader in [&mut admin.reader, &mut producer.reader, &mut consumer.reader] {
        hear_the_reason(reader).await;
    }
    hear_the_reason(&mut FrameReader::new(strange.recv, Limits::MAX_FRAME)).await;
    timeout(PATIENCE, connection.gone).await.unwrap().unwrap();
    assert!(fallen.elapsed() < SECOND, "{:?}", fallen.elapsed());
    assert!(connection.outbound.open().await.is_err(), "nothing more is begun on it");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_gone_within_a_second_too() {
    let world = World::new().await;
    let connection = world.connect().await;
    let mut producer = world.producer(&connection).await;
    for sequence in 0..4 {
        say(&mut producer, produce(sequence, batch(Uuid::from_u128(1), sequence, 600 << 10))).await;
        assert!(matches!(hear(&mut producer.reader).await, Message::Ack(_)));
    }
    let mut stuck = world.session(&connection, SessionKind::Consume).await;
    let subscribe = Subscribe {
        subscription: 1,
        topic: "events".into(),
        partition: 0,
        position: Position::Beginning,
        topic_id: None,
        epoch: None,
        group: None,
    };
    say(&mut stuck, Message::Subscribe(subscribe)).await;
    assert!(matches!(hear(&mut stuck.reader).await, Message::Subscribed(_)));
    let fallen = Instant::now();
    connection.fall.send("the certificate was revoked").unwrap();
    timeout(PATIENCE, connection.gone).await.unwrap().unwrap();
    assert!(fallen.elapsed() < SECOND, "{:?}", fallen.elapsed());
    let cut = loop {
        match timeout(PATIENCE, stuck.reader.next()).await.unwrap() {
            Ok(Some(Message::Data(_))) => {}
            other => break other,
        }
    };
    assert!(matches!(cut, Err(WireError::Stream(_))), "cut off, which is not a clean end: {cut:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_by_then_is_acknowledged_and_what_is_not_is_waited_for_by_nobody() {
    let world = World::new().await;
    let connection = world.connect().await;
    let mut producer = world.producer(&connection).await;
    let id = Uuid::from_u128(1);
    let hold = world.engine.hold_durability();
    say(&mut producer, produce(1, batch(id, 0, 10))).await;
    say(&mut producer, Message::Ping(Ping { nonce: 1 })).await;
    assert!(matches!(hear(&mut producer.reader).await, Message::Pong(_)));
    // Both in the same moment: the session is told of the one before it has looked at the other.
    connection.fall.send("the certificate was revoked").unwrap();
    hold.release();
    let Message::Ack(ack) = hear(&mut producer.reader).await else { panic!("an Ack was due") };
    assert_eq!(ack.request, 1);
    hear_the_reason(&mut producer.reader).await;

    let mut connection = world.connect().await;
    let mut producer = world.producer(&connection).await;
    let hold = world.engine.hold_durability();
    say(&mut producer, produce(2, batch(id, 1, 10))).await;
    say(&mut producer, Message::Ping(Ping { nonce: 1 })).await;
    assert!(matches!(hear(&mut producer.reader).await, Message::Pong(_)));
    let fallen = Instant::now();
    connection.fall.send("the certificate was revoked").unwrap();
    hear_the_reason(&mut producer.reader).await;
    assert!(fallen.elapsed() < SECOND, "{:?}", fallen.elapsed());
    // Its memory is the log's until the log is done.
    assert!(timeout(PATIENCE, &mut connection.gone).await.is_err());
    hold.release();
    timeout(PATIENCE, connection.gone).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_connection_does_not_notice() {
    let world = World::new().await;
    let (falls, stays) = (world.connect().await, world.connect().await);
    let mut other = world.producer(&stays).await;
    falls.fall.send("the certificate was revoked").unwrap();
    timeout(PATIENCE, falls.gone).await.unwrap().unwrap();
    say(&mut other, produce(1, batch(Uuid::from_u128(2), 0, 10))).await;
    assert!(matches!(hear(&mut other.reader).await, Message::Ack(_)));
}
