//! What a record costs the allocator on its way in and out: nothing. A batch costs a few allocations, however many records
//! are in it.
//!
//! Client and broker share one thread, whose allocations are counted, and a transport in memory. The same bytes are moved
//! twice, in batches of few large records and in batches of many small ones: what is more the second time is what records
//! cost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use sealstream_client::wire::{FrameReader, FrameWriter};
use sealstream_client::{Client, Consumer, Producer, Record};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::entry::EntryHeader;
use sealstream_protocol::message::admin::{Durability, Topic, TopicDescription};
use sealstream_protocol::message::consume::Subscribed;
use sealstream_protocol::message::hello::{Hello, Welcome};
use sealstream_protocol::message::produce::{Ack, TopicOpened};
use sealstream_protocol::message::{Message, consume::Data};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{Stream, Transport as _};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use uuid::Uuid;

const TOPIC: Uuid = Uuid::from_u128(7);
const BATCHES: u64 = 50;

/// Records of a batch, the few and the many.
const FEW: u64 = 10;
const MANY: u64 = 1_000;

/// Bytes of values in a batch, either way: few enough that neither frame is so large that it gets a buffer of its own.
const BATCH_VALUES: u64 = 20_000;

/// What may come on top: records that are many have more bytes around them, which are read into more buffers, each with a count of
/// those who share it; but far from one allocation for each of 990 more of them in a batch.
const SLACK: u64 = 2 * BATCHES;

fn value(records: u64) -> String {
    "v".repeat(usize::try_from(BATCH_VALUES / records).unwrap())
}

/// A runtime whose tasks run on this thread alone.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A broker that acknowledges everything and sends what it has, without a look at any record.
async fn serve(network: MemoryNetwork, log: Arc<[Bytes]>, end: u64, tasks: &mut JoinSet<()>) -> Client {
    let listener = network.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("tls://{}", listener.local_addr());
    tasks.spawn(async move {
        let mut streams = JoinSet::new();
        let inbound = listener.accept().await.unwrap().handshake().await.unwrap();
        while let Some(stream) = inbound.accept().await {
            streams.spawn(answer(stream, log.clone(), end));
        }
    });
    Client::builder().url(url).transport(Arc::new(network)).idle(Duration::from_mins(1)).build().unwrap()
}

async fn answer(stream: Stream, log: Arc<[Bytes]>, end: u64) {
    let mut reader = FrameReader::new(stream.recv, Limits::MAX_FRAME);
    let mut writer = FrameWriter::new(stream.send);
    let mut stored = 0;
    while let Ok(Some(message)) = reader.next().await {
        let answer = match message {
            Message::Hello(hello) => Message::Welcome(welcome(&hello)),
            Message::OpenTopic(open) => {
                Message::TopicOpened(TopicOpened { handle: open.handle, id: TOPIC, partitions: 1 })
            }
            Message::Produce(produce) => {
                let ack = Ack { request: produce.request, base_offset: stored, epoch: 1, duplicate: false };
                stored += u64::from(u32::from_le_bytes(produce.batch[12..16].try_into().unwrap()));
                Message::Ack(ack)
            }
            Message::DescribeTopic(describe) => Message::TopicDescription(description(describe.name)),
            Message::Subscribe(subscribe) => {
                let subscription = subscribe.subscription;
                writer.feed(&Message::Subscribed(Subscribed {
                    subscription,
                    topic_id: TOPIC,
                    offset: 0,
                    start: 0,
                    end,
                    epoch: 1,
                }));
                for entry in &*log {
                    writer.feed(&Message::Data(Data { subscription, entries: entry.clone() }));
                    writer.flush().await.unwrap();
                }
                continue;
            }
            _ => continue,
        };
        writer.feed(&answer);
        writer.flush().await.unwrap();
    }
    // Whoever is gone needs no goodbye.
    let _ = writer.finish(Duration::from_secs(1)).await;
}

fn welcome(hello: &Hello) -> Welcome {
    Welcome {
        version: 1,
        idle_ms: hello.idle_ms,
        max_frame: Limits::MAX_FRAME,
        max_decompressed_batch: Limits::MAX_DECOMPRESSED_BATCH,
        window: 8 << 20,
        broker: "counting".to_owned(),
        cluster: String::new(),
        incarnation: Uuid::from_u128(1),
        identity: "anonymous".to_owned(),
    }
}

fn description(name: String) -> TopicDescription {
    let topic = Topic {
        name,
        id: TOPIC,
        partitions: 1,
        durability: Durability::Memory,
        retention_ms: 0,
        retention_bytes: 0,
        segment_bytes: 0,
        segment_ms: 0,
        created_ms: 0,
    };
    TopicDescription { topic, partitions: Vec::new() }
}

/// Batches as a broker stores them, each record with a key and a header.
fn log(records: u64) -> Arc<[Bytes]> {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = value(records);
    let entries = (0..BATCHES).map(|batch| {
        for _ in 0..records {
            builder.push(1, Some(b"key"), value.as_bytes(), &[("unit", b"celsius")]).unwrap();
        }
        let built = builder.build(Uuid::from_u128(9), batch);
        let base_offset = batch * records;
        let header = EntryHeader { log_epoch: 1, base_offset, append_time: 5, durable_end: base_offset };
        let mut bytes = BytesMut::from(&header.encode(&built)[..]);
        bytes.extend_from_slice(built.bytes());
        bytes.freeze()
    });
    entries.collect()
}

