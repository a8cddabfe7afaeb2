//! What a record costs the broker's allocator, in or out: nothing. A batch costs a few allocations, however many records are in it.
//!
//! A broker over the log in files, with sessions over the network in memory; allocations of all threads are counted, those of
//! the shard's writer and of threads that read files included. The same bytes are moved twice, in batches of few large records and in
//! batches of many small ones: what is more the second time is what records cost. The other end of the sessions counts as well: it
//! writes batches that were made before, and looks at no record.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::alloc::System;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::server::{Broker, BrokerOptions, RunningBroker};
use sealstream_client::wire::session::{Session, hello, open};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::entry::Entries;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{CreateTopic, Durability, TopicOptions};
use sealstream_protocol::message::consume::{Position, Subscribe};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::produce::{OpenTopic, Produce};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{Endpoint, Expectation, Scheme, Server, Transport as _};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test counts at a time: the counters are the process's.
static COUNTING: Mutex<()> = Mutex::new(());

const PATIENCE: Duration = Duration::from_secs(20);

const BATCHES: u64 = 50;

/// Records of a batch, the few and the many.
const FEW: u64 = 10;
const MANY: u64 = 1_000;

/// Bytes of values in a batch, either way.
const BATCH_VALUES: u64 = 32_000;

/// What may come on top: of 1,000 records there are twice as many bytes around the values, for which a buffer grows once more in each
/// batch, and threads may wake once more or less. Far from one allocation for each of 990 more records in a batch.
const SLACK: u64 = 2 * BATCHES;

/// A broker, and the network that leads to it.
struct World {
    runtime: Runtime,
    network: MemoryNetwork,
    addr: SocketAddr,
    _broker: RunningBroker,
    _dir: TempDir,
}

impl World {
    /// One with a topic `t` of one partition.
    fn start(durability: Durability, cache_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (network, dir) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
        let options = SegmentedOptions { shards: 1, cache_bytes, ..SegmentedOptions::default() };
        let engine = SegmentedEngine::open(dir.path().join("data"), options).unwrap();
        let broker = runtime.block_on(async {
            let listener = network.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            Broker::start(BrokerOptions::default(), Arc::new(engine), vec![listener]).await.unwrap()
        });
        let world = Self { runtime, network, addr: broker.local_addrs()[0], _broker: broker, _dir: dir };
        let mut admin = world.session(SessionKind::Admin);
        let options = TopicOptions { durability: Some(durability), ..TopicOptions::default() };
        let create = CreateTopic { name: "t".into(), partitions: 1, if_not_exists: false, options };
        let made = world.runtime.block_on(ask(&mut admin, Message::CreateTopic(create)));
        assert!(matches!(made, Message::Topic(_)), "{made:?}");
        world
    }

    fn session(&self, kind: SessionKind) -> Session {
        let (scheme, host) = (Scheme::Tls, self.addr.ip().to_string());
        let endpoint = Endpoint { scheme, host, port: self.addr.port() };
        let server = Server { endpoint, expectation: Expectation::Name("localhost".into()) };
        self.runtime.block_on(async {
            let connection = self.network.connect(&server).await.unwrap();
            let hello = hello(kind, "counting".into(), Duration::from_mins(1));
            open(connection.open().await.unwrap(), hello, Limits::MAX_FRAME, PATIENCE).await.unwrap()
        })
    }

    fn producer(&self) -> Session {
        let mut session = self.session(SessionKind::Produce);
        let open = OpenTopic { handle: 1, name: "t".into(), id: None };
        let opened = self.runtime.block_on(ask(&mut session, Message::OpenTopic(open)));
        assert!(matches!(opened, Message::TopicOpened(_)), "{opened:?}");
        session
    }

    /// Writes batches, and awaits the acknowledgement of each.
    fn produce(&self, session: &mut Session, batches: &[(u64, Bytes)]) {
        self.runtime.block_on(async {
            for (request, batch) in batches {
                let (request, batch) = (*request, batch.clone());
                let produce = Produce { request, handle: 1, partition: 0, batch };
                let answer = ask(session, Message::Produce(produce)).await;
                assert!(matches!(&answer, Message::Ack(ack) if !ack.duplicate), "{answer:?}");
            }
        });
    }

