//! Sessions that were opened with a token.

use std::sync::Arc;

use sealstream_broker::log::clock::{Clock as _, ManualClock, SystemClock};
use sealstream_broker::log::memory::MemoryStore;
use sealstream_broker::server::{Anonymous, BrokerOptions};
use sealstream_client::admin::NewToken;
use sealstream_client::{Client, Record};
use sealstream_protocol::message::admin::CreateToken;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use tokio::time::timeout;

use super::{PROMISE, World, bearing, refusal, revoke_token};
use crate::harness::{PATIENCE, TestBroker, Wire, assert_code, greeting};

const KINDS: [SessionKind; 3] = [SessionKind::Admin, SessionKind::Produce, SessionKind::Consume];

async fn falls(wire: &mut Wire, word: &str) {
    let fault = timeout(PROMISE, wire.recv_error()).await.expect("it ends in time");
    assert_code(&fault, FaultCode::NoLongerTrusted);
    assert!(fault.text.contains(word) && fault.text.contains("token"), "{fault}");
}

#[tokio::test]
async fn a_token_says_who_its_bearer_is_and_a_bad_one_lets_nobody_in() {
    let world = World::new().await;
    let token = world.token("billing").await;
    for kind in KINDS {
        let wire = world.with_token(kind, &token).await;
        assert_eq!(wire.welcome.unwrap().identity, "token:billing");
    }
    // Anonymous clients are let in here; who shows a bad token is none of them.
    let mut mistyped = token.clone();
    mistyped.replace_range(10..11, if &token[10..11] == "A" { "B" } else { "A" });
    for (bad, word) in
        [("", "no token"), ("s3cret", "no token"), (&*mistyped, "mistyped"), (&token[..40], "cut")]
    {
        let fault = refusal(world.try_with_token(SessionKind::Produce, bad).await);
        assert_code(&fault, FaultCode::Unauthenticated);
        assert!(fault.text.contains(word) && fault.text.contains("sealstream token create"), "{fault}");
        assert!(bad.is_empty() || !fault.text.contains(bad), "it repeats the secret: {fault}");
    }
    world.broker.stop().await;
}

#[tokio::test]
async fn who_has_neither_certificate_nor_token_is_told_of_both() {
    let options = BrokerOptions { anonymous: Anonymous::Never, ..BrokerOptions::default() };
    let broker = TestBroker::with(options).await;
    let fault = refusal(broker.try_session(greeting(SessionKind::Admin)).await);
    assert_code(&fault, FaultCode::Unauthenticated);
    assert!(fault.text.contains("certificate") && fault.text.contains("token"), "{fault}");
    broker.stop().await;
}

#[tokio::test]
async fn a_revoked_token_ends_every_session_with_it_at_once_and_no_other() {
    let world = World::new().await;
    let (bad, good) = (world.token("bad").await, world.token("good").await);
    let connection = world.broker.connect().await;
    let mut falling = Vec::new();
    for kind in KINDS {
        falling.push(world.with_token(kind, &bad).await);
    }
    // On a connection that others share.
    falling.push(
        Wire::open(connection.open().await.unwrap(), bearing(SessionKind::Consume, &bad)).await.unwrap(),
    );
    let mut staying = vec![
        Wire::open(connection.open().await.unwrap(), bearing(SessionKind::Consume, &good)).await.unwrap(),
        Wire::open(connection.open().await.unwrap(), greeting(SessionKind::Consume)).await.unwrap(),
    ];
    revoke_token(&mut world.broker.admin().await, "bad").await;
    for wire in &mut falling {
        falls(wire, "\"bad\" was revoked").await;
    }
    for wire in &mut staying {
        wire.assert_silent().await;
    }
    let fault = refusal(world.try_with_token(SessionKind::Consume, &bad).await);
    assert_code(&fault, FaultCode::Unauthenticated);
    assert!(fault.text.contains("revoked"), "{fault}");
    world.broker.stop().await;
}