/// Counts what `send` allocates to send all records, in batches of so many.
fn produced(records: u64, send: &impl AsyncFn(&Producer, Record<'_>, u64)) -> u64 {
    let runtime = runtime();
    let mut tasks = JoinSet::new();
    let producer = runtime.block_on(async {
        let client = serve(MemoryNetwork::new(), Arc::new([]), 0, &mut tasks).await;
        let count = u32::try_from(records).unwrap();
        client.producer("t").batch_bytes(1 << 20).batch_records(count).open().await.unwrap()
    });
    let value = value(records);
    let headers: [(&str, &[u8]); 1] = [("unit", b"celsius")];
    let record = Record::new(&value).key("key").headers(&headers);
    // Once before it counts: buffers find their size.
    let mut counted = 0;
    for _ in 0..2 {
        counted = measure(|| {
            runtime.block_on(async {
                send(&producer, record, records).await;
                producer.flush().await.unwrap();
            });
        })
        .count_total;
    }
    assert_eq!(producer.low_watermark(), 2 * BATCHES * records, "all of them were acknowledged");
    counted
}

/// Counts what `read` allocates to read all records, stored in batches of so many.
fn consumed(records: u64, read: &impl AsyncFn(&mut Consumer) -> u64) -> u64 {
    let runtime = runtime();
    let mut tasks = JoinSet::new();
    let mut consumer = runtime.block_on(async {
        let client = serve(MemoryNetwork::new(), log(records), BATCHES * records, &mut tasks).await;
        client.consumer("t").until_end().open().await.unwrap()
    });
    let mut seen = 0;
    let counted = measure(|| seen = runtime.block_on(read(&mut consumer))).count_total;
    assert_eq!(seen, BATCHES * BATCH_VALUES, "bytes of values");
    counted
}

#[track_caller]
fn costs_no_more(what: &str, few: u64, many: u64) {
    let batches = BATCHES;
    println!(
        "{what}: {batches} batches of {FEW} records take {few} allocations, {batches} of {MANY} take {many}"
    );
    assert!(
        many <= few + SLACK,
        "{what}: {many} allocations for {} records, {few} for {}",
        batches * MANY,
        batches * FEW
    );
}

#[test]
fn sending_a_record_allocates_nothing_beyond_its_batch() {
    async fn one_by_one(producer: &Producer, record: Record<'_>, records: u64) {
        for _ in 0..BATCHES * records {
            drop(producer.send(record).await.unwrap());
        }
    }
    costs_no_more("send", produced(FEW, &one_by_one), produced(MANY, &one_by_one));
}

#[test]
fn sending_records_together_allocates_nothing_beyond_their_batches() {
    async fn together(producer: &Producer, record: Record<'_>, records: u64) {
        let all = vec![record; usize::try_from(records).unwrap()];
        for _ in 0..BATCHES {
            drop(producer.send_batch(&all).await.unwrap());
        }
    }
    costs_no_more("send_batch", produced(FEW, &together), produced(MANY, &together));
}

#[test]
fn awaiting_a_delivery_allocates_nothing_for_a_record() {
    async fn each(producer: &Producer, record: Record<'_>, records: u64) {
        let mut deliveries = std::collections::VecDeque::with_capacity(2 * usize::try_from(MANY).unwrap());
        for _ in 0..BATCHES {
            for _ in 0..records {
                deliveries.push_back(producer.send(record).await.unwrap());
            }
            while let Some(delivery) = deliveries.pop_front() {
                delivery.await.unwrap();
            }
        }
    }
    costs_no_more("deliveries", produced(FEW, &each), produced(MANY, &each));
}

#[test]
fn reading_a_record_allocates_nothing_beyond_its_batch() {
    async fn records(consumer: &mut Consumer) -> u64 {
        let mut bytes = 0;
        while let Some(record) = consumer.next().await {
            let mut record = record.unwrap();
            assert_eq!(record.headers.next().unwrap().value, "celsius");
            bytes += record.value.len() as u64;
        }
        bytes
    }
    costs_no_more("next", consumed(FEW, &records), consumed(MANY, &records));
}

#[test]
fn reading_borrowed_records_of_batches_allocates_nothing_for_a_record() {
    async fn batches(consumer: &mut Consumer) -> u64 {
        let mut bytes = 0;
        while let Some(batch) = consumer.next_batch().await {
            let batch = batch.unwrap();
            let mut records = batch.records();
            while let Some(record) = records.next_ref() {
                let mut record = record.unwrap();
                assert_eq!(record.headers.next(), Some(("unit", &b"celsius"[..])));
                bytes += record.value.len() as u64;
            }
        }
        bytes
    }
    costs_no_more("next_batch", consumed(FEW, &batches), consumed(MANY, &batches));
}
