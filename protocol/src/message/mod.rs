//! The messages of the four kinds of session, one frame each.
//!
//! Fields marked *tagged* travel in the tagged section and may be absent; everything else is fixed and in the order
//! given. Unknown tags are ignored, unknown kinds are an error.

pub mod admin;
mod codec;
pub mod consume;
mod error;
pub mod fault;
pub mod group;
pub mod hello;
pub mod produce;

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::Reader;
use codec::Field;
pub use error::{DecodeError, Problem};
pub use fault::{Fault, FaultClass, FaultCode};

/// Makes [`Message`] and [`Kind`] of one table, and says how each is read and written.
macro_rules! messages {
    ($($(#[$doc:meta])* $variant:ident($type:ty) = $number:literal,)*) => {
        /// Any message. The number is its kind on the wire.
        ///
        /// 0x01–0x0f belong to every session, 0x10–0x2f to Admin, 0x30–0x3f to Produce, 0x40–0x4f to Consume, 0x50–0x6f to
        /// Group.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each variant is documented by the type it holds")]
        pub enum Message {
            $($(#[$doc])* $variant($type) = $number,)*
        }

        /// What a frame is, by the byte behind its length. Named as the variants of [`Message`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each variant is documented by the message of its name")]
        pub enum Kind {
            $($variant = $number,)*
        }

        impl Kind {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kind of a number, if there is one.
            pub fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name of its message.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }

        impl Message {
            /// What its frame is.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)*
                }
            }

            fn put_fields(&self, out: &mut BytesMut) {
                match self {
                    $(Self::$variant(message) => message.put(out),)*
                }
            }

            fn get_fields(kind: Kind, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match kind {
                    $(Kind::$variant => Self::$variant(Field::get(reader)?),)*
                })
            }
        }
    };
}

messages! {
    Hello(hello::Hello) = 0x01,
    Welcome(hello::Welcome) = 0x02,
    /// Ends the session: what was wrong, for the whole of it.
    Error(Fault) = 0x03,
    Ping(hello::Ping) = 0x04,
    Pong(hello::Pong) = 0x05,
    /// The broker is about to end the session: send nothing new; what is under way is still answered.
    GoAway(Fault) = 0x06,

    CreateTopic(admin::CreateTopic) = 0x10,
    ListTopics(admin::ListTopics) = 0x11,
    DescribeTopic(admin::DescribeTopic) = 0x12,
    AlterTopic(admin::AlterTopic) = 0x13,
    DeleteTopic(admin::DeleteTopic) = 0x14,
    ShowTls(admin::ShowTls) = 0x15,
    ReloadTls(admin::ReloadTls) = 0x16,
    ListGroups(admin::ListGroups) = 0x17,
    DescribeGroup(admin::DescribeGroup) = 0x18,
    SeekGroup(admin::SeekGroup) = 0x19,
    DeleteGroup(admin::DeleteGroup) = 0x1a,
    CreateToken(admin::CreateToken) = 0x1b,
    ListTokens(admin::ListTokens) = 0x1c,
    RevokeToken(admin::RevokeToken) = 0x1d,
    CheckAccess(admin::CheckAccess) = 0x1e,
    ShowStatus(admin::ShowStatus) = 0x1f,
    Topic(admin::Topic) = 0x20,
    TopicList(admin::TopicList) = 0x21,
    TopicDescription(admin::TopicDescription) = 0x22,
    TopicDeleted(admin::TopicDeleted) = 0x23,
    /// Boxed: it is larger than most, and would make every message as large.
    TlsStatus(Box<admin::TlsStatus>) = 0x24,
    TlsReloaded(admin::TlsReloaded) = 0x25,
    GroupList(admin::GroupList) = 0x26,
    GroupDescription(admin::GroupDescription) = 0x27,
    GroupSought(admin::GroupSought) = 0x28,
    GroupDeleted(admin::GroupDeleted) = 0x29,
    TokenCreated(admin::TokenCreated) = 0x2a,
    TokenList(admin::TokenList) = 0x2b,
    TokenRevoked(admin::TokenRevoked) = 0x2c,
    AccessChecked(admin::AccessChecked) = 0x2d,
    /// Boxed for the same reason.
    BrokerStatus(Box<admin::BrokerStatus>) = 0x2e,
    /// The answer to a request that could not be carried out; the session goes on.
    RequestRefused(Fault) = 0x2f,

    OpenTopic(produce::OpenTopic) = 0x30,
    TopicOpened(produce::TopicOpened) = 0x31,
    OpenRefused(produce::OpenRefused) = 0x32,
    Produce(produce::Produce) = 0x33,
    Ack(produce::Ack) = 0x34,
    ProduceRefused(produce::ProduceRefused) = 0x35,

    Subscribe(consume::Subscribe) = 0x40,
    Subscribed(consume::Subscribed) = 0x41,
    Unsubscribe(consume::Unsubscribe) = 0x42,
    SubscriptionEnded(consume::SubscriptionEnded) = 0x43,
    Data(consume::Data) = 0x44,

    JoinGroup(group::JoinGroup) = 0x50,
    Joined(group::Joined) = 0x51,
    Heartbeat(group::Heartbeat) = 0x52,
    Assign(group::Assign) = 0x53,
    Revoke(group::Revoke) = 0x54,
    Released(group::Released) = 0x55,
    Commit(group::Commit) = 0x56,
    Committed(group::Committed) = 0x57,
    LeaveGroup(group::LeaveGroup) = 0x58,
    Left(group::Left) = 0x59,
}

impl Kind {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether bytes follow the tagged section of its frame: records or entries.
    pub fn has_payload(self) -> bool {
        matches!(self, Self::Produce | Self::Data)
    }
}

impl Message {
    /// Appends the whole frame, its length included.
    ///
    /// A text or name beyond what the protocol can carry (1 KiB and 64 KiB) is cut. To send a large payload without
    /// copying it, see [`crate::frame::produce_head`] and [`crate::frame::data_head`].
    ///
    /// # Panics
    ///
    /// If the frame exceeds 4 GiB, which nothing within the protocol's limits does.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        let payload = self.payload();
        self.encode_head(payload.len(), out);
        out.put_slice(payload);
        debug_assert_eq!(out.len() - start, 4 + length_at(out, start), "the length counts what follows it");
    }

    /// Appends the frame without its payload, which shall have `payload` bytes.
    pub(crate) fn encode_head(&self, payload: usize, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32_le(0);
        out.put_u8(self.kind().number());
        self.put_fields(out);
        let length = u32::try_from(out.len() - start - 4 + payload).expect("a frame is below 4 GiB");
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The message of a frame: all that follows its length field. A payload is a slice of `frame`.
    pub fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let (mut message, fields) = Self::read(frame)?;
        message.set_payload(frame.slice(fields..));
        Ok(message)
    }

    /// Reads kind and fields, and says how many bytes they take. What follows is the payload: without one, nothing may.
    pub(crate) fn read(frame: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (&number, fields) = frame.split_first().ok_or(Problem::Empty)?;
        let kind = Kind::from_number(number).ok_or(Problem::UnknownKind(number))?;
        let mut reader = Reader::new(fields);
        let message = Self::get_fields(kind, &mut reader).map_err(|error| error.of_kind(kind))?;
        if !kind.has_payload() {
            codec::end(&reader).map_err(|error| error.of_kind(kind))?;
        }
        Ok((message, frame.len() - reader.len()))
    }

    pub(crate) fn set_payload(&mut self, payload: Bytes) {
        match self {
            Self::Produce(produce) => produce.batch = payload,
            Self::Data(data) => data.entries = payload,
            _ => {}
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::Produce(produce) => &produce.batch,
            Self::Data(data) => &data.entries,
            _ => &[],
        }
    }
}

fn length_at(out: &BytesMut, start: usize) -> usize {
    Reader::new(&out[start..]).u32().map_or(0, |length| length as usize)
}
