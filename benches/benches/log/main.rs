//! Append and scan of the segmented log, on the disk that holds the temporary directory.
//!
//! An append is one batch of 1 KiB records; 16 are in flight, as a producer keeps them. `-- --table` prints what [`commit`]
//! measures instead: group commit, and what the log makes of the disk.

mod commit;
mod store;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use sealstream_broker::log::Durability;
use sealstream_protocol::batch::Batch;

use store::{Log, batch, settle};

const IN_FLIGHT: usize = 16;

/// The log is trimmed when it is this long, in bytes: what is measured is the log, not the size of the disk.
const KEEP: u64 = 1 << 30;

/// How much is scanned, in bytes.
const SCANNED: u64 = 256 << 20;

impl Log {
    /// Appends so many batches, waiting for the durability of the one 16 before.
    async fn append(&self, batch: &Batch, count: u64) {
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
        for _ in 0..count {
            if in_flight.len() == IN_FLIGHT
                && let Some(commit) = in_flight.pop_front()
            {
                settle(commit).await;
            }
            in_flight.push_back(store::append(&*self.shard, self.id, batch));
        }
        for commit in in_flight {
            settle(commit).await;
        }
    }

    async fn trim(&self) {
        self.shard.trim(self.id, 0, Some(KEEP)).await.expect("the log is trimmed");
    }

    async fn scan(&self, max_bytes: usize) -> u64 {
        let (mut from, mut bytes) = (self.shard.partition(self.id).expect("it is open").start, 0);
        loop {
            let outcome = self.shard.read(self.id, from, max_bytes).await.expect("the log is read");
            if outcome.entries.is_empty() {
                return bytes;
            }
            bytes += outcome.entries.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
            from = outcome.next;
        }
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/append");
    group.sample_size(10).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    for (name, durability) in [("memory", Durability::Memory), ("disk", Durability::Disk)] {
        for size in [1 << 20, 10 << 10] {
            let log = Log::open(durability);
            let batch = batch(size);
            group.throughput(Throughput::Bytes(batch.bytes().len() as u64));
            group.bench_function(BenchmarkId::new(name, format!("{} KiB", size >> 10)), |bencher| {
                bencher.iter_custom(|count| {
                    let begin = Instant::now();
                    log.runtime.block_on(log.append(&batch, count));
                    let taken = begin.elapsed();
                    log.runtime.block_on(log.trim());
                    taken
                });
            });
            log.close();
        }
    }
    group.finish();
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/scan");
    group.sample_size(10).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    for size in [1 << 20, 10 << 10] {
        let log = Log::open(Durability::Memory);
        let batch = batch(size);
        let count = SCANNED / batch.bytes().len() as u64;
        log.runtime.block_on(log.append(&batch, count));
        group.throughput(Throughput::Bytes(SCANNED));
        group.bench_function(BenchmarkId::new("from the start", format!("{} KiB", size >> 10)), |bencher| {
            bencher.iter(|| black_box(log.runtime.block_on(log.scan(1 << 20))));
        });
        log.close();
    }
    group.finish();
}

criterion_group!(benches, append, scan);

fn main() {
    if std::env::args().any(|argument| argument == "--table") {
        return commit::print();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
