//! The open connections of a store, judged again whenever what they rest on changes.
//!
//! ```text
//! handshake ──► register ──► open ──────────── the connection ends ──► gone
//!                  │           │
//!                  │           └─ publish: trust changed, and no longer covers the peer ─► fallen ─ a grace ─► closed
//!                  └─ trust changed since the handshake began: judged at once
//! ```
//!
//! Publishing judges in its own thread, one distinct chain after the other (about 0.1 ms each, remembered by chain), so
//! that a thousand of them take a tenth of a second and none of the runtime's time. What an entry costs is bounded by the
//! connections that are admitted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::classify;
use super::peer_chain::{PeerChain, PeerChains};
use super::sessions::unix_now;
use super::snapshot::Snapshot;
use super::trust::Epoch;
use crate::error::HandshakeError;

/// What a fallen inbound connection is given to say goodbye before it is closed: with the judgement before it, it is gone
/// within a second of the publication.
pub const FALLEN_GRACE: Duration = Duration::from_millis(600);

/// The longest sleep until a certificate's end: the machine's clock may be set meanwhile.
const CLOCK_CHECK_SECS: i64 = 60;

/// Why a connection may not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer is no longer trusted: {cause}")]
#[non_exhaustive]
pub struct Fallen {
    /// What a handshake of this peer would fail with now.
    pub cause: HandshakeError,
}

/// What a connection rests on: judged when trust changes.
#[derive(Clone, Debug)]
pub(crate) struct Grounds {
    pub(super) basis: Basis,
    /// The chain that the peer showed, if any.
    pub(super) chain: Option<Arc<PeerChain>>,
    /// Of the trust under which the handshake was made.
    pub(super) epoch: Epoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The peer came to us.
    Client,
    /// We went to the peer.
    Server,
}

impl Grounds {
    pub(super) fn is_of_client(&self) -> bool {
        self.basis == Basis::Client
    }

    /// When the first certificate of the peer ends, in seconds since the Unix epoch.
    pub(crate) fn not_after(&self) -> Option<i64> {
        self.chain.as_ref().map(|chain| chain.not_after())
    }
}

/// A connection that can be told that it has fallen.
pub(crate) trait Judged: Send + Sync {
    /// Told at most once by one publication; may be told again by the next. Must not block.
    fn fall(self: Arc<Self>, fallen: Fallen);
}

/// Whom a store's publications reach.
#[derive(Default)]
pub(crate) struct Registry {
    chains: PeerChains,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    entries: HashMap<u64, Entry>,
}

struct Entry {
    grounds: Arc<Grounds>,
    connection: Weak<dyn Judged>,
}

impl Registry {
    pub(super) fn chains(&self) -> &PeerChains {
        &self.chains
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection. `current` is asked after that: a publication in between is missed by neither.
    pub(super) fn register(
        self: &Arc<Self>,
        grounds: Grounds,
        connection: &Weak<dyn Judged>,
        current: impl FnOnce() -> Arc<Snapshot>,
    ) -> Registration {
        let grounds = Arc::new(grounds);
        let id = {
            let mut open = self.lock();
            open.next += 1;
            let id = open.next;
            open.entries
                .insert(id, Entry { grounds: Arc::clone(&grounds), connection: Weak::clone(connection) });
            id
        };
        let snapshot = current();
        if snapshot.epoch_of(grounds.basis) != grounds.epoch {
            judge(&snapshot, &grounds, connection);
        }
        Registration { registry: Arc::clone(self), id }
    }

    /// Judges every open connection whose trust `snapshot` changes. Blocks for as long as the chains take.
    pub(super) fn judge_all(&self, snapshot: &Snapshot) {
        let affected: Vec<_> = self
            .lock()
            .entries
            .values()
            .filter(|entry| snapshot.epoch_of(entry.grounds.basis) != entry.grounds.epoch)
            .map(|entry| (Arc::clone(&entry.grounds), Weak::clone(&entry.connection)))
            .collect();
        for (grounds, connection) in affected {
            judge(snapshot, &grounds, &connection);
        }
    }

    /// Connections open now.
    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }
}

fn judge(snapshot: &Snapshot, grounds: &Grounds, connection: &Weak<dyn Judged>) {
    if let Err(cause) = snapshot.judge(grounds)
        && let Some(connection) = connection.upgrade()
    {
        connection.fall(Fallen { cause });
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("open", &self.len()).finish_non_exhaustive()
    }
}

/// A connection's place in the registry; dropped, it is judged no more.
pub(crate) struct Registration {
    registry: Arc<Registry>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let entry = self.registry.lock().entries.remove(&self.id);
        // Dropped out of the lock: an entry may hold the last reference to a connection's grounds.
        drop(entry);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registration").field(&self.id).finish()
    }
}

/// Whether trust still covers the peer of a connection.
#[derive(Debug)]
pub(crate) struct Standing {
    fallen: OnceLock<Fallen>,
    changed: Notify,
    /// When the peer's certificate ends, where that ends the connection; in seconds since the Unix epoch.
    expires: Option<i64>,
}

impl Standing {
    pub(super) fn new(expires: Option<i64>) -> Self {
        Self { fallen: OnceLock::new(), changed: Notify::new(), expires }
    }

    /// It may not. False if it had fallen before.
    pub(crate) fn fall(&self, fallen: Fallen) -> bool {
        let first = self.fallen.set(fallen).is_ok();
        self.changed.notify_waiters();
        first
    }

    /// Why it has fallen, if it has.
    pub(crate) fn fallen(&self) -> Option<&Fallen> {
        self.fallen.get()
    }

    /// Resolves once it has fallen, or the certificate has ended. Cancellation safe.
    pub(crate) async fn lost(&self) -> Fallen {
        let Some(end) = self.expires else { return self.judged().await };
        tokio::select! {
            fallen = self.judged() => fallen,
            () = past(end) => {
                let detail = classify::expired_on(end, unix_now());
                let fallen = Fallen { cause: HandshakeError::Expired { detail } };
                self.fall(fallen.clone());
                fallen
            }
        }
    }

    async fn judged(&self) -> Fallen {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(fallen) = self.fallen() {
                return fallen.clone();
            }
            changed.await;
        }
    }
}

/// Resolves when the wall clock has passed `end`, in seconds since the Unix epoch; looks at the clock every minute.
/// Cancellation safe.
async fn past(end: i64) {
    loop {
        // A certificate is good throughout its last second.
        let left = end.saturating_add(1).saturating_sub(unix_now());
        if left <= 0 {
            return;
        }
        let seconds = u64::try_from(left.min(CLOCK_CHECK_SECS)).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}
