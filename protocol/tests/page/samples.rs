//! The values that the vectors are made of: every message, and batches of every shape.

use bytes::{BufMut, Bytes, BytesMut};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BATCH_HEADER, Batch, BatchBuilder, Codec};
use sealstream_protocol::entry::EntryHeader;
use sealstream_protocol::message::admin::{
    AlterTopic, CreateTopic, DeleteTopic, DescribeTopic, Durability, ListTopics, Partition, Topic,
    TopicDeleted, TopicDescription, TopicList, TopicOptions,
};
use sealstream_protocol::message::consume::{
    Data, Membership, Position, Subscribe, Subscribed, SubscriptionEnded, Unsubscribe,
};
use sealstream_protocol::message::hello::{Hello, Ping, Pong, Secret, SessionKind, Welcome};
use sealstream_protocol::message::produce::{
    Ack, OpenRefused, OpenTopic, Produce, ProduceRefused, TopicOpened,
};
use sealstream_protocol::message::{Fault, FaultClass, FaultCode, Message};
use uuid::{Uuid, uuid};

pub(crate) const TOPIC: Uuid = uuid!("6f1b0c2e-5d4a-4b7e-9c3d-2a1f0e9d8c7b");
pub(crate) const MEMBER: Uuid = uuid!("0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9");
pub(crate) const PRODUCER: Uuid = uuid!("c0ffee00-1234-4abc-8def-0123456789ab");
pub(crate) const INCARNATION: Uuid = uuid!("11223344-5566-4778-899a-abbccddeeff0");

/// 2025-01-01T00:00:00Z.
pub(crate) const TIME: i64 = 1_735_689_600_000;

/// Messages by name.
pub(crate) fn messages() -> Vec<(&'static str, Message)> {
    let mut all = session();
    all.extend(administration());
    all.extend(crate::groups::administration());
    all.extend(crate::tls::messages());
    all.extend(crate::access::messages());
    all.extend(crate::status::messages());
    all.extend(production());
    all.extend(consumption());
    all.extend(crate::groups::membership());
    all
}

fn session() -> Vec<(&'static str, Message)> {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        session: SessionKind::Produce,
        idle_ms: 30_000,
        client: "billing-7".into(),
        token: None,
        cluster: None,
    };
    let with_tags =
        Hello { token: Some(Secret("s3cret".into())), cluster: Some("eu-1".into()), ..hello.clone() };
    let bare = Hello {
        version_max: 3,
        session: SessionKind::Group,
        idle_ms: 0,
        client: String::new(),
        ..hello.clone()
    };
    let welcome = Welcome {
        version: 1,
        idle_ms: 30_000,
        max_frame: Limits::MAX_FRAME,
        max_decompressed_batch: Limits::MAX_DECOMPRESSED_BATCH,
        window: 8 << 20,
        broker: "broker-1".into(),
        cluster: "eu-1".into(),
        incarnation: INCARNATION,
        identity: "anonymous".into(),
    };
    let broken = Fault::new(FaultCode::Malformed, "Produce.partition: frame ends early");
    let stopping = Fault::new(FaultCode::ShuttingDown, "the broker is being stopped");
    let elsewhere =
        Fault::new(FaultCode::NotOwner, "partition 3 lives on broker-2").url("tls://broker-2:7420");
    let unknown = Fault {
        class: FaultClass::RetryLater,
        code: 999,
        text: "a code of a later version: é".into(),
        retry_after_ms: Some(u32::MAX),
        url: Some(String::new()),
        offset: Some(u64::MAX),
    };
    vec![
        ("hello", Message::Hello(hello)),
        ("hello-with-tags", Message::Hello(with_tags)),
        ("hello-bare", Message::Hello(bare)),
        ("welcome", Message::Welcome(welcome)),
        ("error", Message::Error(broken)),
        ("error-not-owner", Message::Error(elsewhere)),
        ("error-of-an-unknown-code", Message::Error(unknown)),
        ("ping", Message::Ping(Ping { nonce: 7 })),
        ("pong", Message::Pong(Pong { nonce: u64::MAX })),
        ("go-away", Message::GoAway(stopping.retry_after(std::time::Duration::from_millis(1500)))),
    ]
}

fn topic() -> Topic {
    Topic {
        name: "orders".into(),
        id: TOPIC,
        partitions: 12,
        durability: Durability::Disk,
        retention_ms: 604_800_000,
        retention_bytes: 0,
        segment_bytes: 0,
        segment_ms: 86_400_000,
        created_ms: TIME,
    }
}

