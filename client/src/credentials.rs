//! The trust and the certificate of a client, in files that may be replaced while the program runs.
//!
//! A client has no task that could watch them. It looks at its files before each session, as it does with its token: those that
//! are others than before are loaded, checked and published together, and that session gets a connection made by them: one that was
//! made by older credentials goes on for the sessions that it has. Files at fault change nothing; they are tried again when they change, and every few seconds.
//!
//! ```text
//! current ── a file is another, or files were at fault a while ago ──► loading ──► current
//!                                                                         └─ a fault ──► current, at fault
//! ```

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealstream_transport::tls::{
    Material, MaterialError, Published, Receiver, Reloader, Snapshot, Store, Trigger,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::event::ClientEvent;

/// How soon files at fault are tried again though none looks different: a clock that counts in steps of 4 ms may show two writes
/// as one.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How long files that are at fault when a session fails for good are waited for: a key is written a moment after its certificate.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);

/// How often they are looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Trust and certificate from files.
#[derive(Debug)]
pub(crate) struct Credentials {
    paths: Arc<[PathBuf]>,
    receiver: Receiver,
    reloader: Reloader,
    /// One look at a time: whoever comes meanwhile gets what the first one finds.
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    stamps: Vec<Stamp>,
    /// When they were found at fault, and how.
    fault: Option<(Instant, String)>,
}

/// Tells a file from what was there before: when it was written, its length, and its inode where there are such. `None`: it cannot
/// be looked at.
type Stamp = Option<(Option<SystemTime>, u64, u64)>;

impl Credentials {
    /// Loads them. Blocks.
    pub(crate) fn load(material: Material) -> Result<Self, MaterialError> {
        let paths: Arc<[PathBuf]> = material.paths().into();
        // Before they are read: what is written while they are is seen as another.
        let stamps = stamps(&paths);
        let store = Arc::new(Store::new(&material)?);
        let receiver = store.receiver();
        let reloader = Reloader::new(store, move || Ok(material.clone()));
        let seen = Seen { stamps, fault: None };
        Ok(Self { paths, receiver, reloader, seen: Mutex::new(seen) })
    }

    pub(crate) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// What is in use.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.receiver.current()
    }

    /// Looks at the files, and loads those that are others: what is in use then. `tell` is told of a change, and of a
    /// fault once. Files are read on a thread that may block. Cancellation safe.
    pub(crate) async fn refresh(&self, tell: &impl Fn(ClientEvent)) -> Arc<Snapshot> {
        let mut seen = self.seen.lock().await;
        if self.paths.is_empty() {
            return self.current();
        }
        let paths = Arc::clone(&self.paths);
        // A panic there is a fault of ours; the files are looked at again with the next session.
        let Ok(now) = tokio::task::spawn_blocking(move || stamps(&paths)).await else {
            return self.current();
        };
        let is_due = seen.fault.as_ref().is_some_and(|(at, _)| at.elapsed() >= TRY_AGAIN);
        if now == seen.stamps && !is_due {
            return self.current();
        }
        let outcome = self.reloader.reload(Trigger::Files).await.outcome;
        seen.stamps = now;
        match outcome {
            Ok(published) => {
                seen.fault = None;
                if published != Published::Unchanged {
                    tell(ClientEvent::CredentialsRenewed);
                }
            }
            Err(fault) => {
                let before = seen.fault.replace((Instant::now(), fault.clone()));
                if before.is_none_or(|(_, before)| before != fault) {
                    tell(ClientEvent::CredentialsRefused { fault });
                }
            }
        }
        self.current()
    }

    /// What is in use after `before`, if that is something else or is about to be: files at fault may be in the middle of being
    /// replaced, and are waited for for a while. Cancellation safe.
    pub(crate) async fn await_after(
        &self,
        before: &Arc<Snapshot>,
        tell: &impl Fn(ClientEvent),
    ) -> Option<Arc<Snapshot>> {
        let until = Instant::now() + REPLACED_WITHIN;
        loop {
            let next = self.refresh(tell).await;
            if !Arc::ptr_eq(&next, before) {
                return Some(next);
            }
            if self.seen.lock().await.fault.is_none() || Instant::now() >= until {
                return None;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let data = fs::metadata(path).ok()?;
        Some((data.modified().ok(), data.len(), inode(&data)))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(unix)]
fn inode(data: &fs::Metadata) -> u64 {
    data.ino()
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}
