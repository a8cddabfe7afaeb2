//! Clients over a disk that fails at one point, and then at the next, until none is left.
//!
//! Every operation of the engine on its disk (each write, sync, allocation, rename, removal, sync of a directory …) is made to fail in
//! turn: with an error, with no room, with the end of the process, with the end of the power; after the last of these,
//! a part of the pages and names that were not synced is lost, chosen by the seed. Whatever came of it, the history of the
//! clients over both lives has no fault, and what the second life shows survives the loss of all that is not synced.

use std::sync::Arc;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::log::disk::simulated::{Fault, Injection, Loss, SimulatedDisk};
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};

use crate::checker::check;
use crate::record::History;
use crate::workload::{Notes, Size, World, open, soon};

/// Segments of 8 KiB: each partition goes through three of them.
const SIZE: Size = Size { partitions: 2, producers: 2, batches: 15, value: 600 };

/// The workload of one life takes about 300 operations; whoever needs ten times as many is stuck.
const POINTS: u64 = 3_000;

/// Lives of the disk for each point, with another seed each; with `SEALSTREAM_ROUNDS` a tenth of that.
const ROUNDS: u64 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_at_any_point_costs_nothing_that_was_promised() {
    at_every_point(Fault::Io).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_at_any_point_costs_nothing_that_was_promised() {
    at_every_point(Fault::NoSpace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_point_costs_nothing_that_was_promised() {
    at_every_point(Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_at_any_point_costs_nothing_that_was_promised() {
    at_every_point(Fault::PowerCut).await;
}

async fn at_every_point(fault: Fault) {
    let first = number("SEALSTREAM_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    for seed in first..first + number("SEALSTREAM_ROUNDS").map_or(ROUNDS, |rounds| rounds.div_ceil(10)) {
        println!("SEALSTREAM_SEED={seed}");
        let mut point = 0;
        while strikes(fault, point, seed).await {
            point += 1;
            assert!(point < POINTS, "the clients never come to an end");
        }
        assert!(point > 100, "only {point} operations: the clients have done nothing");
    }
}

/// Runs clients while the operation `point` fails, and again after the crash that follows. Whether there was such an operation.
async fn strikes(fault: Fault, point: u64, seed: u64) -> bool {
    let machine = SimulatedDisk::new(seed.wrapping_add(point));
    machine.inject(Injection::new(fault).after(point));
    let notes = Notes::default();
    if let Ok((engine, world)) = begin(&machine).await {
        world.run(&notes).await;
        if point.is_multiple_of(3) {
            // An error is as good as a crash.
            let _ = soon(engine.close()).await;
        }
    }
    let struck = machine.struck() > 0;
    if machine.is_down() {
        machine.restart();
    } else if point.is_multiple_of(2) {
        machine.crash();
    } else {
        machine.kill();
    }
    let history = conclude(&machine, &notes).await;
    hold(&history, fault, point, seed);
    // What was shown is durable.
    machine.crash_losing(Loss::Everything);
    let again = conclude(&machine, &notes).await;
    assert_eq!(again.log, history.log, "{fault:?} at {point}, SEALSTREAM_SEED={seed}");
    struck
}

async fn conclude(machine: &SimulatedDisk, notes: &Notes) -> History {
    let (_engine, world) = begin(machine).await.expect("the engine starts after the crash");
    world.conclude(notes).await
}

fn hold(history: &History, fault: Fault, point: u64, seed: u64) {
    let violations = check(history);
    assert_eq!(violations, [], "{fault:?} at {point}, SEALSTREAM_SEED={seed}");
}

async fn begin(machine: &SimulatedDisk) -> Result<(Arc<dyn LogEngine>, World), String> {
    let engine = open_engine(machine, 1).await?;
    let world = open(&*engine, SIZE).await?;
    Ok((engine, world))
}

/// An engine of so many shards over the disk, as small in everything as it can be.
pub(crate) async fn open_engine(machine: &SimulatedDisk, shards: u32) -> Result<Arc<dyn LogEngine>, String> {
    let options = SegmentedOptions {
        shards,
        segment_bytes: 8 << 10,
        index_interval: 4 << 10,
        cache_bytes: 16 << 10,
        open_segments: 16,
        held_segments: 4,
        checkpoint_bytes: 16 << 10,
        journal_bytes: 64 << 10,
        reserve_bytes: 64 << 10,
    };
    let disk = machine.mount();
    let clock = Arc::new(ManualClock::at(1_000_000));
    let open_engine = move || SegmentedEngine::open_on(disk, clock, "data".into(), options);
    let engine =
        tokio::task::spawn_blocking(open_engine).await.unwrap().map_err(|error| error.to_string())?;
    Ok(Arc::new(engine))
}

/// A number that the environment sets.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
