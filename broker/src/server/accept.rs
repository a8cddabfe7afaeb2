//! Accept loops and connections.

use std::net::SocketAddr;
use std::sync::Arc;

use sealstream_transport::{Inbound, Incoming, Listener};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::admission::Place;
use super::broker::Core;
use super::session;

/// The code of a QUIC connection's close when the broker has nothing more to say.
const CLOSE_CODE: u32 = 0;

/// Takes connections from a listener until the broker stops. Never waits for a handshake.
pub(super) async fn accept(core: Arc<Core>, listener: Box<dyn Listener>) {
    let addr = listener.local_addr();
    tracing::debug!(%addr, "listening");
    while let Some(Some(incoming)) = core.draining.run_until_cancelled(listener.accept()).await {
        let Some(place) = core.connections.take() else {
            tracing::warn!(limit = core.options.max_connections, remote = %incoming.remote_addr(), "turned away: too many connections");
            incoming.refuse();
            continue;
        };
        let span = tracing::info_span!("connection", remote = %incoming.remote_addr());
        core.tasks.spawn(serve(Arc::clone(&core), incoming, addr, place).instrument(span));
    }
    core.aborted.run_until_cancelled(listener.close()).await;
}

/// Owns a connection from its first byte until its last session is over.
async fn serve(core: Arc<Core>, incoming: Box<dyn Incoming>, local: SocketAddr, _place: Place) {
    let handshake = core.draining.run_until_cancelled(incoming.handshake()).await;
    let inbound = match handshake {
        Some(Ok(inbound)) => inbound,
        Some(Err(error)) => {
            tracing::info!(%error, "handshake failed");
            return;
        }
        None => return,
    };
    let sessions = TaskTracker::new();
    core.draining.run_until_cancelled(take_streams(&core, &*inbound, local, &sessions)).await;
    sessions.close();
    sessions.wait().await;
    core.aborted.run_until_cancelled(inbound.close(CLOSE_CODE)).await;
}

/// Takes the streams that the peer opens, until it opens no more: none soon after the handshake, or none and has no session
/// for [`idle_default`](super::BrokerOptions::idle_default), up to twice.
async fn take_streams(core: &Arc<Core>, inbound: &dyn Inbound, local: SocketAddr, sessions: &TaskTracker) {
    let mut patience = core.options.first_frame_deadline;
    let mut lonely = true;
    loop {
        match tokio::time::timeout(patience, inbound.accept()).await {
            Ok(Some(stream)) => {
                sessions.spawn(session::hold(Arc::clone(core), stream, local).in_current_span());
                lonely = false;
            }
            Ok(None) => return,
            Err(_) if lonely && sessions.is_empty() => {
                tracing::debug!("the connection has no sessions: closing it");
                return;
            }
            // Its last session may have ended just now.
            Err(_) => lonely = sessions.is_empty(),
        }
        patience = core.options.idle_default;
    }
}
