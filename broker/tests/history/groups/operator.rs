//! Whoever is no member: makes the topic, fills it, looks at groups, moves and deletes them, and reads the log in the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealstream_protocol::message::admin::{
    CreateTopic, DeleteGroup, DescribeGroup, DescribeTopic, GroupDescription, ListGroups, SeekGroup,
    TopicOptions,
};
use sealstream_protocol::message::consume::{Position, Subscribe};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::message::produce::{OpenTopic, Produce};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use uuid::Uuid;

use super::member::{Group, records};
use super::world::{Line, PARTITIONS, TOPIC, World};
use crate::record::{Action, GroupAction, Operation, Outcome, Time, Told, now};
use crate::workload::batch;

/// Whoever is no member.
const OPERATOR: u32 = 900;

/// Bytes of a record: some of them fill a page.
const VALUE: usize = 300;

pub(super) struct Operator(Arc<World>);

impl Operator {
    pub(super) fn of(world: &Arc<World>) -> Self {
        Self(Arc::clone(world))
    }

    async fn ask(&self, request: Message) -> Option<Message> {
        self.0.open(SessionKind::Admin).await?.ask(request).await
    }

    /// Makes the topic, unless it is there; `None` if that was not acknowledged.
    pub(super) async fn make_topic(&self) -> Option<()> {
        let options = TopicOptions::default();
        let create = CreateTopic { name: TOPIC.into(), partitions: PARTITIONS, if_not_exists: true, options };
        matches!(self.ask(Message::CreateTopic(create)).await?, Message::Topic(_)).then_some(())
    }

    pub(super) async fn has_topic(&self) -> bool {
        let described = self.ask(Message::DescribeTopic(DescribeTopic { name: TOPIC.into() })).await;
        match described.expect("the broker answers") {
            Message::RequestRefused(fault) if fault.code_known() == Some(FaultCode::UnknownTopic) => false,
            Message::RequestRefused(fault) => panic!("{fault}"),
            _ => true,
        }
    }

    /// Asks which of the groups there are.
    pub(super) async fn list(&self, groups: &[Group]) -> Option<Vec<Group>> {
        let begun = now();
        let listed = self.ask(Message::ListGroups(ListGroups { after: String::new(), limit: 0 })).await?;
        let Message::GroupList(list) = listed else { panic!("a list was due: {listed:?}") };
        let there = |group: &Group| list.groups.iter().any(|summary| summary.name == group.name);
        for group in groups {
            self.note(*group, begun, 0, GroupAction::Listed { there: there(group) });
        }
        Some(groups.iter().copied().filter(there).collect())
    }

    /// Asks how far a group is in each partition.
    pub(super) async fn look(&self, group: Group) -> Option<Option<GroupDescription>> {
        let begun = now();
        let described = self.ask(Message::DescribeGroup(DescribeGroup { name: group.name.into() })).await?;
        let description = match described {
            Message::GroupDescription(description) => Some(description),
            Message::RequestRefused(fault) if fault.code_known() == Some(FaultCode::UnknownGroup) => None,
            other => panic!("a description was due: {other:?}"),
        };
        let partitions = description.iter().flat_map(|description| &description.partitions);
        let committed: BTreeMap<u32, u64> =
            partitions.filter_map(|at| Some((at.partition, at.committed?.0))).collect();
        for partition in 0..PARTITIONS {
            let committed = committed.get(&partition).copied();
            self.note(group, begun, partition, GroupAction::Asked { committed });
        }
        Some(description)
    }

    /// Moves a group to an offset in all partitions.
    pub(super) async fn seek(&self, group: Group, offset: u64) -> Option<()> {
        let begun = now();
        let to = Position::Offset(offset);
        let (name, topic) = (group.name.to_owned(), TOPIC.to_owned());
        let seek = SeekGroup { group: name, topic, partitions: vec![], to, force: false };
        let answer = self.ask(Message::SeekGroup(seek)).await;
        let told = told_of(answer.as_ref());
        for partition in 0..PARTITIONS {
            self.note(group, begun, partition, GroupAction::Sought { offset, told });
        }
        answer.map(drop)
    }