fn administration() -> Vec<(&'static str, Message)> {
    let options = TopicOptions {
        durability: Some(Durability::Memory),
        retention_ms: Some(0),
        retention_bytes: Some(1 << 40),
        segment_bytes: Some(64 << 20),
        segment_ms: Some(3_600_000),
        partitions: None,
    };
    let create = CreateTopic { name: "orders".into(), partitions: 12, if_not_exists: true, options };
    let defaults = CreateTopic {
        partitions: 0,
        if_not_exists: false,
        options: TopicOptions::default(),
        ..create.clone()
    };
    let alter =
        TopicOptions { retention_ms: Some(86_400_000), partitions: Some(16), ..TopicOptions::default() };
    let partition = Partition { index: 0, start: 100, end: 2500, epoch: 3, bytes: 1 << 20, read_only: false };
    let corrupt = Partition { index: 1, read_only: true, ..partition.clone() };
    let second = Topic { name: "payments".into(), durability: Durability::Memory, ..topic() };
    vec![
        ("create-topic", Message::CreateTopic(create)),
        ("create-topic-with-defaults", Message::CreateTopic(defaults)),
        ("list-topics", Message::ListTopics(ListTopics { after: "orders".into(), limit: 100 })),
        ("describe-topic", Message::DescribeTopic(DescribeTopic { name: "orders".into() })),
        ("alter-topic", Message::AlterTopic(AlterTopic { name: "orders".into(), options: alter })),
        ("delete-topic", Message::DeleteTopic(DeleteTopic { name: "orders".into() })),
        ("topic", Message::Topic(topic())),
        ("topic-list", Message::TopicList(TopicList { topics: vec![topic(), second], more: true })),
        ("topic-list-empty", Message::TopicList(TopicList { topics: vec![], more: false })),
        (
            "topic-description",
            Message::TopicDescription(TopicDescription {
                topic: topic(),
                partitions: vec![partition, corrupt],
            }),
        ),
        ("topic-deleted", Message::TopicDeleted(TopicDeleted { id: TOPIC })),
        (
            "request-refused",
            Message::RequestRefused(Fault::new(
                FaultCode::UnknownTopic,
                "there is no topic orders: create it first",
            )),
        ),
    ]
}

fn production() -> Vec<(&'static str, Message)> {
    let batch = small_batch();
    let mut damaged = batch.bytes().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let error = Batch::validate(damaged.into(), &Limits::default()).unwrap_err();
    let gap = Fault::new(FaultCode::OutOfSequence, "batches are missing before this one").offset(41);
    let produce = Produce { request: 1, handle: 1, partition: 0, batch: batch.into_bytes() };
    let forbidden = Fault::new(FaultCode::Forbidden, "anonymous may not produce to secrets");
    vec![
        ("open-topic", Message::OpenTopic(OpenTopic { handle: 1, name: "orders".into(), id: None })),
        (
            "open-topic-by-id",
            Message::OpenTopic(OpenTopic { handle: 2, name: "orders".into(), id: Some(TOPIC) }),
        ),
        ("topic-opened", Message::TopicOpened(TopicOpened { handle: 1, id: TOPIC, partitions: 12 })),
        ("open-refused", Message::OpenRefused(OpenRefused { handle: 3, fault: forbidden })),
        ("produce", Message::Produce(produce)),
        ("ack", Message::Ack(Ack { request: 1, base_offset: 1000, epoch: 3, duplicate: false })),
        (
            "ack-of-a-duplicate",
            Message::Ack(Ack { request: 9, base_offset: 1000, epoch: 3, duplicate: true }),
        ),
        (
            "produce-refused",
            Message::ProduceRefused(ProduceRefused { request: 2, fault: Fault::from(&error) }),
        ),
        ("produce-out-of-sequence", Message::ProduceRefused(ProduceRefused { request: 3, fault: gap })),
    ]
}

fn consumption() -> Vec<(&'static str, Message)> {
    let subscribe = Subscribe {
        subscription: 1,
        topic: "orders".into(),
        partition: 0,
        position: Position::Offset(1001),
        topic_id: None,
        epoch: Some(3),
        group: None,
    };
    let membership = Membership { group: "billing".into(), member: MEMBER, epoch: 8 };
    let at = |position| Message::Subscribe(Subscribe { position, epoch: None, ..subscribe.clone() });
    let in_group = Subscribe { topic_id: Some(TOPIC), group: Some(membership), ..subscribe.clone() };
    let subscribed =
        Subscribed { subscription: 1, topic_id: TOPIC, offset: 1001, start: 100, end: 1002, epoch: 3 };
    let diverged = Fault::new(FaultCode::Diverged, "orders/0 was cut at offset 990").offset(990);
    let [first, second] = entries();
    vec![
        ("subscribe", Message::Subscribe(subscribe.clone())),
        ("subscribe-from-the-beginning", at(Position::Beginning)),
        ("subscribe-from-the-end", at(Position::End)),
        ("subscribe-from-a-time", at(Position::Time(TIME))),
        ("subscribe-from-a-time-before-1970", at(Position::Time(-1))),
        ("subscribe-in-a-group", Message::Subscribe(in_group)),
        ("subscribed", Message::Subscribed(subscribed)),
        ("unsubscribe", Message::Unsubscribe(Unsubscribe { subscription: 1 })),
        (
            "subscription-ended",
            Message::SubscriptionEnded(SubscriptionEnded { subscription: 1, fault: None }),
        ),
        (
            "subscription-ended-by-a-fault",
            Message::SubscriptionEnded(SubscriptionEnded { subscription: 2, fault: Some(diverged) }),
        ),
        ("data", Message::Data(Data { subscription: 1, entries: first.1.clone() })),
        (
            "data-of-two-entries",
            Message::Data(Data { subscription: 1, entries: [first.1, second.1].concat().into() }),
        ),
    ]
}

