//! Loads material anew: when its files change, when a signal or an operator says so.
//!
//! ```text
//! waiting ── file event ──► settling (until quiet, at most a while) ─┐
//!    ▲  └──── reload() ───────────────────────────────────────────────┤
//!    │                                                                ▼
//!    └── the outcome is kept, logged and counted ◄── loading (one at a time, on a thread that may block)
//! ```
//!
//! What is watched are the folders of the files, not the files: an editor, an atomic rename and the exchange of the
//! `..data` link of a Kubernetes volume all put another file in the place of the one that was there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, timeout, timeout_at};

use super::material::Material;
use super::pem::MaterialError;
use super::store::{Published, Store};

/// Events of one change come within this time of each other: a key is written a moment after its certificate.
const QUIET: Duration = Duration::from_millis(250);

/// Files that never come to rest are loaded all the same after this time.
const SETTLE_AT_MOST: Duration = Duration::from_secs(3);

/// How soon a refused load is tried again without an event: a key and a certificate may be written seconds apart, and the
/// last event may come before the last byte.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Says what to load: asked anew each time, so that a configuration can be read again too.
pub type MaterialSource = dyn Fn() -> Result<Sourced, String> + Send + Sync;

/// What a source says is to be loaded.
pub struct Sourced {
    material: Material,
    along: Option<Box<dyn FnOnce() -> Along + Send>>,
}

/// What came of that which goes along with the material ([`Sourced::along`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Along {
    /// What has changed and holds, in the words of the one who publishes it: `quotas`.
    pub changed: Vec<String>,
    /// What has changed and does not hold before the next start: the names of its keys.
    pub waiting: Vec<String>,
}

impl Along {
    /// Whether nothing has changed, and nothing waits.
    pub fn is_nothing(&self) -> bool {
        self.changed.is_empty() && self.waiting.is_empty()
    }
}

impl Sourced {
    /// Material, and what is to be done once it has been published, and only then: whatever else of a configuration holds or does
    /// not hold together with it. It must not fail or wait, and says what it has changed.
    pub fn along(material: Material, publish: impl FnOnce() -> Along + Send + 'static) -> Self {
        Self { material, along: Some(Box::new(publish)) }
    }

    /// Publishes it. Says besides what of that which goes along with the material has changed.
    pub fn publish(self, store: &Store) -> Result<(Published, Along), MaterialError> {
        let published = store.publish(&self.material)?;
        Ok((published, self.along.map(|publish| publish()).unwrap_or_default()))
    }

    /// The material, and what goes along with it left undone.
    pub fn material(&self) -> &Material {
        &self.material
    }
}

impl From<Material> for Sourced {
    fn from(material: Material) -> Self {
        Self { material, along: None }
    }
}

impl fmt::Debug for Sourced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sourced").field("material", &self.material).finish_non_exhaustive()
    }
}

/// What asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// The files changed.
    Files,
    /// The process got a signal.
    Signal,
    /// An operator asked.
    Request,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files",
            Self::Signal => "signal",
            Self::Request => "request",
        })
    }
}

/// One reload, and what came of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reload {
    /// When it was done.
    pub at: SystemTime,
    /// What asked for it.
    pub trigger: Trigger,
    /// What was published, or the fault for which nothing was: the old state serves on.
    pub outcome: Result<Published, String>,
    /// What has changed of that which goes along with the material; nothing where the reload was refused.
    pub along: Along,
}

/// How many reloads there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadCounts {
    /// Published, or found to be the same.
    pub accepted: u64,
    /// Refused for a fault.
    pub refused: u64,
}

