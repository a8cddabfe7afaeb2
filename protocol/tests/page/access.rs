//! The values that the vectors about tokens and rules are made of.

use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{
    AccessChecked, AccessRule, Action, CheckAccess, CreateToken, Effect, ListTokens, RevokeToken, Token,
    TokenCreated, TokenList, TokenRevoked,
};
use sealstream_protocol::message::hello::Secret;
use uuid::uuid;

use crate::samples::TIME;

/// Of 32 bytes 0xa5.
const SECRET: &str = "slt1_paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaUbn-1l";

/// Messages by name.
pub(crate) fn messages() -> Vec<(&'static str, Message)> {
    let token = Token {
        name: "billing".into(),
        id: uuid!("5e2d8c1f-7a34-4c0b-9e61-d3b2a1908f7e"),
        identity: "token:billing".into(),
        created_by: "dns:ops.example.org".into(),
        created_ms: TIME,
        expires_ms: Some(TIME + 30 * 86_400_000),
        last_used_ms: None,
    };
    let lasting = Token {
        name: "orders".into(),
        identity: "spiffe://example.org/orders".into(),
        expires_ms: None,
        last_used_ms: Some(TIME + 1),
        ..token.clone()
    };
    let create = CreateToken {
        name: "billing".into(),
        identity: Some("token:billing".into()),
        lifetime_ms: Some(30 * 86_400_000),
    };
    let bare = CreateToken { name: "billing".into(), identity: None, lifetime_ms: None };
    let check = CheckAccess {
        identity: "spiffe://example.org/orders".into(),
        action: Action::Produce,
        topic: "orders.eu".into(),
    };
    let rule = AccessRule {
        number: 2,
        identity: "spiffe://example.org/*".into(),
        actions: vec![Action::Produce, Action::Consume],
        topics: vec!["orders.*".into(), "payments".into()],
        effect: Effect::Allow,
    };
    let allowed =
        AccessChecked { allowed: true, reason: "rule 2 allows it".into(), rule: Some(rule.clone()) };
    let denied = AccessChecked {
        allowed: false,
        reason: "rule 1 denies it".into(),
        rule: Some(AccessRule { number: 1, effect: Effect::Deny, actions: vec![Action::Admin], ..rule }),
    };
    let unmatched = AccessChecked { allowed: false, reason: "no rule allows it".into(), rule: None };
    vec![
        ("create-token", Message::CreateToken(create)),
        ("create-token-bare", Message::CreateToken(bare)),
        ("list-tokens", Message::ListTokens(ListTokens {})),
        ("revoke-token", Message::RevokeToken(RevokeToken { name: "billing".into() })),
        ("check-access", Message::CheckAccess(check)),
        (
            "check-access-of-oneself",
            Message::CheckAccess(CheckAccess {
                identity: String::new(),
                action: Action::Admin,
                topic: "*".into(),
            }),
        ),
        (
            "check-access-to-consume",
            Message::CheckAccess(CheckAccess {
                identity: "anonymous".into(),
                action: Action::Consume,
                topic: "orders".into(),
            }),
        ),
        (
            "token-created",
            Message::TokenCreated(TokenCreated { token: token.clone(), secret: Secret(SECRET.into()) }),
        ),
        ("token-list", Message::TokenList(TokenList { tokens: vec![token.clone(), lasting] })),
        ("token-list-empty", Message::TokenList(TokenList { tokens: vec![] })),
        ("token-revoked", Message::TokenRevoked(TokenRevoked { token })),
        ("access-checked", Message::AccessChecked(allowed)),
        ("access-checked-denied", Message::AccessChecked(denied)),
        ("access-checked-without-a-rule", Message::AccessChecked(unmatched)),
    ]
}
