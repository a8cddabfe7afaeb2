//! Clients of the SDK that write down what they did and were told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sealstream_client::group::{GroupBatch, GroupConsumer};
use sealstream_client::{Consumer, Producer, Record};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::record::{Action, GroupAction, Operation, Outcome, Told, now};

/// Partitions of the topic.
pub(crate) const PARTITIONS: u32 = 4;

/// Records of a producer that are under way.
pub(crate) const UNDER_WAY: usize = 64;

/// The number of the one group.
pub(crate) const GROUP_NUMBER: u32 = 1;

/// Produces values that name the producer and count, one `every` so often, to one partition after the other, and writes down what it
/// is told of each.
pub(crate) async fn produce(
    producer: Producer,
    number: u32,
    every: Duration,
    notes: mpsc::Sender<Operation>,
    stopped: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(UNDER_WAY));
    let mut under_way = JoinSet::new();
    for count in 0_u32.. {
        if *stopped.borrow() {
            break;
        }
        let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
        let value = u64::from(number) << 32 | u64::from(count);
        let partition = count % PARTITIONS;
        let begun = now();
        let delivery = producer.send(Record::new(&value.to_le_bytes()).partition(partition)).await.unwrap();
        let notes = notes.clone();
        under_way.spawn(async move {
            let outcome = match delivery.await {
                Ok(stored) => Outcome::At(stored.offset),
                Err(error) if error.maybe_stored() => Outcome::Unknown,
                Err(error) => panic!("the application was told of an error: {error}"),
            };
            let action = Action::Append { value, outcome };
            let operation = Operation { client: number, begun, ended: now(), partition, action };
            notes.send(operation).await.unwrap();
            drop(permit);
        });
        while let Some(ended) = under_way.try_join_next() {
            ended.unwrap();
        }
        tokio::time::sleep(every).await;
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    producer.close().await.unwrap();
}

/// Follows the topic, and writes down what it is given.
pub(crate) async fn read(
    mut consumer: Consumer,
    number: u32,
    notes: mpsc::Sender<Operation>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let record = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            record = consumer.next() => record.unwrap().unwrap(),
        };
        let time = now();
        let action = Action::Read { pass: 0, offset: record.offset, value: value_of(&record.value) };
        let operation =
            Operation { client: number, begun: time, ended: time, partition: record.partition, action };
        notes.send(operation).await.unwrap();
    }
    consumer.close().await;
}

/// Reads as a member of the group, commits each batch, and writes down what it is given and told.
pub(crate) async fn be_a_member(
    mut member: GroupConsumer,
    number: u32,
    notes: mpsc::Sender<Operation>,
    mut stopped: watch::Receiver<bool>,
) {
    // The partitions that it has, with the epochs.
    let mut held = BTreeSet::new();
    loop {
        let batch = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            batch = member.next_batch() => match batch {
                Some(batch) => batch.unwrap(),
                None => break,
            },
        };
        let (partition, begun) = (batch.partition, now());
        let note = |action, ended| {
            let action = Action::Group(GROUP_NUMBER, action);
            Operation { client: number, begun, ended, partition, action }
        };
        let epoch = batch.assignment;
        if held.insert((partition, epoch)) {
            // It begins where the group had come when the partition became its own.
            let committed = Some(batch.first_offset()).filter(|first| *first > 0);
            let assigned = GroupAction::Assigned { epoch, committed, complete: false };
            for action in [assigned, GroupAction::Asked { committed }] {
                notes.send(note(action, begun)).await.unwrap();
            }
        }
        for (offset, value) in records_of(&batch) {
            let action = GroupAction::Given { pass: epoch, epoch, offset, value };
            notes.send(note(action, begun)).await.unwrap();
        }
        let begun = now();
        let told = match member.commit().await {
            Ok(()) => Told::Done,
            Err(error) if error.is_lost_assignment() => Told::Unknown,
            Err(error) => panic!("the application was told of an error: {error}"),
        };
        let action = GroupAction::Commit { epoch, offset: batch.next_offset(), told };
        notes.send(Operation { begun, ..note(action, now()) }).await.unwrap();
    }
    member.close().await.unwrap();
}

fn records_of(batch: &GroupBatch) -> Vec<(u64, u64)> {
    let records = batch.records().map(|record| record.unwrap());
    records.map(|record| (record.offset, value_of(&record.value))).collect()
}

pub(crate) fn value_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}
