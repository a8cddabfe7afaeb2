//! How a client reaches servers, and by which credentials.

use std::sync::Arc;

use sealstream_transport::{ConnectError, Connector, OpenError, Outbound, Server, Transport};

use crate::credentials::Credentials;

/// How a server is reached.
#[derive(Debug)]
pub(crate) enum Dial {
    /// By whatever scheme its URL names, with credentials that may come from files.
    ByScheme(Connector, Option<Box<Credentials>>),
    /// By this, whatever the scheme.
    By(Arc<dyn Transport>),
}

impl Dial {
    pub(crate) async fn connect(&self, server: &Server) -> Result<Box<dyn Outbound>, ConnectError> {
        match self {
            Self::ByScheme(connector, _) => connector.connect(server).await,
            Self::By(transport) => transport.connect(server).await,
        }
    }

    /// What is to be looked at before each session.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        match self {
            Self::ByScheme(_, credentials) => credentials.as_deref(),
            Self::By(_) => None,
        }
    }
}

/// Whether a connection gives no stream any more, and another may: it is closed, or one of its ends no longer trusts the other, which
/// may show another certificate by now.
pub(crate) fn is_spent(error: &OpenError) -> bool {
    match error {
        OpenError::Closed { .. } => true,
        OpenError::Connect(error) => error.is_permanent(),
        _ => false,
    }
}