/// Loads material into a [`Store`]. Cheap to clone: clones share everything.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use sealstream_transport::tls::{IdentitySource, Material, Reloader, Store};
///
/// # async fn serve(_: sealstream_transport::tls::Receiver) {}
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let source = || {
///     Ok(Material::new().with_server_identity(IdentitySource::files("tls/server.pem", "tls/server.key")))
/// };
/// let store = Arc::new(Store::new(&source()?)?);
/// let reloader = Reloader::new(Arc::clone(&store), source);
/// tokio::select! {
///     () = reloader.watch() => {}
///     () = serve(store.receiver()) => {} // whatever the program does
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reloader {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    source: Box<MaterialSource>,
    loading: AsyncMutex<()>,
    last: Mutex<Option<Reload>>,
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Told when something else than the watcher has loaded: the files may be others now.
    reloaded: Notify,
}

impl Reloader {
    /// A reloader of what `source` says into `store`.
    pub fn new<S: Into<Sourced>>(
        store: Arc<Store>,
        source: impl Fn() -> Result<S, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                source: Box::new(move || source().map(Into::into)),
                loading: AsyncMutex::new(()),
                last: Mutex::new(None),
                accepted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                reloaded: Notify::new(),
            }),
        }
    }

    /// Loads, checks and publishes, or keeps what is served and says why. One at a time, in the order asked.
    ///
    /// Cancelled while it loads, the load goes on and its outcome is kept.
    pub async fn reload(&self, trigger: Trigger) -> Reload {
        let _turn = self.shared.loading.lock().await;
        let shared = Arc::clone(&self.shared);
        let loading = tokio::task::spawn_blocking(move || shared.load(trigger));
        match loading.await {
            Ok(reload) => reload,
            Err(error) => self.shared.keep(trigger, Err(format!("loading failed: {error}"))),
        }
    }

    /// The last reload; `None` before the first.
    pub fn last(&self) -> Option<Reload> {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads so far.
    pub fn counts(&self) -> ReloadCounts {
        ReloadCounts {
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Watches the files and reloads when they change, until dropped.
    ///
    /// Where the machine can watch nothing it says so in the log and waits for ever: the other triggers still work.
    pub async fn watch(&self) {
        let mut watched = match Watched::new() {
            Ok(watched) => watched,
            Err(error) => {
                tracing::error!(%error, "cannot watch the TLS files: reload them by a signal or by request");
                return std::future::pending().await;
            }
        };
        let mut refused = false;
        loop {
            match (self.shared.source)() {
                Ok(sourced) => watched.follow(&sourced.material.paths()),
                Err(error) => tracing::debug!(error, "still watching the files that were named last"),
            }
            tokio::select! {
                () = watched.changed() => {}
                () = self.shared.reloaded.notified() => continue,
                () = tokio::time::sleep(TRY_AGAIN), if refused => {}
            }
            refused = self.reload(Trigger::Files).await.outcome.is_err();
        }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("last", &self.last()).finish_non_exhaustive()
    }
}

impl Shared {
    fn load(&self, trigger: Trigger) -> Reload {
        let loaded = (self.source)()
            .and_then(|sourced| sourced.publish(&self.store).map_err(|fault| fault.to_string()));
        self.keep(trigger, loaded)
    }

    fn keep(&self, trigger: Trigger, loaded: Result<(Published, Along), String>) -> Reload {
        let (outcome, along) = match loaded {
            Ok((published, along)) => (Ok(published), along),
            Err(fault) => (Err(fault), Along::default()),
        };
        let repeated = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().is_some_and(|last| last.outcome == outcome && last.along == along)
        };
        let reload = Reload { at: SystemTime::now(), trigger, outcome, along };
        let Along { changed: besides, waiting } = &reload.along;
        match &reload.outcome {
            // What waits for the next start waits at every look: one line says it.
            Ok(Published::Unchanged)
                if trigger == Trigger::Files && besides.is_empty() && (waiting.is_empty() || repeated) =>
            {
                tracing::debug!("TLS files were touched and say what they said");
            }
            Ok(published) => {
                let besides = (!besides.is_empty()).then(|| besides.join(", "));
                let waiting = (!waiting.is_empty()).then(|| waiting.join(", "));
                tracing::info!(%trigger, changed = published.name(), besides, waiting_for_the_next_start = waiting, "TLS material reloaded");
            }
            // A file that stays bad is tried again every few seconds: one line says it.
            Err(_) if repeated && trigger == Trigger::Files => {}
            Err(fault) => {
                tracing::error!(%trigger, %fault, "TLS material not reloaded: what was served before serves on");
            }
        }
        let counter = if reload.outcome.is_ok() { &self.accepted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload.clone());
        if trigger != Trigger::Files {
            self.reloaded.notify_one();
        }
        reload
    }
}

/// The folders watched, and what in them matters.
struct Watched {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    names: Arc<Mutex<BTreeSet<OsString>>>,
    touched: Arc<Notify>,
}

impl Watched {
    fn new() -> notify::Result<Self> {
        let touched = Arc::new(Notify::new());
        let names: Arc<Mutex<BTreeSet<OsString>>> = Arc::default();
        let (wake, wanted) = (Arc::clone(&touched), Arc::clone(&names));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let matters = match event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
                Ok(event) => {
                    let names = wanted.lock().unwrap_or_else(PoisonError::into_inner);
                    event.need_rescan() || event.paths.iter().any(|path| concerns(path, &names))
                }
                // Events were lost: look.
                Err(_) => true,
            };
            if matters {
                wake.notify_one();
            }
        })?;
        Ok(Self { watcher, folders: BTreeSet::new(), names, touched })
    }

    /// Watches the folders of these files, and of what they are links to, and no others.
    fn follow(&mut self, files: &[PathBuf]) {
        let mut folders = BTreeSet::new();
        let mut names = BTreeSet::new();
        for file in files {
            let target = file.canonicalize().ok();
            for path in std::iter::once(file.as_path()).chain(target.as_deref()) {
                names.extend(path.file_name().map(OsString::from));
                folders.insert(match path.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                    _ => PathBuf::from("."),
                });
            }
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        for gone in self.folders.difference(&folders) {
            // It may have gone by itself.
            let _ = self.watcher.unwatch(gone);
        }
        let mut watching = BTreeSet::new();
        for folder in folders {
            let known = self.folders.contains(&folder);
            match if known { Ok(()) } else { self.watcher.watch(&folder, RecursiveMode::NonRecursive) } {
                Ok(()) => drop(watching.insert(folder)),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "cannot watch this folder: reload by a signal or by request");
                }
            }
        }
        self.folders = watching;
    }

    /// Resolves once something that matters was touched and all has been quiet for a moment.
    async fn changed(&self) {
        self.touched.notified().await;
        let latest = Instant::now() + SETTLE_AT_MOST;
        let settle = async { while timeout(QUIET, self.touched.notified()).await.is_ok() {} };
        // Either way it is time to look.
        let _ = timeout_at(latest, settle).await;
    }
}

/// Whether an event at `path` can be about one of these files: by its name, or by a link that is exchanged beneath them.
fn concerns(path: &Path, names: &BTreeSet<OsString>) -> bool {
    let Some(name) = path.file_name() else { return true };
    names.contains(name) || name.as_encoded_bytes().starts_with(b"..")
}
