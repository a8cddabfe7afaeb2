//! A connection to one endpoint that is looked at closely: how it was made, whom it shows, what the broker answers. What other commands
//! do with a broker, they do by the client library.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealstream_client::SessionError;
use sealstream_client::wire::{Session, WireError, session};
use sealstream_protocol::message::Message;
use sealstream_protocol::message::hello::{Hello, Ping, Pong, Secret, SessionKind, Welcome};
use sealstream_protocol::{ALPN, DEFAULT_PORT, Limits};
use sealstream_transport::tls::{IdentitySource, Material, Receiver, Store, TrustSource};
use sealstream_transport::{
    ConnectError, Connector, Endpoint, Expectation, Outbound, Peer, Scheme, Server, TransportKind,
    TransportOptions,
};
use tokio::time::timeout;

use super::Failure;
use super::args::Connection;
use super::connect::{ca, token_of_environment};

/// How long a broker may take to answer Hello, as the client library has it.
const HELLO_DEADLINE: Duration = sealstream_client::options::DEFAULT_HELLO_TIMEOUT;

/// How long the clean end of a session may take, likewise.
const CLOSE_DEADLINE: Duration = sealstream_client::options::DEFAULT_CLOSE_TIMEOUT;

/// The idle deadline that is asked for, likewise.
const IDLE: Duration = sealstream_client::options::DEFAULT_IDLE;

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
    /// From Hello to Welcome.
    pub(super) answering: Duration,
    pub(super) peer: Peer,
    pub(super) welcome: Welcome,
    /// To what it was asked, in order.
    pub(super) answers: Vec<Message>,
}

/// Why there was no Welcome.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) failure: Failure,
    /// Whether nothing came back: else the way leads somewhere.
    pub(super) silent: bool,
}

impl Link {
    /// A way to `endpoint` by what the flags say of trust, certificate and token. Reads the files that they name.
    pub(super) fn new(connection: &Connection, endpoint: &Endpoint) -> Result<Self, Failure> {
        let roots = ca(connection, endpoint).map_or(TrustSource::PublicRoots, TrustSource::File);
        Self::with(connection, endpoint, roots)
    }

    /// The same, but for whom to trust: the CA in this file.
    pub(super) fn trusting(connection: &Connection, endpoint: &Endpoint, ca: &Path) -> Result<Self, Failure> {
        Self::with(connection, endpoint, TrustSource::File(ca.to_owned()))
    }

    fn with(connection: &Connection, endpoint: &Endpoint, roots: TrustSource) -> Result<Self, Failure> {
        let mut material = Material::new().with_roots([roots]);
        if let (Some(cert), Some(key)) = (&connection.cert, &connection.key) {
            material = material.with_client_identity(IdentitySource::files(cert, key));
        }
        let receiver = Store::new(&material)?.receiver();
        let connector = Connector::new(&receiver, &TransportOptions::new(ALPN, DEFAULT_PORT));
        let server = Server::named(endpoint.clone());
        Ok(Self { connector, receiver, server, token: token(connection)? })
    }

    /// Has the server prove that it has `name`, whatever address it is reached by.
    pub(super) fn expecting(mut self, name: String) -> Self {
        self.server.expectation = Expectation::Name(name);
        self
    }

    /// Connects, says Hello, awaits the Welcome, and ends all of it.
    pub(super) async fn hello(&self) -> Result<Greeted, Failure> {
        self.hello_and_ask(Vec::new()).await.map_err(|missed| missed.failure)
    }

    /// The same, with requests of an Admin session in between.
    pub(super) async fn hello_and_ask(&self, requests: Vec<Message>) -> Result<Greeted, Missed> {
        let start = Instant::now();
        let outbound = self.connector.connect(&self.server).await.map_err(|error| {
            let silent = matches!(error, ConnectError::TimedOut { .. } | ConnectError::Unreachable { .. });
            Missed { failure: error.into(), silent }
        })?;
        let connecting = start.elapsed();
        let greeted = self.greet(&*outbound, connecting, requests).await;
        outbound.close(0).await;
        greeted.map_err(|failure| Missed { failure, silent: false })
    }

    async fn greet(
        &self,
        outbound: &dyn Outbound,
        connecting: Duration,
        requests: Vec<Message>,
    ) -> Result<Greeted, Failure> {
        let stream = outbound.open().await?;
        let hello = session::hello(SessionKind::Admin, "sealstream command line".to_owned(), IDLE);
        let hello = Hello { token: self.token.clone(), ..hello };
        let asked = Instant::now();
        let opened = session::open(stream, hello, Limits::MAX_FRAME, HELLO_DEADLINE).await;
        let target = self.server.endpoint.to_string();
        let mut session = opened
            .map_err(|source| SessionError::Hello { target: target.clone(), source: Arc::new(source) })?;
        let answering = asked.elapsed();
        let answers = timeout(HELLO_DEADLINE, ask(&mut session, requests))
            .await
            .map_err(|_| SessionError::Silent { target: target.clone(), after: HELLO_DEADLINE })?
            .map_err(|source| SessionError::Broken { target, source: Arc::new(source) })?;
        let (peer, welcome) = (session.peer.clone(), session.welcome.clone());
        finish(session).await;
        Ok(Greeted { connecting, answering, peer, welcome, answers })
    }

    /// Has the next handshake be a full one.
    pub(super) fn forget(&self) {
        let kind = match self.server.endpoint.scheme {
            Scheme::Quic => TransportKind::Quic,
            Scheme::Tls | Scheme::Auto => TransportKind::Tls,
        };
        self.receiver.current().forget_tickets(kind, ALPN, &self.server);
    }

    /// Resolves once every connection that was closed has said so to the broker.
    pub(super) async fn drained(&self) {
        self.connector.drained().await;
    }
}

/// Asks one after the other, as the protocol has it. A broker that ends the session early has answered the rest with nothing.
async fn ask(session: &mut Session, requests: Vec<Message>) -> Result<Vec<Message>, WireError> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        session.writer.feed(&request);
        session.writer.flush().await?;
        loop {
            match session.reader.next().await? {
                Some(Message::Ping(Ping { nonce })) => session.writer.feed(&Message::Pong(Pong { nonce })),
                Some(answer) => break answers.push(answer),
                None => return Ok(answers),
            }
        }
    }
    Ok(answers)
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
        return Ok(token_of_environment(connection).map(Secret));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("cannot read the token file {}: {error}", file.display())))?;
    Ok(Some(Secret(text.trim().to_owned())))
}