/// The batch of two records that the page shows.
pub(crate) fn small_batch() -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(TIME, Some(b"user-7"), b"hello", &[("trace", b"1")]).unwrap();
    builder.push(TIME + 5, None, b"sealed", &[]).unwrap();
    builder.build(PRODUCER, 0)
}

/// The records of both LZ4 frames, which were made by the reference implementation of LZ4 (1.9.4): linked blocks and the
/// content's size; independent blocks and both kinds of checksum.
const LZ4_LINKED: &str = "04224d1868405901000000000000f066000000f20d2a0000267468652073616d6520776f72647320616761696e\
    20616e640a00bf2c206c696e652030002a142b00144f31002a282b00144f32002a3c2b00144f33002a502b00144f34002a642b00144f3500\
    2a782b00145f36002b8c012c0011506e6520370000000000";
const LZ4_CHECKED: &str = "04224d187440bd66000000f20d2a0000267468652073616d6520776f72647320616761696e20616e640a00bf2c\
    206c696e652030002a142b00144f31002a282b00144f32002a3c2b00144f33002a502b00144f34002a642b00144f35002a782b00145f36002b\
    8c012c0011506e65203700fa1aa1db0000000062408653";

/// Batches by name.
pub(crate) fn batches() -> Vec<(&'static str, Bytes)> {
    let built = |build: &dyn Fn(&mut BatchBuilder)| {
        let mut builder = BatchBuilder::new(Codec::None);
        build(&mut builder);
        builder.build(PRODUCER, 1).into_bytes()
    };
    let long = vec![b'x'; 300];
    vec![
        ("small", small_batch().into_bytes()),
        ("one-empty-record", built(&|b| b.push(0, None, b"", &[]).unwrap())),
        (
            "null-and-empty-keys",
            built(&|b| {
                b.push(1, None, b"a", &[]).unwrap();
                b.push(1, Some(b""), b"b", &[]).unwrap();
            }),
        ),
        (
            "headers",
            built(&|b| {
                b.push(1, None, b"a", &[("", b""), ("n", b"1"), ("n", b"2"), ("naïve", &[0xff])]).unwrap();
            }),
        ),
        ("lengths-of-two-bytes", built(&|b| b.push(1, Some(&long), &long, &[("h", &long)]).unwrap())),
        (
            "times-in-any-order",
            built(&|b| {
                for time in [TIME, TIME - 1, TIME + 64, i64::MIN, i64::MAX, -1] {
                    b.push(time, None, b"", &[]).unwrap();
                }
            }),
        ),
        ("lz4-linked-blocks", raw(1, 8, (TIME, TIME + 70), &unhex(LZ4_LINKED))),
        ("lz4-with-checksums", raw(1, 8, (TIME, TIME + 70), &unhex(LZ4_CHECKED))),
    ]
}

/// A batch with any content, right or wrong, under a length and CRC that fit it.
pub(crate) fn raw(codec: u8, count: u32, times: (i64, i64), content: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_slice(b"SLB1");
    bytes.put_u32_le(u32::try_from(BATCH_HEADER + content.len()).unwrap());
    bytes.put_u32_le(0);
    bytes.put_u32_le(count);
    bytes.put_u32_le(count.wrapping_sub(1));
    bytes.put_i64_le(times.0);
    bytes.put_i64_le(times.1);
    bytes.put_slice(&[0, 0, codec, 0]);
    bytes.put_slice(PRODUCER.as_bytes());
    bytes.put_u64_le(2);
    bytes.put_slice(content);
    sealed(bytes.to_vec())
}

/// With the CRC that fits.
pub(crate) fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes.into()
}

/// Entries by name.
pub(crate) fn entries() -> [(&'static str, Bytes); 2] {
    let first = EntryHeader { log_epoch: 3, base_offset: 1000, append_time: TIME + 9, durable_end: 1000 };
    let second = EntryHeader { base_offset: 1002, append_time: TIME + 12, ..first };
    let entry = |header: EntryHeader, bytes: Bytes| {
        let batch = Batch::validate(bytes, &Limits::default()).unwrap();
        Bytes::from([&header.encode(&batch)[..], batch.bytes()].concat())
    };
    let lz4 = raw(1, 8, (TIME, TIME + 70), &unhex(LZ4_LINKED));
    [("small", entry(first, small_batch().into_bytes())), ("lz4", entry(second, lz4))]
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}
