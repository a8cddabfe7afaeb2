//! How a session begins and how both sides know that the other is there.

use bytes::{BufMut, BytesMut};

use super::codec::{Field, TagWriter, enumeration, read_tag, read_tags, structure};
use super::error::{DecodeError, Problem};
use crate::wire::Reader;

/// What a [`Hello`]'s fixed fields begin with, so that a stray client of another protocol is told what it talks to.
const MAGIC: [u8; 4] = *b"SEAL";

/// The kind of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SessionKind {
    /// Requests and responses about topics, in order.
    Admin = 1,
    /// Batches in, acknowledgements out.
    Produce = 2,
    /// Subscriptions in, entries out.
    Consume = 3,
    /// Membership of a consumer group.
    Group = 4,
}

/// The first frame of a session, from the client. Its fixed fields begin with the magic `SEAL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest protocol version that the client speaks.
    pub version_min: u16,
    /// The newest.
    pub version_max: u16,
    /// What the session is for.
    pub session: SessionKind,
    /// The idle deadline that the client asks for, in milliseconds: a side that heard nothing for so long ends the session.
    pub idle_ms: u32,
    /// The client's name, for logs; may be empty.
    pub client: String,
    /// Tag 1: a bearer token. It outranks the certificate.
    pub token: Option<Secret>,
    /// Tag 2: the cluster that the client means to talk to; another one refuses.
    pub cluster: Option<String>,
}

/// A bearer token: redacted from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The broker's answer to [`Hello`]; from here on frames are of the version chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version chosen: the newest that both speak.
    pub version: u16,
    /// The idle deadline that holds, in milliseconds: the client's, within the broker's bounds.
    pub idle_ms: u32,
    /// The largest frame that the broker accepts, in bytes after the length field.
    pub max_frame: u32,
    /// The largest batch after decompression that the broker accepts, in bytes of records.
    pub max_decompressed_batch: u32,
    /// How many bytes of batches a Produce session may have unanswered; beyond it the broker stops reading.
    pub window: u32,
    /// The broker's name.
    pub broker: String,
    /// The cluster's name.
    pub cluster: String,
    /// Random, new at every start of the broker's process.
    pub incarnation: uuid::Uuid,
    /// Who the broker takes the client for, as its rules will see it; `anonymous` without credentials.
    pub identity: String,
}

/// Asks for a [`Pong`]. Either side may send it at any time after the Welcome, and answers it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in the answer.
    pub nonce: u64,
}

/// The answer to a [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The ping's.
    pub nonce: u64,
}

impl Field for Secret {
    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Field::get(reader)?))
    }
}

enumeration!(SessionKind { Admin, Produce, Consume, Group });
structure!([MAGIC] Hello { version_min, version_max, session, idle_ms, client } tags { 1: token, 2: cluster });
structure!(Welcome {
    version,
    idle_ms,
    max_frame,
    max_decompressed_batch,
    window,
    broker,
    cluster,
    incarnation,
    identity,
});
structure!(Ping { nonce });
structure!(Pong { nonce });
