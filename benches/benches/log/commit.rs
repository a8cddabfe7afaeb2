//! Group commit, on the disk that holds the temporary directory: how many batches one fdatasync makes durable, and what the log
//! makes of the disk. Printed as Markdown:
//!
//! - 1, 8 and 64 producers that each wait for their acknowledgement: acknowledgements a second, and batches a sync;
//! - one producer that keeps 16 batches of 1 MiB under way, with durability `memory` and `disk`, and a plain file that is
//!   written in sequence with an fdatasync for every so many bytes: as many as the log had for each of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealstream_broker::log::Durability;
use sealstream_broker::log::disk::{Disk, RealDisk};
use tokio::task::JoinSet;

use crate::IN_FLIGHT;
use crate::store::{Log, append, batch, settle};

/// Rounds; each measures everything once, so that no subject has the machine's good or bad moments to itself.
const ROUNDS: usize = 5;

/// How long producers wait and send, each number of them in each round.
const TIME: Duration = Duration::from_secs(2);

/// How much is streamed, in bytes, in each round.
const STREAMED: u64 = 512 << 20;

/// Prints both tables.
pub(crate) fn print() {
    println!("| producers | acknowledged a second | of one producer | batches a sync |\n|---|---|---|---|");
    let mut one = 0.0;
    for producers in [1, 8, 64] {
        let runs = (0..ROUNDS).map(|_| waiting(producers, TIME));
        let (rate, share) = median(runs.collect());
        one = if producers == 1 { rate } else { one };
        println!("| {producers} | {rate:.0} | {:.1} | {share:.1} |", rate / one);
    }
    let mut figures: [Vec<f64>; 3] = Default::default();
    let mut each = Vec::new();
    for _ in 0..ROUNDS {
        figures[0].push(streaming(Durability::Memory, STREAMED).0);
        let (disk, bytes_a_sync) = streaming(Durability::Disk, STREAMED);
        figures[1].push(disk);
        figures[2].push(in_sequence(STREAMED, bytes_a_sync));
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

/// So many producers send small batches, one after the other each: acknowledgements a second, and batches a sync.
fn waiting(producers: u32, time: Duration) -> (f64, f64) {
    let log = Log::open(Durability::Disk);
    let batch = batch(1 << 10);
    let before = log.engine.counters();
    let begun = Instant::now();
    let acknowledged: u64 = log.runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..producers {
            let (shard, id, batch) = (Arc::clone(&log.shard), log.id, batch.clone());
            tasks.spawn(async move {
                let mut acknowledged = 0;
                while begun.elapsed() < time {
                    settle(append(&*shard, id, &batch)).await;
                    acknowledged += 1;
                }
                acknowledged
            });
        }
        tasks.join_all().await.into_iter().sum()
    });
    let taken = begun.elapsed();
    let after = log.engine.counters();
    log.close();
    let share = figure(after.batches - before.batches) / figure((after.syncs - before.syncs).max(1));
    (figure(acknowledged) / taken.as_secs_f64(), share)
}

/// Batches of 1 MiB, some of them under way: bytes a second, and bytes a sync.
fn streaming(durability: Durability, bytes: u64) -> (f64, u64) {
    let log = Log::open(durability);
    let batch = batch(1 << 20);
    let before = log.engine.counters();
    let begun = Instant::now();
    log.runtime.block_on(async {
        let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
        for _ in 0..bytes >> 20 {
            if under_way.len() == IN_FLIGHT
                && let Some(oldest) = under_way.pop_front()
            {
                settle(oldest).await;
            }
            under_way.push_back(append(&*log.shard, log.id, &batch));
        }
        for commit in under_way {
            settle(commit).await;
        }
    });
    let taken = begun.elapsed();
    let after = log.engine.counters();
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
