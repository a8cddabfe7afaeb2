//! Where a segment ends: by its size, by its age, as its partition says; and clocks that jump.

use sealstream_broker::log::conformance::life::{batch, batch_of, entries, soon};
use sealstream_broker::log::conformance::{Fixture, Life};
use sealstream_broker::log::segmented::SegmentedOptions;
use sealstream_broker::log::{Durability, PartitionId, PartitionOptions};
use sealstream_protocol::batch::Codec;

use super::{Simulated, small};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: i64 = 3_600_000;

/// Segments that no test here fills.
fn large() -> SegmentedOptions {
    SegmentedOptions { segment_bytes: 1 << 20, ..small() }
}

fn disk(segment_bytes: u64, segment_ms: u64) -> PartitionOptions {
    PartitionOptions { segment_bytes, segment_ms, ..PartitionOptions::new(Durability::Disk) }
}

async fn open(life: &Life, id: PartitionId, options: PartitionOptions) {
    soon(life.shard.open_partition(id, options)).await.unwrap();
}

/// The base offsets of a partition's segments.
fn segments(simulated: &Simulated, id: PartitionId) -> Vec<u64> {
    let dir = format!("/{}-{}/", id.topic, id.index);
    let files = simulated.disk.files();
    let names = files.iter().filter(|(path, _)| path.to_str().unwrap().contains(&dir));
    names.filter_map(|(path, _)| path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_partition_keeps_no_record_longer_than_its_retention_and_the_age_of_a_segment() {
    let simulated = Simulated::with(large(), false);
    let life = Life::begin(&simulated).await;
    let [aged, ageless, _] = life.ids;
    open(&life, aged, disk(0, MINUTE)).await;
    open(&life, ageless, disk(0, 0)).await;
    let clock = simulated.clock();
    // A record every ten seconds, for ten minutes.
    for sequence in 0..60 {
        for id in [aged, ageless] {
            life.append(id, &batch(1, sequence, 1)).await;
        }
        clock.advance(10_000);
    }
    assert_eq!(segments(&simulated, aged), (0..10).map(|n| n * 6).collect::<Vec<_>>());
    assert_eq!(segments(&simulated, ageless), [0]);
    // It is 600 s; what is older than 120 s may go: the records before the 48th.
    let before = life.shard.offset_at(aged, 480_000).await.unwrap();
    assert_eq!(before, 48);
    assert_eq!(soon(life.shard.trim(aged, before, None)).await.unwrap(), 48);
    assert_eq!(soon(life.shard.trim(ageless, before, None)).await.unwrap(), 0);
    life.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_as_old_after_a_reopen_as_it_was_before() {
    for crash in [false, true] {
        let simulated = Simulated::with(large(), true);
        let life = Life::begin(&simulated).await;
        let id = life.ids[0];
        life.append(id, &batch(1, 0, 1)).await;
        simulated.clock().advance(50_000);
        let life = if crash { life.crash(&simulated).await } else { life.reopen(&simulated).await };
        open(&life, id, disk(0, MINUTE)).await;
        life.append(id, &batch(1, 1, 1)).await;
        assert_eq!(segments(&simulated, id), [0], "crash: {crash}");
        simulated.clock().advance(10_000);
        life.append(id, &batch(1, 2, 1)).await;
        assert_eq!(segments(&simulated, id), [0, 2], "crash: {crash}");
        assert_eq!(life.read_all(id, 0).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_as_large_as_its_partition_says_from_the_next_append_on() {
    let simulated = Simulated::with(large(), true);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    let kilobyte = |sequence| batch_of(1, sequence, 1, 1_000, Codec::None);
    for sequence in 0..40 {
        life.append(id, &kilobyte(sequence)).await;
    }
    assert_eq!(segments(&simulated, id), [0]);
    // Smaller than what is there already: the next append begins a new one.
    open(&life, id, disk(8 << 10, 0)).await;
    for sequence in 40..60 {
        life.append(id, &kilobyte(sequence)).await;
    }
    let bases = segments(&simulated, id);
    assert_eq!(bases[..2], [0, 40]);
    assert!((4..=5).contains(&bases.len()), "{bases:?}");
    open(&life, id, disk(0, 0)).await;
    for sequence in 60..100 {
        life.append(id, &kilobyte(sequence)).await;
    }
    assert_eq!(segments(&simulated, id), bases);
    let life = life.crash(&simulated).await;
    assert_eq!(life.read_all(id, 0).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_an_hour_ends_no_segment_and_reorders_nothing() {
    let simulated = Simulated::with(large(), true);
    let clock = simulated.clock();
    clock.set(10 * HOUR);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    open(&life, id, disk(0, MINUTE)).await;
    life.append(id, &batch(1, 0, 1)).await;
    clock.advance(-HOUR);
    life.append(id, &batch(1, 1, 1)).await;
    let life = life.crash(&simulated).await;
    open(&life, id, disk(0, MINUTE)).await;
    life.append(id, &batch(1, 2, 1)).await;
    let times: Vec<_> = life.read_all(id, 0).await.iter().map(|entry| entry.header.append_time).collect();
    assert_eq!(times, [10 * HOUR; 3], "append times never decrease, across a crash too");
    assert_eq!(segments(&simulated, id), [0]);
    // Retention by the clock as it is now: it keeps what it kept, for an hour longer.
    let oldest = clock.now_minus(2 * HOUR);
    assert_eq!(life.shard.offset_at(id, oldest).await, Ok(0));
    // Nothing in the log is younger than the clock thinks: a seek to now finds what was appended in the future.
    assert_eq!(life.shard.offset_at(id, clock.now_minus(0)).await, Ok(0));
    clock.advance(HOUR + 60_000);
    life.append(id, &batch(1, 3, 1)).await;
    assert_eq!(segments(&simulated, id), [0, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_forward_an_hour_and_back_lets_go_of_nothing_younger_than_the_retention_less_an_hour()
 {
    let simulated = Simulated::with(large(), true);
    let clock = simulated.clock();
    clock.set(10 * HOUR);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    open(&life, id, disk(0, MINUTE)).await;
    for sequence in 0..120 {
        life.append(id, &batch(1, sequence, 1)).await;
        clock.advance(60_000);
    }
    clock.advance(HOUR);
    // Two hours are kept; an hour too many seems to have passed.
    let before = life.shard.offset_at(id, clock.now_minus(2 * HOUR)).await.unwrap();
    assert_eq!(before, 60);
    assert_eq!(soon(life.shard.trim(id, before, None)).await.unwrap(), 60);
    life.append(id, &batch(1, 120, 1)).await;
    clock.advance(-HOUR);
    life.append(id, &batch(1, 121, 1)).await;
    let read = life.read_all(id, 60).await;
    assert_eq!(read.len(), 62);
    assert!(read.is_sorted_by_key(|entry| entry.header.append_time));
}

/// Reads a clock that a test has bent.
trait Earlier {
    fn now_minus(&self, millis: i64) -> i64;
}

impl Earlier for std::sync::Arc<sealstream_broker::log::clock::ManualClock> {
    fn now_minus(&self, millis: i64) -> i64 {
        sealstream_broker::log::clock::Clock::now(&**self) - millis
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_where_the_last_read_ended_is_read_without_waiting_for_the_disk() {
    let simulated = Simulated::with(SegmentedOptions { cache_bytes: 0, ..large() }, false);
    let life = Life::begin(&simulated).await;
    let id = life.ids[0];
    life.append_many(id, 1, 0..300).await;
    let (before, mut next, mut reads) = (simulated.disk.operations(), 0, 0);
    while next < 300 {
        let read = life.read(id, next, 1).await.unwrap();
        assert_eq!(entries(&read.entries).len(), 1);
        assert_eq!(read.next, next + 1);
        (next, reads) = (read.next, reads + 1);
    }
    // A third of them found nothing in memory.
    let waited = simulated.disk.operations() - before;
    assert!((reads / 10..reads * 2 / 3).contains(&waited), "{waited} reads of the disk for {reads}");
    life.close().await;
}
