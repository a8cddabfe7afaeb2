//! Who may do what: rules, tokens, and what becomes of open sessions when either changes.

#![expect(clippy::unwrap_used, reason = "what a test sets up either works or fails the test")]

mod groups;
mod rules;
mod sealed;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::access::{Action, Effect, Rule, RuleBook, Rules};
use sealstream_broker::log::clock::{Clock, SystemClock};
use sealstream_broker::log::memory::MemoryStore;
use sealstream_broker::server::{Anonymous, BrokerOptions};
use sealstream_client::wire::OpenSessionError;
use sealstream_protocol::message::admin::{CreateToken, RevokeToken};
use sealstream_protocol::message::hello::{Hello, Secret, SessionKind};
use sealstream_protocol::message::{Fault, FaultCode, Message};

use crate::harness::{TestBroker, Wire, assert_code, greeting};

/// «Within a second», with a margin for a loaded machine.
const PROMISE: Duration = Duration::from_secs(3);

const EVERY: [Action; 3] = Action::ALL;

fn allow(identity: &str, actions: &[Action], topics: &[&str]) -> Rule {
    Rule::new(identity, actions.iter().copied(), topics, Effect::Allow).unwrap()
}

fn deny(identity: &str, actions: &[Action], topics: &[&str]) -> Rule {
    Rule::new(identity, actions.iter().copied(), topics, Effect::Deny).unwrap()
}

/// A broker without rules yet, in which this machine's clients may do everything.
struct World {
    broker: TestBroker,
    book: RuleBook,
}

impl World {
    async fn new() -> Self {
        Self::over(&MemoryStore::new(2), Arc::new(SystemClock)).await
    }

    async fn over(store: &MemoryStore, clock: Arc<dyn Clock>) -> Self {
        let book = RuleBook::default();
        let options = BrokerOptions {
            rules: book.clone(),
            anonymous: Anonymous::Everywhere,
            ..BrokerOptions::default()
        };
        Self { broker: TestBroker::over(options, store, clock).await, book }
    }

    fn publish(&self, rules: impl IntoIterator<Item = Rule>) {
        assert!(self.book.publish(Rules::new(rules, [""; 0]).unwrap()), "nothing has changed");
    }

    /// Makes a token of this name, by a client of this machine: before there are rules.
    async fn token(&self, name: &str) -> String {
        create_token(&mut self.broker.admin().await, name).await
    }

    async fn with_token(&self, kind: SessionKind, token: &str) -> Wire {
        self.try_with_token(kind, token).await.unwrap()
    }

    async fn try_with_token(&self, kind: SessionKind, token: &str) -> Result<Wire, OpenSessionError> {
        self.broker.try_session(bearing(kind, token)).await
    }
}

fn bearing(kind: SessionKind, token: &str) -> Hello {
    Hello { token: Some(Secret(token.into())), ..greeting(kind) }
}

async fn create_token(admin: &mut Wire, name: &str) -> String {
    admin
        .send(Message::CreateToken(CreateToken { name: name.into(), identity: None, lifetime_ms: None }))
        .await;
    let Message::TokenCreated(created) = admin.recv().await else { panic!("a token was due") };
    created.secret.0
}

async fn revoke_token(admin: &mut Wire, name: &str) {
    admin.send(Message::RevokeToken(RevokeToken { name: name.into() })).await;
    let Message::TokenRevoked(revoked) = admin.recv().await else { panic!("its end was due") };
    assert_eq!(revoked.token.name, name);
}

/// What a Hello was refused with.
#[track_caller]
fn refusal(answer: Result<Wire, OpenSessionError>) -> Fault {
    match answer {
        Err(OpenSessionError::Refused(fault)) => fault,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    }
}

/// A denial names who, what, and the remedy.
#[track_caller]
fn assert_forbidden(fault: &Fault, identity: &str, thing: &str) {
    assert_code(fault, FaultCode::Forbidden);
    for word in [identity, thing, "auth.rule"] {
        assert!(fault.text.contains(word), "{word} is not in: {fault}");
    }
}
