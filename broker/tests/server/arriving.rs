//! Frames that are still arriving: what they take over all sessions, and who waits for whom.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use sealstream_broker::server::BrokerOptions;
use sealstream_client::Record;
use sealstream_client::admin::NewTopic;
use sealstream_client::wire::FrameReader;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::frame::produce_head;
use sealstream_protocol::message::admin::Level;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use sealstream_transport::{Outbound, Scheme, SendHalf};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::harness::{PATIENCE, TestBroker, Wire, assert_code, eventually, show};
use crate::sealed::{SCHEMES, World, anywhere};

/// 64 KiB of each frame are the session's own.
const FREE: usize = 64 << 10;

/// Everything within a frame of 1 MiB: so small a budget is soon spent.
fn tight() -> BrokerOptions {
    let limits = Limits::new(1 << 20, Limits::MAX_DECOMPRESSED_BATCH);
    BrokerOptions { limits, arriving_budget: 2 << 20, ..BrokerOptions::default() }
}

/// A batch whose frame is of `bytes` bytes or a little less.
fn batch(id: Uuid, sequence: u64, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(0, None, &vec![b'x'; bytes - 256], &[]).unwrap();
    builder.build(id, sequence).into_bytes()
}

/// A client that sends one frame, as slowly as it likes.
struct Trickle {
    reader: FrameReader,
    send: SendHalf,
    frame: Bytes,
    _connection: Option<Box<dyn Outbound>>,
}

impl Trickle {
    /// One with topic `events`, and a whole Produce of `bytes` bytes that it has not begun to send.
    async fn new(mut wire: Wire, bytes: usize) -> Self {
        wire.open_topic(1, "events").await;
        let batch = batch(Uuid::new_v4(), 0, bytes);
        let mut frame = BytesMut::new();
        produce_head(1, 1, 0, batch.len(), &mut frame);
        frame.put(batch);
        let frame = frame.freeze();
        Self { reader: wire.reader, send: wire.writer.into_inner(), frame, _connection: wire.connection }
    }

