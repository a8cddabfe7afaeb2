//! Who may do what: bearer tokens are made, listed and revoked, and rules are asked about.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use crate::message::codec::{Field, TagWriter, enumeration, read_tag, read_tags, structure};
use crate::message::error::{DecodeError, Problem};
use crate::message::hello::Secret;
use crate::wire::Reader;

/// What somebody would do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Write records to it.
    Produce = 1,
    /// Read its records.
    Consume = 2,
    /// Make, alter and delete it; on `*` everything that concerns the broker itself.
    Admin = 3,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Produce, Self::Consume, Self::Admin];

    /// In one word: `produce`, `consume`, `admin`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::Admin => "admin",
        }
    }
}

/// What a rule does to whom it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Effect {
    /// Lets it be done, unless another rule denies it.
    Allow = 1,
    /// Lets it not be done, whatever other rules allow.
    Deny = 2,
}

impl Effect {
    /// In one word: `allow`, `deny`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Makes a bearer token; the answer is a [`TokenCreated`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateToken {
    /// 1 to 255 bytes of `a-z A-Z 0-9 . _ -`.
    pub name: String,
    /// Tag 1: whom its bearer is taken for, at most 255 bytes; `None` is `token:` and the name.
    pub identity: Option<String>,
    /// Tag 2: how long it is good for, in milliseconds; `None` is until it is revoked.
    pub lifetime_ms: Option<u64>,
}

/// Asks for all tokens; the answer is a [`TokenList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTokens {}

/// Revokes a token; the answer is a [`TokenRevoked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeToken {
    /// Which.
    pub name: String,
}

/// Asks what the rules say; the answer is an [`AccessChecked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckAccess {
    /// Whom it is about; empty is whoever asks.
    pub identity: String,
    /// What would be done.
    pub action: Action,
    /// To which topic; `*` is the broker itself.
    pub topic: String,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// Tells it from an earlier one of the same name.
    pub id: Uuid,
    /// Whom its bearer is taken for.
    pub identity: String,
    /// Who made it, at most 255 bytes.
    pub created_by: String,
    /// When, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Tag 1: when it ends, in milliseconds since the Unix epoch; `None` does not.
    pub expires_ms: Option<i64>,
    /// Tag 2: when a session was last opened with it, in milliseconds since the Unix epoch; `None` was not since the
    /// broker's start.
    pub last_used_ms: Option<i64>,
}

/// The answer to [`CreateToken`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// What its bearer sends in Hello: never told again.
    pub secret: Secret,
}

/// The answer to [`ListTokens`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenList {
    /// In the order of their names; those that have ended too.
    pub tokens: Vec<Token>,
}

/// The answer to [`RevokeToken`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRevoked {
    /// Which one it was.
    pub token: Token,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Its place in the configuration, from 1.
    pub number: u32,
    /// Whom it fits: exact, or the beginning of an identity and `*`.
    pub identity: String,
    /// What it is about.
    pub actions: Vec<Action>,
    /// Which topics: exact, or the beginning of a name and `*`.
    pub topics: Vec<String>,
    /// What it does.
    pub effect: Effect,
}

/// The answer to [`CheckAccess`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessChecked {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why, for people.
    pub reason: String,
    /// Tag 1: the rule that decides; `None` if none fits, or none is configured.
    pub rule: Option<AccessRule>,
}

enumeration!(Action { Produce, Consume, Admin });
enumeration!(Effect { Allow, Deny });
structure!(CreateToken { name } tags { 1: identity, 2: lifetime_ms });
structure!(ListTokens {});
structure!(RevokeToken { name });
structure!(CheckAccess { identity, action, topic });
structure!(Token { name, id, identity, created_by, created_ms } tags { 1: expires_ms, 2: last_used_ms });
structure!(TokenCreated { token, secret });
structure!(TokenList { tokens });
structure!(TokenRevoked { token });
structure!(AccessRule { number, identity, actions, topics, effect });
structure!(AccessChecked { allowed, reason } tags { 1: rule });
