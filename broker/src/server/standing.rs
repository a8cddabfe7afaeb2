//! Whether the peer of a connection is still trusted: lost once, and for every session of the connection. A session that was
//! opened with a token stands by its token too.

use std::fmt::Display;
use std::sync::Arc;

use sealstream_protocol::message::{Fault, FaultCode};
use tokio::sync::SetOnce;

use crate::access::Badge;

/// The standing of one connection, shared by its sessions, or that of one of them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    connection: Arc<SetOnce<Fault>>,
    badge: Option<Badge>,
}

impl Standing {
    /// Trust no longer covers the peer. The first reason counts.
    pub(crate) fn lose(&self, why: impl Display) {
        let text = format!("{why}: connect again with a certificate that this broker trusts");
        // Lost already.
        let _ = self.connection.set(Fault::new(FaultCode::NoLongerTrusted, text));
    }

    /// Resolves once it is lost, with what the peer is told. Cancellation safe.
    pub(crate) async fn lost(&self) -> Fault {
        match &self.badge {
            None => self.connection.wait().await.clone(),
            Some(badge) => tokio::select! {
                biased;
                fault = self.connection.wait() => fault.clone(),
                // In a box: most sessions have no token.
                why = Box::pin(badge.lost()) => {
                    let text = format!("{why}: open another session with a token that is good");
                    Fault::new(FaultCode::NoLongerTrusted, text)
                }
            },
        }
    }

    /// That of a session which was opened with a token, if it was.
    pub(crate) fn with(self, badge: Option<Badge>) -> Self {
        Self { badge, ..self }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn it_is_lost_once_for_all_who_share_it() {
        let standing = Standing::default();
        let shared = standing.clone();
        assert_eq!(shared.lost().now_or_never(), None);
        standing.lose("the certificate was revoked");
        standing.lose("the certificate has ended");
        let fault = shared.lost().now_or_never().unwrap();
        assert_eq!(fault.code_known(), Some(FaultCode::NoLongerTrusted));
        assert!(fault.text.starts_with("the certificate was revoked: connect again"), "{}", fault.text);
    }
}
