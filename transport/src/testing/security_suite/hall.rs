//! A server that echoes and remembers how each handshake ended, and clients that visit it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::fixture::SecurityFixture;
use crate::error::{ConnectError, HandshakeError, OpenError};
use crate::expectation::Expectation;
use crate::options::TransportOptions;
use crate::peer::Peer;
use crate::stream::{Stream, StreamError};
use crate::testing::backends::options;
use crate::testing::pki::{Authority, Leaf};
use crate::tls::{ClientAuth, Material, Store};
use crate::transport::{Incoming, Listener, Transport};

/// What every visitor says, and hears.
const WORD: &[u8] = b"a word";

/// Outcomes that no test has asked for yet: more than any test has visitors.
const OUTCOMES: usize = 256;

/// A listener, and how each handshake there ended.
pub(super) struct Hall {
    pub(super) addr: SocketAddr,
    pub(super) store: Store,
    outcomes: mpsc::Receiver<Result<Peer, HandshakeError>>,
    _tasks: JoinSet<()>,
}

impl Hall {
    /// Serves with this material.
    pub(super) async fn new(fixture: &dyn SecurityFixture, material: &Material) -> Self {
        Self::with(fixture, material, options()).await
    }

    pub(super) async fn with(
        fixture: &dyn SecurityFixture,
        material: &Material,
        options: TransportOptions,
    ) -> Self {
        let store = Store::new(material).expect("good material");
        let transport = fixture.transport(store.receiver(), options);
        let listener = transport.listen((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
        let addr = listener.local_addr();
        let (reports, outcomes) = mpsc::channel(OUTCOMES);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, reports));
        Self { addr, store, outcomes, _tasks: tasks }
    }

    /// How the next handshake ended.
    pub(super) async fn outcome(&mut self) -> Result<Peer, HandshakeError> {
        self.outcomes.recv().await.expect("the listener is open")
    }

    /// How the next one failed.
    pub(super) async fn refusal(&mut self) -> HandshakeError {
        self.outcome().await.expect_err("a handshake that fails")
    }

    /// Who came.
    pub(super) async fn visitor(&mut self) -> Peer {
        self.outcome().await.expect("a handshake that succeeds")
    }

    /// Whoever came before, this one is served.
    pub(super) async fn serves(&mut self, guest: &Guest<'_>) {
        guest.visit(self.addr).await.expect("the next one is served");
        self.visitor().await;
    }
}

async fn serve(listener: Box<dyn Listener>, reports: mpsc::Sender<Result<Peer, HandshakeError>>) {
    let mut guests = JoinSet::new();
    while let Some(incoming) = listener.accept().await {
        guests.spawn(host(incoming, reports.clone()));
    }
}

async fn host(incoming: Box<dyn Incoming>, reports: mpsc::Sender<Result<Peer, HandshakeError>>) {
    let outcome = incoming.handshake().await;
    let report = outcome.as_ref().map(|inbound| inbound.peer().clone()).map_err(Clone::clone);
    reports.send(report).await.expect("the test listens");
    let Ok(inbound) = outcome else { return };
    while let Some(mut stream) = inbound.accept().await {
        let mut heard = Vec::new();
        if stream.recv.read_to_end(&mut heard).await.is_ok() && stream.send.write_all(&heard).await.is_ok() {
            // A visitor that has left meanwhile is none of the server's business.
            let _ = stream.send.shutdown().await;
        }
    }
}

/// A client of the backend under test.
pub(super) struct Guest<'a> {
    pub(super) store: Store,
    pub(super) expectation: Expectation,
    fixture: &'a dyn SecurityFixture,
    transport: Arc<dyn Transport>,
}

/// Why a visit failed.
#[derive(Debug)]
pub(super) enum Rebuff {
    /// Connecting did, or opening the first stream: by then a server may have judged what it was shown.
    Connect(ConnectError),
    /// The connection did, once it was made.
    Stream(StreamError),
}

