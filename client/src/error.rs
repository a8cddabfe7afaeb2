//! Why no session with a broker could be had. The errors of each operation stand beside it and build on this one.

use std::sync::Arc;
use std::time::Duration;

pub use sealstream_protocol::message::{Fault, FaultClass, FaultCode};
use sealstream_transport::{ConnectError, OpenError};

use crate::token::TokenError;
use crate::wire::{OpenSessionError, WireError};

/// Why there is no session with the broker. Cheap to clone: every record of a batch may carry it.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::SessionError;
///
/// match client.hello().await {
///     Ok(welcome) => println!("{}", welcome.broker),
///     Err(SessionError::GaveUp { attempts, last, .. }) => println!("{attempts} attempts: {last}"),
///     Err(error) => println!("{error}; the broker said {:?}", error.fault()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The broker could not be reached, or is not who was expected.
    #[error("{0}")]
    Connect(Arc<ConnectError>),
    /// The connection gave no stream.
    #[error("{target}: {source}")]
    Open {
        /// The broker.
        target: String,
        /// Why.
        source: Arc<OpenError>,
    },
    /// The token could not be read from its file: nothing was sent.
    #[error("{0}")]
    Token(Arc<TokenError>),
    /// The broker did not welcome the session.
    #[error("{target}: {source}")]
    Hello {
        /// The broker.
        target: String,
        /// Why.
        source: Arc<OpenSessionError>,
    },
    /// The session broke later.
    #[error("{target}: {source}")]
    Broken {
        /// The broker.
        target: String,
        /// Why.
        source: Arc<WireError>,
    },
    /// The broker ended the session and said why.
    #[error("{target}: {fault}")]
    Ended {
        /// The broker.
        target: String,
        /// What it said.
        fault: Box<Fault>,
    },
    /// The broker closed the stream without a word.
    #[error("{target}: the broker closed the session without a reason")]
    Closed {
        /// The broker.
        target: String,
    },
    /// Nothing was heard of the broker for the idle deadline.
    #[error("{target}: nothing was heard for {after:?}")]
    Silent {
        /// The broker.
        target: String,
        /// The deadline.
        after: Duration,
    },
    /// The broker answered what was not asked, or what cannot be.
    #[error("{target}: the broker breaks the protocol: {detail}")]
    Protocol {
        /// The broker.
        target: String,
        /// What it did.
        detail: String,
    },
    /// Brokers sent the client from one to the next for too long.
    #[error(
        "sent on {hops} times, last to {url}: the brokers do not agree on who is responsible; try again later"
    )]
    TooManyHops {
        /// How often.
        hops: u32,
        /// Where to, last.
        url: String,
    },
    /// A broker sent the client to something that is no endpoint.
    #[error("{target}: sent on to {url}, which is no endpoint: {reason}")]
    BadRedirect {
        /// The broker.
        target: String,
        /// Where to.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Every attempt failed for as long as the retry policy allows.
    #[error("gave up after {attempts} attempts in {after:?}; the last: {last}")]
    GaveUp {
        /// How many.
        attempts: u32,
        /// For how long.
        after: Duration,
        /// Why the last one failed.
        last: Arc<SessionError>,
    },
}

impl SessionError {
    /// Whether the same may succeed later. What no retry can cure, such as an untrusted certificate or a refused
    /// identity, is not tried again; a certificate that a broker trusted and trusts no longer is final once a further
    /// connection, with the one that there is by then, has failed too.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => !error.is_permanent(),
            Self::Open { source, .. } => match source.as_ref() {
                OpenError::Connect(error) => !error.is_permanent(),
                _ => true,
            },
            Self::Hello { source, .. } => source.is_retryable(),
            Self::Broken { source, .. } => !source.is_permanent(),
            Self::Ended { fault, .. } => fault.class != FaultClass::Caller,
            // The token's file may be in the middle of being replaced: one that was never there is found when the client is
            // built.
            Self::Token(_)
            | Self::Closed { .. }
            | Self::Silent { .. }
            | Self::Protocol { .. }
            | Self::TooManyHops { .. } => true,
            Self::BadRedirect { .. } => false,
            Self::GaveUp { last, .. } => last.is_retryable(),
        }
    }

    /// What the broker said, if it did.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Ended { fault, .. } => Some(fault),
            Self::Hello { source, .. } => match source.as_ref() {
                OpenSessionError::Refused(fault) => Some(fault),
                _ => None,
            },
            Self::GaveUp { last, .. } => last.fault(),
            _ => None,
        }
    }

    /// Whether the broker had let us in and no longer trusts the certificate or the token that we had shown.
    pub(crate) fn is_loss_of_trust(&self) -> bool {
        self.fault().and_then(Fault::code_known) == Some(FaultCode::NoLongerTrusted)
    }

    /// How long the broker wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(self.fault()?)
    }

    /// Where the broker sent the client.
    pub(crate) fn elsewhere(&self) -> Option<&str> {
        elsewhere(self.fault()?)
    }
}

/// The broker has asked for the end of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoAway {
    /// How long it wants to be left alone afterwards.
    pub(crate) retry_after: Option<Duration>,
}

impl From<&Fault> for GoAway {
    fn from(fault: &Fault) -> Self {
        Self { retry_after: retry_after(fault) }
    }
}

/// How long the broker wants to be left alone, by this fault.
pub(crate) fn retry_after(fault: &Fault) -> Option<Duration> {
    fault.retry_after_ms.map(|ms| Duration::from_millis(u64::from(ms)))
}

/// Where this fault sends the client, if its class says that it does.
pub(crate) fn elsewhere(fault: &Fault) -> Option<&str> {
    match fault.class {
        FaultClass::RetryElsewhere => fault.url.as_deref(),
        _ => None,
    }
}
