//! How a listener lets its clients resume: sealed tickets that the clients keep, or sessions that this process keeps.
//!
//! ```text
//! secret ── HKDF, by time slot ──► TicketKeys ─┐
//!                                              ├─ ServerSessions, one a snapshot, carried over
//!                              SessionCache  ──┘            │
//!   a handshake ──► HandshakeContext ◄──────────────────────┘
//!                   │ client verifier: proves somebody anew, now
//!                   │ ticket opened:   vouches for an earlier proof, if its claims hold
//!                   └ ticket issued:   says what was proven, and when for the first time
//! ```
//!
//! rustls alone would copy a client's chain out of a ticket unverified and issue a fresh ticket at each resumption, so that an
//! identity that has expired or was revoked resumes for ever. Here every ticket carries [`Claims`], and one whose claims do
//! not hold any more leads to a full handshake, never to a failure.

mod cache;
mod claims;
mod context;
#[cfg(test)]
mod end_to_end_tests;
#[cfg(any(fuzzing, feature = "test-util"))]
mod fuzzing;
mod keys;
mod secret;

use std::fmt;
use std::sync::Arc;

use super::material::ServerResumption;
use super::pem::MaterialError;
use super::sessions::unix_now;

use cache::ServerSessionCache;
pub use claims::MAX_AUTHENTICATION_AGE_SECS;
pub use claims::TicketFault;
pub(crate) use context::HandshakeContext;
pub use context::TicketUse;
#[cfg(any(fuzzing, feature = "test-util"))]
pub use fuzzing::fuzz_ticket;
pub(crate) use keys::TicketKeys;
pub use keys::{SLOT_SECS, TICKET_LIFETIME_SECS};
pub use secret::{SecretSource, TicketSecret, create_secret_file};

/// What the handshakes of a listener resume from.
pub(crate) struct ServerSessions {
    keys: Arc<TicketKeys>,
    mode: Mode,
}

enum Mode {
    Tickets,
    Cache(Box<ServerSessionCache>),
    Off,
}

impl ServerSessions {
    /// Loads the secret; returns `previous` itself if nothing changed. What was issued under a secret that is no longer named
    /// is honoured for as long as a ticket lives.
    pub(super) fn load(
        resumption: ServerResumption,
        secret: &SecretSource,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, MaterialError> {
        let keys = TicketKeys::load(secret, previous.map(|previous| &previous.keys), unix_now())?;
        if let Some(same) = previous.filter(|same| Arc::ptr_eq(&same.keys, &keys) && same.is(resumption)) {
            return Ok(Arc::clone(same));
        }
        let mode = match resumption {
            ServerResumption::Tickets => Mode::Tickets,
            ServerResumption::Cache { bytes } => Mode::Cache(Box::new(ServerSessionCache::new(bytes))),
            ServerResumption::Off => Mode::Off,
        };
        Ok(Arc::new(Self { keys, mode }))
    }

    fn is(&self, resumption: ServerResumption) -> bool {
        match (&self.mode, resumption) {
            (Mode::Tickets, ServerResumption::Tickets) | (Mode::Off, ServerResumption::Off) => true,
            (Mode::Cache(cache), ServerResumption::Cache { bytes }) => cache.max_bytes() == bytes,
            _ => false,
        }
    }

    /// `tickets`, `cache` or `off`.
    pub(crate) fn name(&self) -> &'static str {
        match self.mode {
            Mode::Tickets => "tickets",
            Mode::Cache(_) => "cache",
            Mode::Off => "off",
        }
    }

    /// The keys that are derived from the secret.
    pub(crate) fn keys(&self) -> &Arc<TicketKeys> {
        &self.keys
    }
}

impl fmt::Debug for ServerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerSessions").field(&self.name()).finish()
    }
}
