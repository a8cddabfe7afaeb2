//! Requests about tokens, and about what the rules say.

use std::borrow::Cow;
use std::sync::Arc;

use sealstream_protocol::message::admin::{
    AccessChecked, CheckAccess, CreateToken, RevokeToken, TokenList, TokenRevoked,
};
use sealstream_protocol::message::{Fault, FaultCode, Message};

use super::recorded;
use crate::access::{ALL_TOPICS, Action, as_written};
use crate::server::broker::Core;
use crate::server::rights::Rights;
use crate::server::session::heart::Heart;

/// The longest identity that is asked about, in bytes: a SPIFFE ID.
const MAX_IDENTITY: usize = 2048;

pub(super) async fn create(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: CreateToken,
) -> Result<Message, Fault> {
    rights.demand(Action::Admin, ALL_TOPICS)?;
    let (tokens, name) = (Arc::clone(core.access.tokens()), request.name.clone());
    let created_by = Arc::clone(rights.identity());
    let create = async move { tokens.create(request, &created_by).await.map(Message::TokenCreated) };
    recorded(core, heart, rights, "create token", name, create).await
}

pub(super) fn list(core: &Core, rights: &Rights) -> Result<Message, Fault> {
    rights.demand(Action::Admin, ALL_TOPICS)?;
    Ok(Message::TokenList(TokenList { tokens: core.access.tokens().list() }))
}

pub(super) async fn revoke(
    core: &Arc<Core>,
    heart: &Heart,
    rights: &Rights,
    request: RevokeToken,
) -> Result<Message, Fault> {
    rights.demand(Action::Admin, ALL_TOPICS)?;
    let RevokeToken { name } = request;
    let (tokens, thing) = (Arc::clone(core.access.tokens()), name.clone());
    let revoke =
        async move { tokens.revoke(&name).await.map(|token| Message::TokenRevoked(TokenRevoked { token })) };
    recorded(core, heart, rights, "revoke token", thing, revoke).await
}

/// What the rules say. Anybody may ask it about himself.
pub(super) fn check(rights: &Rights, request: &CheckAccess) -> Result<Message, Fault> {
    let CheckAccess { identity, action, topic } = request;
    if identity.len() > MAX_IDENTITY {
        let text = format!("an identity of {} bytes: none is longer than {MAX_IDENTITY}", identity.len());
        return Err(Fault::new(FaultCode::InvalidRequest, text));
    }
    let own = rights.identity();
    let identity = if identity.is_empty() { Cow::Borrowed(&**own) } else { as_written(identity) };
    if *identity != **own {
        rights.demand(Action::Admin, ALL_TOPICS)?;
    }
    let decision = rights.access().may(&identity, *action, topic);
    Ok(Message::AccessChecked(AccessChecked {
        allowed: decision.allowed,
        reason: decision.because.to_string(),
        rule: decision.because.rule(),
    }))
}
