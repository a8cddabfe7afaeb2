//! Group commit, on the disk that holds the temporary directory: how many batches one fdatasync makes durable, and what the log
//! makes of the disk.
//!
//! `cargo bench -p sealstream-benches --bench commit -- --table` prints, as Markdown:
//!
//! - 1, 8 and 64 producers that each wait for their acknowledgement: acknowledgements a second, and batches a sync;
//! - one producer that keeps 16 batches of 1 MiB under way, with durability `memory` and `disk`, and a plain file that is
//!   written in sequence with an fdatasync for every so many bytes: as many as the log had for each of its own.
//!
//! Without `--table` each is done for a moment, to see that it works.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealstream_broker::log::disk::{Disk, RealDisk};
use sealstream_broker::log::segmented::{LogCounters, SegmentedEngine, SegmentedOptions};
use sealstream_broker::log::{
    At, Durability, LogEngine, Op, PartitionId, PartitionOptions, Shard, ShardId, Source,
};
use sealstream_protocol::batch::{Batch, BatchBuilder, Codec};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Batches of a stream that are under way.
const UNDER_WAY: usize = 16;

/// Rounds; each measures everything once, so that no subject has the machine's good or bad moments to itself.
const ROUNDS: usize = 5;

fn main() {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if asked("--list") {
        return;
    }
    let (time, bytes, rounds) = if asked("--table") {
        (Duration::from_secs(2), 512 << 20, ROUNDS)
    } else {
        (Duration::from_millis(50), 4 << 20, 1)
    };
    println!("| producers | acknowledged a second | of one producer | batches a sync |\n|---|---|---|---|");
    let mut one = 0.0;
    for producers in [1, 8, 64] {
        let runs = (0..rounds).map(|_| waiting(producers, time));
        let (rate, share) = median(runs.collect());
        one = if producers == 1 { rate } else { one };
        println!("| {producers} | {rate:.0} | {:.1} | {share:.1} |", rate / one);
    }
    let mut figures: [Vec<f64>; 3] = Default::default();
    let mut each = Vec::new();
    for _ in 0..rounds {
        figures[0].push(streaming(Durability::Memory, bytes).0);
        let (disk, bytes_a_sync) = streaming(Durability::Disk, bytes);
        figures[1].push(disk);
        figures[2].push(in_sequence(bytes, bytes_a_sync));
        each.push(bytes_a_sync);
    }
    let [memory, disk, sequence] = figures.map(middle);
    let each = middle(each.into_iter().map(figure).collect()) / f64::from(1 << 20);
    println!("\n| | MB/s | of `memory` | of a plain file |\n|---|---|---|---|");
    println!("| `memory` | {:.0} | | |", memory / 1e6);
    println!(
        "| `disk`, {each:.1} MiB a sync | {:.0} | {:.2} | {:.2} |",
        disk / 1e6,
        disk / memory,
        disk / sequence
    );
    println!("| plain file, as many bytes a sync | {:.0} | | |", sequence / 1e6);
}

/// A shard with one partition, in a directory of its own.
struct Log {
    runtime: Runtime,
    engine: SegmentedEngine,
    shard: Arc<dyn Shard>,
    id: PartitionId,
    _dir: TempDir,
}

impl Log {
    fn open(durability: Durability) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = SegmentedOptions { shards: 1, ..SegmentedOptions::default() };
        let engine = SegmentedEngine::open(dir.path().join("data"), options).expect("the engine opens");
        let id = PartitionId { topic: Uuid::from_u128(1), index: 0 };
        let shard = runtime.block_on(async {
            let shard = engine.open_shard(ShardId(0), 1).await.expect("the shard opens");
            shard.open_partition(id, PartitionOptions::new(durability)).await.expect("the partition opens");
            shard
        });
        Self { runtime, engine, shard, id, _dir: dir }
    }

    fn counters(&self) -> LogCounters {
        self.engine.counters()
    }

    fn close(self) {
        self.runtime.block_on(self.engine.close()).expect("the engine closes");
    }
}

