//! An engine that keeps the log in memory: for tests, and nothing else. What it holds ends with the process.
//!
//! It means the same as every engine (the conformance suite holds it to that), and lets a test hold durability back or let
//! it fail, to see that nobody acts before it is there:
//!
//! ```
//! # use sealstream_broker::log::memory::MemoryEngine;
//! let engine = MemoryEngine::new(4);
//! let held = engine.hold_durability();
//! // … commits take effect, but their futures of durability wait and readers see nothing of them …
//! held.release();
//! ```
//!
//! ```text
//! MemoryStore ── the "disk": outlives engines         MemoryEngine::over(&store, clock)  a process on it
//!   shard ── partitions, metadata, offsets            dropped without close: the next open is unclean
//! ```

mod log;
mod shard;
mod state;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealstream_transport::BoxFuture;

use super::clock::{Clock, SystemClock};
use super::engine::{CommitError, LogEngine, OpenShardError, PartitionId, Shard, ShardId};
use shard::MemoryShard;
use state::ShardState;

/// What a [`MemoryEngine`] keeps, as a data directory is what an engine of files keeps. Clones are the same store.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<[Mutex<ShardState>]>);

impl MemoryStore {
    /// An empty one; `shards` is at least 1.
    pub fn new(shards: u32) -> Self {
        Self((0..shards.max(1)).map(|_| Mutex::default()).collect())
    }

    /// Makes a partition read-only, as an engine does that finds corruption. `false` if it is not there.
    pub fn make_read_only(&self, id: PartitionId) -> bool {
        let shards = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.shard(ShardId::of_partition(&id, shards)).is_some_and(|mut shard| shard.make_read_only(id))
    }

    fn shard(&self, id: ShardId) -> Option<MutexGuard<'_, ShardState>> {
        let shard = self.0.get(usize::try_from(id.0).ok()?)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn all(&self) -> impl Iterator<Item = MutexGuard<'_, ShardState>> {
        self.0.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells engines over the same store apart.
static INSTANCES: AtomicU64 = AtomicU64::new(1);

/// The engine. Commits take effect in the call itself; nothing is done in the background. An engine that is dropped without
/// [`close`](LogEngine::close) has crashed: what was not durable is gone when the next one opens the shard.
#[derive(Debug)]
pub struct MemoryEngine {
    store: MemoryStore,
    control: Arc<Control>,
}

/// What the shards of an engine share.
#[derive(Debug)]
struct Control {
    instance: u64,
    clock: Arc<dyn Clock>,
    /// How many [`DurabilityHold`]s there are.
    holds: AtomicU64,
    closed: AtomicBool,
    fail_next: Mutex<Option<CommitError>>,
}

impl MemoryEngine {
    /// An engine with a store of its own and the machine's clock.
    pub fn new(shards: u32) -> Self {
        Self::over(&MemoryStore::new(shards), Arc::new(SystemClock))
    }

    /// An engine over what another has left.
    pub fn over(store: &MemoryStore, clock: Arc<dyn Clock>) -> Self {
        let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let control = Control {
            instance,
            clock,
            holds: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            fail_next: Mutex::default(),
        };
        Self { store: store.clone(), control: Arc::new(control) }
    }

    /// What it keeps: another engine over it is another life of the same log.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// From here on, until the guard is released or dropped, nothing new becomes durable.
    pub fn hold_durability(&self) -> DurabilityHold {
        self.control.holds.fetch_add(1, Ordering::SeqCst);
        DurabilityHold { store: self.store.clone(), control: Arc::clone(&self.control) }
    }

    /// The next commit, whatever it holds, has no effect but this error.
    pub fn fail_next_commit(&self, error: CommitError) {
        *self.control.fail_next.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl LogEngine for MemoryEngine {
    fn shards(&self) -> u32 {
        u32::try_from(self.store.0.len()).unwrap_or(u32::MAX)
    }

    fn open_shard(
        &self,
        id: ShardId,
        owner_epoch: u64,
    ) -> BoxFuture<'_, Result<Arc<dyn Shard>, OpenShardError>> {
        Box::pin(async move {
            if self.control.closed.load(Ordering::SeqCst) {
                let source = io::Error::other("the engine is closed");
                return Err(OpenShardError::Io { path: "memory".into(), source });
            }
            let mut state = self.store.shard(id).ok_or(OpenShardError::Unknown(id))?;
            state.open(owner_epoch, self.control.instance)?;
            drop(state);
            let shard: Arc<dyn Shard> =
                Arc::new(MemoryShard::new(self.store.clone(), Arc::clone(&self.control), id, owner_epoch));
            Ok(shard)
        })
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            if !self.control.closed.swap(true, Ordering::SeqCst) {
                for mut shard in self.store.all() {
                    shard.seal(self.control.instance);
                }
            }
            Ok(())
        })
    }
}

/// While it lives, nothing that an engine commits becomes durable. Several add up.
#[derive(Debug)]
#[must_use = "dropping it lets everything become durable"]
pub struct DurabilityHold {
    store: MemoryStore,
    control: Arc<Control>,
}

impl DurabilityHold {
    /// Lets everything become durable, in the order of the commits, unless another hold is left.
    pub fn release(self) {}

    /// Fails what was held back, as a failed fsync does: it is cut from the log, whose epoch rises, and whoever waits gets a
    /// [`DurabilityError`](super::DurabilityError) with this reason.
    pub fn fail(self, reason: &str) {
        for mut shard in self.store.all() {
            shard.fail(self.control.instance, reason);
        }
    }
}

impl Drop for DurabilityHold {
    fn drop(&mut self) {
        if self.control.holds.fetch_sub(1, Ordering::SeqCst) == 1 {
            for mut shard in self.store.all() {
                shard.settle(self.control.instance);
            }
        }
    }
}

impl Control {
    fn holds(&self) -> bool {
        self.holds.load(Ordering::SeqCst) > 0
    }

    fn take_failure(&self) -> Option<CommitError> {
        self.fail_next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