impl<'a> Guest<'a> {
    /// Dials with this material, and expects localhost.
    pub(super) fn new(fixture: &'a dyn SecurityFixture, material: &Material) -> Self {
        Self::with(fixture, material, options())
    }

    pub(super) fn with(
        fixture: &'a dyn SecurityFixture,
        material: &Material,
        options: TransportOptions,
    ) -> Self {
        let store = Store::new(material).expect("good material");
        let transport = fixture.transport(store.receiver(), options);
        Self { store, expectation: name("localhost"), fixture, transport }
    }

    /// Expects something else.
    pub(super) fn expecting(mut self, expectation: Expectation) -> Self {
        self.expectation = expectation;
        self
    }

    /// Connects, says a word, hears it again, and tells whom it spoke to.
    pub(super) async fn visit(&self, addr: SocketAddr) -> Result<Peer, Rebuff> {
        let target = self.fixture.target(addr, self.expectation.clone());
        let outbound = self.transport.connect(&target).await.map_err(Rebuff::Connect)?;
        let stream = outbound.open().await.map_err(|error| match error {
            OpenError::Connect(error) => Rebuff::Connect(error),
            other => panic!("the first stream of a connection: {other:?}"),
        })?;
        let peer = stream.peer.clone();
        assert_eq!(peer.handshake, outbound.peer().handshake);
        let heard = converse(stream).await.map_err(|error| match StreamError::of(&error) {
            Some(error) => Rebuff::Stream(error.clone()),
            None => panic!("not a stream error: {error:?}"),
        })?;
        assert_eq!(heard, WORD);
        Ok(peer)
    }

    /// The handshake fails here, for this reason, and for good.
    pub(super) async fn refuses(&self, addr: SocketAddr) -> HandshakeError {
        match self.visit(addr).await {
            Err(Rebuff::Connect(ConnectError::Handshake { source, target })) => {
                assert!(target.contains(&addr.to_string()), "{target} does not name {addr}");
                assert!(source.is_permanent(), "no retry cures it: {source}");
                source
            }
            other => panic!("not a failed handshake: {other:?}"),
        }
    }

    /// The server refuses what this client shows, or that it shows nothing: during the handshake or right after, for the
    /// client is done first. Returns what it is told.
    pub(super) async fn is_refused(&self, addr: SocketAddr) -> String {
        match self.visit(addr).await {
            Err(Rebuff::Connect(ConnectError::Handshake { source, .. })) => {
                assert!(source.is_permanent(), "no retry cures it: {source}");
                source.to_string()
            }
            Err(Rebuff::Stream(StreamError::Refused { reason })) => reason,
            other => panic!("not a refusal: {other:?}"),
        }
    }
}

async fn converse(mut stream: Stream) -> std::io::Result<Vec<u8>> {
    stream.send.write_all(WORD).await?;
    stream.send.shutdown().await?;
    let mut heard = Vec::new();
    stream.recv.read_to_end(&mut heard).await?;
    Ok(heard)
}

/// Expects this name.
pub(super) fn name(name: &str) -> Expectation {
    Expectation::Name(name.to_owned())
}

/// A server of this authority, for localhost, that asks for no certificate.
pub(super) fn serving(authority: &Authority) -> Material {
    showing(authority, &Leaf::localhost())
}

/// A server of this authority, for whatever the leaf says.
pub(super) fn showing(authority: &Authority, leaf: &Leaf) -> Material {
    // As of when it was good: a listener loads nothing that has expired.
    Material::new().with_server_identity(authority.issue(leaf).identity()).as_of(leaf.midlife())
}

/// The same, and its clients must show a certificate of that authority.
pub(super) fn demanding(authority: &Authority) -> Material {
    serving(authority).with_client_auth(ClientAuth::Required, [authority.trust()])
}

/// A client that trusts this authority.
pub(super) fn trusting(authority: &Authority) -> Material {
    Material::new().with_roots([authority.trust()])
}
