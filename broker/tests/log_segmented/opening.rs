//! Opening a long log reads its tail, and nothing else: counted in bytes, not in time.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sealstream_broker::log::clock::SystemClock;
use sealstream_broker::log::conformance::life::{OWNER, append, batch_of, soon};
use sealstream_broker::log::disk::{DirEntry, Disk, DiskFile, DiskLock, LockError, RealDisk};
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_broker::log::{
    Durability, LogEngine, Partition, PartitionId, PartitionOptions, Shard, ShardId,
};
use sealstream_protocol::batch::Codec;

const ID: PartitionId = PartitionId { topic: uuid::Uuid::from_u128(10), index: 0 };

/// The value of each record: a batch is a MiB of them.
const VALUE: usize = 1 << 20;

/// The machine's disk, counting what is read of it.
#[derive(Debug, Default)]
struct CountingDisk(Arc<AtomicU64>);

#[derive(Debug)]
struct CountingFile(Arc<dyn DiskFile>, Arc<AtomicU64>);

impl CountingDisk {
    fn counting(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountingFile(file, Arc::clone(&self.0)))
    }
}

impl Disk for CountingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counting(RealDisk.create(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counting(RealDisk.open(path)?))
    }
    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counting(RealDisk.open_read_only(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> Result<DiskLock, LockError> {
        RealDisk.lock(path)
    }
}

impl DiskFile for CountingFile {
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.0.write_at(position, parts)
    }
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read_at(position, buf)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn reread(&self) -> io::Result<()> {
        self.0.reread()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

struct Opened {
    engine: SegmentedEngine,
    shard: Arc<dyn Shard>,
    partition: Partition,
    /// Bytes that were read to open it.
    read: u64,
}

async fn open(dir: &Path, options: SegmentedOptions) -> Opened {
    let disk = CountingDisk::default();
    let read = Arc::clone(&disk.0);
    let begun = Instant::now();
    let engine =
        SegmentedEngine::open_on(Arc::new(disk), Arc::new(SystemClock), dir.into(), options).unwrap();
    let shard = soon(engine.open_shard(ShardId(0), OWNER)).await.unwrap();
    let partition = shard.open_partition(ID, PartitionOptions::new(Durability::Disk)).await.unwrap();
    let read = read.load(Ordering::Relaxed);
    println!("{} MiB opened in {:?}, {read} bytes read", partition.bytes >> 20, begun.elapsed());
    Opened { engine, shard, partition, read }
}

/// Appends up to so many batches, and leaves the log as a killed broker or as one that was stopped does.
async fn fill(opened: Opened, sequences: std::ops::Range<u64>, close: bool) {
    let Opened { engine, shard, .. } = opened;
    let mut last = None;
    for sequence in sequences {
        let batch = batch_of(1, sequence, 1, VALUE, Codec::None);
        let committed = shard.commit(vec![append(ID, &batch)]).await.unwrap();
        // One ahead: the disk is kept busy, and the memory is bounded.
        if let Some(durable) = last.replace(committed.durable) {
            durable.await.unwrap();
        }
    }
    if let Some(durable) = last {
        durable.await.unwrap();
    }
    if close {
        engine.close().await.unwrap();
    }
}

/// A log of 24 MiB and one of 96 with small segments and checkpoints; with `SEALSTREAM_OPEN_GIB`, one of so many GiB as a broker keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn opening_reads_the_tail_only_however_long_the_log_is() {
    let gib = std::env::var("SEALSTREAM_OPEN_GIB").ok().and_then(|gib| gib.parse::<u64>().ok());
    let (options, sizes) = if let Some(gib) = gib {
        (SegmentedOptions { shards: 1, ..SegmentedOptions::default() }, vec![gib << 10])
    } else {
        let (segment_bytes, checkpoint_bytes) = (4 << 20, 2 << 20);
        let small =
            SegmentedOptions { shards: 1, segment_bytes, checkpoint_bytes, ..SegmentedOptions::default() };
        (small, vec![24, 96])
    };
    let dir = tempfile::tempdir().unwrap();
    let mut stored = 0;
    for size in sizes {
        for close in [false, true] {
            let opened = open(dir.path(), options).await;
            assert_eq!(opened.partition.durable_end, stored);
            let target = if close { size } else { size - 1 };
            fill(opened, stored..target, close).await;
            stored = target;
            let opened = open(dir.path(), options).await;
            assert_eq!((opened.partition.durable_end, opened.partition.read_only), (stored, false));
            // One checkpoint is taken every so many bytes, and another may not be saved yet; what is reserved is looked through; each
            // segment's header is read.
            let most = if close {
                1 << 20
            } else {
                2 * options.checkpoint_bytes + options.segment_bytes.min(64 << 20) + (4 << 20)
            };
            let headers = (stored << 20) / options.segment_bytes * 4096;
            assert!(
                opened.read <= most + headers,
                "{} bytes read of {stored} MiB, closed: {close}",
                opened.read
            );
            drop(opened);
        }
    }
}
