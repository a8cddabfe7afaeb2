//! QUIC (RFC 9000) over quinn: one connection, many streams.
//!
//! ```text
//! QuicTransport ── listen ──► QuicListener ── accept ──► QuicIncoming ── handshake ──► QuicInbound
//!       │                         │ one socket              by a Gate: paced,             │
//!       │                         │                         configured anew               ├──► Link ◄── streams
//!       └── connect ──► Dialler ──┴─── one socket per address family ──► QuicOutbound ────┘
//! ```
//!
//! A `Link` is one established connection. `Inbound` or `Outbound` and every stream hold it, and the last
//! of them to go closes it.

mod budget;
mod credit;
mod dialler;
mod failure;
mod gate;
mod inbound;
mod keys;
mod link;
mod listener;
mod options;
mod outbound;
mod params;
mod path;
mod runtime;
mod send_room;
mod session;
mod socket;
mod stream;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::Endpoint;
use tokio_util::task::TaskTracker;

use self::dialler::Dialler;
use self::gate::{Gate, Initial};
use self::keys::{EndpointKeys, TokenKey};
use self::listener::QuicListener;
use self::runtime::TrackedRuntime;
use self::tokens::UsedTokens;
use crate::error::{ConnectError, ListenError};
use crate::options::TransportOptions;
use crate::peer::TransportKind;
use crate::tls::{self, Profile, Receiver};
use crate::transport::{BoxFuture, Listener, Outbound, Server, Transport};

pub use options::{
    DEFAULT_IDLE_TIMEOUT, DEFAULT_RECEIVE_BUDGET, DEFAULT_SEND_BUDGET, MAX_MTU, MIN_MTU, QuicOptions,
};
pub use params::{FIRST_STREAMS, MAX_STREAMS, STREAM_WINDOW, WIDE_STREAM_WINDOW};

/// QUIC, with TLS material from a [`Receiver`].
#[derive(Debug)]
pub struct QuicTransport {
    receiver: Receiver,
    options: TransportOptions,
    profile: Profile,
    initial: Initial,
    dialler: Dialler,
    used_tokens: Arc<UsedTokens>,
}

impl QuicTransport {
    /// A transport that binds nothing yet: a listener brings its socket, and outgoing connections share one per address
    /// family, bound when first needed.
    ///
    /// # Panics
    ///
    /// If the cryptography lacks the cipher suite that RFC 9001 prescribes; the one that is built in has it.
    pub fn new(receiver: Receiver, options: TransportOptions) -> Self {
        let options = TransportOptions { quic: options.quic.clamped(), ..options };
        let profile =
            Profile { kind: TransportKind::Quic, alpn: options.alpn.clone(), key_log: options.key_log };
        let suite =
            session::initial_suite(&tls::provider()).expect("ring has TLS13_AES_128_GCM_SHA256 for QUIC");
        let initial = Initial(suite);
        let dialler = Dialler::new(
            receiver.clone(),
            profile.clone(),
            &options,
            params::client_transport(&options.quic, options.keep_alive),
            initial,
        );
        Self { receiver, options, profile, initial, dialler, used_tokens: Arc::new(UsedTokens::new()) }
    }

    /// Gives up the sockets of outgoing connections, and resolves once the last of these has told its peer that it is
    /// closed, after the close deadline at the latest. Await it before the process ends; a later connect binds anew.
    pub async fn drained(&self) {
        self.dialler.drained(self.options.deadlines.close).await;
    }

    fn bind(&self, addr: SocketAddr) -> io::Result<QuicListener> {
        let keys = EndpointKeys::of_listener(&self.receiver);
        let tasks = TaskTracker::new();
        let template = params::server_config(
            Arc::new(TokenKey(self.receiver.clone())),
            Arc::clone(&self.used_tokens),
            self.initial.0,
        );
        let endpoint = Endpoint::new(
            keys.endpoint_config(self.options.quic.max_mtu),
            Some(template.clone()),
            socket::bind(addr)?,
            Arc::new(TrackedRuntime::new(tasks.clone())),
        )?;
        let local_addr = endpoint.local_addr()?;
        let deadlines = self.options.deadlines;
        let (receiver, profile) = (self.receiver.clone(), self.profile.clone());
        let gate = Gate::new(receiver, profile, self.options.clone(), template, self.initial, tasks);
        Ok(QuicListener::new(endpoint, local_addr, Arc::new(gate), deadlines))
    }
}

impl Transport for QuicTransport {
    fn kind(&self) -> TransportKind {
        TransportKind::Quic
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, ListenError>> {
        Box::pin(async move {
            if self.receiver.current().identities().is_empty() {
                return Err(ListenError::NoIdentity { addr });
            }
            match self.bind(addr) {
                Ok(listener) => Ok(Box::new(listener) as Box<dyn Listener>),
                Err(source) => Err(ListenError::of(addr, source)),
            }
        })
    }

    fn connect<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, Result<Box<dyn Outbound>, ConnectError>> {
        Box::pin(async move {
            let outbound = self.dialler.connect(server).await?;
            Ok(Box::new(outbound) as Box<dyn Outbound>)
        })
    }
}
