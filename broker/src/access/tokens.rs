//! Bearer tokens: made, found by their secret, revoked, and watched over while sessions rest on them.
//!
//! ```text
//! token/<name>   record: id, identity, SHA-256, dates      in the metadata shard, one compare-and-set value each
//! TokenSet       immutable snapshot of all tokens          read by every Hello without a lock
//! ```
//!
//! Changes happen one at a time: whoever holds `turn` may write records and publish. A token is published once its record
//! is durable; a revoked one is gone as soon as the log has taken its removal, durable or not: of the two mistakes
//! that is the safe one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sealstream_protocol::limits::MAX_NAME;
use sealstream_protocol::message::admin::{CreateToken, Token, TokenCreated};
use sealstream_protocol::name;
use subtle::ConstantTimeEq as _;
use tokio::sync::{Mutex, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::book::RuleBook;
use super::record::{LoadTokensError, TOKENS, TokenRecord, token_key};
use super::rules;
use super::secret::{self, Misformed, TokenHash};
use crate::log::clock::Clock;
use crate::log::{CommitError, Op, Outcome, Refusal, Shard};

/// 1,000 tokens: all of them, with names of full length (816 bytes each), fit one frame, and a Hello is compared
/// with all of them in some 10 µs.
pub const MAX_TOKENS: usize = 1000;

/// How often a look is taken at whether a token has ended: with the 0.5 s that a session has for its last word, it is gone
/// within a second. A wall clock may jump, so that no timer could be set for it.
const LOOK: Duration = Duration::from_millis(250);

/// «Not since the start», of the last use.
const NEVER: i64 = i64::MIN;

/// Why a token was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("a token cannot be named so: {0}")]
    BadName(String),
    #[error(
        "a token cannot be taken for {0:?}: its identity must begin with `token:`, or fit a pattern of auth.token_identities \
         in the broker's configuration"
    )]
    BadIdentity(String),
    #[error("a token that has ended when it is made is good for nothing: give it a longer life")]
    NoLife,
    #[error("token {0:?} is there already: take another name, or revoke that one first")]
    Exists(String),
    #[error("no token {0:?}: check the name with `sealstream token list`")]
    Unknown(String),
    #[error("there are {MAX_TOKENS} tokens, the limit: revoke some that are not needed any more")]
    NoRoom,
    #[error("token {name:?}: {source}")]
    Log { name: String, source: CommitError },
    #[error("token {0:?} was changed by somebody else meanwhile: look at it and try again")]
    Conflict(String),
    #[error("token {name:?} was not made, though its name may be taken after the next start: {reason}")]
    NotMade { name: String, reason: String },
    #[error("token {name:?} is revoked until the next start, and may be there again then: {reason}")]
    NotForGood { name: String, reason: String },
}

/// Why a token gives no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenRefused {
    #[error("{0}")]
    Misformed(#[from] Misformed),
    #[error("this broker has no such token: it may have been revoked, or be another broker's")]
    Unknown,
    #[error("it has ended")]
    Ended,
    #[error("its identity is one that tokens may not have any more (auth.token_identities)")]
    BadIdentity,
}

/// A token as it is held.
#[derive(Debug)]
struct Held {
    record: TokenRecord,
    /// Of its record.
    version: u64,
    last_used_ms: AtomicI64,
}

impl Held {
    fn new(record: TokenRecord, version: u64) -> Arc<Self> {
        Arc::new(Self { record, version, last_used_ms: AtomicI64::new(NEVER) })
    }

    fn to_message(&self) -> Token {
        let last_used_ms = self.last_used_ms.load(Ordering::Relaxed);
        let TokenRecord { name, id, identity, created_by, created_ms, expires_ms, hash: _ } = &self.record;
        Token {
            name: name.clone(),
            id: *id,
            identity: identity.clone(),
            created_by: created_by.clone(),
            created_ms: *created_ms,
            expires_ms: *expires_ms,
            last_used_ms: (last_used_ms != NEVER).then_some(last_used_ms),
        }
    }
}

/// All tokens at one moment, by name.
#[derive(Clone, Debug, Default)]
struct TokenSet(BTreeMap<String, Arc<Held>>);

impl TokenSet {
    /// The token with this hash. Compares with all of them, each in constant time: how long it takes tells nothing.
    fn with_hash(&self, hash: &TokenHash) -> Option<&Arc<Held>> {
        let mut found = None;
        for held in self.0.values() {
            if bool::from(held.record.hash.ct_eq(hash)) {
                found = Some(held);
            }
        }
        found
    }
}

