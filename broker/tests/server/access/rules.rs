//! What rules let clients do, and how a change of them reaches open sessions.

use sealstream_broker::access::{Action, RuleBook, Rules};
use sealstream_broker::server::BrokerOptions;
use sealstream_client::admin::NewTopic;
use sealstream_client::{Client, ConsumeError, Record};
use sealstream_protocol::message::admin::{
    AlterTopic, CheckAccess, CreateToken, CreateTopic, DeleteTopic, DescribeTopic, ListTokens, ListTopics,
    ReloadTls, RevokeToken, ShowStatus, ShowTls, TopicList, TopicOptions,
};
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::produce::OpenTopic;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::timeout;
use uuid::Uuid;

use super::{EVERY, PROMISE, World, allow, assert_forbidden, deny};
use crate::harness::{PATIENCE, TestBroker, Wire, assert_code, batch, subscription_to};

async fn open(wire: &mut Wire, handle: u32, name: &str) -> Result<(), Fault> {
    wire.send(Message::OpenTopic(OpenTopic { handle, name: name.into(), id: None })).await;
    match wire.recv().await {
        Message::TopicOpened(_) => Ok(()),
        Message::OpenRefused(refused) => Err(refused.fault),
        other => panic!("{other:?}"),
    }
}

async fn subscribe(wire: &mut Wire, id: u32, topic: &str) -> Result<(), Fault> {
    wire.send(Message::Subscribe(subscription_to(id, topic, 0, Position::Beginning))).await;
    match wire.recv().await {
        Message::Subscribed(_) => Ok(()),
        Message::SubscriptionEnded(ended) => Err(ended.fault.unwrap()),
        other => panic!("{other:?}"),
    }
}

async fn ask(admin: &mut Wire, request: Message) -> Result<Message, Fault> {
    admin.send(request).await;
    match admin.recv().await {
        Message::RequestRefused(fault) => Err(fault),
        answer => Ok(answer),
    }
}

fn create(name: &str) -> Message {
    let options = TopicOptions::default();
    Message::CreateTopic(CreateTopic { name: name.into(), partitions: 1, if_not_exists: false, options })
}

fn alter(name: &str) -> Message {
    let options = TopicOptions { retention_ms: Some(1_000), ..TopicOptions::default() };
    Message::AlterTopic(AlterTopic { name: name.into(), options })
}

fn delete(name: &str) -> Message {
    Message::DeleteTopic(DeleteTopic { name: name.into() })
}

fn describe(name: &str) -> Message {
    Message::DescribeTopic(DescribeTopic { name: name.into() })
}

#[tokio::test]
async fn every_action_needs_its_permission_and_no_other() {
    let world = World::new().await;
    world.broker.create("orders.eu", 1).await;
    let mut tokens = Vec::new();
    for action in EVERY {
        tokens.push((action, world.token(action.name()).await));
    }
    world.publish(EVERY.map(|action| allow(&format!("token:{}", action.name()), &[action], &["orders.*"])));
    for (action, token) in tokens {
        let identity = format!("token:{}", action.name());
        let check = |outcome: Result<(), Fault>, needed: Action| match outcome {
            Ok(()) => assert_eq!(action, needed),
            Err(fault) => {
                assert_forbidden(&fault, &identity, "orders.eu");
                assert_ne!(action, needed);
            }
        };
        let mut producer = world.with_token(SessionKind::Produce, &token).await;
        assert_eq!(producer.welcome.as_ref().unwrap().identity, identity);
        check(open(&mut producer, 1, "orders.eu").await, Action::Produce);
        let mut consumer = world.with_token(SessionKind::Consume, &token).await;
        check(subscribe(&mut consumer, 1, "orders.eu").await, Action::Consume);
        let mut admin = world.with_token(SessionKind::Admin, &token).await;
        check(ask(&mut admin, alter("orders.eu")).await.map(drop), Action::Admin);
        ask(&mut admin, describe("orders.eu")).await.unwrap();
        check(ask(&mut admin, delete("orders.eu")).await.map(drop), Action::Admin);
        if action == Action::Admin {
            ask(&mut admin, create("orders.eu")).await.unwrap();
            let fault = ask(&mut admin, create("payments")).await.unwrap_err();
            assert_forbidden(&fault, &identity, "payments");
        }
    }
    world.broker.stop().await;
}

#[tokio::test]
async fn what_concerns_the_broker_itself_needs_admin_on_everything() {
    let world = World::new().await;
    let (some, all) = (world.token("some").await, world.token("all").await);
    world.publish([allow("token:some", &EVERY, &["a*", "b*"]), allow("token:all", &[Action::Admin], &["*"])]);
    let requests = || {
        [
            Message::ShowTls(ShowTls {}),
            Message::ShowStatus(ShowStatus {}),
            Message::ReloadTls(ReloadTls {}),
            Message::ListTokens(ListTokens {}),
            Message::CreateToken(CreateToken { name: "n".into(), identity: None, lifetime_ms: None }),
            Message::RevokeToken(RevokeToken { name: "n".into() }),
        ]
    };
    let mut admin = world.with_token(SessionKind::Admin, &some).await;
    for request in requests() {
        assert_forbidden(&ask(&mut admin, request).await.unwrap_err(), "token:some", "(*)");
    }
    let mut admin = world.with_token(SessionKind::Admin, &all).await;
    for request in requests() {
        if let Err(fault) = ask(&mut admin, request).await {
            // It was given no TLS.
            assert_code(&fault, FaultCode::Unsupported);
        }
    }
    world.broker.stop().await;
}

