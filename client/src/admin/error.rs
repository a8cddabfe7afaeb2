//! What can go wrong with a request about topics.

use sealstream_protocol::message::{Fault, FaultClass, FaultCode};

use crate::error::SessionError;

/// Why a request was not carried out.
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use sealstream_client::AdminError;
/// use sealstream_client::admin::NewTopic;
///
/// match client.admin().create_topic(NewTopic::new("orders")).await {
///     Ok(topic) => println!("{} has {} partitions", topic.name, topic.partitions),
///     Err(error @ AdminError::OutcomeUnknown { .. }) => println!("look whether it is there: {error}"),
///     Err(error) if error.is_retryable() => println!("later, perhaps: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no session with a broker, or it broke and the request was repeated for as long as the retry policy
    /// allows.
    #[error("cannot {request}: {source}")]
    Session {
        /// The request, in words.
        request: String,
        /// Why.
        source: SessionError,
    },
    /// The broker said no.
    #[error("cannot {request}: {fault}")]
    Refused {
        /// The request, in words.
        request: String,
        /// What the broker said.
        fault: Fault,
    },
    /// The session broke before the answer, and repeating the request could do something else than the request.
    #[error(
        "{request}: the answer was lost, and it may have been carried out or not: look before you repeat it ({source})"
    )]
    OutcomeUnknown {
        /// The request, in words.
        request: String,
        /// Why the answer was lost.
        source: SessionError,
    },
}

impl AdminError {
    /// The same of what the request was for, in words.
    pub(crate) fn of(mut self, purpose: String) -> Self {
        match &mut self {
            Self::Session { request, .. }
            | Self::Refused { request, .. }
            | Self::OutcomeUnknown { request, .. } => {
                *request = purpose;
            }
        }
        self
    }

    /// Whether the same request may succeed later. One whose outcome is unknown is not to be repeated blindly.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Session { source, .. } => source.is_retryable(),
            Self::Refused { fault, .. } => fault.class != FaultClass::Caller,
            Self::OutcomeUnknown { .. } => false,
        }
    }

    /// What the broker said no with, if it did and this version knows the code.
    pub fn code(&self) -> Option<FaultCode> {
        match self {
            Self::Refused { fault, .. } => fault.code_known(),
            Self::Session { source, .. } | Self::OutcomeUnknown { source, .. } => {
                source.fault()?.code_known()
            }
        }
    }
}
