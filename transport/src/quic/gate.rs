//! What every incoming handshake of a listener shares, and how one is run.

use std::sync::Arc;

use quinn::{ServerConfig, TransportConfig};
use rustls::quic::Suite;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::budget::Budget;
use super::credit::{WIDE_STEP, WideRoom};
use super::failure;
use super::inbound::QuicInbound;
use super::link::{Link, Surroundings};
use super::params::{STREAM_WINDOW, WIDE_STREAM_WINDOW, server_transport};
use super::path::Paths;
use super::send_room::SEND_STEP;
use super::session::{Outcome, ServerCrypto};
use super::socket;
use crate::admission::ConnectionPlace;
use crate::error::HandshakeError;
use crate::observe::{HandshakeStart, Probe};
use crate::options::TransportOptions;
use crate::peer::TransportKind;
use crate::tls::{Profile, Receiver, ServerHandshake, Side, Verified};

/// Handshakes begun at the same time on one endpoint. quinn verifies and signs under its mutex, which receiving needs too: a
/// second one would only block another thread. Between two the endpoint gets its turn, as all that is ready does: the turns of
/// [`Admission`](crate::admission::Admission) see to that.
const HANDSHAKES_BEGUN_AT_ONCE: usize = 1;

/// What every incoming handshake of a listener shares.
#[derive(Debug)]
pub(super) struct Gate {
    receiver: Receiver,
    profile: Profile,
    options: TransportOptions,
    /// Everything but what each handshake reads anew: the identity, and the way to its peer.
    template: ServerConfig,
    /// Settings for connections with narrow windows, and with wide ones.
    narrow: Paths,
    wide: Paths,
    /// What makes windows wide.
    receive_budget: Budget,
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
        options: TransportOptions,
        template: ServerConfig,
        initial: Initial,
        tasks: TaskTracker,
    ) -> Self {
        let turns = Semaphore::new(HANDSHAKES_BEGUN_AT_ONCE);
        let surroundings = Surroundings {
            close_deadline: options.deadlines.close,
            tasks,
            presence: Arc::default(),
            send_budget: Some(Budget::new(options.quic.send_budget, SEND_STEP)),
        };
        Self {
            receiver,
            profile,
            template,
            narrow: server_transport(&options.quic, STREAM_WINDOW),
            wide: server_transport(&options.quic, WIDE_STREAM_WINDOW),
            receive_budget: Budget::new(options.quic.receive_budget, WIDE_STEP.into()),
            initial,
            turns,
            surroundings,
            options,
        }
    }

    /// Whom the listener lets in, and who is told whom it does not.
    pub(super) fn options(&self) -> &TransportOptions {
        &self.options
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
        place: ConnectionPlace,
    ) -> Result<QuicInbound, HandshakeError> {
        let after = self.options.deadlines.handshake;
        let addr = socket::canonical(incoming.remote_address());
        let mut probe = Probe::begin(&self.options.observers, || {
            HandshakeStart::new(Side::Server, TransportKind::Quic, addr)
        });
        let established = timeout(after, self.establish(incoming, place, &mut probe)).await;
        let established = established.unwrap_or(Err(HandshakeError::TimedOut { after }));
        probe.finish(established.as_ref().map(|(_, verified)| verified));
        established.map(|(inbound, _)| inbound)
    }

    async fn establish(
        &self,
        incoming: quinn::Incoming,
        place: ConnectionPlace,
        probe: &mut Probe,
    ) -> Result<(QuicInbound, Verified), HandshakeError> {
        let outcome = Outcome::metered(probe.meter());
        let failed = |error| failure::handshake(&error, &outcome, Side::Server, &self.profile.alpn);
        let in_flight = place.handshake_place().await;
        let room = WideRoom::take(&self.receive_budget);
        let connecting = {
            let _endpoint = self.turns.acquire().await.expect("the gate never closes its turns");
            let handshake = self.receiver.current().server_handshake(&self.profile).ok_or_else(|| {
                HandshakeError::BadCertificate {
                    detail: "this listener has none to show any more".to_owned(),
                }
            })?;
            probe.served_by(&handshake);
            let paths = if room.is_some() { &self.wide } else { &self.narrow };
            let config = self.config(paths.towards(incoming.remote_address()), handshake, outcome.clone());
            let accept = || incoming.accept_with(config);
            self.options.admission.compute(accept).await.map_err(&failed)?
        };
        let connection = connecting.await.map_err(&failed)?;
        drop(in_flight);
        let verified = outcome.get().cloned().expect("an established connection has been judged")?;
        let surroundings = self.surroundings.clone();
        let link =
            Link::new(connection, verified.clone(), Side::Server, surroundings, &self.receiver, Some(place));
        Ok((QuicInbound::new(link, room), verified))
    }

    fn config(
        &self,
        transport: Arc<TransportConfig>,
        handshake: ServerHandshake,
        outcome: Outcome,
    ) -> Arc<ServerConfig> {
        let mut config = self.template.clone();
        config.transport_config(transport);
        config.crypto = Arc::new(ServerCrypto::new(handshake, self.initial.0, outcome));
        Arc::new(config)
    }
}
