//! Handshakes as they are seen from outside: who came, how it ended and why, what it cost.
//!
//! A [`HandshakeObserver`] is told of every handshake of the transports that it is given to, on both sides and both backends:
//!
//! ```text
//! shed                                         turned away before any cryptography
//! start ─► client_hello ─► verified ─► finish  a server's handshake
//! start ───────────────────────────► finish    a client's; and whatever ends early
//! ```
//!
//! Every `start` has one `finish`, also where the handshake was abandoned half-way. Without observers none of this reads a
//! clock or allocates. [`HandshakeLog`] writes lines whose number does not grow with a storm; [`HandshakeMetrics`] counts,
//! and [`ServedMetrics`] tells how long certificates hold, with the feature `metrics`.

mod event;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod probe;
#[cfg(feature = "metrics")]
mod served;

use std::fmt;
use std::sync::Arc;

pub use event::{
    ClientHelloSeen, FailureCause, HandshakeEnd, HandshakeStart, Outcome, ShedConnection, VerifiedSeen,
};
pub use log::HandshakeLog;
#[cfg(feature = "metrics")]
pub use metrics::HandshakeMetrics;
pub(crate) use probe::{Meter, Probe};
#[cfg(feature = "metrics")]
pub use served::ServedMetrics;

/// Is told of handshakes. Every method returns at once: it is called in the task that makes the handshake.
pub trait HandshakeObserver: Send + Sync {
    /// A handshake began: the first byte is about to be sent, or was waited for.
    fn start(&self, start: &HandshakeStart) {
        let _ = start;
    }

    /// A client said what it wants; on the accepting side of TCP only, where it is read before anything is answered.
    fn client_hello(&self, start: &HandshakeStart, hello: &ClientHelloSeen<'_>) {
        let _ = (start, hello);
    }

    /// The peer was judged, and accepted.
    fn verified(&self, start: &HandshakeStart, verified: &VerifiedSeen<'_>) {
        let _ = (start, verified);
    }

    /// A handshake ended, in whatever way.
    fn finish(&self, start: &HandshakeStart, end: &HandshakeEnd<'_>) {
        let _ = (start, end);
    }

    /// A connection was turned away before its handshake.
    fn shed(&self, shed: &ShedConnection) {
        let _ = shed;
    }
}

/// Those who watch a transport. Cheap to clone; empty by default, and free then.
#[derive(Clone, Default)]
pub struct Observers(Option<Arc<[Arc<dyn HandshakeObserver>]>>);

impl Observers {
    /// These, in this order.
    pub fn new(observers: impl IntoIterator<Item = Arc<dyn HandshakeObserver>>) -> Self {
        let all: Arc<[_]> = observers.into_iter().collect();
        Self((!all.is_empty()).then_some(all))
    }

    pub(crate) fn each(&self, tell: impl Fn(&dyn HandshakeObserver)) {
        for observer in self.0.iter().flat_map(|all| all.iter()) {
            tell(&**observer);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl PartialEq for Observers {
    /// The same observers, not equal ones.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for Observers {}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.0.as_ref().map_or(0, |all| all.len())).finish()
    }
}
