//! Tokens, and what the rules say.

use std::time::Duration;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{
    AccessChecked, Action, CheckAccess, CreateToken, ListTokens, RevokeToken, Token, TokenCreated,
};

use super::session::Repeat;
use super::{Admin, AdminError};

/// A token to be made.
///
/// ```
/// use std::time::Duration;
/// use sealstream_client::admin::NewToken;
///
/// let token = NewToken::new("billing-2").identity("token:billing").lifetime(Duration::from_secs(30 * 86_400));
/// # drop(token);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a token is made by `Admin::create_token`"]
pub struct NewToken {
    create: CreateToken,
}

impl NewToken {
    /// A token of this name, 1 to 255 of `a-z A-Z 0-9 . _ -`, whose bearer is taken for `token:` and the name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { create: CreateToken { name: name.into(), identity: None, lifetime_ms: None } }
    }

    /// Has its bearer taken for this identity instead: one that begins with `token:`, or one that the broker's configuration
    /// lets tokens have. At most 255 bytes.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.create.identity = Some(identity.into());
        self
    }

    /// Lets it end after so long, to the millisecond; by default it is good until it is revoked.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.create.lifetime_ms = Some(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

impl Admin {
    /// Makes a token. The answer holds its secret, which is told this once: keep it.
    pub async fn create_token(&self, token: NewToken) -> Result<TokenCreated, AdminError> {
        let request = format!("create token {}", token.create.name);
        let answer = |message| match message {
            Message::TokenCreated(created) => Some(created),
            _ => None,
        };
        // Asked for twice, the first one's secret would be lost.
        self.requests.ask(&request, Message::CreateToken(token.create), Repeat::Never, answer).await
    }

    /// All tokens, in the order of their names; those that have ended too.
    pub async fn list_tokens(&self) -> Result<Vec<Token>, AdminError> {
        let answer = |message| match message {
            Message::TokenList(list) => Some(list.tokens),
            _ => None,
        };
        self.requests.ask("list tokens", Message::ListTokens(ListTokens {}), Repeat::Safely, answer).await
    }

    /// Revokes a token: nobody gets in with it any more, and sessions that were opened with it end within a second.
    pub async fn revoke_token(&self, name: &str) -> Result<Token, AdminError> {
        let revoke = Message::RevokeToken(RevokeToken { name: name.to_owned() });
        let answer = |message| match message {
            Message::TokenRevoked(revoked) => Some(revoked.token),
            _ => None,
        };
        self.requests.ask(&format!("revoke token {name}"), revoke, Repeat::Never, answer).await
    }

    /// Whether `identity` may do `action` with `topic` (`*` is the broker itself), and which rule says so. About itself
    /// every client may ask, by its identity or an empty one.
    pub async fn check_access(
        &self,
        identity: &str,
        action: Action,
        topic: &str,
    ) -> Result<AccessChecked, AdminError> {
        let check = CheckAccess { identity: identity.to_owned(), action, topic: topic.to_owned() };
        let answer = |message| match message {
            Message::AccessChecked(checked) => Some(checked),
            _ => None,
        };
        self.requests.ask("check access", Message::CheckAccess(check), Repeat::Safely, answer).await
    }
}
