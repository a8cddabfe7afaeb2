//! What happens to a client's connections, for whoever listens.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::error::SessionError;

/// Events that a listener may be behind by: an outage of a hundred attempts and two reconnects; one who is slower is told how many it
/// missed.
pub(crate) const EVENTS: usize = 256;

/// What happened. None of it needs an answer: the client goes on by itself.
///
/// ```
/// use sealstream_client::ClientEvent;
///
/// fn worth_a_line(event: &ClientEvent) -> bool {
///     matches!(event, ClientEvent::Retrying { .. } | ClientEvent::CredentialsRefused { .. })
/// }
/// assert!(!worth_a_line(&ClientEvent::Missed(3)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// There is a new connection with this broker.
    Connected {
        /// Its URL.
        url: String,
    },
    /// The connection with this broker is of no more use; the next session gets another.
    Disconnected {
        /// Its URL.
        url: String,
    },
    /// A session could not be had, and is tried again.
    Retrying {
        /// Why it could not be had.
        error: SessionError,
        /// When it is tried again.
        after: Duration,
    },
    /// A broker sent a session on to another one.
    Redirected {
        /// Where to.
        url: String,
    },
    /// The files of the client's trust and certificate are others, and hold for new connections.
    CredentialsRenewed,
    /// They are others, and at fault: what was there before is used on. Said once for each fault.
    CredentialsRefused {
        /// What is wrong with them.
        fault: String,
    },
    /// The listener was too slow for so many events.
    Missed(u64),
}

/// The events of one client, and its clones, from the moment on at which this was made. See
/// [`Client::events`](crate::Client::events).
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) {
/// let mut events = client.events();
/// while let Some(event) = events.next().await {
///     eprintln!("{event:?}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ClientEvents {
    pub(crate) receiver: broadcast::Receiver<ClientEvent>,
}

impl ClientEvents {
    /// The next event; `None` once the client and all that was made of it are gone. Cancellation safe.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(ClientEvent::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
