//! The broker's certificates and trust: what the configuration names, what is served, and loading it anew.

mod material;
mod status;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use sealstream_protocol::message::admin::{TlsReloaded, TlsStatus};
use sealstream_transport::BoxFuture;
use sealstream_transport::observe::ServedMetrics;
use sealstream_transport::tls::{Receiver, Reloader, Sourced, Store, Trigger};

pub use material::material;
pub(crate) use status::names;

use crate::server::TlsControl;

/// What the listeners serve, and the way to have it loaded anew.
pub struct ServedTls {
    store: Arc<Store>,
    reloader: Reloader,
}

impl ServedTls {
    /// Loads what `source` says, which is asked again at each reload; what goes along with the material is left to later
    /// reloads. Reads files.
    pub fn load(
        source: impl Fn() -> Result<Sourced, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let store = Arc::new(Store::new(source()?.material()).map_err(|fault| fault.to_string())?);
        Ok(Self { reloader: Reloader::new(Arc::clone(&store), source), store })
    }

    /// What transports read at each handshake.
    pub fn receiver(&self) -> Receiver {
        self.store.receiver()
    }

    /// What is served, and the reloads, as metrics.
    pub fn metrics(&self) -> ServedMetrics {
        ServedMetrics::new(self.receiver()).with_reloads(self.reloader.clone())
    }

    /// Loads everything anew and publishes it, or on any fault nothing. Dropped while it loads, the load goes on.
    pub async fn reload(&self, trigger: Trigger) -> TlsReloaded {
        let reload = status::told(&self.reloader.reload(trigger).await);
        TlsReloaded { reload, epoch: *self.receiver().epoch().as_bytes() }
    }

    /// Reloads when the files change, until dropped.
    pub async fn watch(&self) {
        self.reloader.watch().await;
    }
}

impl TlsControl for ServedTls {
    fn status(&self) -> TlsStatus {
        status::status(&self.receiver().current(), &self.reloader)
    }

    fn reload(&self) -> BoxFuture<'_, TlsReloaded> {
        Box::pin(self.reload(Trigger::Request))
    }
}

impl fmt::Debug for ServedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedTls").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
