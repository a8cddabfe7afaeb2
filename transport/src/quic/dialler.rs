//! Makes outgoing connections, all of them from one socket per address family.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{ClientConfig, Connecting, Connection, Endpoint, TokenMemoryCache, TransportConfig};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::failure;
use super::gate::Initial;
use super::keys::EndpointKeys;
use super::link::{Link, Surroundings};
use super::options::QuicOptions;
use super::outbound::QuicOutbound;
use super::runtime::TrackedRuntime;
use super::session::{ClientCrypto, Outcome};
use super::socket;
use crate::error::{ConnectError, HandshakeError};
use crate::options::Deadlines;
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
    max_datagram: u16,
    transport: Arc<TransportConfig>,
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
        deadlines: Deadlines,
        options: &QuicOptions,
        transport: Arc<TransportConfig>,
        initial: Initial,
    ) -> Self {
        Self {
            receiver,
            profile,
            deadlines,
            max_datagram: options.max_mtu,
            transport,
            initial,
            tokens: Arc::new(TokenMemoryCache::new(TOKEN_SERVERS, TOKENS_PER_SERVER)),
            sockets: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Connects to one address of `server`, under the connect and the handshake deadline.
    ///
    /// Cancellation safe: dropped, it leaves nothing but a notice to the server that it is gone.
    pub(super) async fn connect(
        &self,
        addr: SocketAddr,
        server: &Server,
    ) -> Result<QuicOutbound, ConnectError> {
        let target = format!("quic://{}", addr_in(server, addr));
        let handshake = self
            .receiver
            .current()
            .client_handshake(&self.profile, server)
            .map_err(ConnectError::Configuration)?;
        let outcome = Outcome::default();
        let mut config =
            ClientConfig::new(Arc::new(ClientCrypto::new(handshake, self.initial.0, outcome.clone())));
        config.transport_config(Arc::clone(&self.transport)).token_store(Arc::clone(&self.tokens) as _);
        let token_key = format!("{}:{}", server.endpoint.host, server.endpoint.port);
        let connecting = self.dial(&config, addr, &token_key).map_err(|error| match outcome.get() {
            Some(Err(source)) => ConnectError::Handshake { target: target.clone(), source: source.clone() },
            _ => ConnectError::Unreachable { target: target.clone(), source: error },
        })?;
        let connection = self.establish(connecting, &target, &outcome).await?;
        let verified = outcome
            .get()
            .cloned()
            .expect("an established connection has been judged")
            .map_err(|source| ConnectError::Handshake { target: target.clone(), source })?;
        let surroundings = Surroundings {
            close_deadline: self.deadlines.close,
            tasks: self.tasks.clone(),
            presence: Arc::default(),
        };
        let link = Link::new(connection, verified, Side::Client, surroundings);
        Ok(QuicOutbound::new(link, target, self.deadlines.open))
    }

    /// Two deadlines: a server that nobody can reach is not a server that is slow.
    async fn establish(
        &self,
        mut connecting: Connecting,
        target: &str,
        outcome: &Outcome,
    ) -> Result<Connection, ConnectError> {
        let failed = |error| failure::connect(target.to_owned(), &error, outcome, &self.profile.alpn);
        let after = self.deadlines.connect;
        match timeout(after, connecting.handshake_data()).await {
            Ok(answered) => drop(answered.map_err(failed)?),
            Err(_) => return Err(ConnectError::TimedOut { target: target.to_owned(), after }),
        }
        let after = self.deadlines.handshake;
        match timeout(after, connecting).await {
            Ok(established) => established.map_err(failed),
            Err(_) => Err(ConnectError::Handshake {
                target: target.to_owned(),
                source: HandshakeError::TimedOut { after },
            }),
        }
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
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        Endpoint::new(
            EndpointKeys::of_process().endpoint_config(self.max_datagram),
            None,
            socket::bind(any)?,
            Arc::new(TrackedRuntime::new(self.tasks.clone())),
        )
    }

    /// Gives the sockets up and waits, for at most `patience`, until the last connection has said goodbye.
    pub(super) async fn shut_down(&self, patience: Duration) {
        drop(std::mem::take(&mut *self.sockets.lock().unwrap_or_else(PoisonError::into_inner)));
        self.tasks.close();
        drop(timeout(patience, self.tasks.wait()).await);
    }
}

/// The endpoint as the caller named it, with the address where that is another text.
fn addr_in(server: &Server, addr: SocketAddr) -> String {
    let host = &server.endpoint.host;
    if addr.ip().to_string() == *host {
        addr.to_string()
    } else {
        format!("{host}:{} ({addr})", server.endpoint.port)
    }
}
