//! Consume sessions: subscriptions come and go while the broker pushes what is durable.
//!
//! There is no credit: the transport's flow control is the back-pressure.

use bytes::Bytes;
use uuid::Uuid;

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
