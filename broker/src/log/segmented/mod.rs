//! The engine that keeps the log in files: the broker's default.
//!
//! ```text
//! DATA/format                        version and number of shards; written last
//! DATA/lock                          held by the process that has the directory open
//! DATA/restored                      marks a copy: the next open begins epochs that the original never has, and removes it
//! DATA/reserve                       room that is given up when the disk is full
//! DATA/shard-N/meta-G.log            the shard's metadata: topics, offsets of groups, state of the partitions
//! DATA/shard-N/meta-G.snapshot       what the logs before G add up to
//! DATA/shard-N/journal-0, -1         wide rounds, and commits that touch several files
//! DATA/shard-N/partitions/UUID-P/    a partition
//!   00000000000000000000.log …       its segments, named by the offset they begin at
//!   checkpoint                       what it knew of its producers at a place, from where recovery reads on
//!   damage                           a reader found damage: the next open reads all of it
//! ```
//!
//! # Who owns what
//!
//! A shard has one writer: a thread that owns everything that changes, and takes requests in the order in which they were made. It waits
//! for no file: syncs, recovery, checkpoints and removals are done by two pools of the engine, 8 threads for syncs that commits wait
//! for and 2 for the rest, and come back as events. Readers see a view that the writer keeps up to date, recent batches in
//! memory, and the files.
//!
//! ```text
//! commit ─► queue ─► writer: check, write to the page cache, answer ─► sync pool ─► durable: publish, resolve
//! ```
//!
//! # What durable means
//!
//! *disk*: the bytes, the names of new files, and the metadata that they rely on are synced. Partitions are synced each by itself, up to 8 at
//! once; while one is being synced its next appends gather. If more wait than that, one record of the journal holds them all
//! and one sync makes it durable; the segments follow before the journal's room is used again.
//! *memory*: the bytes are in the page cache. Such appends wait for no sync, neither their own nor another partition's, but for one: the
//! first of them may meet the writer at the sync of a partition that had the shard to itself (`writer/sync.rs`).
//!
//! The durable end that readers see moves only then. In an entry's header stands what was *synced* when it was written, also for topics in
//! memory: recovery takes it as proof.
//!
//! A sync that fails is never tried again: the partition is cut to its last durable end, its epoch rises, the next append begins a new
//! segment, and whoever waits is told. If the journal alone had some of it, the shard stops until the broker is restarted, and the
//! journal is replayed.
//!
//! A commit of several appends, or of appends and metadata, goes through the journal whatever the durability: after a crash all
//! of it is there, or nothing.
//!
//! # States of a partition
//!
//! ```text
//! absent ─ open ─► opening ─► open ─ delete ─► deleting ─► absent       corrupt below its durable end: open, read-only;
//!                              │                                       likewise once a reader finds it corrupt
//!                              └─ close ─► sealed                       killed: unsealed, its tail is read at the next open
//! ```
//!
//! # What is bounded
//!
//! The queue (4,096 requests; their bytes by the permits of those who ask), a round (256), the open segments and their
//! indexes, the recent batches, the journal, the unsynced segments that stay open, the epochs remembered, the producers of a
//! partition. See [`SegmentedOptions`] and the constants beside the code. A shard's metadata is in memory whole.
//!
//! Everything blocks in threads of its own; dropping the engine without [`close`](LogEngine::close) is a crash.

mod append;
mod cache;
mod checkpoint;
mod counters;
mod damage;
mod dump;
mod env;
mod epochs;
mod files;
mod index;
mod journal;
mod layout;
mod mailbox;
mod meta;
mod options;
mod partition;
mod parts;
mod pool;
mod reader;
mod recovery;
mod reserve;
mod restore;
mod segment;
mod shard;
mod shared;
mod snapshot;
mod verify;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sealstream_protocol::Buffers;
use sealstream_transport::BoxFuture;
use tokio::sync::Mutex;

use self::counters::Counters;
use self::env::Env;
use self::files::SegmentFiles;
use self::journal::Journal;
use self::layout::{DataDir, ShardDir};
use self::mailbox::Stopped;
use self::meta::{MetaLog, MetaRecord, MetaState};
use self::pool::Pool;
use self::reserve::Reserve;
use self::shard::SegmentedShard;
use self::shared::{ShardShared, locked};
use self::writer::Writer;
use super::clock::{Clock, SystemClock};
use super::disk::{Disk, DiskLock, RealDisk};
use super::engine::{LogEngine, OpenShardError, Shard, ShardId};
pub use super::status::LogCounters;
pub use dump::{DumpOptions, Dumped, dump, values};
pub use layout::OpenLogError;
pub(crate) use layout::foreign;
pub use options::SegmentedOptions;
pub use snapshot::{Snapshot, SnapshotError, snapshot, snapshot_on};
pub use verify::{Fault, PartitionReport, Report, VerifyError, verify, verify_on};

