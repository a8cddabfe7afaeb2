//! The client's memory of TLS sessions: bounded, and bound to everything that a ticket's use depends on.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::{ServerName, UnixTime};

use crate::expectation::Expectation;
use crate::peer::TransportKind;
use crate::transport::Server;

/// Hosts remembered. A ticket with the server's chain takes about 6 KB (with client certificates 9 KB), a host
/// [`TICKETS_PER_HOST`] of them: 256 hosts × 16 × 6 KB = 24 MB when every one of them is full.
pub(super) const MAX_HOSTS: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(hosts) => hosts,
    None => unreachable!(),
};

/// Tickets kept per host: as many as a server gives on request, so that 16 parallel dials resume 16 of 16.
pub(super) const TICKETS_PER_HOST: usize = 16;

/// A ticket whose server certificate ends within this time is not used: the handshake itself may take as long.
const EXPIRY_MARGIN_SECS: i64 = 60;

/// Everything that a cached session depends on. A change in any of it means a full handshake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    /// The backend: a ticket is good only on the transport that issued it.
    pub(crate) kind: TransportKind,
    /// The host of the endpoint, which need not be the name expected.
    pub(crate) host: String,
    /// The port of the endpoint.
    pub(crate) port: u16,
    /// The application protocol.
    pub(crate) alpn: Vec<u8>,
    /// What the server had to prove in the full handshake.
    pub(crate) expectation: Expectation,
}

impl SessionKey {
    pub(crate) fn new(kind: TransportKind, alpn: &[u8], server: &Server) -> Self {
        Self {
            kind,
            host: server.endpoint.host.clone(),
            port: server.endpoint.port,
            alpn: alpn.to_vec(),
            expectation: server.expectation.clone(),
        }
    }
}

/// A bounded cache of tickets: the least recently used host goes first, and of a host the oldest ticket.
///
/// It outlives every snapshot: rustls itself refuses a ticket that was obtained under another verifier or credential.
pub(crate) struct SessionCache {
    hosts: Mutex<LruCache<SessionKey, Host>>,
}

#[derive(Default)]
struct Host {
    kx_hint: Option<NamedGroup>,
    tickets: VecDeque<Ticket>,
}

struct Ticket {
    session: Tls13ClientSessionValue,
    /// When the server certificate that it vouches for ends, in seconds since the Unix epoch. rustls does not look.
    server_not_after: i64,
}

impl SessionCache {
    /// An empty cache for 256 hosts with 16 tickets each.
    pub(crate) fn new() -> Self {
        Self::with_hosts(MAX_HOSTS)
    }

    /// An empty cache for this many hosts.
    pub(crate) fn with_hosts(hosts: NonZeroUsize) -> Self {
        Self { hosts: Mutex::new(LruCache::new(hosts)) }
    }

    /// Hosts remembered.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Tickets at hand for a host.
    #[cfg(test)]
    pub(crate) fn tickets(&self, key: &SessionKey) -> usize {
        self.lock().peek(key).map_or(0, |host| host.tickets.len())
    }

    /// Forgets a host.
    pub(crate) fn forget(&self, key: &SessionKey) {
        self.lock().pop(key);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<SessionKey, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &SessionKey, ticket: Ticket) {
        let mut hosts = self.lock();
        let host = hosts.get_or_insert_mut_ref(key, Host::default);
        if host.tickets.len() == TICKETS_PER_HOST {
            host.tickets.pop_front();
        }
        host.tickets.push_back(ticket);
    }

    /// The newest ticket that is still good; those that are not are dropped on the way.
    fn take(&self, key: &SessionKey, now: i64) -> Option<Tls13ClientSessionValue> {
        let mut hosts = self.lock();
        let host = hosts.get_mut(key)?;
        while let Some(ticket) = host.tickets.pop_back() {
            if ticket.server_not_after > now.saturating_add(EXPIRY_MARGIN_SECS) {
                return Some(ticket.session);
            }
        }
        None
    }
}

impl Default for SessionCache {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCache").field("hosts", &self.len()).finish_non_exhaustive()
    }
}

/// One handshake's view of the cache: what rustls is given. Its key replaces rustls' own, which is the bare name.
///
/// A ticket that arrives before the handshake has been judged waits here, for only then is it known when the server's
/// certificate ends; it is dropped with the handshake if that fails.
pub(super) struct HandshakeSessions {
    cache: Arc<SessionCache>,
    key: SessionKey,
    state: Mutex<State>,
}

enum State {
    Unjudged(Vec<Tls13ClientSessionValue>),
    Judged { server_not_after: i64 },
}

impl HandshakeSessions {
    pub(super) fn new(cache: Arc<SessionCache>, key: SessionKey) -> Self {
        Self { cache, key, state: Mutex::new(State::Unjudged(Vec::new())) }
    }

    pub(super) fn key(&self) -> &SessionKey {
        &self.key
    }

    /// The handshake was accepted, by a certificate that ends then: its tickets may be used.
    pub(super) fn accepted(&self, server_not_after: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = State::Judged { server_not_after };
        if let State::Unjudged(waiting) = std::mem::replace(&mut *state, judged) {
            for session in waiting {
                self.cache.insert(&self.key, Ticket { session, server_not_after });
            }
        }
    }
}

impl fmt::Debug for HandshakeSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeSessions").field("key", &self.key).finish_non_exhaustive()
    }
}

impl ClientSessionStore for HandshakeSessions {
    fn set_kx_hint(&self, _name: ServerName<'static>, group: NamedGroup) {
        self.cache.lock().get_or_insert_mut_ref(&self.key, Host::default).kx_hint = Some(group);
    }

    fn kx_hint(&self, _name: &ServerName<'_>) -> Option<NamedGroup> {
        self.cache.lock().peek(&self.key).and_then(|host| host.kx_hint)
    }

    fn set_tls12_session(&self, _name: ServerName<'static>, _session: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _name: ServerName<'static>, session: Tls13ClientSessionValue) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Unjudged(waiting) if waiting.len() < TICKETS_PER_HOST => waiting.push(session),
            State::Unjudged(_) => {}
            State::Judged { server_not_after } => {
                self.cache.insert(&self.key, Ticket { session, server_not_after: *server_not_after });
            }
        }
    }

    fn take_tls13_ticket(&self, _name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.cache.take(&self.key, unix_now())
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_now() -> i64 {
    i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX)
}