/// So many producers send small batches, one after the other each: acknowledgements a second, and batches a sync.
fn waiting(producers: u32, time: Duration) -> (f64, f64) {
    let log = Log::open(Durability::Disk);
    let batch = batch(1 << 10);
    let before = log.counters();
    let begun = Instant::now();
    let acknowledged: u64 = log.runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..producers {
            let (shard, id, batch) = (Arc::clone(&log.shard), log.id, batch.clone());
            tasks.spawn(async move {
                let mut acknowledged = 0;
                while begun.elapsed() < time {
                    append(&*shard, id, &batch).await;
                    acknowledged += 1;
                }
                acknowledged
            });
        }
        tasks.join_all().await.into_iter().sum()
    });
    let taken = begun.elapsed();
    let after = log.counters();
    log.close();
    let share = figure(after.batches - before.batches) / figure((after.syncs - before.syncs).max(1));
    (figure(acknowledged) / taken.as_secs_f64(), share)
}

/// Batches of 1 MiB, some of them under way: bytes a second, and bytes a sync.
fn streaming(durability: Durability, bytes: u64) -> (f64, u64) {
    let log = Log::open(durability);
    let batch = batch(1 << 20);
    let before = log.counters();
    let begun = Instant::now();
    log.runtime.block_on(async {
        let mut under_way = VecDeque::with_capacity(UNDER_WAY);
        for _ in 0..bytes >> 20 {
            if under_way.len() == UNDER_WAY
                && let Some(oldest) = under_way.pop_front()
            {
                settle(oldest).await;
            }
            under_way.push_back(log.shard.commit(vec![op(log.id, &batch)]));
        }
        for commit in under_way {
            settle(commit).await;
        }
    });
    let taken = begun.elapsed();
    let after = log.counters();
    log.close();
    let syncs = (after.syncs - before.syncs).max(1);
    (figure(bytes) / taken.as_secs_f64(), (after.bytes - before.bytes) / syncs)
}

/// A plain file, written from its start to its end with an fdatasync for every `bytes_a_sync`, into room that is there.
fn in_sequence(bytes: u64, bytes_a_sync: u64) -> f64 {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = RealDisk.create(&dir.path().join("plain")).expect("a file");
    file.allocate(bytes).expect("there is room");
    file.sync_data().expect("a disk that works");
    let content = batch(1 << 20);
    let begun = Instant::now();
    let mut unsynced = 0;
    for position in (0..bytes).step_by(content.bytes().len()) {
        file.write_at(position, &[content.bytes()]).expect("there is room");
        unsynced += content.bytes().len() as u64;
        if unsynced >= bytes_a_sync {
            file.sync_data().expect("a disk that works");
            unsynced = 0;
        }
    }
    file.sync_data().expect("a disk that works");
    figure(bytes) / begun.elapsed().as_secs_f64()
}

fn op(partition: PartitionId, batch: &Batch) -> Op {
    Op::Append { partition, at: At::Next, batch: batch.clone(), source: Source::Internal }
}

async fn append(shard: &dyn Shard, id: PartitionId, batch: &Batch) {
    settle(shard.commit(vec![op(id, batch)])).await;
}

type Commit = sealstream_transport::BoxFuture<
    'static,
    Result<sealstream_broker::log::Committed, sealstream_broker::log::CommitError>,
>;

async fn settle(commit: Commit) {
    commit.await.expect("the commit is taken").durable.await.expect("it becomes durable");
}

fn batch(bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = vec![7; 1024];
    while builder.encoded_len() < bytes {
        builder.push(0, None, &value, &[]).expect("it fits");
    }
    builder.build(Uuid::from_u128(9), 0)
}

#[expect(clippy::cast_precision_loss, reason = "figures of four digits are printed")]
fn figure(count: u64) -> f64 {
    count as f64
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn median(runs: Vec<(f64, f64)>) -> (f64, f64) {
    let (rates, shares) = runs.into_iter().unzip();
    (middle(rates), middle(shares))
}
