//! The trust and the certificate of a client, in files that may be replaced while the program runs.
//!
//! A client has no task that could watch them. It looks at its files before each session, as it does with its token: those that
//! are others than before are loaded, checked and published together, and hold from that session's handshake on. Files at fault
//! change nothing; they are tried again when they change, and every few seconds.
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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sealstream_transport::tls::{Material, MaterialError, Published, Receiver, Reloader, Store, Trigger};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How soon files at fault are tried again though none looks different: a clock that counts in steps of 4 ms may show two writes
/// as one.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What there was to say of the files.
#[derive(Debug)]
pub(crate) enum Refreshed {
    /// They are what they were.
    Same,
    /// What they hold now is shown, and trusted, from here on.
    Renewed,
    /// They are at fault, which had not been said before: the old ones serve on.
    Refused(String),
}

/// Trust and certificate from files.
#[derive(Debug)]
pub(crate) struct Credentials {
    paths: Arc<[PathBuf]>,
    receiver: Receiver,
    reloader: Reloader,
    /// Counts what has been loaded.
    generation: AtomicU64,
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
        let generation = AtomicU64::new(0);
        Ok(Self { paths, receiver, reloader, generation, seen: Mutex::new(Seen { stamps, fault: None }) })
    }

    /// Which of all that was loaded, one after the other, is in use.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the files were at fault when they were looked at last.
    pub(crate) async fn is_at_fault(&self) -> bool {
        self.seen.lock().await.fault.is_some()
    }

    pub(crate) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Looks at the files, and loads those that are others. They are read on a thread that may block. Cancellation safe.
    pub(crate) async fn refresh(&self) -> Refreshed {
        if self.paths.is_empty() {
            return Refreshed::Same;
        }
        let mut seen = self.seen.lock().await;
        let paths = Arc::clone(&self.paths);
        // A panic there is a fault of ours; the files are looked at again with the next session.
        let Ok(now) = tokio::task::spawn_blocking(move || stamps(&paths)).await else {
            return Refreshed::Same;
        };
        let is_due = seen.fault.as_ref().is_some_and(|(at, _)| at.elapsed() >= TRY_AGAIN);
        if now == seen.stamps && !is_due {
            return Refreshed::Same;
        }
        let outcome = self.reloader.reload(Trigger::Files).await.outcome;
        seen.stamps = now;
        match outcome {
            Ok(published) => {
                seen.fault = None;
                if published == Published::Unchanged {
                    return Refreshed::Same;
                }
                self.generation.fetch_add(1, Ordering::Release);
                Refreshed::Renewed
            }
            Err(fault) => {
                let before = seen.fault.replace((Instant::now(), fault.clone()));
                let known = before.is_some_and(|(_, before)| before == fault);
                if known { Refreshed::Same } else { Refreshed::Refused(fault) }
            }
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
