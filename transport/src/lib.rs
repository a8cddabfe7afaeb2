//! Secure streams: TLS 1.3 over TCP, or QUIC, behind one trait.
//!
//! A caller sees the same thing on every backend: independent, flow-controlled, ordered streams whose clean end can be
//! told from an abort, between peers whose identity was verified.
//!
//! ```text
//!            Transport
//!      listen │     │ connect
//!             ▼     ▼
//!        Listener  Outbound ── open ──► Stream { recv, send, peer }
//!      accept │
//!             ▼
//!        Incoming ── handshake ──► Inbound ── accept ──► Stream
//! ```

pub mod connect;
pub mod endpoint;
pub mod error;
pub mod expectation;
#[cfg(feature = "test-util")]
pub mod memory;
pub mod options;
pub mod peer;
pub mod quic;
pub mod stream;
pub mod tcp;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod tls;
pub mod transport;

pub use connect::Connector;
pub use endpoint::{Endpoint, Scheme};
pub use error::{ConnectError, HandshakeError, ListenError, OpenError};
pub use expectation::Expectation;
pub use options::{Deadlines, TransportOptions};
pub use peer::{ExportError, Exporter, Handshake, Identity, Negotiated, Peer, TransportKind};
pub use stream::{RecvHalf, SendHalf, Stream, StreamError};
pub use tcp::TcpTransport;
pub use transport::{BoxFuture, Inbound, Incoming, Listener, Outbound, Server, Transport};
