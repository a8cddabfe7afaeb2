//! The two ends of a connection under measurement, whatever carries it: one accepts, one dials, and both do the same.
//!
//! ```text
//! dial ──────► connect, handshake ──► a byte ──► an answer, and the tickets ──► Held ── end ──► closed
//! accept ────► accept, handshake ───► a byte ──► its answer ──────────────────► Held ── end ──► closed
//! ```
//!
//! On TCP the stream is held open, and ended last: it is the connection. On QUIC it has ended, and the connection is held.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sealstream_transport::BoxFuture;
use tokio::task::JoinSet;

/// What a client says, and what it is answered with.
pub const WORD: u8 = 0x5a;

/// The listening end.
pub trait Accept: Send + Sync {
    /// Where it listens, on every address of this machine.
    fn port(&self) -> u16;

    /// The next peer. Its handshake and its round trip are made by whoever awaits the conversation.
    fn accept(&self) -> BoxFuture<'_, Conversation>;

    /// Bytes of the future that makes a handshake and nothing else, for the next peer, which is turned away.
    fn size_of_handshake(&self) -> BoxFuture<'_, usize>;

    /// Handshakes until now that resumed a session.
    fn resumed(&self) -> usize;
}

/// A handshake to be made, and a round trip after it.
pub struct Conversation(
    /// Both.
    pub BoxFuture<'static, Box<dyn Held>>,
);

/// The dialling end.
pub trait Dial: Send + Sync {
    /// Connects, makes the handshake and the round trip. Lanes do not share tickets where those are not to be used.
    fn dial(&self, lane: Lane) -> BoxFuture<'static, Box<dyn Held>>;
}

/// An established connection on which nothing moves.
pub trait Held: Send {
    /// Ends it in good order, with its peer.
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// One of the clients that dial at the same time: each goes to an address of its own of this machine.
#[derive(Clone, Copy)]
pub struct Lane(
    /// Its number.
    pub u8,
);

impl Lane {
    /// Where its client dials.
    pub fn host(self) -> IpAddr {
        Ipv4Addr::new(127, 0, 1, self.0).into()
    }
}

/// Handshakes at once: enough that neither end sleeps between two of them, and no more than half of the tickets that rustls
/// keeps of a server.
pub const LANES: u8 = 4;

/// Accepts so many, each in a task of its own, until all have ended.
pub async fn serve(acceptor: &dyn Accept, count: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let conversation = acceptor.accept().await;
        tasks.spawn(async move { conversation.0.await.end().await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a conversation in good order");
    }
}

/// Dials so many, in so many lanes at once, and ends each.
pub async fn dial(dialler: &Arc<dyn Dial>, lanes: u8, count: usize) {
    let mut tasks = JoinSet::new();
    for lane in 0..lanes {
        let dialler = Arc::clone(dialler);
        let share = share(count, usize::from(lanes), usize::from(lane));
        tasks.spawn(async move {
            for _ in 0..share {
                dialler.dial(Lane(lane)).await.end().await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a conversation in good order");
    }
}

/// What one of several has to do of `count`: they share it evenly.
pub fn share(count: usize, among: usize, which: usize) -> usize {
    count / among + usize::from(which < count % among)
}

/// A port of any address of this machine.
pub fn anywhere() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}
