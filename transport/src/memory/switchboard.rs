//! Who listens where inside one in-memory network.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::error::{ConnectError, ListenError};

/// Connections that wait for `accept` before a dial waits too: the backlog of a small server's socket.
const BACKLOG: usize = 128;

/// Where the ports begin that are nobody's (RFC 6335, section 6).
const FIRST_EPHEMERAL: u16 = 49_152;

/// Listeners by address. `C` is what a dial hands over.
pub(super) struct Switchboard<C> {
    listeners: Mutex<HashMap<SocketAddr, mpsc::Sender<C>>>,
    next_port: AtomicU16,
}

impl<C> Default for Switchboard<C> {
    fn default() -> Self {
        Self { listeners: Mutex::default(), next_port: AtomicU16::new(0) }
    }
}

impl<C> fmt::Debug for Switchboard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

impl<C: Send> Switchboard<C> {
    /// Takes `addr`, or a free port of its host for port 0.
    pub(super) fn bind(this: &Arc<Self>, addr: SocketAddr) -> Result<Bound<C>, ListenError> {
        let mut listeners = this.lock();
        let addr = match addr.port() {
            0 => (0..=u16::MAX - FIRST_EPHEMERAL)
                .map(|_| this.ephemeral(addr))
                .find(|free| !listeners.contains_key(free))
                .ok_or(ListenError::AddressInUse { addr })?,
            _ => addr,
        };
        if listeners.contains_key(&addr) {
            return Err(ListenError::AddressInUse { addr });
        }
        let (sender, receiver) = mpsc::channel(BACKLOG);
        listeners.insert(addr, sender);
        Ok(Bound { addr, receiver, _lease: Lease { switchboard: this.clone(), addr } })
    }

    /// Hands `incoming` to whoever listens at `addr`; waits while the backlog is full. A dropped future hands nothing over.
    pub(super) async fn dial(&self, addr: SocketAddr, incoming: C) -> Result<(), ConnectError> {
        let refused = || ConnectError::Unreachable {
            target: addr.to_string(),
            source: io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there"),
        };
        let listener = self.lock().get(&addr).cloned().ok_or_else(refused)?;
        listener.send(incoming).await.map_err(|_| refused())
    }
}

impl<C> Switchboard<C> {
    /// An address on the host of `of` that looks like a client's.
    pub(super) fn ephemeral(&self, of: SocketAddr) -> SocketAddr {
        let offset = self.next_port.fetch_add(1, Ordering::Relaxed) % (u16::MAX - FIRST_EPHEMERAL + 1);
        SocketAddr::new(of.ip(), FIRST_EPHEMERAL + offset)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, mpsc::Sender<C>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener's place. Dropping it frees the address.
pub(super) struct Bound<C> {
    /// The address taken.
    pub(super) addr: SocketAddr,
    /// What dials hand over.
    pub(super) receiver: mpsc::Receiver<C>,
    _lease: Lease<C>,
}

struct Lease<C> {
    switchboard: Arc<Switchboard<C>>,
    addr: SocketAddr,
}

impl<C> Drop for Lease<C> {
    fn drop(&mut self) {
        // Bound to a name, so that the sender is dropped after the lock is released.
        let _sender = self.switchboard.lock().remove(&self.addr);
    }
}

/// The address of an endpoint: there is no resolver in here, so only IP addresses and `localhost` have one.
pub(super) fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, ConnectError> {
    let ip = match endpoint.host.as_str() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| ConnectError::Resolve {
            host: host.to_owned(),
            source: io::Error::new(io::ErrorKind::NotFound, "the in-memory network knows IP addresses only"),
        })?,
    };
    Ok(SocketAddr::new(ip, endpoint.port))
}
