//! Commits: what is taken, what is refused, and when the answer comes.

use sealstream_broker::log::CommitError;
use sealstream_protocol::message::group::{Commit, Committed, NO_PLACE};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::{FaultCode, Message};
use uuid::Uuid;

use super::member::{Member, join_of};
use super::operators::describe;
use crate::harness::{TestBroker, assert_code, batch, eventually};

/// A topic of two partitions with five records in the first.
async fn filled() -> TestBroker {
    let broker = TestBroker::start().await;
    broker.create("events", 2).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..5 {
        producer.produce(sequence, 0, batch(id, sequence, "x")).await;
        producer.recv_ack().await;
    }
    broker
}

#[tokio::test]
async fn each_partition_of_a_commit_is_taken_or_refused_by_itself() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let [mut stale, beyond] = [member.progress(0, 3), member.progress(1, 1)];
    stale.epoch += 7;
    let refused = member.commit(vec![member.progress(0, 3), beyond, stale]).await;
    assert_code(&refused[0], FaultCode::OutOfRange);
    assert_eq!(refused[0].offset, Some(0));
    assert_code(&refused[1], FaultCode::StaleEpoch);
    assert_eq!(refused.len(), 2);
    let refused = member.commit(vec![member.progress(0, 2)]).await;
    assert_code(&refused[0], FaultCode::CommitBehind);
    assert_eq!(refused[0].offset, Some(3));
    assert_code(&member.commit(vec![member.progress(0, NO_PLACE)]).await[0], FaultCode::InvalidRequest);
    assert!(member.commit(vec![]).await.is_empty());
    let id = member.id;
    drop(member);
    let again = Member::join(&broker, "g", id, &["events"]).await;
    assert_eq!(again.has[0].committed, Some((3, 1)));
    broker.stop().await;
}

#[tokio::test]
async fn nobody_but_the_owner_commits() {
    let broker = filled().await;
    let mut first = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let mut second = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let of_first = first.progress(0, 3);
    assert_code(&second.commit(vec![of_first.clone()]).await[0], FaultCode::StaleEpoch);
    first.recv_revoke().await;
    assert!(first.commit(vec![of_first]).await.is_empty());
    // What is revoked is committed until it is released, and not afterwards.
    let revoked = first.progress(1, 0);
    assert!(first.commit(vec![revoked.clone()]).await.is_empty());
    first.release(&[(1, 0)]).await;
    assert_code(&first.commit(vec![revoked]).await[0], FaultCode::StaleEpoch);
    second.recv_assign().await;
    broker.stop().await;
}

#[tokio::test]
async fn the_answer_to_a_commit_waits_for_its_durability() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let hold = broker.engine.hold_durability();
    for (request, offset) in [(1, 2), (2, 4)] {
        let progress = vec![member.progress(0, offset)];
        member.wire.send(Message::Commit(Commit { request, progress })).await;
    }
    member.wire.assert_silent().await;
    hold.release();
    for expected in [1, 2] {
        let Message::Committed(Committed { request, refused }) = member.recv().await else {
            panic!("Committed was due")
        };
        assert_eq!((request, refused.len()), (expected, 0));
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_commit_that_the_disk_did_not_take_is_refused_and_can_be_tried_again() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert!(member.commit(vec![member.progress(0, 1)]).await.is_empty());
    broker.engine.fail_next_commit(CommitError::DiskFull);
    assert_code(&member.commit(vec![member.progress(0, 4)]).await[0], FaultCode::DiskFull);
    // The group is where it was, and not beyond: what comes in between is not behind.
    assert!(member.commit(vec![member.progress(0, 3)]).await.is_empty());
    broker.stop().await;
}

#[tokio::test]
async fn a_commit_that_fails_does_not_take_back_a_later_one() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let hold = broker.engine.hold_durability();
    broker.engine.fail_next_commit(CommitError::DiskFull);
    // The first fails at once, the second is under way still.
    for (request, offset) in [(1, 3), (2, 4)] {
        let progress = vec![member.progress(0, offset)];
        member.wire.send(Message::Commit(Commit { request, progress })).await;
    }
    let Message::Committed(first) = member.recv().await else { panic!("Committed was due") };
    assert_code(&first.refused[0].1, FaultCode::DiskFull);
    let progress = vec![member.progress(0, 2)];
    member.wire.send(Message::Commit(Commit { request: 3, progress })).await;
    member.wire.assert_silent().await;
    hold.release();
    let Message::Committed(second) = member.recv().await else { panic!("Committed was due") };
    assert_eq!((second.request, second.refused.len()), (2, 0));
    let Message::Committed(third) = member.recv().await else { panic!("Committed was due") };
    assert_code(&third.refused[0].1, FaultCode::CommitBehind);
    assert_eq!(describe(&broker, "g").await.partitions[0].committed, Some((4, 1)));
    broker.stop().await;
}

#[tokio::test]
async fn nobody_is_told_of_a_commit_before_it_is_durable() {
    let broker = filled().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    let hold = broker.engine.hold_durability();
    let progress = vec![member.progress(0, 4)];
    member.wire.send(Message::Commit(Commit { request: 1, progress })).await;
    member.wire.assert_silent().await;
    assert_eq!(describe(&broker, "g").await.partitions[0].committed, None);
    // Nor is the member itself, when it comes again.
    let mut again = broker.session(SessionKind::Group).await;
    again.send(join_of("g", member.id, &["events"])).await;
    let early = tokio::time::timeout(std::time::Duration::ZERO, again.recv()).await;
    assert!(early.is_err(), "{early:?}");
    hold.release();
    assert!(matches!(again.recv().await, Message::Joined(_)));
    let Message::Assign(assign) = again.recv().await else { panic!("an Assign was due") };
    assert_eq!(assign.assignments[0].committed, Some((4, 1)));
    assert_eq!(describe(&broker, "g").await.partitions[0].committed, Some((4, 1)));
    broker.stop().await;
}

#[tokio::test]
async fn a_member_is_in_when_that_is_durable_and_not_before() {
    let broker = filled().await;
    let hold = broker.engine.hold_durability();
    let mut wire = broker.session(SessionKind::Group).await;
    wire.send(join_of("g", Uuid::new_v4(), &["events"])).await;
    let mut admin = broker.admin().await;
    for _ in 0..20 {
        let early = tokio::time::timeout(std::time::Duration::ZERO, wire.recv()).await;
        assert!(early.is_err(), "{early:?}");
        admin.assert_silent().await;
    }
    hold.release();
    assert!(matches!(wire.recv().await, Message::Joined(_)));
    broker.stop().await;
}

#[tokio::test]
async fn a_join_that_the_disk_did_not_take_did_not_happen() {
    let broker = filled().await;
    broker.engine.fail_next_commit(CommitError::DiskFull);
    let id = Uuid::new_v4();
    let mut wire = broker.session(SessionKind::Group).await;
    wire.send(join_of("g", id, &["events"])).await;
    assert_code(&wire.recv_error().await, FaultCode::DiskFull);
    eventually("the group that nobody is in is gone", async || {
        super::operators::list(&broker).await.is_empty()
    })
    .await;
    let member = Member::join(&broker, "g", id, &["events"]).await;
    assert_eq!(member.partitions().len(), 2);
    broker.stop().await;
}
