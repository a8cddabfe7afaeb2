//! What the client of a session may do: asked when it names a topic, and again when the rules have changed.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use sealstream_protocol::message::{Fault, FaultCode};
use tokio::sync::watch;

use crate::access::audit::{Asker, Audit, cut};
use crate::access::{ALL_TOPICS, Access, Action, Decision, Rules};

/// A client's rights, for as long as its session lasts.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    access: Arc<Access>,
    identity: Arc<str>,
    remote: SocketAddr,
}

impl Rights {
    pub(crate) fn new(access: Arc<Access>, identity: Arc<str>, remote: SocketAddr) -> Self {
        Self { access, identity, remote }
    }

    /// Whether the client may do this with `topic`; what it is told if not. A denial is an audit line.
    pub(crate) fn demand(&self, action: Action, topic: &str) -> Result<(), Fault> {
        let decision = self.access.may(&self.identity, action, topic);
        if decision.allowed {
            return Ok(());
        }
        self.access.audit().denied(self.asker(), action, topic, &decision);
        Err(forbidden(&self.identity, action, topic, &decision))
    }

    /// Whether the client may know that `topic` is there; if not, what it is told whether it is there or not.
    pub(crate) fn demand_sight(&self, topic: &str) -> Result<(), Fault> {
        if self.shows(topic) { Ok(()) } else { self.demand(Action::Consume, topic) }
    }

    /// Whether the client may do anything at all with `topic`.
    pub(crate) fn shows(&self, topic: &str) -> bool {
        self.access.rules().current().shows(&self.identity, topic)
    }

    /// News of changes to the rules after this call.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Rules>> {
        self.access.rules().watch()
    }

    /// Writes down that the client had `what` done to `thing`, or tried to.
    pub(crate) fn record<T, E: Display>(&self, what: &str, thing: &str, outcome: &Result<T, E>) {
        Audit::changed(self.asker(), what, thing, outcome.as_ref().map(drop));
    }

    /// Whom the rules see.
    pub(crate) fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// Where the client comes from.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Where all of this is decided.
    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    fn asker(&self) -> Asker<'_> {
        Asker { identity: &self.identity, remote: self.remote }
    }
}

/// Of an identity, in what a client is told: a SPIFFE ID may be so long that no room would be left for the remedy.
const SHOWN: usize = 300;

fn forbidden(identity: &str, action: Action, topic: &str, decision: &Decision) -> Fault {
    let thing = if topic == ALL_TOPICS {
        "the broker itself (*)".to_owned()
    } else {
        format!("topic {:?}", cut(topic))
    };
    let verb = match action {
        Action::Produce => "produce to",
        Action::Consume => "consume",
        Action::Admin => "administer",
    };
    // Which rule it was, the audit line says: it may speak of others.
    let why = match decision.because.rule() {
        Some(_) => "a rule denies it",
        None => "no rule allows it",
    };
    let shown = &identity[..identity.floor_char_boundary(SHOWN)];
    let cut = if shown.len() < identity.len() { "…" } else { "" };
    let text = format!(
        "{shown}{cut} may not {verb} {thing}: {why}; ask the broker's operator for a rule (auth.rule), or come with another \
         certificate or token"
    );
    Fault::new(FaultCode::Forbidden, text)
}

#[cfg(test)]
mod tests {
    use sealstream_protocol::limits::MAX_TEXT;

    use super::*;
    use crate::access::Because;

    #[test]
    fn the_remedy_fits_behind_the_longest_identity_and_topic() {
        let identity = format!("spiffe://example.org/{}", "é".repeat(1000));
        let decision = Decision { allowed: false, because: Because::NoRule };
        let fault = forbidden(&identity, Action::Consume, &"t".repeat(60_000), &decision);
        assert!(fault.text.len() < MAX_TEXT && fault.text.contains("auth.rule"), "{fault}");
        assert!(fault.text.contains("é… may not consume"), "{fault}");
    }
}
