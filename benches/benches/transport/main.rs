//! What a stream of this transport carries, and how soon it answers: over every backend of ours, and the same bytes over
//! bare tokio TCP, bare tokio-rustls and bare quinn in the same run.
//!
//! `cargo bench -p sealstream-benches --bench transport` prints tables first, with ours as a ratio of each bare one, and
//! then Criterion's own statistics, which it compares with those of the last run. The tables take turns: each round
//! measures every subject once, in an order that changes, and a ratio is the median of the rounds' ratios. On a machine
//! that others use too, nothing else can be compared. `-- --table` prints the tables only.

mod subjects;
mod table;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use sealstream_benches::stream::subject::Subject;
use tokio::runtime::Runtime;

/// What one measurement of streaming carries: enough to fill every window many times over, in less than a second.
const STREAMED: u64 = 64 * 1024 * 1024;

/// The round trips of one measurement.
const ROUND_TRIPS: u64 = 2000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (mut subjects, _servers) = runtime.block_on(subjects::all());
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if asked("--test") || asked("--list") {
        return;
    }
    table::print(&runtime, &mut subjects);
    if !asked("--table") {
        statistics(&runtime, &mut subjects);
    }
}

fn statistics(runtime: &Runtime, subjects: &mut [Box<dyn Subject>]) {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    let mut group = criterion.benchmark_group("transport/stream 64 MiB");
    group.throughput(Throughput::Bytes(STREAMED)).sampling_mode(SamplingMode::Flat);
    for subject in &mut *subjects {
        group.bench_function(subject.name(), |bencher| {
            bencher.iter(|| runtime.block_on(subject.stream(STREAMED)));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("transport/round trip 64 B");
    for subject in &mut *subjects {
        group.bench_function(subject.name(), |bencher| {
            bencher.iter_custom(|iterations| runtime.block_on(subject.round_trips(iterations, &mut |_| {})));
        });
    }
    group.finish();
    criterion.final_summary();
}
