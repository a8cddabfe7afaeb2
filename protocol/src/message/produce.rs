//! Produce sessions: topics are opened under a handle, then batches are pipelined; each is answered once.
//!
//! Order is promised within a partition, not between partitions. After a refusal the partition answers
//! `OutOfSequence` until the batch of the awaited sequence arrives.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::codec::{Field, TagWriter, read_tag, read_tags, structure};
use super::error::DecodeError;
use crate::wire::Reader;

/// Opens a topic under a handle; answered by [`TopicOpened`] or [`OpenRefused`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTopic {
    /// Chosen by the client, unique in the session.
    pub handle: u32,
    /// The topic.
    pub name: String,
    /// Tag 1: the topic must be this one; another of the same name answers `TopicGone`.
    pub id: Option<Uuid>,
}

/// The topic can be produced to under the handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOpened {
    /// The client's.
    pub handle: u32,
    /// Which topic it is.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: u32,
}

/// The topic cannot be produced to; the session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRefused {
    /// The client's.
    pub handle: u32,
    /// Why.
    pub fault: super::Fault,
}

/// A batch for a partition; answered by [`Ack`] or [`ProduceRefused`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produce {
    /// Chosen by the client: comes back in the answer.
    pub request: u64,
    /// The topic's handle.
    pub handle: u32,
    /// The partition.
    pub partition: u32,
    /// The payload: one record batch ([`crate::batch`]).
    pub batch: Bytes,
}

/// The batch is stored as durably as its topic promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The batch's.
    pub request: u64,
    /// The offset of its first record.
    pub base_offset: u64,
    /// The log epoch that it was stored in.
    pub epoch: u32,
    /// Whether it had been stored before: the answer to the first attempt was lost.
    pub duplicate: bool,
}

/// The batch is not stored, or with a fault of class `Broker` perhaps stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRefused {
    /// The batch's.
    pub request: u64,
    /// Why.
    pub fault: super::Fault,
}

structure!(OpenTopic { handle, name } tags { 1: id });
structure!(TopicOpened { handle, id, partitions });
structure!(OpenRefused { handle, fault });
structure!(Produce { request, handle, partition } payload batch);
structure!(Ack { request, base_offset, epoch, duplicate });
structure!(ProduceRefused { request, fault });