    /// Sends so many bytes more, if the broker takes them in time.
    async fn send(&mut self, bytes: usize) -> bool {
        let part = self.frame.split_to(bytes.min(self.frame.len()));
        let sending = async {
            self.send.write_all(&part).await?;
            self.send.flush().await
        };
        timeout(Duration::from_millis(300), sending).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Sends all that is left, and gives what it is told.
    async fn finish(mut self) -> Message {
        let rest = self.frame.clone();
        let sending = async {
            // The broker may have ended the session meanwhile: it says why.
            let _ = self.send.write_all(&rest).await;
            let _ = self.send.flush().await;
        };
        let (heard, ()) = tokio::join!(hear(&mut self.reader), sending);
        heard
    }

    /// What ends its session.
    async fn end(&mut self) -> Fault {
        match hear(&mut self.reader).await {
            Message::Error(fault) => fault,
            other => panic!("an Error frame was due: {other:?}"),
        }
    }
}

/// The next frame that is not a ping.
async fn hear(reader: &mut FrameReader) -> Message {
    loop {
        match timeout(PATIENCE, reader.next()).await.expect("the broker answers").unwrap().unwrap() {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

async fn arriving(admin: &mut Wire) -> Level {
    show(admin).await.arriving.expect("this broker counts them")
}

async fn nothing_is_held(admin: &mut Wire) {
    eventually("nothing is charged", async || arriving(admin).await.now == 0).await;
}

#[tokio::test]
async fn a_frame_is_charged_for_what_has_arrived_of_it_and_not_for_what_it_claims() {
    let broker = TestBroker::start().await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    let mut trickle = Trickle::new(broker.session(SessionKind::Produce).await, 16 << 20).await;
    assert!(trickle.send(FREE - 1).await);
    assert_eq!(arriving(&mut admin).await, Level { now: 0, limit: 64 << 20 });
    let mut sent = FREE - 1;
    while sent < 10 << 20 {
        assert!(trickle.send(256 << 10).await);
        sent += 256 << 10;
        // What the pipe holds has not arrived yet.
        eventually("what came is charged", async || {
            let now = usize::try_from(arriving(&mut admin).await.now).unwrap();
            assert!(now <= 4 * sent + FREE, "{now} bytes for {sent}");
            now + FREE >= sent - FREE
        })
        .await;
    }
    assert!(matches!(trickle.finish().await, Message::Ack(_)));
    nothing_is_held(&mut admin).await;
    broker.stop().await;
}

#[tokio::test]
async fn however_many_frames_are_half_there_they_take_the_budget_and_one_frame_at_most() {
    const SESSIONS: usize = 64;
    let options = BrokerOptions { arriving_budget: 16 << 20, ..BrokerOptions::default() };
    let most = u64::from(options.arriving_budget) + u64::from(Limits::MAX_FRAME);
    let broker = TestBroker::with(options).await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..SESSIONS {
        let mut trickle = Trickle::new(broker.session(SessionKind::Produce).await, 16 << 20).await;
        sending.spawn(async move {
            // Who waits in vain is told so, and sends no more.
            while trickle.frame.len() > 1 << 20 && trickle.send(128 << 10).await {}
        });
    }
    let mut highest = 0;
    while !sending.is_empty() {
        let now = arriving(&mut admin).await.now;
        assert!(now <= most, "{now} bytes of at most {most}");
        highest = highest.max(now);
        while let Some(ended) = sending.try_join_next() {
            ended.unwrap();
        }
    }
    assert!(highest > 8 << 20, "the budget was used: {highest}");
    nothing_is_held(&mut admin).await;
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handful_that_fill_the_budget_and_stall_keep_nobody_from_its_acknowledgements() {
    let broker = TestBroker::with(tight()).await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut trickle = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
        trickle.send(900 << 10).await;
        stalled.push(trickle);
    }
    eventually("the budget is spent", async || {
        let level = arriving(&mut admin).await;
        level.now + (64 << 10) >= level.limit
    })
    .await;
    // Nobody waits for them: they may stall.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut honest = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..8 {
        let start = Instant::now();
        honest.produce(sequence, 0, batch(id, sequence, 1 << 20)).await;
        assert_eq!(honest.recv_ack().await.request, sequence);
        assert!(start.elapsed() <= Duration::from_secs(2), "{:?}", start.elapsed());
    }
    // While it was in their way, they had their time.
    let mut ended = 0;
    for mut trickle in stalled {
        assert_code(&trickle.end().await, FaultCode::Busy);
        ended += 1;
    }
    assert_eq!(ended, 4);
    nothing_is_held(&mut admin).await;
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_stalls_in_the_lane_loses_it_to_who_waits() {
    let broker = TestBroker::with(tight()).await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    let mut full = Vec::new();
    for _ in 0..2 {
        let mut trickle = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
        trickle.send(1000 << 10).await;
        full.push(trickle);
    }
    let mut lane = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
    lane.send(900 << 10).await;
    eventually("the third is beyond the budget", async || {
        let level = arriving(&mut admin).await;
        level.now > level.limit
    })
    .await;
    let start = Instant::now();
    let mut honest = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
    assert!(honest.send(FREE).await);
    let (heard, fault) = tokio::join!(honest.finish(), lane.end());
    assert!(matches!(heard, Message::Ack(_)), "{heard:?}");
    assert_code(&fault, FaultCode::Busy);
    assert!(fault.retry_after_ms.is_some());
    assert!(start.elapsed() <= Duration::from_secs(2), "{:?}", start.elapsed());
    drop(full);
    nothing_is_held(&mut admin).await;
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_to_come_again_and_small_batches_pass_meanwhile() {
    let broker = TestBroker::with(tight()).await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    // Three hold the budget and the lane, each moving a little all the time.
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut trickle = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
        trickle.send(600 << 10).await;
        busy.spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(900)).await;
                trickle.send(65 << 10).await;
            }
        });
    }
    eventually("one is beyond the budget", async || {
        let level = arriving(&mut admin).await;
        level.now > level.limit
    })
    .await;
    let start = Instant::now();
    let mut late = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
    assert!(late.send(FREE + 10).await);
    let mut small = broker.producer("events").await;
    small.produce(1, 0, batch(Uuid::new_v4(), 0, 50 << 10)).await;
    small.recv_ack().await;
    let fault = late.end().await;
    assert_code(&fault, FaultCode::Busy);
    assert!(fault.retry_after_ms.is_some());
    assert_eq!(start.elapsed().as_secs(), 2);
    busy.shutdown().await;
    nothing_is_held(&mut admin).await;
    broker.stop().await;
}

