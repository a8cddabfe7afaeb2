//! Consumers against brokers that stall, cut, lie and lose.

mod faults;
mod reading;
mod seeking;
mod sessions;

use bytes::{Bytes, BytesMut};
use sealstream_client::consumer::ConsumerBuilder;
use sealstream_client::{Client, Codec, ConsumeError, Consumer};
use sealstream_protocol::batch::BatchBuilder;
use sealstream_protocol::entry::EntryHeader;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{Durability, Topic, TopicDescription};
use sealstream_protocol::message::consume::{Data, Subscribe, Subscribed, SubscriptionEnded};
use sealstream_protocol::message::{Fault, FaultCode};
use uuid::Uuid;

use crate::fake::{Fake, Peer, TOPIC};

/// A consumer of a topic with so many partitions, and the broker's side of its session.
pub(crate) async fn open(
    fake: &mut Fake,
    client: &Client,
    partitions: u32,
    change: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder,
) -> (Consumer, Peer) {
    let builder = change(client.consumer("t"));
    let (consumer, peer) = tokio::join!(builder.open(), async {
        describe(fake, partitions).await;
        fake.session().await
    });
    (consumer.unwrap(), peer)
}

/// Answers what a consumer asks before it subscribes.
async fn describe(fake: &mut Fake, partitions: u32) {
    let mut peer = fake.session().await;
    let Message::DescribeTopic(describe) = peer.hear().await else { panic!("not DescribeTopic") };
    let topic = Topic {
        name: describe.name,
        id: TOPIC,
        partitions,
        durability: Durability::Disk,
        retention_ms: 0,
        retention_bytes: 0,
        segment_bytes: 0,
        segment_ms: 0,
        created_ms: 0,
    };
    peer.say(Message::TopicDescription(TopicDescription { topic, partitions: Vec::new() })).await;
    assert_eq!(peer.hear_or_end().await, None);
    peer.finish().await;
}

/// What the broker is asked for.
pub(crate) async fn subscribe(peer: &mut Peer) -> Subscribe {
    match peer.hear().await {
        Message::Subscribe(subscribe) => subscribe,
        other => panic!("not Subscribe: {other:?}"),
    }
}

/// Answers that records start at `offset` of a log that ends at `end`.
pub(crate) async fn subscribed(peer: &mut Peer, subscription: u32, offset: u64, end: u64) {
    let subscribed = Subscribed { subscription, topic_id: TOPIC, offset, start: 0, end, epoch: 1 };
    peer.say(Message::Subscribed(subscribed)).await;
}

pub(crate) async fn ended(peer: &mut Peer, subscription: u32, fault: Fault) {
    peer.say(Message::SubscriptionEnded(SubscriptionEnded { subscription, fault: Some(fault) })).await;
}

/// An entry whose records' values are their offsets.
pub(crate) fn entry(base_offset: u64, count: u64, epoch: u32) -> Bytes {
    entry_of(
        base_offset,
        (base_offset..base_offset + count).map(|offset| offset.to_string()),
        epoch,
        Codec::None,
    )
}

fn entry_of(
    base_offset: u64,
    values: impl IntoIterator<Item = String>,
    log_epoch: u32,
    codec: Codec,
) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for value in values {
        builder.push(1_000, None, value.as_bytes(), &[]).unwrap();
    }
    let batch = builder.build(Uuid::from_u128(7), 0);
    let header = EntryHeader { log_epoch, base_offset, append_time: 5, durable_end: base_offset };
    let mut bytes = BytesMut::from(&header.encode(&batch)[..]);
    bytes.extend_from_slice(batch.bytes());
    bytes.freeze()
}

pub(crate) async fn data(peer: &mut Peer, subscription: u32, entries: impl Into<Bytes>) {
    peer.say(Message::Data(Data { subscription, entries: entries.into() })).await;
}

/// The next record, which must have its offset as its value.
pub(crate) async fn offset(consumer: &mut Consumer) -> u64 {
    let record = consumer.next().await.expect("not the end").expect("a record");
    assert_eq!(record.value, record.offset.to_string());
    record.offset
}

/// The error that ends the stream.
async fn error(consumer: &mut Consumer) -> ConsumeError {
    let error = consumer.next().await.expect("not the end").expect_err("an error");
    assert!(consumer.next().await.is_none(), "an error is the end");
    error
}

pub(crate) fn fault(code: FaultCode) -> Fault {
    Fault::new(code, "because")
}
