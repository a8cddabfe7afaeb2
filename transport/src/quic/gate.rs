//! What every incoming handshake of a listener shares, and how one is run.

use std::sync::Arc;

use quinn::ServerConfig;
use rustls::quic::Suite;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::failure;
use super::inbound::QuicInbound;
use super::link::{Link, Surroundings};
use super::session::{Outcome, ServerCrypto};
use crate::error::HandshakeError;
use crate::options::Deadlines;
use crate::tls::{Profile, Receiver, ServerHandshake, Side};

/// Handshakes begun at the same time. quinn verifies and signs under the mutex of the endpoint, which receiving needs
/// too: a second one would only block another thread, and between two the endpoint gets its turn.
const HANDSHAKES_BEGUN_AT_ONCE: usize = 1;

/// What every incoming handshake of a listener shares.
#[derive(Debug)]
pub(super) struct Gate {
    receiver: Receiver,
    profile: Profile,
    deadlines: Deadlines,
    /// Everything but the identity, which each handshake reads anew.
    template: ServerConfig,
    initial: Initial,
    turns: Semaphore,
    /// What every connection that came through holds.
    surroundings: Surroundings,
}

/// The suite of Initial packets. In a struct of its own for want of `Debug`.
#[derive(Clone, Copy)]
pub(super) struct Initial(pub(super) Suite);

impl std::fmt::Debug for Initial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Initial")
    }
}

impl Gate {
    pub(super) fn new(
        receiver: Receiver,
        profile: Profile,
        deadlines: Deadlines,
        template: ServerConfig,
        initial: Initial,
        tasks: TaskTracker,
    ) -> Self {
        let turns = Semaphore::new(HANDSHAKES_BEGUN_AT_ONCE);
        let surroundings = Surroundings { close_deadline: deadlines.close, tasks, presence: Arc::default() };
        Self { receiver, profile, deadlines, template, initial, turns, surroundings }
    }

    /// The owner of every task behind the listener.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.surroundings.tasks
    }

    /// Whether somebody holds a connection that came through here.
    pub(super) fn has_connections(&self) -> bool {
        Arc::strong_count(&self.surroundings.presence) > 1
    }

    /// Runs one handshake, under the deadline.
    ///
    /// Cancellation safe: dropped before it has begun, it refuses the connection; later, it closes it.
    pub(super) async fn handshake(
        self: Arc<Self>,
        incoming: quinn::Incoming,
    ) -> Result<QuicInbound, HandshakeError> {
        let after = self.deadlines.handshake;
        timeout(after, self.establish(incoming)).await.unwrap_or(Err(HandshakeError::TimedOut { after }))
    }

    async fn establish(&self, incoming: quinn::Incoming) -> Result<QuicInbound, HandshakeError> {
        let outcome = Outcome::default();
        let failed = |error| failure::handshake(&error, &outcome, Side::Server, &self.profile.alpn);
        let connecting = {
            let _turn = self.turns.acquire().await.expect("the gate never closes its turns");
            let handshake = self.receiver.current().server_handshake(&self.profile).ok_or_else(|| {
                HandshakeError::BadCertificate {
                    detail: "this listener has none to show any more".to_owned(),
                }
            })?;
            let connecting =
                incoming.accept_with(self.config(handshake, outcome.clone())).map_err(&failed)?;
            // What the endpoint received meanwhile comes before the next handshake.
            tokio::task::yield_now().await;
            connecting
        };
        let connection = connecting.await.map_err(&failed)?;
        let verified = outcome.get().cloned().expect("an established connection has been judged")?;
        let surroundings = self.surroundings.clone();
        Ok(QuicInbound::new(Link::new(connection, verified, Side::Server, surroundings, &self.receiver)))
    }

    fn config(&self, handshake: ServerHandshake, outcome: Outcome) -> Arc<ServerConfig> {
        let mut config = self.template.clone();
        config.crypto = Arc::new(ServerCrypto::new(handshake, self.initial.0, outcome));
        Arc::new(config)
    }
}
