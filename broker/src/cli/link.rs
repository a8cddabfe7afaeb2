//! A connection to one endpoint that is looked at closely: how it was made, whom it shows, what the broker answers. What other commands
//! do with a broker, they do by the client library.

use std::time::{Duration, Instant};

use sealstream_client::wire::{Session, session};
use sealstream_protocol::message::hello::{Hello, Secret, SessionKind};
use sealstream_protocol::{ALPN, DEFAULT_PORT, Limits};
use sealstream_transport::tls::{IdentitySource, Material, Profile, Receiver, Store, TrustSource};
use sealstream_transport::{
    Connector, Endpoint, Outbound, Peer, Scheme, Server, TransportKind, TransportOptions,
};

use super::Failure;
use super::args::Connection;
use super::connect::ca;

/// How long a broker may take to answer Hello, as the client library has it.
const HELLO_DEADLINE: Duration = sealstream_client::options::DEFAULT_HELLO_TIMEOUT;

/// How long the clean end of a session may take, likewise.
const CLOSE_DEADLINE: Duration = sealstream_client::options::DEFAULT_CLOSE_TIMEOUT;

/// A way to one endpoint, with a memory of TLS sessions of its own.
#[derive(Debug)]
pub(super) struct Link {
    connector: Connector,
    receiver: Receiver,
    server: Server,
    token: Option<Secret>,
}

/// A broker that has welcomed us.
#[derive(Debug)]
pub(super) struct Greeted {
    /// From nothing to the end of the handshake.
    pub(super) connecting: Duration,
    pub(super) peer: Peer,
}

impl Link {
    /// A way to `endpoint` by what the flags say of trust, certificate and token. Reads the files that they name.
    pub(super) fn new(connection: &Connection, endpoint: &Endpoint) -> Result<Self, Failure> {
        let roots = ca(connection, endpoint).map_or(TrustSource::PublicRoots, TrustSource::File);
        let mut material = Material::new().with_roots([roots]);
        if let (Some(cert), Some(key)) = (&connection.cert, &connection.key) {
            material = material.with_client_identity(IdentitySource::files(cert, key));
        }
        let receiver = Store::new(&material)?.receiver();
        let connector = Connector::new(&receiver, &TransportOptions::new(ALPN, DEFAULT_PORT));
        let server = Server::named(endpoint.clone());
        Ok(Self { connector, receiver, server, token: token(connection)? })
    }

    /// Connects, says Hello, awaits the Welcome, and ends all of it.
    pub(super) async fn hello(&self) -> Result<Greeted, Failure> {
        let start = Instant::now();
        let outbound = self.connector.connect(&self.server).await?;
        let connecting = start.elapsed();
        let greeted = self.greet(&*outbound).await;
        outbound.close(0).await;
        Ok(Greeted { connecting, peer: greeted? })
    }

    async fn greet(&self, outbound: &dyn Outbound) -> Result<Peer, Failure> {
        let stream = outbound.open().await?;
        let hello =
            session::hello(SessionKind::Admin, "sealstream command line".to_owned(), Duration::from_secs(15));
        let hello = Hello { token: self.token.clone(), ..hello };
        let opened = session::open(stream, hello, Limits::MAX_FRAME, HELLO_DEADLINE).await;
        let opened = opened.map_err(|error| sealstream_client::SessionError::Hello {
            target: self.server.endpoint.to_string(),
            source: std::sync::Arc::new(error),
        })?;
        let peer = opened.peer.clone();
        finish(opened).await;
        Ok(peer)
    }

    /// Has the next handshake be a full one.
    pub(super) fn forget(&self) {
        let kind = match self.server.endpoint.scheme {
            Scheme::Quic => TransportKind::Quic,
            Scheme::Tls | Scheme::Auto => TransportKind::Tls,
        };
        let snapshot = self.receiver.current();
        let profile = Profile { kind, alpn: ALPN.to_vec(), key_log: false };
        if let Ok(handshake) = snapshot.client_handshake(&profile, &self.server) {
            snapshot.sessions().forget(handshake.session_key());
        }
    }

    /// Resolves once every connection that was closed has said so to the broker.
    pub(super) async fn drained(&self) {
        self.connector.drained().await;
    }
}

/// A session that has served its purpose: whether the broker hears the goodbye changes nothing.
async fn finish(session: Session) {
    if let Err(error) = session.finish(CLOSE_DEADLINE).await {
        tracing::debug!(%error, "the session did not end cleanly");
    }
}

/// The token that the flags name.
fn token(connection: &Connection) -> Result<Option<Secret>, Failure> {
    let Some(file) = &connection.token_file else {
        return Ok(std::env::var("SEALSTREAM_TOKEN").ok().filter(|token| !token.is_empty()).map(Secret));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("cannot read the token file {}: {error}", file.display())))?;
    Ok(Some(Secret(text.trim().to_owned())))
}
