//! Places: holding one is the right to be connected, or to be in a handshake. Dropped, it is free again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Shared;
use super::counts::Shed;
use super::semaphore::Permit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Silent so far: costs next to nothing while it waits.
    Stream,
    /// Has sent its first packet, which is held while it waits.
    Datagram,
}

/// A connection's place, held for as long as the connection lives.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    shared: Arc<Shared>,
    kind: Kind,
    /// Whether it counts among those who wait for a place for their handshake.
    waiting: AtomicBool,
}

impl ConnectionPlace {
    /// A place, unless as many as `limit` are taken.
    pub(super) fn take(shared: &Arc<Shared>, kind: Kind, limit: usize) -> Option<Self> {
        let one_more = |taken: usize| (taken < limit).then_some(taken + 1);
        shared.counters.connections.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        Some(Self { shared: Arc::clone(shared), kind, waiting: AtomicBool::new(false) })
    }

    /// A place for the connection's handshake, first come first served. Await it once the peer has said something, and under
    /// the deadline of the handshake.
    ///
    /// Cancellation safe: given up, it counts as [`Shed::Handshakes`], and the place in the queue is lost.
    pub(crate) async fn handshake_place(&self) -> HandshakePlace {
        self.begin_waiting();
        let mut wait = Wait { place: self, served: false };
        let permit = self.shared.handshakes.acquire().await;
        wait.served = true;
        self.shared.counters.handshakes.fetch_add(1, Relaxed);
        HandshakePlace { shared: Arc::clone(&self.shared), _permit: permit }
    }

    pub(super) fn begin_waiting(&self) {
        if !self.waiting.swap(true, Relaxed) {
            self.shared.counters.waiting.fetch_add(1, Relaxed);
            if self.kind == Kind::Datagram {
                self.shared.counters.waiting_datagram_peers.fetch_add(1, Relaxed);
            }
        }
    }

    fn end_waiting(&self) {
        if self.waiting.swap(false, Relaxed) {
            self.shared.counters.waiting.fetch_sub(1, Relaxed);
            if self.kind == Kind::Datagram {
                self.shared.counters.waiting_datagram_peers.fetch_sub(1, Relaxed);
            }
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.end_waiting();
        self.shared.counters.connections.fetch_sub(1, Relaxed);
    }
}

/// A peer's wait for a place for its handshake.
struct Wait<'a> {
    place: &'a ConnectionPlace,
    served: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.place.end_waiting();
        if !self.served {
            self.place.shared.counters.shed(Shed::Handshakes);
        }
    }
}

/// A place in flight, held from a peer's first byte until its handshake has ended.
#[derive(Debug)]
pub(crate) struct HandshakePlace {
    shared: Arc<Shared>,
    _permit: Permit,
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        self.shared.counters.handshakes.fetch_sub(1, Relaxed);
    }
}
