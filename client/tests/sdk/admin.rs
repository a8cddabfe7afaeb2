//! Requests about topics and groups, to brokers that answer late, wrongly or not at all.

use std::time::Duration;

use sealstream_client::AdminError;
use sealstream_client::admin::{
    Durability, GroupList, GroupSummary, NewTopic, Position, SoughtOffset, Topic, TopicOptions,
};
use sealstream_protocol::message::admin::{GroupSought, TopicDeleted, TopicList};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::Instant;

use crate::fake::{Fake, TOPIC};

fn topic(name: &str) -> Topic {
    Topic {
        name: name.to_owned(),
        id: TOPIC,
        partitions: 3,
        durability: Durability::Disk,
        retention_ms: 0,
        retention_bytes: 0,
        segment_bytes: 0,
        segment_ms: 0,
        created_ms: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn requests_follow_each_other_on_one_session() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        let Message::CreateTopic(create) = peer.hear().await else { panic!("not CreateTopic") };
        assert_eq!((create.name.as_str(), create.partitions, create.if_not_exists), ("t", 3, false));
        assert_eq!(create.options.durability, Some(Durability::Memory));
        assert_eq!(create.options.retention_ms, Some(60_000));
        peer.say(Message::Topic(topic("t"))).await;
        let Message::AlterTopic(alter) = peer.hear().await else { panic!("not AlterTopic") };
        assert_eq!(alter.options.retention_bytes, Some(5));
        peer.say(Message::Topic(topic("t"))).await;
        let Message::DeleteTopic(delete) = peer.hear().await else { panic!("not DeleteTopic") };
        assert_eq!(delete.name, "t");
        peer.say(Message::TopicDeleted(TopicDeleted { id: TOPIC })).await;
        assert_eq!(peer.hear_or_end().await, None, "a clean end");
        peer.finish().await;
    };
    let ask = async {
        let new = NewTopic::new("t").partitions(3).durability(Durability::Memory);
        let created = admin.create_topic(new.retention(Duration::from_mins(1))).await.unwrap();
        assert_eq!(created, topic("t"));
        let options = TopicOptions { retention_bytes: Some(5), ..TopicOptions::default() };
        admin.alter_topic("t", options).await.unwrap();
        assert_eq!(admin.delete_topic("t").await.unwrap(), TOPIC);
        admin.close().await;
    };
    tokio::join!(play, ask);
}

