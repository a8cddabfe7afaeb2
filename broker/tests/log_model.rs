//! The segmented engine against the model, over a disk that fails, loses power and comes back.

use std::sync::Arc;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::log::conformance::model::{Rig, survive};
use sealstream_broker::log::disk::Disk;
use sealstream_broker::log::segmented::{SegmentedEngine, SegmentedOptions};
use sealstream_transport::BoxFuture;

/// Segments, checkpoints, cache and journal so small that every round crosses their borders; one seed in three has segments
/// that no batch outgrows.
struct Segmented;

impl Rig for Segmented {
    fn start(
        &self,
        seed: u64,
        disk: Arc<dyn Disk>,
        clock: Arc<ManualClock>,
    ) -> BoxFuture<'_, Result<Arc<dyn LogEngine>, String>> {
        let options = SegmentedOptions {
            shards: 1,
            segment_bytes: if seed.is_multiple_of(3) { 256 << 10 } else { 8 << 10 },
            index_interval: 4 << 10,
            cache_bytes: 16 << 10,
            open_segments: 16,
            held_segments: 4,
            checkpoint_bytes: 64 << 10,
            journal_bytes: 64 << 10,
            // Where the disk fills up, some have a reserve to give up.
            reserve_bytes: if seed.is_multiple_of(2) { 128 << 10 } else { 0 },
        };
        Box::pin(async move {
            let open = move || SegmentedEngine::open_on(disk, clock, "data".into(), options);
            match tokio::task::spawn_blocking(open).await {
                Ok(Ok(engine)) => Ok(Arc::new(engine) as Arc<dyn LogEngine>),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_segmented_engine_keeps_every_promise_through_crashes_and_failures() {
    // Shown when it fails: why a partition was called corrupt, and what was cut.
    let log = tracing_subscriber::fmt().with_test_writer().with_ansi(false).without_time();
    log.with_max_level(tracing::Level::INFO).init();
    survive(&Segmented).await;
}
