//! The client: the root of everything else, cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::hello::{Ping, SessionKind, Welcome};
use tokio::time::{Instant, timeout};

use crate::admin::Admin;
use crate::backoff::Retries;
use crate::connection::{Connections, Place};
use crate::consumer::ConsumerBuilder;
use crate::error::SessionError;
use crate::event::ClientEvents;
use crate::group::GroupConsumerBuilder;
use crate::options::{BuildError, ClientBuilder};
use crate::producer::ProducerBuilder;
use crate::wire::{Session, WireError};

/// Why a client could not be had.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::{Client, ClientError};
///
/// match Client::connect("tls://broker.example").await {
///     Ok(client) => client.close().await,
///     Err(ClientError::Build(error)) => println!("the program is wrong: {error}"),
///     Err(error) if error.is_retryable() => println!("the broker is away: {error}"),
///     Err(error) => println!("the broker does not want us: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The broker did not answer, or said no.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl ClientError {
    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Build(_) => false,
            Self::Session(error) => error.is_retryable(),
        }
    }
}

/// A way to one cluster. Clones share connections; everything made of a client does too.
///
/// Connections are dialled when they are needed and dialled again when they are lost. A client holds no task: dropping
/// it is enough, [`close`](Self::close) is politer.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::Client;
///
/// let client = Client::connect("tls://broker.example").await?;
/// let welcome = client.hello().await?;
/// println!("{} calls us {}, {:?} away", welcome.broker, welcome.identity, client.ping().await?);
/// client.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<Connections>,
}

impl Client {
    pub(crate) fn new(connections: Connections) -> Self {
        Self { connections: Arc::new(connections) }
    }

    /// Connects to the broker at `url` and says Hello once. Its certificate must chain to one of the public roots and
    /// show the URL's name; for anything else there is the [`builder`](Self::builder). Cancellation safe.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = sealstream_client::Client::connect("tls://broker.example").await?;
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str) -> Result<Self, ClientError> {
        Self::builder().url(url).connect().await
    }

    /// Starts with nothing but defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Opens a session and ends it again: what the broker says of itself and of us. Tries again within the retry
    /// policy. Cancellation safe.
    pub async fn hello(&self) -> Result<Welcome, SessionError> {
        let session = self.admin_session().await?;
        let welcome = session.welcome.clone();
        self.end(session).await;
        Ok(welcome)
    }

    /// How long a ping takes on a session of its own, from frame to frame. Cancellation safe.
    pub async fn ping(&self) -> Result<Duration, SessionError> {
        let mut session = self.admin_session().await?;
        let start = Instant::now();
        let deadline = self.connections.settings.request_timeout;
        let target = self.connections.target(&Place::Home);
        let Ok(answered) = timeout(deadline, round_trip(&mut session)).await else {
            return Err(SessionError::Silent { target, after: deadline });
        };
        match answered {
            Ok(true) => {
                let taken = start.elapsed();
                self.end(session).await;
                Ok(taken)
            }
            Ok(false) => Err(SessionError::Closed { target }),
            Err(source) => Err(SessionError::Broken { target, source: Arc::new(source) }),
        }
    }

    /// What happens to the connections of this client and its clones, from now on: losses, attempts, certificates that were
    /// replaced. Nobody has to listen.
    ///
    /// ```no_run
    /// # async fn example(client: sealstream_client::Client) {
    /// use sealstream_client::ClientEvent;
    ///
    /// let mut events = client.events();
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         ClientEvent::Retrying { error, after } => eprintln!("{error}; trying again in {after:?}"),
    ///         ClientEvent::CredentialsRefused { fault } => eprintln!("the old certificate stays: {fault}"),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> ClientEvents {
        self.connections.events()
    }

    /// Topics: create, list, describe, alter, delete. And what certificates the broker serves.
    pub fn admin(&self) -> Admin {
        Admin::new(self.connections.clone())
    }

    /// Produces records to `topic`.
    pub fn producer(&self, topic: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(self.connections.clone(), topic.into())
    }

    /// Consumes records of `topic`.
    pub fn consumer(&self, topic: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(self.connections.clone(), topic.into())
    }

    /// Consumes records as a member of `group`, whose members share the partitions of their topics.
    pub fn group_consumer(&self, group: impl Into<String>) -> GroupConsumerBuilder {
        GroupConsumerBuilder::new(self.connections.clone(), group.into())
    }

    /// Closes every connection, and tells the brokers so. Close producers and consumers first: whatever is still
    /// under way is lost. If it is dropped, connections that it did not come to close with the last clone.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    async fn admin_session(&self) -> Result<Session, SessionError> {
        let mut retries = Retries::new(self.connections.settings.retry);
        self.connections.open(&Place::Home, SessionKind::Admin, &mut retries).await
    }

    /// Ends a session that has served its purpose: whether the broker hears the goodbye changes nothing.
    async fn end(&self, session: Session) {
        if let Err(error) = session.finish(self.connections.settings.close_timeout).await {
            tracing::debug!(%error, "the session did not end cleanly");
        }
    }
}

/// Whether a ping was answered before the stream ended.
async fn round_trip(session: &mut Session) -> Result<bool, WireError> {
    let nonce = rand::random();
    session.writer.feed(&Message::Ping(Ping { nonce }));
    session.writer.flush().await?;
    loop {
        match session.reader.next().await? {
            Some(Message::Pong(pong)) if pong.nonce == nonce => return Ok(true),
            Some(_) => {}
            None => return Ok(false),
        }
    }
}
