//! Who is let in: limits, deadlines, identities.

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::server::{Anonymous, Broker, BrokerOptions};
use sealstream_client::wire::session::OpenSessionError;
use sealstream_protocol::message::hello::{Hello, Ping, Pong, Secret, SessionKind};
use sealstream_protocol::message::{Fault, FaultClass, FaultCode, Message};
use sealstream_transport::Transport as _;
use sealstream_transport::memory::MemoryNetwork;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{PATIENCE, TestBroker, Wire, assert_code, eventually, greeting};

async fn refusal(broker: &TestBroker, hello: Hello) -> Fault {
    match broker.try_session(hello).await {
        Err(OpenSessionError::Refused(fault)) => fault,
        Err(other) => panic!("a coded refusal was due: {other}"),
        Ok(wire) => panic!("welcomed: {:?}", wire.welcome),
    }
}

#[tokio::test]
async fn a_welcome_tells_what_the_broker_is_and_takes() {
    let options = BrokerOptions { name: "b1".into(), cluster: "c1".into(), ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    let hello = Hello { cluster: Some("c1".into()), idle_ms: 5_000, ..greeting(SessionKind::Admin) };
    let welcome = broker.try_session(hello).await.unwrap().welcome.unwrap();
    assert_eq!((welcome.broker.as_str(), welcome.cluster.as_str()), ("b1", "c1"));
    assert_eq!((welcome.version, welcome.idle_ms), (1, 5_000));
    assert_eq!((welcome.max_frame, welcome.window), (16 << 20, 8 << 20));
    assert_eq!(welcome.identity, "anonymous");
    assert_eq!(welcome.incarnation, broker.running.incarnation());
    broker.stop().await;
}

#[tokio::test]
async fn each_hello_that_cannot_be_served_is_told_why() {
    let broker = TestBroker::start().await;
    let hello = || greeting(SessionKind::Produce);
    let cases = [
        (Hello { version_min: 7, version_max: 9, ..hello() }, FaultCode::VersionMismatch),
        (Hello { cluster: Some("elsewhere".into()), ..hello() }, FaultCode::WrongCluster),
        (Hello { token: Some(Secret("t".into())), ..hello() }, FaultCode::Unauthenticated),
        (Hello { client: "a\u{1b}[2J".into(), ..hello() }, FaultCode::InvalidRequest),
    ];
    for (hello, code) in cases {
        let fault = refusal(&broker, hello).await;
        assert_code(&fault, code);
        assert_eq!(fault.class, FaultClass::Caller, "{fault}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn nobody_is_anonymous_where_the_operator_forbids_it() {
    let options = BrokerOptions { anonymous: Anonymous::Never, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    assert_code(&refusal(&broker, greeting(SessionKind::Admin)).await, FaultCode::Unauthenticated);
    broker.stop().await;
}

#[tokio::test]
async fn a_session_too_many_is_told_to_come_again_and_finds_a_place_when_one_is_free() {
    let broker = TestBroker::with(BrokerOptions { max_sessions: 2, ..BrokerOptions::default() }).await;
    let first = broker.admin().await;
    let mut second = broker.admin().await;
    let fault = refusal(&broker, greeting(SessionKind::Admin)).await;
    assert_code(&fault, FaultCode::Busy);
    assert!(fault.retry_after_ms.is_some());
    second.assert_silent().await;
    first.finish().await;
    eventually("a place is free", async || broker.try_session(greeting(SessionKind::Admin)).await.is_ok())
        .await;
    broker.stop().await;
}

#[tokio::test]
async fn a_greeting_too_many_is_told_to_come_again_and_finds_a_place_when_one_is_free() {
    let broker = TestBroker::with(BrokerOptions { max_greetings: 1, ..BrokerOptions::default() }).await;
    let mut undecided = broker.stream().await;
    undecided.send.write_all(&[40, 0]).await.unwrap(); // half a Hello
    eventually("the first stream takes the place", async || {
        matches!(
            broker.try_session(greeting(SessionKind::Admin)).await,
            Err(OpenSessionError::Refused(fault)) if fault.code_known() == Some(FaultCode::Busy) && fault.retry_after_ms.is_some()
        )
    })
    .await;
    drop(undecided);
    eventually("the place is free", async || broker.try_session(greeting(SessionKind::Admin)).await.is_ok())
        .await;
    broker.stop().await;
}

#[tokio::test]
async fn options_under_which_nobody_could_be_served_are_refused() {
    let listener = MemoryNetwork::new().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let options = BrokerOptions { produce_window: 0, ..BrokerOptions::default() };
    let engine = Arc::new(MemoryEngine::over(&MemoryStore::new(1), Arc::new(SystemClock)));
    let error = Broker::start(options, engine, vec![listener]).await.unwrap_err();
    assert_eq!(error.to_string(), "BrokerOptions::produce_window is 0: it must be from 1 to 4294967295");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_stream_gives_its_place_up_at_the_deadline() {
    let broker = TestBroker::start().await;
    let silent = broker.connect().await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    drop(silent.open().await.unwrap());
    let silent = broker.connect().await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(silent.open().await.is_err());
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_used_may_rest_a_while_and_not_for_ever() {
    let broker = TestBroker::start().await;
    let outbound = broker.connect().await;
    for _ in 0..3 {
        let stream = outbound.open().await.unwrap();
        Wire::open(stream, greeting(SessionKind::Admin)).await.unwrap().finish().await;
        tokio::time::sleep(Duration::from_secs(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(130)).await;
    assert!(outbound.open().await.is_err());
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_says_half_a_hello_is_ended_at_the_deadline() {
    let broker = TestBroker::start().await;
    let mut stream = broker.stream().await;
    stream.send.write_all(&[40, 0]).await.unwrap();
    let mut wire = Wire::raw(stream);
    assert_code(&wire.recv_error().await, FaultCode::Idle);
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_then_given_up() {
    let broker = TestBroker::start().await;
    let hello = Hello { idle_ms: 9_000, ..greeting(SessionKind::Produce) };
    let mut wire = broker.try_session(hello).await.unwrap();
    let start = tokio::time::Instant::now();
    let mut pings = 0;
    let fault = loop {
        match tokio::time::timeout(PATIENCE, wire.reader.next()).await.unwrap().unwrap() {
            Some(Message::Ping(_)) => pings += 1,
            Some(Message::Error(fault)) => break fault,
            other => panic!("{other:?}"),
        }
    };
    assert_code(&fault, FaultCode::Idle);
    assert_eq!(pings, 1);
    assert_eq!(start.elapsed().as_secs(), 9);
    broker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_lives_on() {
    for kind in [SessionKind::Admin, SessionKind::Produce, SessionKind::Consume] {
        let broker = TestBroker::start().await;
        let hello = Hello { idle_ms: 3_000, ..greeting(kind) };
        let mut wire = broker.try_session(hello).await.unwrap();
        let start = tokio::time::Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            match wire.reader.next().await.unwrap() {
                Some(Message::Ping(Ping { nonce })) => wire.send(Message::Pong(Pong { nonce })).await,
                other => panic!("{other:?}"),
            }
        }
        wire.assert_silent().await;
        broker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_connects_and_says_nothing_delays_nobody() {
    let broker = TestBroker::start().await;
    let quiet = broker.connect().await;
    let mut stream = quiet.open().await.unwrap();
    stream.send.write_all(&[1]).await.unwrap();
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    producer.assert_silent().await;
    // Dropped at the deadline, and told why.
    let mut answer = Vec::new();
    stream.recv.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.is_empty());
    broker.stop().await;
}
