//! What a peer says when it cannot do what was asked: a class to act on, a number, a text.

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::codec::{Field, TagWriter, enumeration, put_text, read_tag, read_tags};
use super::error::{DecodeError, Problem};
use crate::limits::MAX_TEXT;
use crate::wire::Reader;

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
#[non_exhaustive]
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
    /// Trust no longer covers the peer, which had been let in: its certificate or token was revoked or has ended, or the issuer
    /// or key of its certificate is no longer accepted; ends every session of the connection, or with the token.
    NoLongerTrusted = 14,

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
    /// The disk failed: whether the batch is stored is unknown. Of class Caller: what is stored at [`Fault::offset`] is damaged, and
    /// reading it again gives the same.
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
    /// The offset is below what the group has committed, which is [`Fault::offset`].
    CommitBehind = 53,
    /// Members have what the request would take from them.
    GroupInUse = 54,

    /// A quota of the identity or the address is spent: [`Fault::retry_after_ms`] is when it covers this again.
    QuotaExceeded = 60,
    /// No token of that name.
    UnknownToken = 70,
    /// A token of that name is there already.
    TokenExists = 71,
}

/// An error as the wire carries it. Nested wherever a message says «fault»: class, code, text, tagged fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to do about it.
    pub class: FaultClass,
    /// What it is: [`FaultCode::number`], or a number that this version does not know.
    pub code: u16,
    /// For people: names the thing and the remedy. At most [`MAX_TEXT`] bytes.
    pub text: String,
    /// Tag 1: how long to wait before trying again, in milliseconds.
    pub retry_after_ms: Option<u32>,
    /// Tag 2: the endpoint URL to go to instead.
    pub url: Option<String>,
    /// Tag 3: the offset or sequence that the code speaks of.
    pub offset: Option<u64>,
}

impl FaultCode {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 37] = [
        Self::Malformed,
        Self::TooLarge,
        Self::UnexpectedFrame,
        Self::VersionMismatch,
        Self::WrongCluster,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Idle,
        Self::Busy,
        Self::ShuttingDown,
        Self::InvalidRequest,
        Self::Unsupported,
        Self::Internal,
        Self::NoLongerTrusted,
        Self::UnknownTopic,
        Self::TopicExists,
        Self::TopicGone,
        Self::UnknownPartition,
        Self::ReadOnly,
        Self::NotOwner,
        Self::BadHandle,
        Self::InvalidBatch,
        Self::OutOfSequence,
        Self::UnknownProducer,
        Self::ProducerFenced,
        Self::DiskFull,
        Self::Storage,
        Self::OutOfRange,
        Self::Diverged,
        Self::MemberFenced,
        Self::StaleEpoch,
        Self::UnknownGroup,
        Self::CommitBehind,
        Self::GroupInUse,
        Self::QuotaExceeded,
        Self::UnknownToken,
        Self::TokenExists,
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The code of a number, if this version knows it.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The class that a fault of this code has unless its maker knows better.
    pub fn class(self) -> FaultClass {
        match self {
            Self::Busy
            | Self::ShuttingDown
            | Self::OutOfSequence
            | Self::DiskFull
            | Self::Idle
            | Self::QuotaExceeded => FaultClass::RetryLater,
            Self::NotOwner => FaultClass::RetryElsewhere,
            Self::Internal | Self::Storage | Self::ReadOnly => FaultClass::Broker,
            _ => FaultClass::Caller,
        }
    }

    /// The name in words, as the page of the protocol has it: `unknown-topic`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::UnexpectedFrame => "unexpected-frame",
            Self::VersionMismatch => "version-mismatch",
            Self::WrongCluster => "wrong-cluster",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting-down",
            Self::InvalidRequest => "invalid-request",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
            Self::NoLongerTrusted => "no-longer-trusted",
            Self::UnknownTopic => "unknown-topic",
            Self::TopicExists => "topic-exists",
            Self::TopicGone => "topic-gone",
            Self::UnknownPartition => "unknown-partition",
            Self::ReadOnly => "read-only",
            Self::NotOwner => "not-owner",
            Self::BadHandle => "bad-handle",
            Self::InvalidBatch => "invalid-batch",
            Self::OutOfSequence => "out-of-sequence",
            Self::UnknownProducer => "unknown-producer",
            Self::ProducerFenced => "producer-fenced",
            Self::DiskFull => "disk-full",
            Self::Storage => "storage",
            Self::OutOfRange => "out-of-range",
            Self::Diverged => "diverged",
            Self::MemberFenced => "member-fenced",
            Self::StaleEpoch => "stale-epoch",
            Self::UnknownGroup => "unknown-group",
            Self::CommitBehind => "commit-behind",
            Self::GroupInUse => "group-in-use",
            Self::QuotaExceeded => "quota-exceeded",
            Self::UnknownToken => "unknown-token",
            Self::TokenExists => "token-exists",
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

impl Fault {
    /// A fault of the code's own class.
    pub fn new(code: FaultCode, text: impl Into<String>) -> Self {
        Self {
            class: code.class(),
            code: code.number(),
            text: text.into(),
            retry_after_ms: None,
            url: None,
            offset: None,
        }
    }

    /// The same with another class, where the maker of the fault knows better than its code.
    #[must_use]
    pub fn class(mut self, class: FaultClass) -> Self {
        self.class = class;
        self
    }

    /// The same with a time to wait before trying again: to the millisecond above, at most 49 days.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let millis = wait.as_nanos().div_ceil(1_000_000);
        self.retry_after_ms = Some(u32::try_from(millis).unwrap_or(u32::MAX));
        self
    }

    /// The same with the endpoint URL to go to instead.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The same with the offset or sequence that the code speaks of.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The code, if this version knows its number.
    pub fn code_known(&self) -> Option<FaultCode> {
        FaultCode::from_number(self.code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code_known() {
            Some(code) => write!(f, "{code}: {}", self.text),
            None => write!(f, "fault {}: {}", self.code, self.text),
        }
    }
}

impl std::error::Error for Fault {}

enumeration!(FaultClass { Caller, RetryLater, RetryElsewhere, Broker });

/// As the other structures, but for the text: one that is too long is cut, since half of it is better than none.
impl Field for Fault {
    fn put(&self, out: &mut BytesMut) {
        self.class.put(out);
        self.code.put(out);
        put_text(&self.text, MAX_TEXT, out);
        let mut writer = TagWriter::default();
        writer.field(1, self.retry_after_ms.as_ref());
        writer.field(2, self.url.as_ref());
        writer.field(3, self.offset.as_ref());
        writer.finish(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let within = |field| move |error: DecodeError| error.within("Fault", field);
        let class = Field::get(reader).map_err(within("class"))?;
        let code = Field::get(reader).map_err(within("code"))?;
        let text = Field::get(reader).map_err(within("text"))?;
        let (mut retry_after_ms, mut url, mut offset) = (None, None, None);
        read_tags(reader, |tag, value| match tag {
            1 => read_tag(&mut retry_after_ms, tag, value).map_err(within("retry_after_ms")),
            2 => read_tag(&mut url, tag, value).map_err(within("url")),
            3 => read_tag(&mut offset, tag, value).map_err(within("offset")),
            _ => Ok(()),
        })
        .map_err(within("tagged section"))?;
        Ok(Self { class, code, text, retry_after_ms, url, offset })
    }
}
