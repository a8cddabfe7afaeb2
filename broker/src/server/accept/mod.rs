//! Accept loops and connections.

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use sealstream_transport::tls::FALLEN_GRACE;
use sealstream_transport::{Handshake, Inbound, Incoming, Listener, Peer};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::broker::Core;
use super::session::{self, text_of};
use super::standing::Standing;
use super::trace::note;
use crate::access::audit::cut;

/// The code of a QUIC connection's close when the broker has nothing more to say.
const CLOSE_CODE: u32 = 0;

/// Takes connections from a listener until the broker stops. Never waits for a handshake.
pub(super) async fn accept(core: Arc<Core>, listener: Box<dyn Listener>) {
    let addr = listener.local_addr();
    tracing::debug!(%addr, "listening");
    while let Some(Some(incoming)) = core.draining.run_until_cancelled(listener.accept()).await {
        let span = tracing::info_span!(
            "connection",
            remote = %incoming.remote_addr(),
            transport = Empty,
            identity = Empty,
            suite = Empty,
            handshake = Empty
        );
        core.tasks.spawn(serve(Arc::clone(&core), incoming, addr, span.clone()).instrument(span));
    }
    core.aborted.run_until_cancelled(listener.close()).await;
}

/// Owns a connection from its first byte until its last session is over.
async fn serve(core: Arc<Core>, incoming: Box<dyn Incoming>, local: SocketAddr, span: Span) {
    let handshake = core.draining.run_until_cancelled(incoming.handshake()).await;
    let inbound = match handshake {
        Some(Ok(inbound)) => inbound,
        Some(Err(error)) => {
            note(&span, "handshake", "failed");
            // The transport's observers tell it, and bound how often.
            tracing::debug!(%error, "handshake failed");
            return;
        }
        None => return,
    };
    describe(&span, inbound.peer());
    // Its sessions' spans know it as their parent, however long it is held.
    drop(span);
    let _present = core.presence.connection(inbound.peer());
    let fallen = pin!(async { inbound.standing().await.cause });
    attend(&core, &*inbound, local, fallen).await;
}

/// Says who it is that every line within the connection's span is about.
fn describe(span: &Span, peer: &Peer) {
    if span.is_disabled() {
        return;
    }
    note(span, "transport", peer.transport);
    note(span, "identity", cut(&text_of(peer.identity.as_deref())));
    if let Some(negotiated) = &peer.negotiated {
        note(span, "suite", negotiated.suite);
    }
    note(span, "handshake", if peer.handshake == Handshake::Resumed { "resumed" } else { "full" });
}

/// Holds the sessions of a connection until the last of them is over, or until `fallen` says why its peer is not trusted any
/// more: then each of them tells the peer, and none goes on.
async fn attend(
    core: &Arc<Core>,
    inbound: &dyn Inbound,
    local: SocketAddr,
    fallen: Pin<&mut impl Future<Output = impl Display>>,
) {
    let standing = Standing::default();
    let sessions = TaskTracker::new();
    let streams = pin!(take_streams(core, inbound, local, &standing, &sessions));
    let serving = pin!(async {
        core.draining.run_until_cancelled(streams).await;
        sessions.close();
        sessions.wait().await;
    });
    tokio::select! {
        biased;
        why = fallen => {
            tracing::warn!(reason = %why, "the client is no longer trusted: closing its connection");
            standing.lose(why);
            sessions.close();
            // Who does not take the reason by then is cut off without it.
            let _ = timeout(FALLEN_GRACE, sessions.wait()).await;
        }
        () = serving => {}
    }
    core.aborted.run_until_cancelled(inbound.close(CLOSE_CODE)).await;
    // Batches that the log is not done with still hold their part of the broker's memory.
    sessions.wait().await;
}

/// Takes the streams that the peer opens, until it opens no more: none soon after the handshake, or none and has no session
/// for [`idle_default`](super::BrokerOptions::idle_default), up to twice.
async fn take_streams(
    core: &Arc<Core>,
    inbound: &dyn Inbound,
    local: SocketAddr,
    standing: &Standing,
    sessions: &TaskTracker,
) {
    let mut patience = core.options.first_frame_deadline;
    let mut lonely = true;
    loop {
        match timeout(patience, inbound.accept()).await {
            Ok(Some(stream)) => {
                sessions.spawn(session::hold(Arc::clone(core), stream, local, standing.clone()));
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
