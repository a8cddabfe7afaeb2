//! Makes outgoing connections, all of them from one socket per address family.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{ClientConfig, Connecting, Endpoint, TokenMemoryCache, TokenStore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::failure;
use super::gate::Initial;
use super::keys::EndpointKeys;
use super::link::{Link, Surroundings};
use super::outbound::QuicOutbound;
use super::path::Paths;
use super::runtime::TrackedRuntime;
use super::session::{ClientCrypto, Outcome};
use super::socket;
use crate::connect;
use crate::error::{ConnectError, HandshakeError};
use crate::observe::{HandshakeStart, Observers, Probe};
use crate::options::{Deadlines, TransportOptions};
use crate::peer::TransportKind;
use crate::tls::{Profile, Receiver, Side};
use crate::transport::Server;

/// Servers whose address tokens are remembered, and tokens of each: as many servers as TLS sessions are kept of, and as
/// many tokens as a server gives at once. 256 × 2 × 100 bytes = 50 KB.
const TOKEN_SERVERS: u32 = 256;
const TOKENS_PER_SERVER: usize = 2;

/// Makes outgoing connections.
#[derive(Debug)]
pub(super) struct Dialler {
    receiver: Receiver,
    profile: Profile,
    deadlines: Deadlines,
    observers: Observers,
    local_address: Option<IpAddr>,
    max_datagram: u16,
    paths: Paths,
    initial: Initial,
    tokens: Arc<TokenMemoryCache>,
    sockets: Mutex<Sockets>,
    tasks: TaskTracker,
}

/// The endpoints that outgoing connections share, bound when first needed.
#[derive(Debug, Default)]
struct Sockets {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Dialler {
    pub(super) fn new(
        receiver: Receiver,
        profile: Profile,
        options: &TransportOptions,
        paths: Paths,
        initial: Initial,
    ) -> Self {
        Self {
            receiver,
            profile,
            deadlines: options.deadlines,
            observers: options.observers.clone(),
            local_address: options.local_address,
            max_datagram: options.quic.max_mtu,
            paths,
            initial,
            tokens: Arc::new(TokenMemoryCache::new(TOKEN_SERVERS, TOKENS_PER_SERVER)),
            sockets: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Reaches `server`, by whichever of its addresses answers first, and completes the handshake there. Two deadlines:
    /// a server that nobody can reach is not a server that is slow.
    ///
    /// Cancellation safe: dropped, it leaves nothing but a notice to the server that it is gone.
    pub(super) async fn connect(&self, server: &Server) -> Result<QuicOutbound, ConnectError> {
        let attempt = |addr| self.reach(addr, server);
        let attempt = connect::reach(&server.endpoint, self.deadlines.connect, attempt).await?;
        self.establish(attempt).await
    }

    /// Begins a handshake with one address, and waits until somebody there has answered it.
    async fn reach(&self, addr: SocketAddr, server: &Server) -> Result<Attempt, ConnectError> {
        let handshake = self
            .receiver
            .current()
            .client_handshake(&self.profile, server)
            .map_err(ConnectError::Configuration)?;
        let start = || HandshakeStart::new(Side::Client, TransportKind::Quic, addr);
        let probe = Probe::begin(&self.observers, start);
        let outcome = Outcome::metered(probe.meter());
        let crypto = ClientCrypto::new(handshake, self.initial.0, outcome.clone());
        let mut config = ClientConfig::new(Arc::new(crypto));
        let tokens: Arc<dyn TokenStore> = Arc::<TokenMemoryCache>::clone(&self.tokens);
        config.transport_config(self.paths.towards(addr)).token_store(tokens);
        let target = format!("{} ({addr})", server.endpoint);
        let token_key = format!("{}:{}", server.endpoint.host, server.endpoint.port);
        let mut connecting = match self.dial(&config, addr, &token_key) {
            Ok(connecting) => connecting,
            Err(source) => return Err(unreachable(target, source, &outcome)),
        };
        match connecting.handshake_data().await {
            Ok(_) => Ok(Attempt { connecting, outcome, target, probe }),
            Err(error) => {
                let error = failure::connect(target, &error, &outcome, &self.profile.alpn);
                probe.failed(&error);
                Err(error)
            }
        }
    }

    async fn establish(&self, attempt: Attempt) -> Result<QuicOutbound, ConnectError> {
        let Attempt { connecting, outcome, target, probe } = attempt;
        let after = self.deadlines.handshake;
        let failed = |source| ConnectError::Handshake { target: target.clone(), source };
        let connected = match timeout(after, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failure::connect(target.clone(), &error, &outcome, &self.profile.alpn)),
            Err(_) => Err(failed(HandshakeError::TimedOut { after })),
        };
        let established = connected.and_then(|connection| {
            let judged = outcome.get().cloned().expect("an established connection has been judged");
            Ok((connection, judged.map_err(failed)?))
        });
        let (connection, verified) = established.inspect_err(|error| probe.failed(error))?;
        probe.finish(Ok(&verified));
        let surroundings = Surroundings {
            close_deadline: self.deadlines.close,
            tasks: self.tasks.clone(),
            presence: Arc::default(),
            send_budget: None,
        };
        let link = Link::new(connection, verified, Side::Client, surroundings, &self.receiver, None);
        Ok(QuicOutbound::new(link, target, self.deadlines.open))
    }

    fn dial(&self, config: &ClientConfig, addr: SocketAddr, token_key: &str) -> io::Result<Connecting> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = if addr.is_ipv4() { &mut sockets.v4 } else { &mut sockets.v6 };
        if let Some(endpoint) = slot {
            match endpoint.connect_with(config.clone(), addr, token_key) {
                // Its socket has failed; a new one may do.
                Err(quinn::ConnectError::EndpointStopping) => *slot = None,
                outcome => return outcome.map_err(io::Error::other),
            }
        }
        slot.insert(self.bind(addr)?).connect_with(config.clone(), addr, token_key).map_err(io::Error::other)
    }

    fn bind(&self, towards: SocketAddr) -> io::Result<Endpoint> {
        let any = match towards {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let local = self.local_address.unwrap_or(any);
        if local.is_ipv4() != towards.is_ipv4() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Endpoint::new(
            EndpointKeys::of_process().endpoint_config(self.max_datagram),
            None,
            socket::bind(SocketAddr::new(local, 0))?,
            Arc::new(TrackedRuntime::new(self.tasks.clone())),
        )
    }

    /// Gives the sockets up and waits, for at most `patience`, until the last connection has said goodbye.
    pub(super) async fn drained(&self, patience: Duration) {
        drop(std::mem::take(&mut *self.sockets.lock().unwrap_or_else(PoisonError::into_inner)));
        self.tasks.close();
        drop(timeout(patience, self.tasks.wait()).await);
    }
}

/// A handshake that the server has answered.
struct Attempt {
    connecting: Connecting,
    outcome: Outcome,
    target: String,
    probe: Probe,
}

/// Why not even a first packet was sent.
fn unreachable(target: String, source: io::Error, outcome: &Outcome) -> ConnectError {
    match outcome.get() {
        Some(Err(source)) => ConnectError::Handshake { target, source: source.clone() },
        _ => ConnectError::Unreachable { target, source },
    }
}
