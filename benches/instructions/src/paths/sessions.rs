//! Whole sessions: frames in, the broker's tasks, the log, frames out.
//!
//! The broker and those who speak to it share one thread and a network in memory; what the other end takes to write and to read frames
//! counts as well. TLS is left out: its work is done by code that depends on the processor.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealstream_broker::server::{Broker, BrokerOptions, RunningBroker};
use sealstream_client::wire::session::{Session, hello, open};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{Batch, Codec};
use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{CreateTopic, Durability, TopicOptions};
use sealstream_protocol::message::consume::{Position, Subscribe};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::produce::{OpenTopic, Produce};
use tokio::runtime::Runtime;

use super::batches::{PRODUCER, batch};
use super::log::{engine, runtime};
use super::wire::{Dialer, connection};
use super::{RECORDS, Work};

/// Sessions that read what one produces.
pub(super) const READERS: u32 = 16;

const TOPIC: &str = "counted";

/// A minute: nothing takes as long, even under valgrind.
const PATIENCE: Duration = Duration::from_mins(1);

/// The client's end of a session, spoken frame by frame.
struct Peer(Session);

/// A broker with a topic, and whoever speaks to it.
struct World {
    runtime: Runtime,
    dialer: Dialer,
    _broker: RunningBroker,
}

impl Peer {
    async fn send(&mut self, message: Message) {
        self.0.writer.feed(&message);
        self.0.writer.flush().await.expect("the broker reads");
    }

    /// The next frame that is no ping.
    async fn next(&mut self) -> Message {
        loop {
            let message = self.0.reader.next().await.expect("the session lives");
            match message.expect("the session goes on") {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }
}

impl World {
    fn start(dir: &Path) -> Self {
        let (runtime, (dialer, listener)) = (runtime(), connection());
        let starting =
            Broker::start(BrokerOptions::default(), Arc::new(engine(dir)), vec![Box::new(listener)]);
        let broker = runtime.block_on(starting).expect("the broker starts");
        let world = Self { runtime, dialer, _broker: broker };
        let mut admin = world.session(SessionKind::Admin);
        let options = TopicOptions { durability: Some(Durability::Memory), ..TopicOptions::default() };
        let create = CreateTopic { name: TOPIC.into(), partitions: 1, if_not_exists: false, options };
        let made = world.ask(&mut admin, Message::CreateTopic(create));
        assert!(matches!(made, Message::Topic(_)), "{made:?}");
        world
    }

    fn session(&self, kind: SessionKind) -> Peer {
        let hello = hello(kind, "counted".into(), Duration::from_mins(10));
        let opening = open(self.dialer.open(), hello, Limits::MAX_FRAME, PATIENCE);
        Peer(self.runtime.block_on(opening).expect("it is welcome"))
    }

    fn ask(&self, peer: &mut Peer, message: Message) -> Message {
        self.runtime.block_on(async {
            peer.send(message).await;
            peer.next().await
        })
    }

    fn producer(&self) -> Peer {
        let mut producer = self.session(SessionKind::Produce);
        let open = OpenTopic { handle: 1, name: TOPIC.into(), id: None };
        let opened = self.ask(&mut producer, Message::OpenTopic(open));
        assert!(matches!(opened, Message::TopicOpened(_)), "{opened:?}");
        producer
    }

    fn consumer(&self) -> Peer {
        let mut consumer = self.session(SessionKind::Consume);
        let subscribe = Subscribe {
            subscription: 1,
            topic: TOPIC.into(),
            partition: 0,
            position: Position::Beginning,
            topic_id: None,
            epoch: None,
            group: None,
        };
        let subscribed = self.ask(&mut consumer, Message::Subscribe(subscribe));
        assert!(matches!(subscribed, Message::Subscribed(_)), "{subscribed:?}");
        consumer
    }
}

/// Batches with their sequences, made before they count: one more than there are calls.
struct Batches(std::vec::IntoIter<(u64, Bytes)>);

impl Batches {
    /// 256: more than any path has calls.
    fn of(records: u32) -> Self {
        let first: Batch = batch(Codec::None, records, 128);
        let count = if records == 1 { 256 } else { 32 };
        let numbered =
            (0..count).map(|sequence| (sequence, first.renumbered(PRODUCER, sequence).into_bytes()));
        Self(numbered.collect::<Vec<_>>().into_iter())
    }

    fn next(&mut self) -> Message {
        let (request, batch) = self.0.next().expect("more than are asked for");
        Message::Produce(Produce { request, handle: 1, partition: 0, batch })
    }
}

/// A batch, until it is acknowledged.
pub(super) fn produce(dir: &Path, records: u32) -> Work {
    let world = World::start(dir);
    let (mut producer, mut batches) = (world.producer(), Batches::of(records));
    Box::new(move || {
        let answer = world.ask(&mut producer, batches.next());
        assert!(matches!(answer, Message::Ack(_)), "{answer:?}");
    })
}

/// A batch, until it is acknowledged and all readers have it.
pub(super) fn fan_out(dir: &Path) -> Work {
    let world = World::start(dir);
    let (mut producer, mut batches) = (world.producer(), Batches::of(RECORDS));
    let mut consumers: Vec<_> = (0..READERS).map(|_| world.consumer()).collect();
    Box::new(move || {
        let answer = world.ask(&mut producer, batches.next());
        assert!(matches!(answer, Message::Ack(_)), "{answer:?}");
        world.runtime.block_on(async {
            for consumer in &mut consumers {
                let data = consumer.next().await;
                assert!(matches!(data, Message::Data(_)), "{data:?}");
            }
        });
    })
}
