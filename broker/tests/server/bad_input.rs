//! Input that breaks the rules: one clear coded error each, and nobody else notices.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use bytes::{BufMut as _, Bytes, BytesMut};
use sealstream_broker::server::BrokerOptions;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::message::admin::ListTopics;
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::hello::{Ping, SessionKind};
use sealstream_protocol::message::produce::{Ack, Produce};
use sealstream_protocol::message::{FaultClass, FaultCode, Message};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::harness::{Bystander, TestBroker, Wire, assert_code, batch, greeting};

/// A broker, and somebody who does nothing wrong.
struct Scene {
    broker: TestBroker,
    bystander: Bystander,
}

impl Scene {
    async fn set() -> Self {
        Self::with(BrokerOptions::default()).await
    }

    async fn with(options: BrokerOptions) -> Self {
        let broker = TestBroker::with(options).await;
        broker.create("events", 1).await;
        let bystander = Bystander::beside(&broker).await;
        Self { broker, bystander }
    }

    /// The bystanders go on in the sessions that they have had all along.
    async fn assert_others_are_served(&mut self) {
        self.bystander.assert_served().await;
    }

    /// Bytes instead of frames, in the middle of a session of each kind: the fault that ends it.
    async fn assert_bytes_end_the_session(&mut self, bytes: &[u8], code: FaultCode) {
        for kind in [SessionKind::Admin, SessionKind::Produce, SessionKind::Consume] {
            let mut wire = self.broker.session(kind).await;
            let mut send = wire.writer.into_inner();
            // The broker may have turned away before all of it was written.
            let _ = send.write_all(bytes).await;
            wire.writer = sealstream_client::wire::FrameWriter::new(send);
            let fault = wire.recv_error().await;
            assert_code(&fault, code);
            assert_eq!(fault.class, FaultClass::Caller, "{fault}");
            assert!(!fault.text.is_empty());
            self.assert_others_are_served().await;
        }
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 1).unwrap().to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

#[tokio::test]
async fn garbage_ends_the_session_that_sent_it() {
    let mut scene = Scene::set().await;
    let cases: [(&[u8], FaultCode); 5] = [
        (b"\x17\x00\x00\x00\xffrubbish rubbish rubbish", FaultCode::UnexpectedFrame),
        (&frame(0, &[]), FaultCode::UnexpectedFrame),
        (&frame(0x33, b"ends early"), FaultCode::Malformed),
        (&frame(0x04, &[0; 40]), FaultCode::Malformed),
        (&frame(0x04, &[1, 2, 3, 4, 5, 6, 7, 8, 3, 9, 200, 1]), FaultCode::Malformed),
    ];
    for (bytes, code) in cases {
        scene.assert_bytes_end_the_session(bytes, code).await;
    }
}

#[tokio::test]
async fn an_http_client_is_told_that_this_is_something_else() {
    let mut scene = Scene::set().await;
    let mut stream = scene.broker.stream().await;
    let _ = stream.send.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut wire = Wire::raw(stream);
    let fault = wire.recv_error().await;
    assert!(matches!(fault.code_known(), Some(FaultCode::TooLarge | FaultCode::Malformed)), "{fault}");
    scene.assert_others_are_served().await;
}

#[tokio::test]
async fn an_oversized_frame_ends_its_session_before_it_has_arrived() {
    let limits = Limits::new(1 << 20, Limits::MAX_DECOMPRESSED_BATCH);
    let mut scene = Scene::with(BrokerOptions { limits, ..BrokerOptions::default() }).await;
    let mut bytes = ((1_u32 << 20) + 1).to_le_bytes().to_vec();
    bytes.push(0x33);
    scene.assert_bytes_end_the_session(&bytes, FaultCode::TooLarge).await;
    scene.assert_bytes_end_the_session(&[0xff; 8], FaultCode::TooLarge).await;
}

#[tokio::test]
async fn a_stranger_cannot_make_the_broker_hold_a_large_first_frame() {
    let mut scene = Scene::set().await;
    let mut stream = scene.broker.stream().await;
    // Well within the limit for frames, but nobody knows who it is.
    stream.send.write_all(&(1_u32 << 20).to_le_bytes()).await.unwrap();
    stream.send.write_all(&[1]).await.unwrap();
    let fault = Wire::raw(stream).recv_error().await;
    assert_code(&fault, FaultCode::TooLarge);
    scene.assert_others_are_served().await;
}

#[tokio::test]
async fn frames_that_do_not_belong_here_end_the_session() {
    let mut scene = Scene::set().await;
    let list = || Message::ListTopics(ListTopics { after: String::new(), limit: 0 });
    let ack = || Message::Ack(Ack { request: 1, base_offset: 0, epoch: 0, duplicate: false });
    let again = || Message::Hello(greeting(SessionKind::Admin));
    let produce = || {
        let batch = batch(Uuid::new_v4(), 0, "x");
        Message::Produce(Produce { request: 1, handle: 1, partition: 0, batch })
    };
    let cases = [
        (SessionKind::Admin, vec![produce(), ack(), again()]),
        (SessionKind::Produce, vec![list(), ack(), again()]),
        (SessionKind::Consume, vec![list(), produce(), ack(), again()]),
    ];
    for (kind, messages) in cases {
        for message in messages {
            let mut wire = scene.broker.session(kind).await;
            wire.send(message).await;
            assert_code(&wire.recv_error().await, FaultCode::UnexpectedFrame);
            scene.assert_others_are_served().await;
        }
    }
    let mut wire = Wire::raw(scene.broker.stream().await);
    wire.send(Message::Ping(Ping { nonce: 1 })).await;
    assert_code(&wire.recv_error().await, FaultCode::UnexpectedFrame);
    scene.assert_others_are_served().await;
}

/// A batch whose bytes were changed, with its CRC made right again.
fn forged(batch: &Bytes, change: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    change(&mut bytes);
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes.freeze()
}

/// A record of 40 MiB of zeros, in 160 KiB.
fn bomb(id: Uuid) -> Bytes {
    let limits = Limits::new(64 << 20, 64 << 20);
    let mut builder = BatchBuilder::with_limits(Codec::Lz4, &limits);
    builder.push(0, None, &vec![0; 40 << 20], &[]).unwrap();
    builder.build(id, 0).into_bytes()
}

#[tokio::test]
async fn a_bad_batch_is_refused_alone_and_the_right_one_is_taken_in_its_place() {
    let mut scene = Scene::set().await;
    let id = Uuid::new_v4();
    let good = batch(id, 0, "good");
    let mut wrong_crc = BytesMut::from(&good[..]);
    *wrong_crc.last_mut().unwrap() ^= 1;
    let count = |count: u32| {
        forged(&good, |bytes| {
            bytes[12..16].copy_from_slice(&count.to_le_bytes());
            bytes[16..20].copy_from_slice(&(count - 1).to_le_bytes());
        })
    };
    let cases = [
        ("wrong CRC", wrong_crc.freeze(), FaultCode::InvalidBatch),
        ("lying count", count(2), FaultCode::InvalidBatch),
        ("lying count", count(u32::MAX), FaultCode::InvalidBatch),
        ("bytes behind", forged(&good, |bytes| bytes.put_slice(b"more")), FaultCode::InvalidBatch),
        ("cut", forged(&good, |bytes| bytes.truncate(bytes.len() - 2)), FaultCode::InvalidBatch),
        ("unknown codec", forged(&good, |bytes| bytes[38] = 9), FaultCode::InvalidBatch),
        ("no LZ4", forged(&good, |bytes| bytes[38] = 1), FaultCode::InvalidBatch),
        ("nil producer", forged(&good, |bytes| bytes[40..56].fill(0)), FaultCode::InvalidBatch),
        ("nothing", Bytes::new(), FaultCode::InvalidBatch),
        ("rubbish", Bytes::from_static(b"rubbish"), FaultCode::InvalidBatch),
        ("LZ4 bomb", bomb(id), FaultCode::TooLarge),
    ];
    let mut producer = scene.broker.producer("events").await;
    for (name, bytes, code) in cases {
        producer.produce(1, 0, bytes).await;
        let fault = producer.recv_refusal().await.fault;
        assert_eq!(fault.code_known(), Some(code), "{name}: {fault}");
        assert_eq!(fault.class, FaultClass::Caller, "{name}: {fault}");
        assert!(fault.text.contains("topic \"events\", partition 0"), "{name}: {fault}");
        scene.assert_others_are_served().await;
    }
    producer.produce(2, 0, good).await;
    assert_eq!(producer.recv_ack().await.base_offset, 0);
}

#[tokio::test]
async fn what_could_never_be_consumed_is_not_taken() {
    let limits = Limits::new(1 << 20, Limits::MAX_DECOMPRESSED_BATCH);
    let mut scene = Scene::with(BrokerOptions { limits, ..BrokerOptions::default() }).await;
    let mut producer = scene.broker.producer("events").await;
    let largest = usize::try_from(limits.batch()).unwrap();
    let of_length = |length: usize| {
        let empty = batch(Uuid::new_v4(), 0, "").len();
        // Length prefixes of three bytes each: what a value of this size adds beyond itself.
        let mut value = "x".repeat(length - empty - 4);
        let mut bytes = batch(Uuid::new_v4(), 0, &value);
        while bytes.len() < length {
            value.push('x');
            bytes = batch(Uuid::new_v4(), 0, &value);
        }
        assert_eq!(bytes.len(), length);
        bytes
    };
    producer.produce(1, 0, of_length(largest + 1)).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::TooLarge);
    producer.produce(2, 0, of_length(largest)).await;
    producer.recv_ack().await;
    let mut consumer = scene.broker.consumer().await;
    consumer.subscribe(1, "events", 0, Position::Beginning).await;
    assert!(consumer.recv_data().await.entries.len() > largest);
    scene.assert_others_are_served().await;
}

