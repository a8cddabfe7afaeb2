//! How a client is built: where the broker is, what it must prove, who we are, and how patient we are.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::limits::{ALPN, DEFAULT_PORT, Limits};
use sealstream_protocol::message::hello::Secret;
use sealstream_protocol::name::{NameError, check_name};
use sealstream_transport::endpoint::EndpointError;
use sealstream_transport::tls::{IdentitySource, Material, MaterialError, Receiver, TrustSource};
use sealstream_transport::{Connector, Endpoint, Expectation, Transport, TransportOptions};

use crate::backoff::{FOR_EVER, RetryPolicy};
use crate::bounds::{OptionError, some_time};
use crate::client::{Client, ClientError};
use crate::connection::{Connections, Settings};
use crate::credentials::Credentials;
use crate::dial::Dial;
use crate::token::{TokenError, TokenSource};

/// The idle deadline that a client asks for. A broker whose machine is gone without a word is noticed after it: 30 s, as long as both
/// transports take to notice it by themselves, are three pings 10 s apart, longer than any pause that a broker in good health makes, and
/// keep a NAT's memory of a flow alive, which on UDP lasts 30 s. Ten thousand idle sessions make 1,000 pings a second.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(30);

/// How long each step of an attempt to connect may take: the kernel repeats a lost SYN after 1, 3 and 7 s, and 10 s outlive three
/// losses.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may take to answer Hello: a round trip, three lost packets repeated after 1, 2 and 4 s.
pub const DEFAULT_HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may take to answer a request: deleting a topic of a thousand partitions syncs a directory each.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the clean end of a session may take.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a client could not be built. Nothing was sent yet; the remedy is always on this side.
///
/// ```
/// use sealstream_client::{BuildError, Client};
///
/// let built = Client::builder().url("http://localhost:7420").build();
/// assert!(matches!(built, Err(BuildError::Url(_))), "the message names the schemes there are");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no URL to connect to.
    #[error("no broker to connect to: give its URL, such as tls://localhost:7420")]
    NoUrl,
    /// A URL is not an endpoint.
    #[error(transparent)]
    Url(#[from] EndpointError),
    /// The client's name is not one.
    #[error("cannot use the client's name: {0}")]
    Name(NameError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// The token cannot be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An option has a value that it cannot have.
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// Builds a [`Client`]. Times beyond a year count as a year.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sealstream_client::Client;
///
/// let client = Client::builder()
///     .url("tls://broker-1.example:7420")
///     .url("tls://broker-2.example:7420")
///     .ca_file("tls/ca.pem")
///     .identity_files("tls/me.pem", "tls/me.key")
///     .idle(Duration::from_secs(60))
///     .connect()
///     .await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    urls: Vec<String>,
    roots: Vec<TrustSource>,
    identity: Option<IdentitySource>,
    trust: Option<Receiver>,
    key_log: bool,
    transport: Option<Arc<dyn Transport>>,
    expectation: Option<Expectation>,
    connect_timeout: Duration,
    settings: Settings,
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            urls: Vec::new(),
            roots: Vec::new(),
            identity: None,
            trust: None,
            key_log: false,
            transport: None,
            expectation: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            settings: Settings {
                name: String::new(),
                token: None,
                cluster: None,
                idle: DEFAULT_IDLE,
                hello_timeout: DEFAULT_HELLO_TIMEOUT,
                request_timeout: DEFAULT_REQUEST_TIMEOUT,
                close_timeout: DEFAULT_CLOSE_TIMEOUT,
                max_frame: Limits::MAX_FRAME,
                retry: RetryPolicy::default(),
            },
        }
    }

    /// Where a broker listens: `tls://`, `quic://` or `auto://`. Given more than once, the next is tried when one
    /// cannot be reached.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Trusts the CA certificates in this PEM file, and no longer the public roots by themselves. The file is looked at before each
    /// session, as those of [`identity_files`](Self::identity_files) are.
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        self.root(TrustSource::File(path.into()))
    }

    /// Trusts these roots, all of them together. Without any, the public roots are trusted.
    pub fn root(mut self, root: TrustSource) -> Self {
        self.roots.push(root);
        self
    }

    /// Shows this certificate, from PEM files, to a broker that asks for one. The files are looked at before each session: a
    /// certificate that is renewed there is shown by the next connection, without a restart. Files at fault, such as a key that does
    /// not belong to the certificate yet, change nothing; [`events`](Client::events) and the log tell of them.
    pub fn identity_files(self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity(IdentitySource::files(chain, key))
    }

    /// Shows this certificate to a broker that asks for one.
    pub fn identity(mut self, identity: IdentitySource) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Takes trust and identity from a store that the program keeps, instead of from this builder: what is published
    /// there holds from the next handshake on.
    pub fn trust(mut self, receiver: Receiver) -> Self {
        self.trust = Some(receiver);
        self
    }

    /// What the broker's certificate must show; by default the name in the URL.
    pub fn expectation(mut self, expectation: Expectation) -> Self {
        self.expectation = Some(expectation);
        self
    }

    /// Authenticates by a bearer token, which outranks the certificate.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.settings.token = Some(TokenSource::Text(Secret(token.into())));
        self
    }

    /// Authenticates by the bearer token in this file, where it stands alone. The file is read for each session anew: a
    /// token that is replaced there, by an atomic rename, serves from the next session on. When the broker ends a session
    /// because the old one was revoked or has ended, the next one is opened at once.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.token = Some(TokenSource::File(path.into()));
        self
    }

    /// Accepts only a broker of this cluster.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.settings.cluster = Some(name.into());
        self
    }

    /// What the broker's log calls this client: at most 255 bytes without control characters.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// The idle deadline to ask for, longer than zero; [`DEFAULT_IDLE`] by default. The broker may set another.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.settings.idle = idle.min(FOR_EVER);
        self
    }

    /// How long each step of an attempt to connect may take, to reach the broker and to shake hands, longer than zero;
    /// [`DEFAULT_CONNECT_TIMEOUT`] by default. A transport that is [given](Self::transport) has deadlines of its own.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.min(FOR_EVER);
        self
    }

    /// How long a broker may take to answer Hello, longer than zero; [`DEFAULT_HELLO_TIMEOUT`] by default.
    pub fn hello_timeout(mut self, timeout: Duration) -> Self {
        self.settings.hello_timeout = timeout.min(FOR_EVER);
        self
    }

    /// How long a broker may take to answer a request, longer than zero; [`DEFAULT_REQUEST_TIMEOUT`] by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout.min(FOR_EVER);
        self
    }

    /// How long the clean end of a session may take, longer than zero; [`DEFAULT_CLOSE_TIMEOUT`] by default.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout.min(FOR_EVER);
        self
    }

    /// The largest frame to accept, in bytes: at least 64 KiB, so that a broker can say what it has to, and at most, and
    /// by default, the protocol's own bound of 16 MiB.
    pub fn max_frame(mut self, bytes: u32) -> Self {
        self.settings.max_frame = bytes;
        self
    }

    /// When and how long to try again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Writes the secrets of every session to the file that the environment variable `SSLKEYLOGFILE` names. Whoever
    /// reads that file reads the traffic: off by default.
    pub fn key_log(mut self, on: bool) -> Self {
        self.key_log = on;
        self
    }

    /// Connects by this, whatever the URL's scheme; roots and identity are then its own matter.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Builds the client without connecting: the first use does. Checks every option, and reads the files named.
    pub fn build(mut self) -> Result<Client, BuildError> {
        self.settings.check()?;
        some_time("connect_timeout", self.connect_timeout)?;
        self.settings.retry = self.settings.retry.sound();
        let home =
            self.urls.iter().map(|url| Endpoint::parse(url, DEFAULT_PORT)).collect::<Result<Vec<_>, _>>()?;
        if home.is_empty() {
            return Err(BuildError::NoUrl);
        }
        if !self.settings.name.is_empty() {
            check_name(&self.settings.name).map_err(BuildError::Name)?;
        }
        if let Some(token) = &self.settings.token {
            token.check()?;
        }
        let dial = match (self.transport, self.trust) {
            (Some(transport), _) => Dial::By(transport),
            (None, Some(receiver)) => {
                Dial::ByScheme(connector(&receiver, self.connect_timeout, self.key_log), None)
            }
            (None, None) => {
                let credentials = credentials(self.roots, self.identity)?;
                Dial::ByScheme(
                    connector(credentials.receiver(), self.connect_timeout, self.key_log),
                    Some(Box::new(credentials)),
                )
            }
        };
        Ok(Client::new(Connections::new(dial, home, self.expectation, self.settings)))
    }

    /// Builds the client and says Hello once, so that what no retry can cure is known now. Cancellation safe.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let client = self.build()?;
        client.hello().await?;
        Ok(client)
    }
}

fn credentials(
    roots: Vec<TrustSource>,
    identity: Option<IdentitySource>,
) -> Result<Credentials, MaterialError> {
    let roots = if roots.is_empty() { vec![TrustSource::PublicRoots] } else { roots };
    let mut material = Material::new().with_roots(roots);
    material.client_identity = identity;
    Credentials::load(material)
}

fn connector(receiver: &Receiver, timeout: Duration, key_log: bool) -> Connector {
    let mut options = TransportOptions::new(ALPN, DEFAULT_PORT);
    options.key_log = key_log;
    (options.deadlines.connect, options.deadlines.handshake) = (timeout, timeout);
    Connector::new(receiver, &options)
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("urls", &self.urls)
            .field("expectation", &self.expectation)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