    pub(super) async fn delete(&self, group: Group) -> Option<()> {
        let begun = now();
        let delete = DeleteGroup { name: group.name.into(), force: false };
        let answer = self.ask(Message::DeleteGroup(delete)).await;
        self.note(group, begun, 0, GroupAction::Deleted { told: told_of(answer.as_ref()) });
        answer.map(drop)
    }

    fn note(&self, group: Group, begun: Time, partition: u32, action: GroupAction) {
        let action = Action::Group(group.number, action);
        self.0.notes.add(Operation { client: OPERATOR, begun, ended: now(), partition, action });
    }

    /// Appends records to a partition, one after the other, with values that begin with the client's number.
    pub(super) async fn produce(&self, client: u32, partition: u32, count: u32) -> Option<()> {
        let mut line: Option<Line> = None;
        let (mut producer, mut sequence) = (Uuid::new_v4(), 0);
        for index in 0..count {
            if line.is_none() {
                line = Some(self.open_topic().await?);
            }
            let value = u64::from(client) << 32 | u64::from(index);
            let batch = batch(value, VALUE, producer, sequence).into_bytes();
            sequence += 1;
            let begun = now();
            let request = Produce { request: value, handle: 1, partition, batch };
            let answer = match &mut line {
                Some(line) => line.ask(Message::Produce(request)).await,
                None => None,
            };
            let outcome = match answer {
                Some(Message::Ack(ack)) => Outcome::At(ack.base_offset),
                Some(Message::ProduceRefused(refused)) if is_definite(&refused.fault) => Outcome::Refused,
                Some(Message::ProduceRefused(_)) | None => Outcome::Unknown,
                Some(other) => panic!("an answer was due: {other:?}"),
            };
            let action = Action::Append { value, outcome };
            self.0.notes.add(Operation { client, begun, ended: now(), partition, action });
            if !matches!(outcome, Outcome::At(_)) {
                (line, producer, sequence) = (None, Uuid::new_v4(), 0);
            }
        }
        Some(())
    }

    async fn open_topic(&self) -> Option<Line> {
        let mut line = self.0.open(SessionKind::Produce).await?;
        let open = OpenTopic { handle: 1, name: TOPIC.into(), id: None };
        matches!(line.ask(Message::OpenTopic(open)).await?, Message::TopicOpened(_)).then_some(line)
    }

    /// The log from its start to its end, by partition.
    pub(super) async fn read_log(&self) -> BTreeMap<u32, Vec<(u64, u64)>> {
        let mut log = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let mut line = self.0.open(SessionKind::Consume).await.expect("the broker answers");
            let subscribe = Subscribe {
                subscription: 1,
                topic: TOPIC.into(),
                partition,
                position: Position::Beginning,
                topic_id: None,
                epoch: None,
                group: None,
            };
            let subscribed = line.ask(Message::Subscribe(subscribe)).await.expect("the broker answers");
            let Message::Subscribed(subscribed) = subscribed else { panic!("{subscribed:?}") };
            let read: &mut Vec<(u64, u64)> = log.entry(partition).or_default();
            while (read.len() as u64) < subscribed.end {
                let message = self.0.unless_lost(line.hear()).await;
                let Some(Message::Data(data)) = message else { panic!("data was due: {message:?}") };
                read.extend(records(data).into_iter().map(|(offset, _, value)| (offset, value)));
            }
        }
        log
    }
}

fn told_of(answer: Option<&Message>) -> Told {
    match answer {
        Some(Message::RequestRefused(fault)) if is_definite(fault) => Told::Refused,
        Some(Message::RequestRefused(_)) | None => Told::Unknown,
        Some(_) => Told::Done,
    }
}

/// Whether a refusal says that nothing happened.
fn is_definite(fault: &Fault) -> bool {
    !matches!(
        fault.code_known(),
        Some(FaultCode::Storage | FaultCode::ShuttingDown | FaultCode::Internal) | None
    )
}