#[tokio::test]
async fn a_client_may_revoke_the_very_token_that_it_came_with() {
    let world = World::new().await;
    let token = world.token("mine").await;
    let mut admin = world.with_token(SessionKind::Admin, &token).await;
    let revoke = sealstream_protocol::message::admin::RevokeToken { name: "mine".into() };
    admin.send(Message::RevokeToken(revoke)).await;
    // Whether the answer comes before the end is a matter of luck.
    let mut last = admin.recv().await;
    if let Message::TokenRevoked(_) = last {
        last = admin.recv().await;
    }
    let Message::Error(fault) = last else { panic!("{last:?}") };
    assert_code(&fault, FaultCode::NoLongerTrusted);
    refusal(world.try_with_token(SessionKind::Admin, &token).await);
    world.broker.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let world = World::over(&MemoryStore::new(1), clock.clone()).await;
    let mut admin = world.broker.admin().await;
    let create = CreateToken { name: "brief".into(), identity: None, lifetime_ms: Some(60_000) };
    admin.send(Message::CreateToken(create)).await;
    let Message::TokenCreated(created) = admin.recv().await else { panic!() };
    let token = created.secret.0;
    let mut wire = world.with_token(SessionKind::Consume, &token).await;
    clock.advance(59_000);
    wire.assert_silent().await;
    world.with_token(SessionKind::Consume, &token).await.assert_silent().await;
    clock.advance(1_000);
    falls(&mut wire, "\"brief\" has ended").await;
    let fault = refusal(world.try_with_token(SessionKind::Consume, &token).await);
    assert_code(&fault, FaultCode::Unauthenticated);
    assert!(fault.text.contains("it has ended"), "{fault}");
    admin.assert_silent().await;
    world.broker.stop().await;
}

#[tokio::test]
async fn a_token_is_good_after_a_restart_and_a_revoked_one_is_not() {
    let store = MemoryStore::new(2);
    let world = World::over(&store, Arc::new(SystemClock)).await;
    let (kept, revoked) = (world.token("kept").await, world.token("revoked").await);
    revoke_token(&mut world.broker.admin().await, "revoked").await;
    world.broker.stop().await;
    let world = World::over(&store, Arc::new(SystemClock)).await;
    world.with_token(SessionKind::Admin, &kept).await.assert_silent().await;
    assert_code(
        &refusal(world.try_with_token(SessionKind::Admin, &revoked).await),
        FaultCode::Unauthenticated,
    );
    world.broker.stop().await;
}

fn sdk(world: &World) -> sealstream_client::ClientBuilder {
    Client::builder()
        .url(format!("tls://{}", world.broker.addr()))
        .transport(Arc::new(world.broker.network.clone()))
}

#[tokio::test]
async fn the_sdk_makes_lists_and_revokes_tokens() {
    let world = World::new().await;
    let client = sdk(&world).build().unwrap();
    let admin = client.admin();
    let created =
        admin.create_token(NewToken::new("a").identity("token:x").lifetime(PATIENCE)).await.unwrap();
    assert_eq!(created.token.identity, "token:x");
    assert!(!format!("{created:?}").contains("slt1_"));
    let bearer = sdk(&world).token(&created.secret.0).build().unwrap();
    assert_eq!(bearer.hello().await.unwrap().identity, "token:x");
    let listed = admin.list_tokens().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].last_used_ms.is_some() && listed[0].expires_ms.is_some());
    let error = admin.create_token(NewToken::new("a")).await.unwrap_err();
    assert_eq!(error.code(), Some(FaultCode::TokenExists));
    assert_eq!(admin.revoke_token("a").await.unwrap().id, created.token.id);
    let error = admin.revoke_token("a").await.unwrap_err();
    assert_eq!(error.code(), Some(FaultCode::UnknownToken));
    let error = bearer.hello().await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("another"), "{error}");
    world.broker.stop().await;
}

/// A new token is put into the file, the old one is revoked: the program notices nothing.
#[tokio::test]
async fn a_client_goes_over_to_the_next_token_in_its_file_without_an_error_or_a_loss() {
    const RECORDS: u64 = 100;
    let world = World::new().await;
    world.broker.create("events", 1).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let ops = sdk(&world).build().unwrap().admin();
    let next = async |n: u64| {
        let token = NewToken::new(format!("t{n}")).identity("token:billing");
        let secret = ops.create_token(token).await.unwrap().secret.0;
        std::fs::write(dir.path().join("new"), format!("{secret}\n")).unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
    };
    next(0).await;
    let client = sdk(&world).token_file(&file).connect().await.unwrap();
    let producer = client.producer("events").open().await.unwrap();
    let mut consumer = client.consumer("events").open().await.unwrap();
    for n in 0..RECORDS {
        if n == RECORDS / 2 {
            next(1).await;
            ops.revoke_token("t0").await.unwrap();
        }
        let stored = producer.send(Record::new(&n.to_string())).await.unwrap().await.unwrap();
        assert_eq!(stored.offset, n);
        let record = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((record.offset, &*record.value), (n, n.to_string().as_bytes()));
    }
    assert_eq!(client.hello().await.unwrap().identity, "token:billing");
    world.broker.stop().await;
}

#[tokio::test]
async fn a_file_without_a_token_is_named_before_anything_is_sent() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    for (content, word) in
        [(None, "cannot read"), (Some("\n"), "empty"), (Some("a\nb\n"), "more than one line")]
    {
        let file = dir.path().join("token");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = sdk(&world).token_file(&file).build().unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(file.to_str().unwrap()), "{error}");
    }
    world.broker.stop().await;
}
