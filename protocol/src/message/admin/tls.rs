//! What the broker serves by TLS and whom it trusts, and loading both anew.
//!
//! Words that are there for people (a kind of key, a mode, what asked for a reload) are strings, so that a later version
//! can have more of them; what a program acts on is an enumeration.

use bytes::{BufMut, BytesMut};

use crate::message::codec::{Field, TagWriter, enumeration, read_tag, read_tags, structure};
use crate::message::error::{DecodeError, Problem};
use crate::wire::Reader;

/// Asks what the broker serves and whom it trusts; the answer is a [`TlsStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowTls {}

/// Has the broker load its TLS files anew; the answer is a [`TlsReloaded`], also when the files are at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadTls {}

/// The answer to [`ShowTls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsStatus {
    /// The trust epoch: equal trust has an equal epoch, after a restart and on another broker too.
    pub epoch: [u8; 32],
    /// What is served, leaf certificates only.
    pub certificates: Vec<Certificate>,
    /// By whom clients must, may or need not be vouched for.
    pub clients: TrustInClients,
    /// How clients resume: `tickets`, `cache` or `off`.
    pub resumption: String,
    /// Reloads since the start of the process that published something, or found that nothing had changed.
    pub reloads_accepted: u64,
    /// Reloads since then that published nothing, for a fault.
    pub reloads_refused: u64,
    /// Tag 1: the last reload; `None` if there was none yet.
    pub last_reload: Option<TlsReload>,
}

/// A certificate that is being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's distinguished name (RFC 4514).
    pub subject: String,
    /// The subject alternative names, each with its kind: `DNS:localhost`, `IP:127.0.0.1`, `URI:spiffe://…`.
    pub names: Vec<String>,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    /// Seconds since the Unix epoch.
    pub not_after: i64,
    /// The kind of key: `ECDSA P-256`, `RSA 2048`.
    pub key: String,
    /// SHA-256 over the `SubjectPublicKeyInfo`: what a client would pin.
    pub spki_sha256: [u8; 32],
    /// Whether it is what clients see that ask for a name which nothing else fits, or for none.
    pub default: bool,
    /// Tag 1: its OCSP response; `None` if there is none.
    pub staple: Option<Staple>,
}

/// An OCSP response (RFC 6960) that is stapled to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staple {
    /// Seconds since the Unix epoch.
    pub this_update: i64,
    /// Seconds since the Unix epoch.
    pub next_update: i64,
    /// Whether it is served: not past its next update.
    pub served: bool,
}

/// Whether clients show certificates, and which of them are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustInClients {
    /// Whether they must, may or cannot show one: `required`, `optional`, `none`.
    pub certificates: String,
    /// CAs that may have issued them.
    pub authorities: u32,
    /// Keys that they are limited to; 0 is no limit.
    pub pins: u32,
    /// The revocation lists that they are checked against.
    pub revocation_lists: Vec<RevocationList>,
}

/// A certificate revocation list (RFC 5280, section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The issuer's distinguished name.
    pub issuer: String,
    /// How many certificates it revokes.
    pub revoked: u32,
    /// Tag 1: when the next list is due, in seconds since the Unix epoch; `None` if it does not say.
    pub next_update: Option<i64>,
}

/// The answer to [`ReloadTls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsReloaded {
    /// What came of it.
    pub reload: TlsReload,
    /// The trust epoch after it.
    pub epoch: [u8; 32],
}

/// A reload, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsReload {
    /// When it was done, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What asked for it: `files`, `signal`, `request`.
    pub trigger: String,
    /// What was published.
    pub outcome: ReloadOutcome,
    /// Whether trust in clients is another than before: then every open connection was judged again.
    pub trust_changed: bool,
    /// For people: what was published, or which file is at fault and how.
    pub text: String,
}

/// What a reload published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReloadOutcome {
    /// Everything, anew: something has changed.
    Changed = 1,
    /// Nothing: the files say what they said before.
    Unchanged = 2,
    /// Nothing: a file is at fault, and what was served before still is.
    Refused = 3,
}

impl ReloadOutcome {
    /// In one word: `changed`, `unchanged`, `refused`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

enumeration!(ReloadOutcome { Changed, Unchanged, Refused });
structure!(ShowTls {});
structure!(ReloadTls {});
structure!(TlsStatus { epoch, certificates, clients, resumption, reloads_accepted, reloads_refused } tags { 1: last_reload });
structure!(Certificate {
    subject, names, issuer, serial, not_before, not_after, key, spki_sha256, default
} tags { 1: staple });
structure!(plain Staple { this_update, next_update, served });
structure!(TrustInClients { certificates, authorities, pins, revocation_lists });
structure!(RevocationList { issuer, revoked } tags { 1: next_update });
structure!(TlsReloaded { reload, epoch });
structure!(TlsReload { at_ms, trigger, outcome, trust_changed, text });