#[tokio::test(start_paused = true)]
async fn all_topics_are_listed_page_by_page_and_no_lie_makes_it_endless() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        for (after, names) in [("", ["a", "b"]), ("b", ["c", "d"]), ("d", ["c", "d"])] {
            let Message::ListTopics(list) = peer.hear().await else { panic!("not ListTopics") };
            assert_eq!(list.after, after);
            // The last page pretends that there is more, and begins again.
            peer.say(Message::TopicList(TopicList { topics: names.map(topic).to_vec(), more: true })).await;
        }
        peer
    };
    let (topics, _peer) = tokio::join!(admin.list_topics(), play);
    let names: Vec<_> = topics.unwrap().into_iter().map(|topic| topic.name).collect();
    assert_eq!(names[..4], ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_request_and_the_session_goes_on() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        for code in [FaultCode::UnknownTopic, FaultCode::Forbidden] {
            peer.hear().await;
            peer.say(Message::RequestRefused(Fault::new(code, "no"))).await;
        }
        peer
    };
    let ask = async {
        let error = admin.describe_topic("missing").await.unwrap_err();
        assert_eq!(error.code(), Some(FaultCode::UnknownTopic));
        assert!(error.to_string().contains("describe topic missing"), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(admin.delete_topic("t").await.unwrap_err().code(), Some(FaultCode::Forbidden));
    };
    tokio::join!(play, ask);
    assert!(!fake.has_stream());
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_is_asked_again_and_an_owner_elsewhere_too() {
    let mut fake = Fake::start().await;
    let mut owner = Fake::start_in(fake.network.clone()).await;
    let admin = fake.client().admin();
    let url = owner.url();
    let play = async {
        let mut peer = fake.session().await;
        peer.hear().await;
        peer.say(Message::RequestRefused(Fault::new(FaultCode::Busy, "later"))).await;
        peer.hear().await;
        peer.say(Message::RequestRefused(Fault::new(FaultCode::NotOwner, "there").url(url))).await;
        let mut other = owner.session().await;
        let Message::DeleteTopic(delete) = other.hear().await else { panic!("not DeleteTopic") };
        assert_eq!(delete.name, "t");
        other.say(Message::TopicDeleted(TopicDeleted { id: TOPIC })).await;
        (peer, other)
    };
    let (deleted, _peers) = tokio::join!(admin.delete_topic("t"), play);
    assert_eq!(deleted.unwrap(), TOPIC);
}

#[tokio::test(start_paused = true)]
async fn an_admin_whose_quota_is_spent_asks_again_no_sooner_than_told_on_the_same_session() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let asked = Duration::from_secs(4);
    let play = async {
        let mut peer = fake.session().await;
        peer.hear().await;
        for _ in 0..2 {
            let spent = Fault::new(FaultCode::QuotaExceeded, "spent").retry_after(asked);
            peer.say(Message::RequestRefused(spent)).await;
            let refused = Instant::now();
            let Message::DeleteTopic(_) = peer.hear().await else { panic!("not DeleteTopic") };
            let waited = refused.elapsed();
            assert!(waited >= asked && waited < asked * 2, "after {waited:?}");
        }
        peer.say(Message::TopicDeleted(TopicDeleted { id: TOPIC })).await;
        peer.hear().await;
        let spent = Fault::new(FaultCode::QuotaExceeded, "spent").retry_after(Duration::from_secs(29));
        peer.say(Message::RequestRefused(spent)).await;
        peer
    };
    let ask = async {
        // A refusal is definite, so that even what must not be done twice is asked for again.
        let deleted = admin.delete_topic("t").await;
        // Nobody asks sooner than told to: where there is no time for that, the refusal is the answer.
        (deleted, admin.delete_topic("t").await)
    };
    let ((deleted, refused), _peer) = tokio::join!(ask, play);
    assert_eq!(deleted.unwrap(), TOPIC);
    assert_eq!(refused.unwrap_err().code(), Some(FaultCode::QuotaExceeded));
    assert!(!fake.has_stream());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_repeated_blindly_is_not() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        peer.hear().await;
        drop(peer);
        let mut peer = fake.session().await;
        peer.hear().await;
        drop(peer);
        let mut peer = fake.session().await;
        let Message::CreateTopic(create) = peer.hear().await else { panic!("not CreateTopic") };
        assert!(create.if_not_exists);
        peer.say(Message::Topic(topic("t"))).await;
        peer
    };
    let ask = async {
        let error = admin.create_topic(NewTopic::new("t")).await.unwrap_err();
        assert!(matches!(error, AdminError::OutcomeUnknown { .. }), "{error}");
        assert!(error.to_string().contains("create topic t"), "{error}");
        admin.create_topic(NewTopic::new("t").if_not_exists()).await.unwrap();
    };
    let ((), _peer) = tokio::join!(ask, play);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_is_given_up_at_the_request_timeout() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        peer.hear().await;
        peer
    };
    let (deleted, _peer) = tokio::join!(admin.delete_topic("t"), play);
    let error = deleted.unwrap_err();
    assert!(matches!(error, AdminError::OutcomeUnknown { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_another_question_is_an_error_and_ends_the_session() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        peer.hear().await;
        peer.say(Message::Topic(topic("t"))).await;
        let mut next = fake.session().await;
        next.hear().await;
        next.say(Message::TopicDeleted(TopicDeleted { id: TOPIC })).await;
        (peer, next)
    };
    let ask = async {
        let error = admin.delete_topic("t").await.unwrap_err();
        assert!(error.to_string().contains("Topic"), "{error}");
        admin.delete_topic("t").await.unwrap();
    };
    let ((), _peers) = tokio::join!(ask, play);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_broker_may_have_given_up_is_not_used_again() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let answer = Message::TopicDeleted(TopicDeleted { id: TOPIC });
    let play = async {
        // The first says that it goes away, the second is left alone for too long.
        let mut first = fake.session().await;
        first.hear().await;
        first.say(answer.clone()).await;
        first.say(Message::GoAway(Fault::new(FaultCode::ShuttingDown, "bye"))).await;
        let mut second = fake.session().await;
        second.hear().await;
        second.say(answer.clone()).await;
        let mut third = fake.session().await;
        third.hear().await;
        third.say(answer.clone()).await;
        (first, second, third)
    };
    let ask = async {
        admin.delete_topic("a").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        admin.delete_topic("b").await.unwrap();
        tokio::time::sleep(Duration::from_secs(16)).await;
        admin.delete_topic("c").await.unwrap();
    };
    let ((), _peers) = tokio::join!(ask, play);
}

fn group(name: &str) -> GroupSummary {
    GroupSummary { name: name.to_owned(), members: 0, partitions: 0, idle_since_ms: Some(1) }
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_page_by_page_moved_and_deleted() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        for (after, names) in [("", ["a", "b"]), ("b", ["c", "d"]), ("d", ["c", "d"])] {
            let Message::ListGroups(list) = peer.hear().await else { panic!("not ListGroups") };
            assert_eq!(list.after, after);
            peer.say(Message::GroupList(GroupList { groups: names.map(group).to_vec(), more: true })).await;
        }
        let Message::SeekGroup(seek) = peer.hear().await else { panic!("not SeekGroup") };
        assert_eq!((&*seek.group, &*seek.topic, seek.partitions), ("g", "t", vec![2]));
        assert_eq!((seek.to, seek.force), (Position::Time(7), true));
        let offsets = vec![SoughtOffset { partition: 2, offset: 9 }];
        peer.say(Message::GroupSought(GroupSought { offsets })).await;
        let Message::DeleteGroup(delete) = peer.hear().await else { panic!("not DeleteGroup") };
        assert_eq!((&*delete.name, delete.force), ("g", false));
        peer.say(Message::RequestRefused(Fault::new(FaultCode::GroupInUse, "it has members"))).await;
        peer
    };
    let ask = async {
        let names: Vec<_> = admin.list_groups().await.unwrap().into_iter().map(|group| group.name).collect();
        assert_eq!(names[..4], ["a", "b", "c", "d"]);
        let sought = admin.seek_group("g", "t", &[2], Position::Time(7), true).await.unwrap();
        assert_eq!(sought, [SoughtOffset { partition: 2, offset: 9 }]);
        assert_eq!(admin.delete_group("g", false).await.unwrap_err().code(), Some(FaultCode::GroupInUse));
    };
    tokio::join!(play, ask);
}

/// Deleted twice, it could be a group that was made anew in between.
#[tokio::test(start_paused = true)]
async fn a_group_is_not_deleted_twice_when_the_answer_is_lost() {
    let mut fake = Fake::start().await;
    let admin = fake.client().admin();
    let play = async {
        let mut peer = fake.session().await;
        assert!(matches!(peer.hear().await, Message::DeleteGroup(_)));
    };
    let (deleted, ()) = tokio::join!(admin.delete_group("g", false), play);
    assert!(matches!(deleted, Err(AdminError::OutcomeUnknown { .. })), "{deleted:?}");
    assert!(!fake.has_stream());
}
