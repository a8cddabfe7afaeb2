//! Who may do what: rules about identities, actions and topics, and bearer tokens.
//!
//! ```text
//! configuration ── reload ──► RuleBook  the rules that hold, one immutable snapshot after the other    owner: serve
//! metadata shard ── start ──► Tokens    what is known of each token, likewise; never its secret        owner: Access
//!
//! Hello ── token, certificate, neither ──► identity ──┐
//! a request, a topic, a subscription ──► action, topic ├──► Access::may ──► Decision: yes or no, and which rule
//!                                       snapshot ─────┘
//! ```
//!
//! # States
//!
//! ```text
//! rules    none: who is let in may do everything ──► some: what no rule allows is denied      (never back but by a restart)
//! token    good ──► revoked, or past its end, or of an identity that tokens may not have any more: no session with it goes on
//! ```
//!
//! What was decided when a topic was opened or subscribed to holds until the rules change: a session keeps a receiver of
//! the snapshots, asks it whether there is a new one (one load of an atomic, for each frame) and decides again then. A
//! session with a token waits besides for its token to be good no longer.
//!
//! # Bounds
//!
//! [`MAX_RULES`] rules of [`MAX_RULE_TOPICS`] topics each, [`MAX_TOKENS`] tokens, names and identities of tokens of 255
//! bytes, and [`audit`] lines limited by cause.

pub mod audit;
mod book;
mod pattern;
mod record;
mod rules;
mod secret;
mod tokens;

#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tokens_tests;

use std::sync::Arc;

pub use book::{Emptied, RuleBook};
pub use pattern::{Pattern, PatternError};
pub use record::LoadTokensError;
pub use rules::{
    ALL_TOPICS, Action, Because, Decision, Effect, MAX_RULE_TOPICS, MAX_RULES, Rule, RuleError, Rules,
    as_written, known_identity,
};
pub(crate) use rules::{ANONYMOUS, identity_pattern};
pub use tokens::MAX_TOKENS;
pub(crate) use tokens::{Badge, TokenError, Tokens};

use self::audit::Audit;
use crate::log::Shard;
use crate::log::clock::Clock;

/// Decides. One for each broker, shared by its sessions.
#[derive(Debug)]
pub(crate) struct Access {
    rules: RuleBook,
    tokens: Arc<Tokens>,
    audit: Audit,
}

impl Access {
    /// Reads the tokens that the metadata shard has.
    pub(crate) fn load(
        rules: RuleBook,
        metadata: Arc<dyn Shard>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LoadTokensError> {
        let tokens = Arc::new(Tokens::load(metadata, clock, rules.clone())?);
        Ok(Self { rules, tokens, audit: Audit::new() })
    }

    /// Whether `identity` may do `action` with `topic` ([`ALL_TOPICS`] is the broker itself), and why. The one place
    /// where that is decided.
    pub(crate) fn may(&self, identity: &str, action: Action, topic: &str) -> Decision {
        self.rules.current().decide(identity, action, topic)
    }

    /// The rules, and news of them.
    pub(crate) fn rules(&self) -> &RuleBook {
        &self.rules
    }

    /// The tokens.
    pub(crate) fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Where denials and changes are written down.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }
}
