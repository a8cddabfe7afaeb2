//! Groups over stops, kills and starts of their broker, and the end of those that nobody uses.

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::clock::{ManualClock, SystemClock};
use sealstream_broker::log::memory::MemoryStore;
use sealstream_broker::server::{BrokerOptions, GroupOptions};
use sealstream_protocol::message::group::Commit;
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use uuid::Uuid;

use super::member::{Member, join_of};
use super::operators::list;
use crate::harness::{PATIENCE, TestBroker, assert_code, batch, eventually};

async fn over(store: &MemoryStore) -> TestBroker {
    TestBroker::over(BrokerOptions::default(), store, Arc::new(SystemClock)).await
}

#[tokio::test]
async fn members_resume_over_a_restart_of_the_broker_and_nothing_moves() {
    let store = MemoryStore::new(2);
    let mut broker = over(&store).await;
    broker.create("events", 4).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    producer.recv_ack().await;
    let mut first = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let mut second = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    first.recv_revoke().await;
    first.release(&[(2, 0), (3, 0)]).await;
    second.recv_assign().await;
    assert!(first.commit(vec![first.progress(0, 1)]).await.is_empty());
    let ids = [first.id, second.id];
    let had = [first.partitions(), second.partitions()];
    for killed in [false, true, false, true] {
        if killed {
            broker.running.abort();
            drop(broker);
        } else {
            broker.stop().await;
        }
        broker = over(&store).await;
        let listed = list(&broker).await;
        assert_eq!((listed.len(), listed[0].members), (1, 2));
        // The second alone at first: the first has its grace.
        let mut again = Vec::new();
        for member in [1, 0] {
            again.push(Member::join(&broker, "g", ids[member], &["events"]).await);
            assert_eq!(again.last().unwrap().partitions(), had[member]);
        }
        assert_eq!(again[1].has[0].committed.map(|(offset, _)| offset), Some(1));
        for member in &mut again {
            member.wire.assert_silent().await;
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_member_is_told_that_the_broker_goes_and_its_last_commits_are_answered() {
    let store = MemoryStore::new(2);
    let broker = over(&store).await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    producer.recv_ack().await;
    drop(producer);
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let (id, had) = (member.id, member.partitions());
    let mut waiting = broker.session(SessionKind::Group).await;
    let stopping = broker.running.shutdown(PATIENCE);
    let told = async {
        let Message::GoAway(fault) = member.wire.recv().await else { panic!("GoAway was due") };
        assert_code(&fault, FaultCode::ShuttingDown);
        let progress = vec![member.progress(0, 1)];
        member.wire.send(Message::Commit(Commit { request: 9, progress })).await;
        let Message::Committed(committed) = member.wire.recv().await else { panic!("Committed was due") };
        assert_eq!((committed.request, committed.refused.len()), (9, 0));
        // It ends by itself, as nothing more comes.
        member.wire.recv_end().await;
        assert!(matches!(waiting.recv().await, Message::GoAway(_)));
        waiting.recv_end().await;
    };
    let (stopped, ()) = tokio::join!(stopping, told);
    assert!(stopped.unwrap().in_time);
    let broker = over(&store).await;
    let again = Member::join(&broker, "g", id, &["events"]).await;
    assert_eq!(again.partitions(), had);
    assert_eq!(again.has[0].committed, Some((1, 1)));
    broker.stop().await;
}

#[tokio::test]
async fn a_group_that_nobody_uses_is_forgotten_with_its_offsets_over_restarts_too() {
    let store = MemoryStore::new(2);
    let clock = Arc::new(ManualClock::at(1_000));
    let groups = GroupOptions { idle_expiry: Duration::from_hours(1), ..GroupOptions::default() };
    let options =
        BrokerOptions { groups, retention_interval: Duration::from_millis(10), ..BrokerOptions::default() };
    let broker = TestBroker::over(options.clone(), &store, clock.clone()).await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    producer.recv_ack().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert!(member.commit(vec![member.progress(0, 1)]).await.is_empty());
    let busy = Member::join(&broker, "busy", Uuid::new_v4(), &["events"]).await;
    member.leave().await;
    clock.advance(3_000_000);
    drop((busy, producer));
    broker.stop().await;
    let broker = TestBroker::over(options, &store, clock.clone()).await;
    let busy = Member::join(&broker, "busy", Uuid::new_v4(), &["events"]).await;
    let idle: Vec<_> =
        list(&broker).await.into_iter().map(|group| (group.name, group.idle_since_ms)).collect();
    assert_eq!(idle, [("busy".to_owned(), None), ("g".to_owned(), Some(1_000))]);
    clock.advance(600_000);
    eventually("the idle group is gone", async || list(&broker).await.len() == 1).await;
    let member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert_eq!(member.has[0].committed, None);
    drop(busy);
    broker.stop().await;
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_refused_by_code() {
    let groups = GroupOptions { max_groups: 1, max_members: 1, max_partitions: 4, ..GroupOptions::default() };
    let broker = TestBroker::with(BrokerOptions { groups, ..BrokerOptions::default() }).await;
    broker.create("small", 2).await;
    broker.create("large", 5).await;
    let refused = async |group: &str, topics: &[&str]| {
        let mut wire = broker.session(SessionKind::Group).await;
        wire.send(join_of(group, Uuid::new_v4(), topics)).await;
        wire.recv_error().await
    };
    assert_code(&refused("g", &["large"]).await, FaultCode::InvalidRequest);
    eventually("a refused group takes no place", async || list(&broker).await.is_empty()).await;
    let member = Member::join(&broker, "g", Uuid::new_v4(), &["small"]).await;
    assert_code(&refused("g", &["small"]).await, FaultCode::Busy);
    let fault = refused("h", &["small"]).await;
    assert_code(&fault, FaultCode::Busy);
    assert!(fault.retry_after_ms.is_some());
    drop(member);
    broker.stop().await;
}
