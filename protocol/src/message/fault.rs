//! What a peer says when it cannot do what was asked: a class to act on, a number, a text.

/// Whose fault it is, and therefore what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FaultClass {
    /// The request can never succeed as it is: do not repeat it.
    Caller = 1,
    /// The same request may succeed later: see [`Fault::retry_after_ms`].
    RetryLater = 2,
    /// Another broker can carry it out: see [`Fault::url`].
    RetryElsewhere = 3,
    /// The broker failed: whether the request took effect may be unknown.
    Broker = 4,
}

/// The number of a fault. A peer that does not know a number acts by its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum FaultCode {
    /// A frame breaks the format; ends the session.
    Malformed = 1,
    /// A frame or batch is larger than the limit; a frame ends the session.
    TooLarge = 2,
    /// A frame that does not belong here: another session's, or out of turn; ends the session.
    UnexpectedFrame = 3,
    /// No protocol version in common; ends the session.
    VersionMismatch = 4,
    /// The client asked for another cluster; ends the session.
    WrongCluster = 5,
    /// No identity, or one that is refused; ends the session.
    Unauthenticated = 6,
    /// The identity may not do this.
    Forbidden = 7,
    /// Nothing was heard for longer than the idle deadline; ends the session.
    Idle = 8,
    /// A limit on sessions, connections or bytes in flight is reached.
    Busy = 9,
    /// The broker is shutting down; ends the session.
    ShuttingDown = 10,
    /// A request holds a value that is not allowed.
    InvalidRequest = 11,
    /// Named by the protocol, not served by this broker.
    Unsupported = 12,
    /// Our own failure.
    Internal = 13,

    /// No topic of that name.
    UnknownTopic = 20,
    /// A topic of that name is there already.
    TopicExists = 21,
    /// The topic was deleted, and perhaps made again under the same name.
    TopicGone = 22,
    /// The topic has no such partition.
    UnknownPartition = 23,
    /// The partition is read-only because its log is corrupt.
    ReadOnly = 24,
    /// Another broker owns the partition: see [`Fault::url`].
    NotOwner = 25,
    /// The handle names no topic or subscription of this session, or one that is taken.
    BadHandle = 26,

    /// The batch fails validation.
    InvalidBatch = 30,
    /// The batch is not the next of its producer: [`Fault::offset`] is the sequence awaited.
    OutOfSequence = 31,
    /// Nothing is known of this producer, and the sequence is not 0.
    UnknownProducer = 32,
    /// The producer id is bound to another identity.
    ProducerFenced = 33,
    /// The disk has no room left.
    DiskFull = 34,
    /// The disk failed: whether the batch is stored is unknown.
    Storage = 35,

    /// The offset is not in the log: [`Fault::offset`] is the nearest that is.
    OutOfRange = 40,
    /// The log was cut under the reader: [`Fault::offset`] is where its history and the log's part.
    Diverged = 41,

    /// The member was fenced by a newer stream, or its grace passed.
    MemberFenced = 50,
    /// The epoch is not the partition's current one.
    StaleEpoch = 51,
    /// No such group.
    UnknownGroup = 52,
}

/// An error as the wire carries it. Nested wherever a message says «fault»: class, code, text, tagged fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to do about it.
    pub class: FaultClass,
    /// What it is: [`FaultCode::number`], or a number that this version does not know.
    pub code: u16,
    /// For people: names the thing and the remedy. At most [`MAX_TEXT`](crate::limits::MAX_TEXT) bytes.
    pub text: String,
    /// Tag 1: how long to wait before trying again, in milliseconds.
    pub retry_after_ms: Option<u32>,
    /// Tag 2: the endpoint URL to go to instead.
    pub url: Option<String>,
    /// Tag 3: the offset or sequence that the code speaks of.
    pub offset: Option<u64>,
}
