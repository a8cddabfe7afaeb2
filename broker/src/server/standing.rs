//! Whether the peer of a connection is still trusted. It is lost once, and for every session of the connection.

use std::fmt::Display;
use std::sync::Arc;

use sealstream_protocol::message::{Fault, FaultCode};
use tokio::sync::SetOnce;

/// The standing of one connection, shared by its sessions. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing(Arc<SetOnce<Fault>>);

impl Standing {
    /// Trust no longer covers the peer. The first reason counts.
    pub(crate) fn lose(&self, why: impl Display) {
        let text = format!("{why}: connect again with a certificate that this broker trusts");
        // Lost already.
        let _ = self.0.set(Fault::new(FaultCode::NoLongerTrusted, text));
    }

    /// Resolves once it is lost, with what the peer is told. Cancellation safe.
    pub(crate) async fn lost(&self) -> Fault {
        self.0.wait().await.clone()
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