    /// Reads the topic from its start to `end`.
    fn consume(&self, session: &mut Session, end: u64) {
        let subscribe = Subscribe {
            subscription: 1,
            topic: "t".into(),
            partition: 0,
            position: Position::Beginning,
            topic_id: None,
            epoch: None,
            group: None,
        };
        self.runtime.block_on(async {
            let subscribed = ask(session, Message::Subscribe(subscribe)).await;
            assert!(matches!(subscribed, Message::Subscribed(_)), "{subscribed:?}");
            let mut next = 0;
            while next < end {
                let Message::Data(data) = recv(session).await else { panic!("Data was due") };
                let last = Entries::new(data.entries).last().unwrap().unwrap();
                next = last.header.base_offset + u64::from(last.batch.header().count);
            }
            assert_eq!(next, end);
        });
    }
}

/// The next frame that is no ping.
async fn recv(session: &mut Session) -> Message {
    loop {
        let message = tokio::time::timeout(PATIENCE, session.reader.next()).await.expect("an answer is due");
        match message.unwrap().unwrap() {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

async fn ask(session: &mut Session, message: Message) -> Message {
    session.writer.feed(&message);
    session.writer.flush().await.unwrap();
    recv(session).await
}

/// Twice as many batches as are counted, of so many records each, with a key and a header.
fn batches(codec: Codec, records: u64) -> Vec<(u64, Bytes)> {
    let mut builder = BatchBuilder::new(codec);
    let value = "v".repeat(usize::try_from(BATCH_VALUES / records).unwrap());
    for _ in 0..records {
        builder.push(1, Some(b"key"), value.as_bytes(), &[("unit", b"celsius")]).unwrap();
    }
    let batch = builder.build(Uuid::from_u128(9), 0);
    let numbered = |sequence| (sequence, batch.renumbered(Uuid::from_u128(9), sequence).into_bytes());
    (0..2 * BATCHES).map(numbered).collect()
}

/// How often an allocator was asked for memory during `work`, by any thread.
fn counted(work: impl FnOnce()) -> u64 {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    u64::try_from(change.allocations + change.reallocations).unwrap()
}

/// Counts what 50 batches take to be produced, once buffers have found their size.
fn produced(durability: Durability, codec: Codec, records: u64) -> u64 {
    let (world, batches) = (World::start(durability, 16 << 20), batches(codec, records));
    let mut session = world.producer();
    let (before, counting) = batches.split_at(batches.len() / 2);
    world.produce(&mut session, before);
    counted(|| world.produce(&mut session, counting))
}

/// Counts what 50 batches take to be consumed, by a second session.
fn consumed(cache_bytes: usize, records: u64) -> u64 {
    let (world, batches) = (World::start(Durability::Memory, cache_bytes), batches(Codec::None, records));
    world.produce(&mut world.producer(), &batches[..batches.len() / 2]);
    let consume = || {
        let mut session = world.session(SessionKind::Consume);
        counted(|| world.consume(&mut session, BATCHES * records))
    };
    consume();
    consume()
}

/// Holds what many records cost against what few do.
#[track_caller]
fn costs_no_more(what: &str, count: impl Fn(u64) -> u64) {
    let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let (few, many) = (count(FEW), count(MANY));
    println!(
        "{what}: {BATCHES} batches of {FEW} records take {few} allocations, {BATCHES} of {MANY} take {many}"
    );
    assert!(few > 0, "{what}: nothing was counted");
    assert!(
        many <= few + SLACK,
        "{what}: {many} allocations for {} records, {few} for {}",
        BATCHES * MANY,
        BATCHES * FEW
    );
}

#[test]
fn a_produced_record_allocates_nothing_beyond_its_batch() {
    costs_no_more("produce, memory", |records| produced(Durability::Memory, Codec::None, records));
}

#[test]
fn a_produced_record_allocates_nothing_beyond_its_batch_until_it_is_on_the_disk() {
    costs_no_more("produce, disk", |records| produced(Durability::Disk, Codec::None, records));
}

#[test]
fn a_record_of_a_compressed_batch_allocates_nothing_beyond_its_batch() {
    costs_no_more("produce, lz4", |records| produced(Durability::Memory, Codec::Lz4, records));
}

#[test]
fn a_consumed_record_allocates_nothing_beyond_its_batch() {
    costs_no_more("consume, recent batches", |records| consumed(16 << 20, records));
}

#[test]
fn a_record_that_is_read_from_a_file_allocates_nothing_beyond_its_batch() {
    costs_no_more("consume, files", |records| consumed(0, records));
}
