//! What programs rely on, seen from outside.

use std::fmt::Debug;

use sealstream_client::admin::{NewToken, NewTopic};
use sealstream_client::consumer::{
    BatchRecords, BorrowedRecord, ConsumedBatch, ConsumerBuilder, OnDiverged, OnOutOfRange,
};
use sealstream_client::group::{
    AssignedPartition, CommitError, DeadLetters, GroupBatch, GroupConsumerBuilder, GroupError, GroupEvent,
    GroupEvents, GroupHandle, GroupPosition, JoinError, NotAssigned, ProcessError, Processed, RefusedCommit,
};
use sealstream_client::producer::{
    BatchDelivery, DeliveryReport, DeliveryReports, OpenProducerError, ProducerBuilder, Retry, SinkError,
    StoredRange, TrySendError,
};
use sealstream_client::token::TokenError;
use sealstream_client::wire::{
    FrameReader, FrameWriter, Liveness, OpenSessionError, Pulse, Session, WireError,
};
use sealstream_client::{
    Admin, AdminError, BuildError, Client, ClientBuilder, ClientError, ClientEvent, ClientEvents,
    ConsumeError, Consumer, ConsumerRecord, Delivery, DeliveryError, GroupConsumer, GroupRecord,
    NotAcknowledged, OptionError, OwnedRecord, Producer, Record, RecordMetadata, RecordSink, RetryPolicy,
    SeekError, SendError, SendPermit, SessionError, json,
};

fn shared<T: Debug + Send + Sync>() {}
fn thrown<T: std::error::Error + Send + Sync + 'static>() {}

macro_rules! each {
    ($check:ident: $($kind:ty),+ $(,)?) => { $($check::<$kind>();)+ };
}

/// It is the compiler that tests this: a type that is not any more does not compile.
#[test]
fn everything_is_shown_and_shared_between_threads() {
    each!(shared: Admin, NewToken, NewTopic, RetryPolicy, Client, ClientBuilder, ClientEvent, ClientEvents, Consumer);
    each!(shared: BatchRecords, BorrowedRecord<'static>, ConsumedBatch, ConsumerBuilder, ConsumerRecord, OnDiverged);
    each!(shared: OnOutOfRange, AssignedPartition, DeadLetters, GroupBatch, GroupConsumer, GroupConsumerBuilder);
    each!(shared: GroupEvent, GroupEvents, GroupHandle, GroupPosition, GroupRecord, Processed, RefusedCommit);
    each!(shared: BatchDelivery, Delivery, DeliveryReport, DeliveryReports, OwnedRecord, Producer, ProducerBuilder);
    each!(shared: Record<'static>, RecordMetadata, RecordSink, Retry, SendPermit, StoredRange, Liveness, Pulse);
    each!(shared: FrameReader<&'static [u8]>, FrameWriter<Vec<u8>>, Session);
}

#[test]
fn every_error_can_be_thrown_on_from_any_task() {
    each!(thrown: AdminError, BuildError, ClientError, CommitError, ConsumeError, DeliveryError, GroupError, JoinError);
    each!(thrown: NotAcknowledged, NotAssigned, OpenProducerError, OptionError, OpenSessionError, ProcessError, SeekError);
    each!(thrown: SendError, SessionError, SinkError, TokenError, TrySendError, WireError, json::DecodeError);
    each!(thrown: json::EncodeError);
}

/// What a consumer gives can be made, for the tests of the program that it is given to.
#[test]
fn a_programs_own_tests_can_make_what_it_is_given() {
    let mut record = ConsumerRecord::new(3, 77, "18.4");
    record.key = Some("sensor-7".into());
    let record = GroupRecord::new("measurements", record);
    let next = record.next_position();
    assert_eq!((&*next.topic, next.partition, next.offset), ("measurements", 3, 78));
    // One that a program has kept elsewhere holds under any assignment.
    let kept = GroupPosition::new("measurements", 3, 78);
    assert_eq!((kept.assignment, kept.offset, next.assignment), (None, next.offset, Some(0)));
    let copy = OwnedRecord::from(record.record.clone()).partition(1);
    assert_eq!((copy.key.as_deref(), copy.partition), (Some(&b"sensor-7"[..]), Some(1)));
}
