//! Who is connected, for whoever watches: each connection with its sessions.
//!
//! Bounded as connections and sessions are: each has one entry, for as long as it lives.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealstream_protocol::message::hello::SessionKind;
use sealstream_transport::{Handshake, Peer, TransportKind};
use tokio::time::Instant;

use super::session::text_of;
use crate::access::audit::cut;

/// What is shown of a connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionShown {
    pub(crate) transport: TransportKind,
    pub(crate) remote: SocketAddr,
    /// By its certificate; `anonymous` without one.
    pub(crate) identity: String,
    pub(crate) suite: Option<&'static str>,
    pub(crate) group: Option<&'static str>,
    pub(crate) resumed: bool,
    pub(crate) since: Instant,
    pub(crate) sessions: Vec<SessionShown>,
}

/// What is shown of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionShown {
    pub(crate) kind: SessionKind,
    /// By its token, or its connection's certificate.
    pub(crate) identity: Arc<str>,
    /// How its Hello named the client.
    pub(crate) client: String,
}

/// A connection is known by this: two that live at once differ in it.
type Key = (TransportKind, SocketAddr);

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In the order in which they came.
    connections: BTreeMap<u64, ConnectionShown>,
    sessions: HashMap<u64, (Key, SessionShown)>,
}

/// Everybody who is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence(Arc<Mutex<State>>);

/// Somebody who is shown; dropped, not any more.
#[derive(Debug)]
#[must_use = "it is shown for as long as this lives"]
pub(crate) struct Present {
    presence: Presence,
    number: u64,
}

impl Presence {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a connection.
    pub(crate) fn connection(&self, peer: &Peer) -> Present {
        let negotiated = peer.negotiated.as_deref();
        let shown = ConnectionShown {
            transport: peer.transport,
            remote: peer.remote_addr,
            identity: cut(&text_of(peer.identity.as_deref())).to_owned(),
            suite: negotiated.map(|negotiated| negotiated.suite),
            group: negotiated.and_then(|negotiated| negotiated.group),
            resumed: peer.handshake == Handshake::Resumed,
            since: Instant::now(),
            sessions: Vec::new(),
        };
        self.enter(|state, number| {
            state.connections.insert(number, shown);
        })
    }

    /// Shows a session of the connection that `peer` is on.
    pub(crate) fn session(
        &self,
        peer: &Peer,
        kind: SessionKind,
        identity: &Arc<str>,
        client: &str,
    ) -> Present {
        let session = SessionShown { kind, identity: Arc::clone(identity), client: cut(client).to_owned() };
        let key = (peer.transport, peer.remote_addr);
        self.enter(|state, number| {
            state.sessions.insert(number, (key, session));
        })
    }

    fn enter(&self, enter: impl FnOnce(&mut State, u64)) -> Present {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        enter(&mut state, number);
        Present { presence: self.clone(), number }
    }

    /// The `most` that came first, with their sessions; and how many more there are.
    pub(crate) fn shown(&self, most: usize) -> (Vec<ConnectionShown>, usize) {
        let state = self.state();
        let mut shown: Vec<_> = state.connections.values().take(most).cloned().collect();
        let places: HashMap<Key, usize> = shown
            .iter()
            .enumerate()
            .map(|(place, connection)| ((connection.transport, connection.remote), place))
            .collect();
        for (key, session) in state.sessions.values() {
            if let Some(place) = places.get(key) {
                shown[*place].sessions.push(session.clone());
            }
        }
        let more = state.connections.len() - shown.len();
        (shown, more)
    }

    /// How many there are by transport: TLS, QUIC, memory.
    pub(crate) fn counts(&self) -> [(TransportKind, u64); 3] {
        let state = self.state();
        [TransportKind::Tls, TransportKind::Quic, TransportKind::Memory].map(|kind| {
            let count = state.connections.values().filter(|shown| shown.transport == kind).count();
            (kind, count as u64)
        })
    }
}

impl Present {
    /// Its number: no other connection or session of this broker's life has it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut state = self.presence.state();
        if state.connections.remove(&self.number).is_none() {
            state.sessions.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        let addr = SocketAddr::from(([192, 0, 2, 1], port));
        Peer::new(TransportKind::Tls, addr, Handshake::Resumed)
    }

    #[test]
    fn a_session_is_shown_with_its_connection_and_both_go_when_they_are_over() {
        let presence = Presence::default();
        let (one, two) = (presence.connection(&peer(1)), presence.connection(&peer(2)));
        let session = presence.session(&peer(2), SessionKind::Consume, &"token:a".into(), "test");
        let (shown, more) = presence.shown(10);
        assert_eq!((shown.len(), more), (2, 0));
        assert!(shown[0].sessions.is_empty() && shown[0].resumed && shown[0].identity == "anonymous");
        assert_eq!(&*shown[1].sessions[0].identity, "token:a");
        assert_eq!(presence.shown(1).1, 1);
        assert_eq!(presence.counts()[0].1, 2);
        drop((session, one));
        let (shown, _) = presence.shown(10);
        assert_eq!(shown.len(), 1);
        assert!(shown[0].sessions.is_empty());
        drop(two);
        assert!(presence.shown(10).0.is_empty());
    }
}