/// Threads that sync for all shards: as many as one shard has syncs under way, so that one that is idle costs nothing.
const SYNC_THREADS: usize = 8;

/// 8 MiB of buffers that wait for their next read, of all shards: a Data frame each of as many readers as are served at once.
const READ_BUFFERS: usize = 8 << 20;

/// Threads for recovery, checkpoints, snapshots and removals of all shards: none of them should take the disk from syncs.
const WORK_THREADS: usize = 2;

/// The engine that keeps the log in files.
///
/// ```no_run
/// use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
///
/// let engine = SegmentedEngine::open("sealstream-data".into(), SegmentedOptions::default())?;
/// # Ok::<(), sealstream_broker::log::segmented::OpenLogError>(())
/// ```
pub struct SegmentedEngine {
    dir: DataDir,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: SegmentedOptions,
    files: Arc<SegmentFiles>,
    buffers: Buffers,
    counters: Arc<Counters>,
    reserve: Arc<Reserve>,
    // Shards first, then the threads that work for them, then the lock: in this order they go.
    shards: Mutex<Shards>,
    syncers: Arc<Pool>,
    workers: Arc<Pool>,
    lock: std::sync::Mutex<Option<DiskLock>>,
    /// Whether it was said that the last end was not a clean one.
    unclean_told: Arc<AtomicBool>,
}

#[derive(Default)]
struct Shards {
    open: HashMap<ShardId, Arc<SegmentedShard>>,
    closed: bool,
}

impl fmt::Debug for SegmentedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentedEngine")
            .field("dir", &self.dir)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl SegmentedEngine {
    /// Opens a data directory, or makes one. Blocks while the directory is looked at; the shards are read when they are opened.
    pub fn open(dir: PathBuf, options: SegmentedOptions) -> Result<Self, OpenLogError> {
        Self::open_on(Arc::new(RealDisk), Arc::new(SystemClock), dir, options)
    }

    /// The same on any disk, by any clock.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        options: SegmentedOptions,
    ) -> Result<Self, OpenLogError> {
        let mut options = options.bounded();
        let name = dir.display().to_string();
        let failed = |source| OpenLogError::Io { dir: name.clone(), source };
        let syncers = Pool::start("sealstream-sync", SYNC_THREADS).map_err(failed)?;
        let workers = Pool::start("sealstream-work", WORK_THREADS).map_err(failed)?;
        let dir = DataDir::new(dir);
        dir.tell_of_others(&*disk);
        let lock = dir.lock(&*disk)?;
        match dir.upgrade(&*disk)? {
            Some(shards) => {
                if shards != options.shards {
                    tracing::debug!(
                        shards,
                        configured = options.shards,
                        "the data directory keeps its number of shards"
                    );
                }
                options.shards = shards;
            }
            None => dir.create(&*disk, options.shards)?,
        }
        let reserve =
            Reserve::open(Arc::clone(&disk), dir.reserve(), options.reserve_bytes).map_err(failed)?;
        restore::begin_new_epochs(&disk, &dir, options.shards, &reserve).map_err(failed)?;
        let files =
            Arc::new(SegmentFiles::new(Arc::clone(&disk), options.open_segments, options.index_interval));
        Ok(Self {
            dir,
            disk,
            clock,
            options,
            files,
            buffers: Buffers::new(READ_BUFFERS),
            counters: Arc::default(),
            reserve: Arc::new(reserve),
            shards: Mutex::default(),
            syncers: Arc::new(syncers),
            workers: Arc::new(workers),
            lock: std::sync::Mutex::new(Some(lock)),
            unclean_told: Arc::default(),
        })
    }

    /// What it has done so far.
    pub fn counters(&self) -> LogCounters {
        self.counters.snapshot(self.reserve.in_use())
    }

    /// Reads a shard's metadata and what its journal holds, and starts its writer. Blocks.
    fn start_shard(
        &self,
        id: ShardId,
        owner: u64,
    ) -> impl FnOnce() -> Result<Arc<SegmentedShard>, OpenShardError> + Send + 'static {
        let dir = self.dir.shard(id);
        let (files, buffers) = (Arc::clone(&self.files), self.buffers.clone());
        let (disk, clock, options) = (Arc::clone(&self.disk), Arc::clone(&self.clock), self.options);
        let (syncers, workers) = (Arc::clone(&self.syncers), Arc::clone(&self.workers));
        let (counters, reserve) = (Arc::clone(&self.counters), Arc::clone(&self.reserve));
        let told = Arc::clone(&self.unclean_told);
        move || {
            let path = dir.path().display().to_string();
            let failed = |source| OpenShardError::Io { path: path.clone(), source };
            let (mut meta, mut state) = reserve.with(|| meta::load(&disk, &dir)).map_err(failed)?;
            if state.owner() > owner {
                return Err(OpenShardError::Fenced);
            }
            // Once, and before it takes its time.
            if state.partitions().any(|(_, state)| state.sealed.is_none())
                && !told.swap(true, Ordering::Relaxed)
            {
                tracing::info!(
                    "the log was not closed cleanly: reading what was written since the last checkpoints"
                );
            }
            let replayed =
                recover_shard(&*disk, &reserve, &dir, &mut meta, &mut state, owner).map_err(failed)?;
            let journal =
                Journal::new(Arc::clone(&disk), dir.clone(), options.journal_bytes, replayed.generation);
            let shared = Arc::new(ShardShared::new(dir, options.cache_bytes, files, buffers, state));
            let env = Env {
                disk,
                options,
                clock,
                owner,
                shared: Arc::clone(&shared),
                counters,
                reserve,
                syncers,
                workers,
            };
            let writer = Writer::new(env, meta, journal, replayed.floors);
            let thread = std::thread::Builder::new()
                .name(format!("sealstream-shard-{}", id.0))
                .spawn(move || writer.run())
                .map_err(failed)?;
            Ok(Arc::new(SegmentedShard::new(shared, owner, thread)))
        }
    }
}