/// Answers that nobody takes must not hold up the frames of others.
#[tokio::test(start_paused = true)]
async fn a_whole_frame_that_waits_for_its_own_client_does_not_hold_its_charge_for_ever() {
    let options = BrokerOptions { produce_window: 512 << 10, ..tight() };
    let broker = TestBroker::with(options).await;
    let mut admin = broker.admin().await;
    admin.create("events", 1).await;
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut trickle = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
        // The first batch takes the whole window until it is durable, the second waits for that.
        let hold = trickle.frame.clone();
        let mut two = BytesMut::from(&hold[..]);
        two.put(hold);
        trickle.frame = two.freeze();
        stuck.push(trickle);
    }
    let hold = broker.engine.hold_durability();
    for trickle in &mut stuck {
        while !trickle.frame.is_empty() && trickle.send(256 << 10).await {}
    }
    eventually("the budget is spent by whole frames", async || {
        let level = arriving(&mut admin).await;
        level.now + (256 << 10) >= level.limit
    })
    .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(arriving(&mut admin).await.now > 0, "nobody waits: they may keep it");
    let late = Trickle::new(broker.session(SessionKind::Produce).await, 1 << 20).await;
    let (_, faults) = tokio::join!(timeout(Duration::from_secs(1), late.finish()), async {
        eventually("what they held is free", async || arriving(&mut admin).await.now < 1 << 20).await;
        hold.release();
        let mut faults = Vec::new();
        for mut trickle in stuck {
            // The first was taken, and is answered.
            assert!(matches!(hear(&mut trickle.reader).await, Message::Ack(_)));
            faults.push(trickle.end().await);
        }
        faults
    });
    assert!(faults.iter().all(|fault| fault.code_known() == Some(FaultCode::Busy)), "{faults:?}");
    nothing_is_held(&mut admin).await;
    broker.stop().await;
}

/// Twelve producers of the SDK, whose batches fit the budget two at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_producers_beyond_the_budget_all_finish_without_an_error() {
    const PRODUCERS: usize = 12;
    const RECORDS: u64 = 12;
    let world = World::new();
    let store = sealstream_broker::log::memory::MemoryStore::new(2);
    let broker = world.broker(tight(), &store, anywhere()).await;
    for scheme in SCHEMES {
        let topic = format!("events-{scheme}");
        let client = Arc::new(world.sdk(scheme, &broker).await);
        client.admin().create_topic(NewTopic::new(&topic)).await.unwrap();
        let mut producers = tokio::task::JoinSet::new();
        for _ in 0..PRODUCERS {
            let (client, topic) = (Arc::clone(&client), topic.clone());
            producers.spawn(async move {
                let value = vec![b'x'; 900 << 10];
                let producer = client.producer(&topic).open().await.unwrap();
                for _ in 0..RECORDS {
                    // Its failure would be the flush's.
                    drop(producer.send(Record::new(&value)).await.unwrap());
                }
                producer.flush().await.unwrap();
                producer.close().await.unwrap();
            });
        }
        while let Some(done) = timeout(4 * PATIENCE, producers.join_next()).await.expect("they finish") {
            done.unwrap();
        }
        let mut consumer = client.consumer(&topic).until_end().open().await.unwrap();
        let mut count = 0;
        while let Some(record) = consumer.next().await {
            assert_eq!(record.unwrap().value.len(), 900 << 10);
            count += 1;
        }
        assert_eq!(count, PRODUCERS as u64 * RECORDS, "{scheme}");
        let level = client.admin().show_status().await.unwrap().arriving.unwrap();
        assert_eq!(level, Level { now: 0, limit: 2 << 20 });
        let client = Arc::into_inner(client).unwrap();
        client.close().await;
    }
    world.stop(&broker).await;
}

/// The memory of a session is what it is charged for over TLS and QUIC too, and one that is refused learns why while it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reason_reaches_a_client_in_the_middle_of_its_frame() {
    let world = World::new();
    let options = BrokerOptions { produce_patience: Duration::from_millis(50), ..tight() };
    let store = sealstream_broker::log::memory::MemoryStore::new(1);
    let broker = world.broker(options, &store, anywhere()).await;
    let mut admin = world.wire(Scheme::Tls, &broker, None, SessionKind::Admin).await;
    admin.create("events", 1).await;
    for scheme in SCHEMES {
        // Ready before the lane is held: it is for a second at most.
        let late = Trickle::new(world.wire(scheme, &broker, None, SessionKind::Produce).await, 1 << 20).await;
        let mut held = Vec::new();
        for count in 1..=3 {
            let wire = world.wire(scheme, &broker, None, SessionKind::Produce).await;
            let mut trickle = Trickle::new(wire, 1 << 20).await;
            trickle.send(900 << 10).await;
            held.push(trickle);
            // The third is in the lane then, and not the one that comes next.
            eventually("what came is charged", async || {
                arriving(&mut admin).await.now >= count * ((900 << 10) - FREE as u64)
            })
            .await;
        }
        match late.finish().await {
            Message::Error(fault) => assert_code(&fault, FaultCode::Busy),
            other => panic!("an Error frame was due: {other:?}"),
        }
        drop(held);
        nothing_is_held(&mut admin).await;
    }
    world.stop(&broker).await;
}