/// The same answer to a name that there is and to one that there is not.
#[tokio::test]
async fn who_may_not_use_a_topic_is_not_told_whether_it_is_there() {
    let world = World::new().await;
    world.broker.create("hidden", 1).await;
    world.publish([allow("anonymous", &EVERY, &["mine.*"])]);
    let mut told = Vec::new();
    for name in ["hidden", "absent"] {
        let mut admin = world.broker.admin().await;
        let mut producer = world.broker.session(SessionKind::Produce).await;
        let mut consumer = world.broker.consumer().await;
        let faults = [
            ask(&mut admin, describe(name)).await.unwrap_err(),
            ask(&mut admin, create(name)).await.unwrap_err(),
            ask(&mut admin, alter(name)).await.unwrap_err(),
            ask(&mut admin, delete(name)).await.unwrap_err(),
            open(&mut producer, 1, name).await.unwrap_err(),
            subscribe(&mut consumer, 1, name).await.unwrap_err(),
        ];
        for fault in &faults {
            assert_forbidden(fault, "anonymous", name);
        }
        told.push(faults.map(|fault| fault.text.replace(name, "NAME")));
    }
    assert_eq!(told[0], told[1]);
    world.broker.stop().await;
}

#[tokio::test]
async fn a_list_shows_what_one_may_use_and_its_pages_are_whole() {
    let world = World::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.broker.create(name, 1).await;
    }
    world.publish([
        allow("anonymous", &[Action::Produce], &["a"]),
        allow("anonymous", &[Action::Consume], &["c"]),
        allow("anonymous", &[Action::Admin], &["e"]),
        allow("anonymous", &EVERY, &["d"]),
        deny("anonymous", &EVERY, &["d"]),
    ]);
    let mut admin = world.broker.admin().await;
    let mut list = async |after: &str, limit| {
        let request = Message::ListTopics(ListTopics { after: after.into(), limit });
        let Ok(Message::TopicList(TopicList { topics, more })) = ask(&mut admin, request).await else {
            panic!()
        };
        (topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>().join(" "), more)
    };
    assert_eq!(list("", 0).await, ("a c e".into(), false));
    assert_eq!(list("", 2).await, ("a c".into(), true));
    assert_eq!(list("c", 1).await, ("e".into(), false));
    world.broker.stop().await;
}

#[tokio::test]
async fn a_permission_taken_away_ends_what_rested_on_it_at_once_and_nothing_else() {
    let world = World::new().await;
    for name in ["kept", "lost"] {
        world.broker.create(name, 1).await;
    }
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    let mut producer = world.broker.producer("lost").await;
    producer.produce(1, 0, batch(ids[0], 0, "a")).await;
    producer.recv_ack().await;
    open(&mut producer, 2, "kept").await.unwrap();
    let mut consumer = world.broker.consumer().await;
    consumer.subscribe(7, "lost", 0, Position::Beginning).await;
    assert_eq!(consumer.recv_values(1).await, ["a"]);
    consumer.subscribe(8, "kept", 0, Position::Beginning).await;

    let all = || allow("anonymous", &EVERY, &["*"]);
    world.publish([all(), deny("anonymous", &[Action::Produce, Action::Consume], &["lost"])]);
    // A subscription that is at the end of its log, of a client that says nothing.
    let Message::SubscriptionEnded(ended) = timeout(PROMISE, consumer.recv()).await.unwrap() else {
        panic!()
    };
    assert_eq!(ended.subscription, 7);
    assert_forbidden(&ended.fault.unwrap(), "anonymous", "lost");
    producer.produce(2, 0, batch(ids[0], 1, "b")).await;
    let refused = producer.recv_refusal().await;
    assert_eq!(refused.request, 2);
    assert_forbidden(&refused.fault, "anonymous", "lost");

    // Nothing else has changed for either session.
    let mut other = world.broker.producer("kept").await;
    other.produce(1, 0, batch(ids[1], 0, "c")).await;
    other.recv_ack().await;
    assert_eq!(consumer.recv_values(1).await, ["c"]);
    assert_forbidden(&subscribe(&mut consumer, 9, "lost").await.unwrap_err(), "anonymous", "lost");
    consumer.assert_silent().await;

    // Given back, the handle serves again, in the order of the producer.
    world.publish([all()]);
    producer.produce(3, 0, batch(ids[0], 2, "too early")).await;
    assert_code(&producer.recv_refusal().await.fault, FaultCode::OutOfSequence);
    producer.produce(4, 0, batch(ids[0], 1, "b")).await;
    assert_eq!(producer.recv_ack().await.base_offset, 1);
    consumer.subscribe(7, "lost", 0, Position::Beginning).await;
    assert_eq!(consumer.recv_values(2).await, ["a", "b"]);
    world.broker.stop().await;
}

