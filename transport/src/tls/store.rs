//! Publishes snapshots to every listener and every outgoing connection of a process.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use super::material::{ExpiredClients, Material};
use super::pem::MaterialError;
use super::registry::{Grounds, Judged, Registration, Registry, Standing};
use super::snapshot::Snapshot;
use super::trust::Epoch;

/// What a publication changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Published {
    /// Nothing: the files say what they said before.
    Unchanged,
    /// Something that no open connection rests on: an identity, a staple, a secret, the dates of a revocation list.
    Renewed,
    /// Whom we trust, in either direction: every open connection that rests on it was judged again.
    TrustChanged,
}

impl Published {
    /// `unchanged`, `renewed` or `trust_changed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Renewed => "renewed",
            Self::TrustChanged => "trust_changed",
        }
    }
}

/// The publisher's side. A process may hold several, one for each set of material.
pub struct Store {
    current: watch::Sender<Arc<Snapshot>>,
    registry: Arc<Registry>,
    /// One publication after the other: each builds on the one before.
    publishing: Mutex<()>,
}

impl Store {
    /// Loads, checks and publishes the first snapshot. Reads files: see [`Snapshot::load`].
    pub fn new(material: &Material) -> Result<Self, MaterialError> {
        let first = Snapshot::load(material)?;
        let registry = Arc::clone(first.registry());
        Ok(Self { current: watch::Sender::new(Arc::new(first)), registry, publishing: Mutex::new(()) })
    }

    /// Loads and checks `material` and publishes it as one snapshot, or on any fault nothing: the old state serves on.
    ///
    /// Handshakes that are under way finish under the snapshot that they began with. What did not change (trust, client
    /// identity) keeps its cached sessions resumable. Where trust has changed, every open connection that rests on it is
    /// judged again before this returns, at 0.1 ms for each distinct chain: those that fail lose their standing, all
    /// others are left alone. Reads files and computes: call it on a thread that may block.
    pub fn publish(&self, material: &Material) -> Result<Published, MaterialError> {
        let _turn = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.current.borrow().clone();
        let next = Arc::new(Snapshot::load_after(material, &previous)?);
        let published = next.compared_to(&previous);
        if published != Published::Unchanged {
            self.current.send_replace(Arc::clone(&next));
        }
        if published == Published::TrustChanged {
            self.registry.judge_all(&next);
        }
        Ok(published)
    }

    /// Connections open now, in both directions.
    pub fn open_connections(&self) -> usize {
        self.registry.len()
    }

    /// A reader of what is published now and later.
    pub fn receiver(&self) -> Receiver {
        Receiver { current: self.current.subscribe(), registry: Arc::clone(&self.registry) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("current", &*self.current.borrow()).finish_non_exhaustive()
    }
}

/// The reader's side: what a transport holds instead of a configuration. Cheap to clone.
#[derive(Clone)]
pub struct Receiver {
    current: watch::Receiver<Arc<Snapshot>>,
    registry: Arc<Registry>,
}

impl Receiver {
    /// The snapshot in force: read it anew for each handshake. Outlives its store, with the last snapshot published.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// What clients are judged by now.
    pub fn epoch(&self) -> Epoch {
        self.current.borrow().epoch()
    }

    /// The standing of a connection that is being established on these grounds.
    pub(crate) fn standing(&self, grounds: &Grounds) -> Arc<Standing> {
        let counts =
            grounds.is_of_client() && self.current.borrow().expired_clients() == ExpiredClients::Close;
        Arc::new(Standing::new(grounds.not_after().filter(|_| counts)))
    }

    /// Enters an established connection, to be told when what it rests on no longer holds. A change of trust between its
    /// handshake and now is not missed: the epoch is compared after it was entered.
    pub(crate) fn register(&self, grounds: Grounds, connection: &Weak<dyn Judged>) -> Registration {
        self.registry.register(grounds, connection, || self.current())
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
        f.debug_struct("Receiver").field("current", &*self.current.borrow()).finish_non_exhaustive()
    }
}
