//! The segmented engine keeps the promises of every engine, on the machine's disk and on the simulated one; and what is its own:
//! files, faults, recovery.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod directory;
mod durability;
mod faults;
mod gate;
mod grouping;
mod journal;
mod lone;
mod opening;
mod recovery;
mod reserve;
mod segments;
mod snapshot;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::log::conformance::Fixture;
use sealstream_broker::log::disk::simulated::SimulatedDisk;
use sealstream_broker::log::disk::{Disk, RealDisk};
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_transport::BoxFuture;
use tempfile::TempDir;

/// Small segments, checkpoints and journal: every case crosses their borders.
fn small() -> SegmentedOptions {
    SegmentedOptions {
        segment_bytes: 8 << 10,
        index_interval: 4 << 10,
        cache_bytes: 16 << 10,
        open_segments: 16,
        held_segments: 4,
        checkpoint_bytes: 64 << 10,
        journal_bytes: 64 << 10,
        reserve_bytes: 0,
        shards: 4,
    }
}

fn start(
    disk: Arc<dyn Disk>,
    clock: &Arc<ManualClock>,
    dir: PathBuf,
    options: SegmentedOptions,
) -> Arc<dyn LogEngine> {
    Arc::new(SegmentedEngine::open_on(disk, clock.clone(), dir, options).expect("the directory opens"))
}

struct Real {
    dir: TempDir,
    clock: Arc<ManualClock>,
    options: SegmentedOptions,
}

impl Real {
    fn new(options: SegmentedOptions) -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory"), clock: Arc::default(), options }
    }
}

impl Fixture for Real {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    fn start(&self) -> BoxFuture<'_, Arc<dyn LogEngine>> {
        let dir = self.dir.path().join("data");
        Box::pin(async move { start(Arc::new(RealDisk), &self.clock, dir, self.options) })
    }
}

struct Simulated {
    disk: SimulatedDisk,
    clock: Arc<ManualClock>,
    options: SegmentedOptions,
    /// Whether a crash is a power cut, or only the end of the process.
    power_cut: bool,
}

impl Simulated {
    fn new(power_cut: bool) -> Self {
        Self::with(small(), power_cut)
    }

    fn with(options: SegmentedOptions, power_cut: bool) -> Self {
        let seed = std::env::var("SEALSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(rand::random);
        println!("SEALSTREAM_SEED={seed}");
        Self { disk: SimulatedDisk::new(seed), clock: Arc::default(), options, power_cut }
    }
}

impl Fixture for Simulated {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    fn start(&self) -> BoxFuture<'_, Arc<dyn LogEngine>> {
        Box::pin(async move { start(self.disk.mount(), &self.clock, "/data".into(), self.options) })
    }

    fn crash(&self, engine: Arc<dyn LogEngine>) -> BoxFuture<'_, ()> {
        if self.power_cut {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
        drop(engine);
        self.disk.restart();
        Box::pin(std::future::ready(()))
    }
}

sealstream_broker::log_conformance!(real, || Real::new(SegmentedOptions::default()));
sealstream_broker::log_conformance!(real_small, || Real::new(small()));
sealstream_broker::log_conformance!(killed, || Simulated::new(false));
sealstream_broker::log_conformance!(power_cut, || Simulated::new(true));
