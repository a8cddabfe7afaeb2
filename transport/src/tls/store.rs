//! Publishes snapshots to every listener and every outgoing connection of a process.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::material::Material;
use super::pem::MaterialError;
use super::snapshot::Snapshot;
use super::trust::Epoch;

/// The publisher's side. A process may hold several, one for each set of material.
pub struct Store {
    current: watch::Sender<Arc<Snapshot>>,
}

impl Store {
    /// Loads, checks and publishes the first snapshot. Reads files: see [`Snapshot::load`].
    pub fn new(material: &Material) -> Result<Self, MaterialError> {
        Ok(Self { current: watch::Sender::new(Arc::new(Snapshot::load(material)?)) })
    }

    /// Loads and checks `material` and publishes it as one snapshot, or on any fault nothing: the old state serves on.
    ///
    /// Handshakes that are under way finish under the snapshot that they began with. What did not change (trust, client
    /// identity) keeps its cached sessions resumable. Calls must not overlap: the later one to finish wins.
    pub fn publish(&self, material: &Material) -> Result<(), MaterialError> {
        let previous = self.current.borrow().clone();
        let next = Snapshot::load_after(material, Some(&previous))?;
        self.current.send_replace(Arc::new(next));
        Ok(())
    }

    /// A reader of what is published now and later.
    pub fn receiver(&self) -> Receiver {
        Receiver { current: self.current.subscribe() }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("current", &*self.current.borrow()).finish()
    }
}

/// The reader's side: what a transport holds instead of a configuration. Cheap to clone.
#[derive(Clone)]
pub struct Receiver {
    current: watch::Receiver<Arc<Snapshot>>,
}

impl Receiver {
    /// The snapshot in force: read it anew for each handshake. Outlives its store, with the last snapshot published.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// What clients are judged by now. Compare it again after a new connection was registered: that closes the race with
    /// a change of trust between its handshake and its registration.
    pub fn epoch(&self) -> Epoch {
        self.current.borrow().epoch()
    }

    /// Waits for a snapshot that this receiver has not waited for yet; never resolves once the store is gone.
    ///
    /// Cancellation safe.
    pub async fn changed(&mut self) -> Arc<Snapshot> {
        match self.current.changed().await {
            Ok(()) => Arc::clone(&self.current.borrow_and_update()),
            Err(_) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("current", &*self.current.borrow()).finish()
    }
}