#[tokio::test]
async fn a_batch_that_waits_for_memory_when_its_permission_goes_is_not_stored() {
    let book = RuleBook::default();
    let options = BrokerOptions {
        rules: book.clone(),
        produce_budget: 1 << 10,
        produce_patience: PATIENCE,
        ..BrokerOptions::default()
    };
    let broker = TestBroker::with(options).await;
    broker.create("events", 2).await;
    let mut greedy = broker.producer("events").await;
    let mut waiting = broker.producer("events").await;
    let hold = broker.engine.hold_durability();
    let large = "x".repeat(2 << 10);
    greedy.produce(1, 0, batch(Uuid::new_v4(), 0, &large)).await;
    greedy.assert_silent().await;
    waiting.produce(1, 1, batch(Uuid::new_v4(), 0, &large)).await;
    // By then it has been read, and waits: were it not, it would be refused all the same.
    for _ in 0..10 {
        greedy.assert_silent().await;
    }
    book.publish(Rules::new([allow("dns:a", &EVERY, &["*"])], [""; 0]).unwrap());
    hold.release();
    // It was stored before.
    greedy.recv_ack().await;
    assert_forbidden(&waiting.recv_refusal().await.fault, "anonymous", "events");
    book.publish(Rules::default());
    let mut consumer = broker.consumer().await;
    assert_eq!(consumer.subscribe(1, "events", 1, Position::Beginning).await.end, 0);
    broker.stop().await;
}

#[tokio::test]
async fn anybody_may_ask_about_himself_and_an_admin_about_all_and_is_told_the_rule() {
    let world = World::new().await;
    let token = world.token("ops").await;
    world.publish([
        deny("dns:a", &EVERY, &["secret"]),
        allow("dns:*", &[Action::Produce], &["*"]),
        allow("token:ops", &[Action::Admin], &["*"]),
    ]);
    let check = |identity: &str, action, topic: &str| {
        Message::CheckAccess(CheckAccess { identity: identity.into(), action, topic: topic.into() })
    };
    let mut ops = world.with_token(SessionKind::Admin, &token).await;
    for (identity, topic, allowed, rule) in [
        ("dns:a", "open", true, Some(2)),
        ("dns:a", "secret", false, Some(1)),
        ("dns:b", "secret", true, Some(2)),
        ("cn:a", "open", false, None),
    ] {
        let answer = ask(&mut ops, check(identity, Action::Produce, topic)).await;
        let Ok(Message::AccessChecked(checked)) = answer else { panic!("{answer:?}") };
        assert_eq!(
            (checked.allowed, checked.rule.map(|rule| rule.number)),
            (allowed, rule),
            "{identity} {topic}"
        );
        assert!(!checked.reason.is_empty());
    }
    let mut anybody = world.broker.admin().await;
    for own in ["", "anonymous"] {
        let answer = ask(&mut anybody, check(own, Action::Consume, "open")).await;
        let Ok(Message::AccessChecked(checked)) = answer else { panic!("{answer:?}") };
        assert!(!checked.allowed);
    }
    let fault = ask(&mut anybody, check("dns:a", Action::Produce, "open")).await.unwrap_err();
    assert_forbidden(&fault, "anonymous", "(*)");
    let long = "x".repeat(3000);
    let fault = ask(&mut ops, check(&long, Action::Produce, "open")).await.unwrap_err();
    assert_code(&fault, FaultCode::InvalidRequest);
    world.broker.stop().await;
}

#[tokio::test]
async fn the_sdk_tries_no_denial_again_and_passes_the_remedy_on() {
    let world = World::new().await;
    world.broker.create("events", 1).await;
    let client = Client::builder()
        .url(format!("tls://{}", world.broker.addr()))
        .transport(std::sync::Arc::new(world.broker.network.clone()))
        .build()
        .unwrap();
    let producer = client.producer("events").open().await.unwrap();
    let mut consumer = client.consumer("events").open().await.unwrap();
    producer.send(Record::new("a")).await.unwrap().await.unwrap();
    assert_eq!(&*consumer.next().await.unwrap().unwrap().value, b"a");
    world.publish([allow("dns:a", &EVERY, &["*"])]);

    let error = producer.send(Record::new("b")).await.unwrap().await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("auth.rule"), "{error}");
    let error = timeout(PROMISE, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&error, ConsumeError::Refused { .. }) && !error.is_retryable(), "{error}");
    assert!(error.to_string().contains("auth.rule"), "{error}");
    let error = client.producer("events").open().await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("anonymous may not produce"), "{error}");
    let error = client.admin().create_topic(NewTopic::new("other")).await.unwrap_err();
    assert_eq!(error.code(), Some(FaultCode::Forbidden));
    assert!(!error.is_retryable(), "{error}");
    client.close().await;
    world.broker.stop().await;
}