/// All tokens of the broker.
#[derive(Debug)]
pub(crate) struct Tokens {
    metadata: Arc<dyn Shard>,
    clock: Arc<dyn Clock>,
    rules: RuleBook,
    turn: Mutex<()>,
    set: watch::Sender<Arc<TokenSet>>,
}

/// What a session rests on that was opened with a token.
#[derive(Clone, Debug)]
pub(crate) struct Badge {
    tokens: Arc<Tokens>,
    name: Arc<str>,
    identity: Arc<str>,
    id: Uuid,
}

impl Tokens {
    pub(super) fn load(
        metadata: Arc<dyn Shard>,
        clock: Arc<dyn Clock>,
        rules: RuleBook,
    ) -> Result<Self, LoadTokensError> {
        let mut set = TokenSet::default();
        for (key, stored) in metadata.meta_with_prefix(TOKENS) {
            let record = TokenRecord::decode(&key, &stored.value)?;
            set.0.insert(record.name.clone(), Held::new(record, stored.version));
        }
        Ok(Self { metadata, clock, rules, turn: Mutex::new(()), set: watch::Sender::new(Arc::new(set)) })
    }

    /// Whom the bearer of this token is taken for. The error is told with the token's name, if it has one.
    pub(crate) fn find(self: &Arc<Self>, token: &str) -> Result<Badge, (TokenRefused, Option<String>)> {
        let hash = secret::hash_of(token).map_err(|error| (error.into(), None))?;
        let set = Arc::clone(&self.set.borrow());
        let held = set.with_hash(&hash).ok_or((TokenRefused::Unknown, None))?;
        let now = self.clock.now();
        self.judge(&held.record, now).map_err(|error| (error, Some(held.record.name.clone())))?;
        held.last_used_ms.store(now, Ordering::Relaxed);
        Ok(Badge {
            tokens: Arc::clone(self),
            name: held.record.name.as_str().into(),
            identity: held.record.identity.as_str().into(),
            id: held.record.id,
        })
    }

    fn judge(&self, record: &TokenRecord, now: i64) -> Result<(), TokenRefused> {
        if record.has_ended(now) {
            return Err(TokenRefused::Ended);
        }
        if !self.rules.current().lets_tokens_be(&record.identity) {
            return Err(TokenRefused::BadIdentity);
        }
        Ok(())
    }

    /// All tokens in the order of their names.
    pub(crate) fn list(&self) -> Vec<Token> {
        self.set.borrow().0.values().map(|held| held.to_message()).collect()
    }

    /// Makes a token for whoever `created_by` is.
    ///
    /// Not cancellation safe: dropped half-way, its record may be there and it unknown until the next start. Run it in
    /// a task of its own.
    pub(crate) async fn create(
        &self,
        request: CreateToken,
        created_by: &str,
    ) -> Result<TokenCreated, TokenError> {
        let (secret, hash) = secret::mint();
        let record = self.record_of(request, created_by, hash)?;
        let _turn = self.turn.lock().await;
        let set = Arc::clone(&self.set.borrow());
        if set.0.contains_key(&record.name) {
            return Err(TokenError::Exists(record.name));
        }
        let key = token_key(&record.name);
        // An earlier one of this name whose removal, or whose creation, was never made sure of.
        let left_over = self.metadata.meta(&key).map_or(0, |stored| stored.version);
        let mut ops = vec![put(key, left_over, Some(record.encode()))];
        let out =
            if set.0.len() >= MAX_TOKENS { Some(longest_ended(&set, record.created_ms)?) } else { None };
        ops.extend(out.as_ref().map(|out| put(token_key(&out.record.name), out.version, None)));
        let committed = self.commit(&record.name, ops).await?;
        // Not before: whoever is told of it can rely on it.
        committed
            .durable
            .await
            .map_err(|error| TokenError::NotMade { name: record.name.clone(), reason: error.reason })?;
        let held = Held::new(record, committed.version);
        let token = held.to_message();
        self.publish(|set| {
            if let Some(out) = out {
                set.0.remove(&out.record.name);
            }
            set.0.insert(token.name.clone(), held);
        });
        Ok(TokenCreated { token, secret })
    }

