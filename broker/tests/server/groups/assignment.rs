//! Who gets what: joins, releases, topics that come, grow and go.

use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::DeleteTopic;
use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::NO_PLACE;
use sealstream_protocol::message::hello::SessionKind;
use uuid::Uuid;

use super::member::{Member, join_of};
use crate::harness::{TestBroker, batch};

#[tokio::test]
async fn the_members_of_a_group_share_its_partitions_and_go_on_where_it_was() {
    let broker = TestBroker::start().await;
    broker.create("events", 4).await;
    let mut producer = broker.producer("events").await;
    let id = Uuid::new_v4();
    for sequence in 0..3 {
        producer.produce(sequence, 2, batch(id, sequence, &sequence.to_string())).await;
        producer.recv_ack().await;
    }
    let mut first = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert_eq!(first.partitions().len(), 4);
    assert!(first.has.iter().all(|has| has.committed.is_none() && has.name == "events"));

    let mut second = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert_eq!(second.partitions(), [], "nothing moves before it is released");
    let revoked = first.recv_revoke().await;
    assert_eq!(revoked.deadline_ms, 30_000);
    let revoked: Vec<u32> = revoked.partitions.iter().map(|(at, _)| at.partition).collect();
    assert_eq!(revoked, [2, 3]);
    let before = first.partitions();
    first.release(&[(2, 2), (3, NO_PLACE)]).await;
    let got = second.recv_assign().await;
    assert_eq!(got[0].at.partition, 2);
    assert_eq!(got[0].committed, Some((2, 1)), "what was released with a place is committed");
    assert_eq!((got[1].at.partition, got[1].committed), (3, None));
    assert!(got.iter().all(|has| has.epoch > before[has.at.partition as usize].1));

    let mut consumer = broker.consumer().await;
    let mut subscribe = second.subscription("events", 2);
    subscribe.position = Position::Offset(2);
    subscribe.epoch = Some(1);
    consumer.send(Message::Subscribe(subscribe)).await;
    assert!(matches!(consumer.recv().await, Message::Subscribed(_)));
    assert_eq!(consumer.recv_values(1).await, ["2"]);

    first.leave().await;
    second.recv_assign().await;
    assert_eq!(second.partitions().len(), 4);
    second.leave().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_that_does_not_exist_yet_is_named_and_assigned_once_it_does() {
    let broker = TestBroker::start().await;
    broker.create("here", 1).await;
    let mut wire = broker.session(SessionKind::Group).await;
    wire.send(join_of("g", Uuid::new_v4(), &["here", "later"])).await;
    let Message::Joined(joined) = wire.recv().await else { panic!("Joined was due") };
    assert_eq!(joined.missing, Some(vec!["later".to_owned()]));
    assert_eq!((joined.heartbeat_ms, joined.grace_ms), (3_000, 10_000));
    let Message::Assign(assign) = wire.recv().await else { panic!("an Assign was due") };
    assert_eq!(assign.assignments.len(), 1);
    let later = broker.create("later", 2).await;
    let Message::Assign(assign) = wire.recv().await else { panic!("an Assign was due") };
    assert!(assign.assignments.iter().all(|has| has.at.topic == later.id && has.name == "later"));
    assert_eq!(assign.assignments.len(), 2);
    broker.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_is_revoked_at_once_and_its_offsets_are_forgotten() {
    let broker = TestBroker::start().await;
    broker.create("events", 1).await;
    let mut producer = broker.producer("events").await;
    producer.produce(1, 0, batch(Uuid::new_v4(), 0, "x")).await;
    producer.recv_ack().await;
    let mut member = Member::join(&broker, "g", Uuid::new_v4(), &["events"]).await;
    assert!(member.commit(vec![member.progress(0, 1)]).await.is_empty());
    let mut admin = broker.admin().await;
    admin.send(Message::DeleteTopic(DeleteTopic { name: "events".into() })).await;
    assert!(matches!(admin.recv().await, Message::TopicDeleted(_)));
    let revoked = member.recv_revoke().await;
    assert_eq!((revoked.deadline_ms, revoked.partitions.len()), (0, 1));
    member.has.clear();
    let again = admin.create("events", 1).await;
    let got = member.recv_assign().await;
    assert_eq!((got[0].at.topic, got[0].committed), (again.id, None));
    member.leave().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_list_that_is_too_long_for_a_frame_comes_in_several() {
    let mut options = sealstream_broker::server::BrokerOptions::default();
    options.limits.frame = 64 << 10;
    let broker = TestBroker::with(options).await;
    broker.create("events", 500).await;
    let mut wire = broker.session(SessionKind::Group).await;
    wire.send(join_of("g", Uuid::new_v4(), &["events"])).await;
    assert!(matches!(wire.recv().await, Message::Joined(_)));
    let (mut got, mut frames) = (Vec::new(), 0);
    loop {
        let Message::Assign(assign) = wire.recv().await else { panic!("an Assign was due") };
        got.extend(assign.assignments.into_iter().map(|has| has.at.partition));
        frames += 1;
        if assign.more != Some(true) {
            break;
        }
    }
    assert_eq!((got, frames), ((0..500).collect(), 3));
    broker.stop().await;
}