/// Takes over what the journal holds, and who owns the shard from now on; removes what was being deleted.
fn recover_shard(
    disk: &dyn Disk,
    reserve: &Reserve,
    dir: &ShardDir,
    meta: &mut MetaLog,
    state: &mut MetaState,
    owner: u64,
) -> io::Result<journal::Replayed> {
    let mut replayed = reserve.with(|| journal::replay(disk, dir, state))?;
    let mut records = std::mem::take(&mut replayed.metadata);
    for id in state.deleting() {
        writer::remove_partition(disk, &dir.partition(id), &dir.partitions())?;
        records.push(MetaRecord::Deleted(id));
    }
    if state.owner() != owner {
        records.push(MetaRecord::Owner(owner));
    }
    records.push(meta.begin_life());
    meta.append(records, true);
    reserve.with(|| meta.flush())?;
    let sync = meta.begin_sync();
    sync.files.iter().try_for_each(|file| file.sync_data())?;
    meta.synced(sync.upto, state);
    journal::reset(disk, dir)?;
    Ok(replayed)
}

impl LogEngine for SegmentedEngine {
    fn shards(&self) -> u32 {
        self.options.shards
    }

    fn open_shard(
        &self,
        id: ShardId,
        owner_epoch: u64,
    ) -> BoxFuture<'_, Result<Arc<dyn Shard>, OpenShardError>> {
        Box::pin(async move {
            if id.0 >= self.options.shards {
                return Err(OpenShardError::Unknown(id));
            }
            let path = || self.dir.shard(id).path().display().to_string();
            let mut shards = self.shards.lock().await;
            if shards.closed {
                let source = io::Error::other("the engine is closed");
                return Err(OpenShardError::Io { path: path(), source });
            }
            if let Some(open) = shards.open.get(&id) {
                if open.owner() == owner_epoch {
                    return Ok(Arc::clone(open) as Arc<dyn Shard>);
                }
                if open.owner() > owner_epoch {
                    return Err(OpenShardError::Fenced);
                }
                // The owner before loses nothing that it was promised: its log is sealed, unless the disk fails.
                if let Err(error) = open.stop(Stopped::Fenced).await {
                    tracing::warn!(shard = path(), %error, "the shard of the owner before was not sealed");
                }
                shards.open.remove(&id);
            }
            let started = tokio::task::spawn_blocking(self.start_shard(id, owner_epoch)).await;
            let stopped = |error| OpenShardError::Io { path: path(), source: io::Error::other(error) };
            let shard = started.map_err(stopped)??;
            shards.open.insert(id, Arc::clone(&shard));
            Ok(shard as Arc<dyn Shard>)
        })
    }

    fn counters(&self) -> Option<LogCounters> {
        Some(Self::counters(self))
    }

    fn close(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut shards = self.shards.lock().await;
            shards.closed = true;
            let stops = shards.open.values().map(|shard| shard.stop(Stopped::Closed));
            let results = futures_util::future::join_all(stops).await;
            shards.open.clear();
            locked(&self.lock).take();
            results.into_iter().collect()
        })
    }
}

impl Drop for SegmentedEngine {
    fn drop(&mut self) {
        // Nothing may touch the directory once the lock is gone: the threads are waited for, each at most for the call it is in.
        for shard in self.shards.get_mut().open.values() {
            shard.abandon();
        }
        self.syncers.stop(true);
        self.workers.stop(true);
    }
}
