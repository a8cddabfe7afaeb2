//! What the suite asks of a backend.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::transport::{BoxFuture, Server, Transport};

/// A backend under test. Make one per test: nothing is shared between tests.
pub trait StreamFixture: Send + Sync {
    /// What the backend promises beyond what all do.
    fn capabilities(&self) -> Capabilities;

    /// A transport that can listen.
    fn server(&self) -> Arc<dyn Transport>;

    /// A transport that can reach a listener of [`server`](Self::server).
    fn client(&self) -> Arc<dyn Transport>;

    /// Whom a client connects to in order to reach `addr`.
    fn target(&self, addr: SocketAddr) -> Server;

    /// A way to `addr` that can be cut without a goodbye, as by the death of the process at its end.
    fn breakable_path(&self, addr: SocketAddr) -> BoxFuture<'_, Box<dyn BreakablePath>>;
}

/// Where backends differ by nature.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a difference of its own, not a state")]
pub struct Capabilities {
    /// The codes of an abort and a stop reach the peer.
    pub carries_codes: bool,
    /// A crash is told apart from an abort: `ConnectionLost`, not `Aborted`.
    pub tells_crash_from_abort: bool,
    /// A writer learns at once that the peer has dropped its reading half.
    pub stops_writers: bool,
    /// The streams of an `Outbound` share one connection: the server accepts them all from one `Inbound`.
    pub shares_connection: bool,
    /// The most bytes that a writer is rid of while nobody reads, kernel and all.
    pub stalled_bytes: u64,
}

/// A path between two sides that can be cut.
pub trait BreakablePath: Send + Sync {
    /// Where the path begins: connect to this instead of the listener.
    fn entrance(&self) -> SocketAddr;

    /// Cuts it: what is under way is lost and nobody says goodbye.
    fn cut(&self);
}
