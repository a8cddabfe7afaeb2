//! Secure streams: TLS 1.3 over TCP, or QUIC, behind one trait.
//!
//! A caller sees the same thing on every backend: independent, flow-controlled, ordered streams whose clean end can be
//! told from an abort, between peers whose identity was verified. On QUIC the streams of a peer share a connection; on
//! TCP each is a connection of its own that resumes the TLS session of the first. There is no plaintext and no OpenSSL.
//!
//! ```text
//!       files, DER ── tls::Store ── tls::Receiver ── read at each handshake
//!                                         │
//!            Transport  (TcpTransport, QuicTransport; in memory for tests)
//!      listen │     │ connect             Connector: tls://, quic:// and auto://
//!             ▼     ▼
//!        Listener  Outbound ── open ──► Stream { recv, send, peer }
//!      accept │
//!             ▼
//!        Incoming ── handshake ──► Inbound ── accept ──► Stream
//! ```
//!
//! A server that answers each stream with what it was sent, and a client that trusts it:
//!
//! ```
//! use std::error::Error;
//!
//! use sealstream_transport::tls::{IdentitySource, Material, Store, TrustSource};
//! use sealstream_transport::{Connector, Listener, Server, TcpTransport, Transport, TransportOptions};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
//!
//! async fn serve_one(listener: Box<dyn Listener>) -> Result<(), Box<dyn Error>> {
//!     let incoming = listener.accept().await.ok_or("closed")?;
//!     let inbound = incoming.handshake().await?; // in a task of its own, where there is more than one
//!     while let Some(mut stream) = inbound.accept().await {
//!         copy(&mut stream.recv, &mut stream.send).await?;
//!         stream.send.shutdown().await?;
//!     }
//!     Ok(())
//! }
//!
//! async fn ask(connector: &Connector, url: &str, question: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
//!     let server = Server::named(connector.endpoint(url)?);
//!     let outbound = connector.connect(&server).await?;
//!     let mut stream = outbound.open().await?;
//!     stream.send.write_all(question).await?;
//!     stream.send.shutdown().await?;
//!     let mut answer = Vec::new();
//!     stream.recv.read_to_end(&mut answer).await?;
//!     Ok(answer)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn Error>> {
//! # let dir = std::env::temp_dir().join(format!("sealstream-transport-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! # let authority = sealstream_transport::testing::pki::Authority::new("Doc CA");
//! # let leaf = authority.issue(&sealstream_transport::testing::pki::Leaf::localhost());
//! # std::fs::write(dir.join("ca.pem"), authority.pem())?;
//! # std::fs::write(dir.join("server.pem"), leaf.chain_pem())?;
//! # std::fs::write(dir.join("server.key"), leaf.key_pem())?;
//! let identity = IdentitySource::files(dir.join("server.pem"), dir.join("server.key"));
//! let serving = Store::new(&Material::new().with_server_identity(identity))?;
//! let trusting = Store::new(&Material::new().with_roots([TrustSource::File(dir.join("ca.pem"))]))?;
//! # std::fs::remove_dir_all(&dir)?;
//!
//! let options = TransportOptions::new("echo/1", 7007);
//! let transport = TcpTransport::new(serving.receiver(), options.clone());
//! let listener = transport.listen("127.0.0.1:0".parse()?).await?;
//! let url = format!("tls://localhost:{}", listener.local_addr().port());
//!
//! let connector = Connector::new(&trusting.receiver(), &options);
//! let (served, answer) = tokio::join!(serve_one(listener), ask(&connector, &url, b"anybody there?"));
//! served?;
//! assert_eq!(answer?, b"anybody there?");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! None is on by default.
//!
//! - **`metrics`**: handshakes, and how long what is served holds, as metrics for Prometheus: `observe::HandshakeMetrics`
//!   and `observe::ServedMetrics`.
//! - **`test-util`**: the modules `testing` (certificates, conformance suites for backends, paths that can be cut) and `memory` (a
//!   backend without sockets), for tests.
//!
//! # Versions
//!
//! Versions follow Semantic Versioning; before 1.0 the second number counts what breaks a program.
//!
//! - **What grows is `#[non_exhaustive]`**: errors, reasons, sources of material, what observers are told, who a peer is, and
//!   options, which are made by `new` or `default` and then changed field by field. An enum without it is a closed list, such as
//!   [`Scheme`] or [`Handshake`], and a struct without it is no more than its fields, such as [`Server`] and [`Stream`].
//! - **The traits are open.** A backend, or what wraps one, can be written elsewhere; a method that is added to a trait has a body.
//! - **Types of other crates** are part of the interface in these places alone: `AsyncRead` and `AsyncWrite` of tokio 1; certificates and
//!   keys in DER of rustls-pki-types 1; the `CryptoProvider` of rustls 0.23 in [`tls::provider`]; with `metrics`, the registry and the
//!   collector of prometheus-client 0.26. To go over to a version of theirs that breaks is to break.
//! - **No promise** is made about `test-util`, about what a message of an error says, nor about the text of logs.
//! - A newer Rust may be needed by any version that is not a mere correction.

// The badges that say which feature an item needs: made where the documentation is built for publishing.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod admission;
pub mod connect;
pub mod endpoint;
pub mod error;
pub mod expectation;
pub mod gcra;
#[cfg(feature = "test-util")]
pub mod memory;
pub mod observe;
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
pub use endpoint::{Endpoint, EndpointError, Scheme};
pub use error::{ConnectError, HandshakeError, ListenError, OpenError};
pub use expectation::Expectation;
pub use observe::{HandshakeObserver, Observers};
pub use options::{Deadlines, TransportOptions};
pub use peer::{ExportError, Exporter, Handshake, Identity, Negotiated, Peer, TransportKind};
pub use quic::QuicTransport;
pub use stream::{RecvHalf, SendHalf, Stream, StreamError};
pub use tcp::TcpTransport;
pub use transport::{BoxFuture, Inbound, Incoming, Listener, Outbound, Server, Transport};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
