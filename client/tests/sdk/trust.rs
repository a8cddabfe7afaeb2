//! What a client makes of brokers that no longer trust the certificate it had shown: another connection at once, for the
//! certificate may have been replaced since, and no third.

use std::time::Duration;

use sealstream_client::{DeliveryError, Position, Record};
use sealstream_protocol::message::admin::{ReloadOutcome, TlsReload, TlsReloaded};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::Instant;

use crate::fake::{Fake, Peer};

fn revoked() -> Message {
    Message::Error(Fault::new(FaultCode::NoLongerTrusted, "the certificate was revoked"))
}

async fn fall(peer: &mut Peer) {
    peer.say(revoked()).await;
    peer.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_hello_is_said_once_more_at_once_on_a_connection_of_its_own() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let started = Instant::now();
    let play = async {
        let mut peer = Peer::new(fake.stream().await);
        peer.hear().await;
        fall(&mut peer).await;
        let mut peer = fake.session().await;
        peer.finish().await;
        assert_eq!(fake.connections(), 2);
    };
    let (welcome, ()) = tokio::join!(client.hello(), play);
    welcome.unwrap();
    assert!(started.elapsed() < Duration::from_millis(10), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_second_refusal_is_final() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let started = Instant::now();
    let play = async {
        for _ in 0..2 {
            let mut peer = Peer::new(fake.stream().await);
            peer.hear().await;
            fall(&mut peer).await;
        }
        fake
    };
    let (error, mut fake) = tokio::join!(client.hello(), play);
    let error = error.unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("revoked"), "{error}");
    assert!(started.elapsed() < Duration::from_millis(10), "{:?}", started.elapsed());
    assert!(!fake.has_stream(), "it tried again");
}

#[tokio::test(start_paused = true)]
async fn a_producer_goes_on_with_what_was_not_answered_and_ends_at_the_second_refusal() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = tokio::join!(client.producer("t").open(), fake.produce_session(1));
    let producer = producer.unwrap();
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let first = peer.batch().await;
    fall(&mut peer).await;
    let fallen = Instant::now();
    let mut peer = fake.produce_session(1).await;
    assert!(fallen.elapsed() < Duration::from_millis(10), "{:?}", fallen.elapsed());
    assert_eq!(fake.connections(), 2);
    let again = peer.batch().await;
    assert_eq!(again.batch, first.batch);
    peer.ack(again.request, 0).await;
    delivery.await.unwrap();

    let delivery = producer.send(Record::new("b")).await.unwrap();
    peer.batch().await;
    fall(&mut peer).await;
    let error = delivery.await.unwrap_err();
    assert!(matches!(error, DeliveryError::Session { .. }) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains("revoked"), "{error}");
    assert!(!fake.has_stream(), "it tried again");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_lasted_gives_the_right_to_another_attempt_back() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = tokio::join!(client.producer("t").open(), fake.produce_session(1));
    let producer = producer.unwrap();
    for _ in 0..3 {
        let delivery = producer.send(Record::new("a")).await.unwrap();
        peer.batch().await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        fall(&mut peer).await;
        peer = fake.produce_session(1).await;
        let again = peer.batch().await;
        peer.ack(again.request, 0).await;
        delivery.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_goes_on_where_it_was() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (consumer, mut peer) = crate::consumer::open(&mut fake, &client, 1, |builder| builder).await;
    let asked = crate::consumer::subscribe(&mut peer).await;
    crate::consumer::subscribed(&mut peer, asked.subscription, 7, 7).await;
    fall(&mut peer).await;
    let fallen = Instant::now();
    let mut peer = fake.session().await;
    assert_eq!(crate::consumer::subscribe(&mut peer).await.position, Position::Offset(7));
    assert!(fallen.elapsed() < Duration::from_millis(10), "{:?}", fallen.elapsed());
    fall(&mut peer).await;
    let mut consumer = consumer;
    let error = consumer.next().await.unwrap().unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("revoked"), "{error}");
    assert!(!fake.has_stream(), "it tried again");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_shared_the_connection_share_the_next_one_too() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producers, mut peers) = tokio::join!(
        async {
            let (a, b) = tokio::join!(client.producer("t").open(), client.producer("t").open());
            [a.unwrap(), b.unwrap()]
        },
        async { [fake.produce_session(1).await, fake.produce_session(1).await] }
    );
    assert_eq!(fake.connections(), 1);
    let mut deliveries = Vec::new();
    for producer in &producers {
        deliveries.push(producer.send(Record::new("a")).await.unwrap());
    }
    for peer in &mut peers {
        peer.batch().await;
    }
    for peer in &mut peers {
        fall(peer).await;
        // The other one is told once the first has another connection.
        let mut next = fake.produce_session(1).await;
        let again = next.batch().await;
        next.ack(again.request, 0).await;
        assert_eq!(fake.connections(), 2);
        tokio::time::sleep(Duration::from_millis(10)).await;
        std::mem::swap(peer, &mut next);
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_cost_the_session_is_asked_for_again() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let reload = TlsReload {
        at_ms: 0,
        trigger: "request".into(),
        outcome: ReloadOutcome::Unchanged,
        trust_changed: false,
        text: String::new(),
    };
    let answer = TlsReloaded { reload, epoch: [7; 32] };
    let play = async {
        let mut peer = fake.session().await;
        assert!(matches!(peer.hear().await, Message::ReloadTls(_)));
        fall(&mut peer).await;
        let mut peer = fake.session().await;
        assert!(matches!(peer.hear().await, Message::ReloadTls(_)));
        peer.say(Message::TlsReloaded(answer.clone())).await;
        peer
    };
    let (reloaded, _peer) = tokio::join!(admin.reload_tls(), play);
    assert_eq!(reloaded.unwrap(), answer);
}
