//! The server's side of an established connection.

use std::sync::Arc;

use super::credit::{StreamCredit, WideRoom};
use super::link::Link;
use crate::peer::Peer;
use crate::stream::Stream;
use crate::tls::Fallen;
use crate::transport::{BoxFuture, Inbound};

/// The server's side of an established QUIC connection.
///
/// Dropped, it leaves its streams alone: the connection lives until the last of them is gone.
#[derive(Debug)]
pub(super) struct QuicInbound {
    link: Arc<Link>,
    credit: Arc<StreamCredit>,
}

impl QuicInbound {
    pub(super) fn new(link: Arc<Link>, room: Option<WideRoom>) -> Self {
        Self { link, credit: StreamCredit::new(room) }
    }
}

impl Inbound for QuicInbound {
    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(async move {
            let (send, recv) = self.link.connection().accept_bi().await.ok()?;
            let permit = self.credit.take(self.link.connection());
            Some(self.link.stream(send, recv, Some(permit)))
        })
    }

    fn peer(&self) -> &Peer {
        self.link.peer()
    }

    fn standing(&self) -> BoxFuture<'_, Fallen> {
        Box::pin(self.link.standing().lost())
    }

    fn close(&self, code: u32) -> BoxFuture<'_, ()> {
        Box::pin(self.link.close(code))
    }
}
