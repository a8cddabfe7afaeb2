//! The traits that every backend implements, and the states a connection goes through.
//!
//! The noun says its verb and the state is the type: a [`Listener`] yields [`Incoming`] connections that have proven
//! nothing yet; awaiting the handshake of one, in the task that will own it, turns it into an [`Inbound`] with a
//! verified peer. Client and server sides are separate traits, so that no method can fail for being called on the
//! wrong side.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use crate::endpoint::Endpoint;
use crate::error::{ConnectError, HandshakeError, ListenError, OpenError};
use crate::expectation::Expectation;
use crate::peer::{Peer, TransportKind};
use crate::stream::Stream;
use crate::tls::Fallen;

/// A boxed future: what the methods of an object-safe asynchronous trait return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whom to connect to, and what it must prove.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What its certificate must show, on top of a chain to a trusted root.
    pub expectation: Expectation,
}

impl Server {
    /// The server at an endpoint, whose certificate must be for the endpoint's host.
    pub fn named(endpoint: Endpoint) -> Self {
        Self { expectation: Expectation::Name(endpoint.host.clone()), endpoint }
    }
}

/// A way to carry secure streams.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Which backend this is.
    fn kind(&self) -> TransportKind;

    /// Binds `addr` and listens there; port 0 takes a free one, which [`Listener::local_addr`] tells.
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>>;

    /// Resolves, connects and completes a handshake, each under its deadline.
    ///
    /// Cancellation safe: a dropped future leaves no socket and no task behind.
    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, Result<Box<dyn Outbound>, ConnectError>>;
}

/// A bound address that yields connections.
pub trait Listener: Send + Sync + fmt::Debug {
    /// The next connection, before its handshake; `None` once the listener is closed.
    ///
    /// Never waits for a handshake, and survives every transient error of the socket, running out of file
    /// descriptors included. Cancellation safe: no connection is lost.
    fn accept(&self) -> BoxFuture<'_, Option<Box<dyn Incoming>>>;

    /// The address bound.
    fn local_addr(&self) -> SocketAddr;

    /// Stops listening and ends every pending [`accept`](Self::accept). Connections already accepted live on.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A connection that has proven nothing yet.
pub trait Incoming: Send + fmt::Debug {
    /// Whence it comes. On QUIC the address may not be validated yet.
    fn remote_addr(&self) -> SocketAddr;

    /// Runs the handshake, under the transport's deadline. Await it in the task that will own the connection.
    fn handshake(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Inbound>, HandshakeError>>;

    /// Turns it away before any cryptography: a plain close on TCP, `CONNECTION_REFUSED` on QUIC.
    fn refuse(self: Box<Self>);
}

/// The server's side of an established connection.
pub trait Inbound: Send + Sync + fmt::Debug {
    /// The next stream that the peer opened: one on TCP, many on QUIC, then `None`, also when the connection broke.
    ///
    /// A stream is unknown here until the peer has written its first byte, or ended it, on every backend: bound the wait
    /// for it where a peer must not sit idle.
    ///
    /// Cancellation safe: no stream is lost.
    fn accept(&self) -> BoxFuture<'_, Option<Stream>>;

    /// Who is on the other side.
    fn peer(&self) -> &Peer;

    /// Resolves when trust no longer covers this peer: its certificate was revoked, or has ended where that counts
    /// ([`ExpiredClients`](crate::tls::ExpiredClients)), its issuer or key is no longer accepted, or certificates are now
    /// required and it showed none. Never resolves for a peer that stays trusted.
    ///
    /// Whoever serves the peer should await it beside its streams, tell the peer in the words of its own protocol, and close:
    /// [`FALLEN_GRACE`](crate::tls::FALLEN_GRACE) after a change of trust the connection is cut off in any case. The end of a
    /// certificate is noticed only while this is awaited.
    ///
    /// Cancellation safe, and may be awaited by several.
    fn standing(&self) -> BoxFuture<'_, Fallen>;

    /// Ends the connection and whatever streams are left on it; on QUIC the peer is told `code`.
    ///
    /// A stream whose `shutdown` has resolved is not harmed. Returns once the peer knows or the close deadline passed.
    fn close(&self, code: u32) -> BoxFuture<'_, ()>;
}

/// The client's side of an established connection, or on TCP of a way to make more.
pub trait Outbound: Send + Sync + fmt::Debug {
    /// A further stream. On QUIC it shares the connection; on TCP the first is the one dialled by
    /// [`Transport::connect`], and each later one dials again and resumes the TLS session.
    ///
    /// Cancellation safe; bounded by the open deadline.
    fn open(&self) -> BoxFuture<'_, Result<Stream, OpenError>>;

    /// The peer that the connect reached. Behind a load balancer the [`Peer`] of a later TCP stream may differ; both
    /// met the same expectation.
    fn peer(&self) -> &Peer;

    /// Ends the connection and whatever streams are left on it; on QUIC the peer is told `code`.
    fn close(&self, code: u32) -> BoxFuture<'_, ()>;
}
