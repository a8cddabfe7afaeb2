//! What the suite asks of a backend with TLS.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::expectation::Expectation;
use crate::options::TransportOptions;
use crate::tls::Receiver;
use crate::transport::{BoxFuture, Server, Transport};

/// Whatever must live on for something to go on; dropping it ends that.
pub type Anything = Box<dyn Any + Send>;

/// A backend with TLS under test, and strangers who speak to it: peers made without this crate's own transport.
pub trait SecurityFixture: Send + Sync {
    /// The backend, with this material and these options.
    fn transport(&self, tls: Receiver, options: TransportOptions) -> Arc<dyn Transport>;

    /// Whom to connect to in order to reach `addr`, and what it must prove.
    fn target(&self, addr: SocketAddr, expectation: Expectation) -> Server;

    /// What a connection costs the server in file descriptors.
    fn sockets(&self) -> Sockets;

    /// A client that is configured like this connects to localhost, says a word, hears it again, and ends. Returns
    /// whether a ticket would have let it say that word before the handshake was over; `Err` says how it was refused.
    fn foreign_client(
        &self,
        addr: SocketAddr,
        config: rustls::ClientConfig,
    ) -> BoxFuture<'_, Result<bool, String>>;

    /// A server that is configured like this and echoes one stream of every connection.
    fn foreign_server(&self, config: rustls::ServerConfig) -> BoxFuture<'_, ForeignServer>;

    /// A peer that the server has heard of, and that says nothing more until it is dropped.
    fn silent_peer(&self, addr: SocketAddr) -> BoxFuture<'_, Anything>;

    /// Somebody listens there, and never answers.
    fn silent_server(&self) -> BoxFuture<'_, (SocketAddr, Anything)>;

    /// A peer that sends these bytes instead of a handshake.
    fn noise(&self, addr: SocketAddr, bytes: Vec<u8>) -> BoxFuture<'_, Anything>;
}

/// A server made without this crate's own transport.
pub struct ForeignServer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Set once a client has sent early data.
    pub early_data: Arc<AtomicBool>,
    /// Serves until this is dropped.
    pub serving: Anything,
}

impl fmt::Debug for ForeignServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignServer").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// What connections cost a server in file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// Nothing: there are none.
    None,
    /// Nothing: all share the listener's.
    Shared,
    /// One each.
    OneEach,
}