    fn record_of(
        &self,
        request: CreateToken,
        created_by: &str,
        hash: TokenHash,
    ) -> Result<TokenRecord, TokenError> {
        let CreateToken { name, identity, lifetime_ms } = request;
        name::check_token(&name).map_err(|error| TokenError::BadName(error.to_string()))?;
        let identity = match identity {
            None => format!("{}{name}", rules::TOKENS),
            Some(identity) => {
                let sound = name::check_name(&identity).is_ok() && identity != rules::TOKENS;
                if !sound || !self.rules.current().lets_tokens_be(&identity) {
                    return Err(TokenError::BadIdentity(identity));
                }
                identity
            }
        };
        if lifetime_ms == Some(0) {
            return Err(TokenError::NoLife);
        }
        let created_ms = self.clock.now();
        Ok(TokenRecord {
            name,
            id: Uuid::new_v4(),
            identity,
            hash,
            created_by: created_by[..created_by.floor_char_boundary(MAX_NAME)].to_owned(),
            created_ms,
            expires_ms: lifetime_ms.map(|lifetime| created_ms.saturating_add_unsigned(lifetime)),
        })
    }

    /// Revokes a token: nobody gets in with it from now on, and its sessions end. Not cancellation safe, as
    /// [`create`](Self::create).
    pub(crate) async fn revoke(&self, name: &str) -> Result<Token, TokenError> {
        let _turn = self.turn.lock().await;
        let held = self.set.borrow().0.get(name).cloned();
        let held = held.ok_or_else(|| TokenError::Unknown(name.to_owned()))?;
        let committed = self.commit(name, vec![put(token_key(name), held.version, None)]).await?;
        self.publish(|set| {
            set.0.remove(name);
        });
        committed
            .durable
            .await
            .map_err(|error| TokenError::NotForGood { name: name.to_owned(), reason: error.reason })?;
        Ok(held.to_message())
    }

    async fn commit(&self, name: &str, ops: Vec<Op>) -> Result<Written, TokenError> {
        let committed = self.metadata.commit(ops).await.map_err(|source| match source {
            CommitError::Refused { refusal: Refusal::VersionMismatch { .. }, .. } => {
                TokenError::Conflict(name.to_owned())
            }
            source => TokenError::Log { name: name.to_owned(), source },
        })?;
        match committed.outcomes.first() {
            Some(Outcome::MetaPut { version }) => {
                Ok(Written { version: *version, durable: committed.durable })
            }
            other => unreachable!("a put of metadata came out as {other:?}"),
        }
    }

    fn publish(&self, change: impl FnOnce(&mut TokenSet)) {
        self.set.send_modify(|current| {
            let mut next = TokenSet::clone(current);
            change(&mut next);
            *current = Arc::new(next);
        });
    }

    /// Tells the sessions whose tokens have ended, until `stop`.
    pub(crate) async fn watch_over_ends(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watching = async {
            let mut before = self.clock.now();
            loop {
                ticks.tick().await;
                let now = self.clock.now();
                let ended = |held: &Arc<Held>| held.record.has_ended(now) && !held.record.has_ended(before);
                if self.set.borrow().0.values().any(ended) {
                    self.publish(|_| {});
                }
                before = now;
            }
        };
        stop.run_until_cancelled(watching).await;
    }
}

struct Written {
    /// Of the first operation.
    version: u64,
    durable: sealstream_transport::BoxFuture<'static, Result<(), crate::log::DurabilityError>>,
}

/// Whose place a new token may take: of those that have ended the one whose end is longest ago.
fn longest_ended(set: &TokenSet, now: i64) -> Result<Arc<Held>, TokenError> {
    let ended = set.0.values().filter(|held| held.record.has_ended(now));
    ended.min_by_key(|held| held.record.expires_ms).cloned().ok_or(TokenError::NoRoom)
}

fn put(key: String, expected: u64, value: Option<Bytes>) -> Op {
    Op::PutMeta { key, expected, value }
}

impl Badge {
    /// Whom its bearer is taken for.
    pub(crate) fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// The token's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Resolves once the token is good no longer, with the reason. Cancellation safe.
    pub(crate) async fn lost(&self) -> String {
        // Before the first look: what changes in between is noticed.
        let mut set = self.tokens.set.subscribe();
        let mut rules = self.tokens.rules.watch();
        loop {
            if let Some(why) = self.fault() {
                return why;
            }
            // Neither sender goes: both are in `tokens`.
            tokio::select! {
                _ = set.changed() => {}
                _ = rules.changed() => {}
            }
        }
    }

    fn fault(&self) -> Option<String> {
        let set = Arc::clone(&self.tokens.set.borrow());
        let held = set.0.get(&*self.name).filter(|held| held.record.id == self.id);
        let Some(held) = held else { return Some(format!("the token {:?} was revoked", self.name)) };
        match self.tokens.judge(&held.record, self.tokens.clock.now()) {
            Ok(()) => None,
            Err(TokenRefused::Ended) => Some(format!("the token {:?} has ended", self.name)),
            Err(other) => Some(format!("the token {:?} is good no longer: {other}", self.name)),
        }
    }
}
