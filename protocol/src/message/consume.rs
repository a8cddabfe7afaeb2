//! Consume sessions: subscriptions come and go while the broker pushes what is durable.
//!
//! There is no credit: the transport's flow control is the back-pressure.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::codec::{Field, TagWriter, read_tag, read_tags, structure};
use super::error::{DecodeError, Problem};
use crate::wire::Reader;

/// Where a subscription starts. On the wire: a byte for the kind, then eight for its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Kind 0: at the first offset that is there.
    Beginning,
    /// Kind 1: at the durable end.
    End,
    /// Kind 2: at this offset.
    Offset(u64),
    /// Kind 3: at the first batch that was appended at or after this time, in milliseconds since the Unix epoch.
    Time(i64),
}

/// Adds a partition to the session; answered by [`Subscribed`] or [`SubscriptionEnded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Chosen by the client, unique among the session's live subscriptions.
    pub subscription: u32,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Where to start.
    pub position: Position,
    /// Tag 1: the topic must be this one; another of the same name answers `TopicGone`.
    pub topic_id: Option<Uuid>,
    /// Tag 2: the log epoch of the last record that the client has seen below the offset; a log cut since answers `Diverged`.
    pub epoch: Option<u32>,
    /// Tag 3: the membership that the partition was assigned to.
    pub group: Option<Membership>,
}

/// As whom a group's member reads a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// The member.
    pub member: Uuid,
    /// The assignment's epoch.
    pub epoch: u32,
}

/// The partition's records follow in [`Data`] frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The client's.
    pub subscription: u32,
    /// Which topic it is.
    pub topic_id: Uuid,
    /// The offset at which the records start. The first entry may hold records below it, which the client leaves out.
    pub offset: u64,
    /// The first offset in the log.
    pub start: u64,
    /// The durable end when the subscription was made: a reader that stops at the end stops here.
    pub end: u64,
    /// The log epoch.
    pub epoch: u32,
}

/// Takes a partition off the session; answered by [`SubscriptionEnded`] without a fault, after which no Data of it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The client's.
    pub subscription: u32,
}

/// The subscription is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionEnded {
    /// The client's.
    pub subscription: u32,
    /// Tag 1: why, unless the client asked for it.
    pub fault: Option<super::Fault>,
}

/// Entries of one subscription, in the order of their offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The client's.
    pub subscription: u32,
    /// The payload: one entry or more ([`crate::entry`]), whole.
    pub entries: Bytes,
}

impl Field for Position {
    fn put(&self, out: &mut BytesMut) {
        let (kind, value) = match *self {
            Self::Beginning => (0, [0; 8]),
            Self::End => (1, [0; 8]),
            Self::Offset(offset) => (2, offset.to_le_bytes()),
            Self::Time(time) => (3, time.to_le_bytes()),
        };
        out.put_u8(kind);
        out.put_slice(&value);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.u8()?;
        let value = reader.array()?;
        match (kind, u64::from_le_bytes(value)) {
            (0, 0) => Ok(Self::Beginning),
            (1, 0) => Ok(Self::End),
            (0 | 1, other) => Err(Problem::Value(other).into()),
            (2, offset) => Ok(Self::Offset(offset)),
            (3, _) => Ok(Self::Time(i64::from_le_bytes(value))),
            (other, _) => Err(Problem::Value(u64::from(other)).into()),
        }
    }
}

structure!(Subscribe { subscription, topic, partition, position } tags { 1: topic_id, 2: epoch, 3: group });
structure!(plain Membership { group, member, epoch });
structure!(Subscribed { subscription, topic_id, offset, start, end, epoch });
structure!(Unsubscribe { subscription });
structure!(SubscriptionEnded { subscription } tags { 1: fault });
structure!(Data { subscription } payload entries);