/// Every frame of a whole conversation, with a byte changed at a time: whatever the broker makes of it, others are
/// served and it answers or ends, but never hangs and never falls.
#[tokio::test]
async fn no_single_changed_byte_harms_anybody_else() {
    let mut scene = Scene::set().await;
    let mut conversation = BytesMut::new();
    let open =
        sealstream_protocol::message::produce::OpenTopic { handle: 1, name: "events".into(), id: None };
    let batch = batch(Uuid::new_v4(), 0, "x");
    let produce = Produce { request: 1, handle: 1, partition: 0, batch };
    for message in [
        Message::Hello(greeting(SessionKind::Produce)),
        Message::OpenTopic(open),
        Message::Produce(produce),
        Message::Ping(Ping { nonce: 9 }),
    ] {
        message.encode(&mut conversation);
    }
    for at in 0..conversation.len() {
        let mut bytes = conversation.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let mut stream = scene.broker.stream().await;
        let _ = stream.send.write_all(&bytes).await;
        let _ = tokio::time::timeout(crate::harness::PATIENCE, stream.send.shutdown()).await;
        let mut wire = Wire::raw(stream);
        let ended = tokio::time::timeout(crate::harness::PATIENCE, async {
            while let Ok(Some(_)) = wire.reader.next().await {}
        });
        ended.await.unwrap_or_else(|_| panic!("the session hangs after a change at byte {at}"));
    }
    scene.assert_others_are_served().await;
}
