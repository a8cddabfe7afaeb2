//! Whatever breaks, every record is stored exactly once and in order, or its delivery says what became of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_client::producer::{Delivery, DeliveryReports};
use sealstream_client::{Client, Codec, Record, RetryPolicy};
use sealstream_transport::memory::MemoryNetwork;
use tokio::task::JoinSet;

use crate::model::{Model, Trouble};

const PARTITIONS: u32 = 3;

/// Rounds of each test: enough to try every trouble in every build, and `SEALSTREAM_ROUNDS` for more.
fn rounds() -> u64 {
    std::env::var("SEALSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4)
}

fn seed_of(round: u64) -> u64 {
    let base = std::env::var("SEALSTREAM_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    base.unwrap_or_else(rand::random::<u64>).wrapping_add(round)
}

/// A record sent: where to, what, and what is known of it.
struct Sent {
    partition: u32,
    value: String,
    delivery: Delivery,
}

/// Sends some thousand records through trouble and compares what the deliveries say with what the broker has.
async fn round(trouble: Trouble, seed: u64) -> (usize, u32) {
    println!("seed {seed}");
    let network = MemoryNetwork::new();
    let model = Model::new(PARTITIONS as usize, trouble, seed);
    let mut tasks = JoinSet::new();
    let url = model.serve(&network, &mut tasks).await;
    let mut random = StdRng::seed_from_u64(seed ^ 1);
    let client = Client::builder()
        .url(url)
        .transport(Arc::new(network.clone()))
        .retry(
            RetryPolicy::default()
                .min_backoff(Duration::from_millis(5))
                .max_backoff(Duration::from_millis(100)),
        )
        .build()
        .unwrap();
    let told = Arc::new(Mutex::new(Told::default()));
    let producer = loop {
        // Opening may meet trouble as well, of a kind that the policy does not cure.
        match client
            .producer("t")
            .linger(Duration::from_millis(1))
            .batch_records(random.random_range(1..20))
            .window_bytes(20_000)
            .codec(if random.random_bool(0.5) { Codec::Lz4 } else { Codec::None })
            .open_with_reports()
            .await
        {
            Ok((producer, reports)) => {
                tasks.spawn(follow(reports, told.clone()));
                break producer;
            }
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    let mut sent = Vec::new();
    for index in 0..2_000 {
        let partition = random.random_range(0..PARTITIONS);
        let value = format!("{partition}:{index:06}");
        let delivery = producer.send(Record::new(&value).partition(partition)).await.unwrap();
        sent.push(Sent { partition, value, delivery });
        match random.random_range(0..1000) {
            0..2 if trouble.cut > 0 => network.crash(),
            2..50 => tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await,
            _ => {}
        }
    }
    // A failure is reported by the delivery too.
    let _ = producer.flush().await;
    let failed = check(&model, sent).await;
    model.behave();
    let _ = producer.close().await;
    let told = told.lock().unwrap();
    let Told { records, failed: told_failed, low_watermark, .. } = *told;
    assert_eq!((records, told_failed, low_watermark), (2_000, failed, 2_000), "reports and deliveries agree");
    (failed, model.sessions())
}

/// What the reports say, all in all.
#[derive(Debug, Default)]
struct Told {
    records: usize,
    failed: usize,
    low_watermark: u64,
    ends: BTreeMap<u32, u64>,
}

/// Reads the reports to their end: those of a partition in the order in which its records were sent.
async fn follow(mut reports: DeliveryReports, told: Arc<Mutex<Told>>) {
    while let Some(report) = reports.next().await {
        let mut told = told.lock().unwrap();
        told.records += report.records as usize;
        assert!(report.low_watermark >= told.low_watermark, "the low watermark fell");
        told.low_watermark = report.low_watermark;
        match report.outcome {
            Ok(offsets) => {
                let end = told.ends.entry(report.partition).or_default();
                assert!(offsets.start >= *end, "a report overtook another");
                *end = offsets.end;
            }
            Err(_) => told.failed += report.records as usize,
        }
    }
}

/// Compares what the deliveries say with what the broker has, and returns how many have failed.
async fn check(model: &Model, sent: Vec<Sent>) -> usize {
    let logs: Vec<_> = (0..PARTITIONS as usize).map(|partition| model.log(partition)).collect();
    let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
    for value in logs.iter().flatten() {
        *counts.entry(value).or_default() += 1;
    }
    let mut failed = 0;
    let mut last = [None; PARTITIONS as usize];
    for Sent { partition, value, delivery } in sent {
        let stored = counts.get(value.as_bytes()).copied().unwrap_or(0);
        match delivery.await {
            Ok(metadata) => {
                assert_eq!(metadata.partition, partition);
                assert_eq!(stored, 1, "{value} was acknowledged");
                let offset = usize::try_from(metadata.offset).unwrap();
                assert_eq!(logs[partition as usize][offset], value.as_bytes(), "at the wrong offset");
                let last = &mut last[partition as usize];
                assert!(last.is_none_or(|last| last < offset), "{value} overtook another");
                *last = Some(offset);
            }
            Err(error) => {
                if failed == 0 {
                    println!("the first to fail is {value}: {error}");
                }
                failed += 1;
                let most = usize::from(error.maybe_stored());
                assert!(stored <= most, "{value} failed with {error} and is there {stored} times");
            }
        }
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn cuts_lose_nothing_repeat_nothing_and_reorder_nothing() {
    let trouble = Trouble { cut: 20, cut_in_frame: 20, ..Trouble::default() };
    for index in 0..rounds() {
        let (failed, sessions) = round(trouble, seed_of(index)).await;
        assert_eq!(failed, 0, "nothing may fail that a retry can cure");
        assert!(sessions > 3, "only {sessions} sessions: nothing was cut");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_that_time_cures_lose_nothing_and_reorder_nothing() {
    let trouble = Trouble { busy: 60, storage: 20, go_away: 10, cut: 5, ..Trouble::default() };
    for index in 0..rounds() {
        let (failed, _) = round(trouble, seed_of(index)).await;
        assert_eq!(failed, 0, "nothing may fail that a retry can cure");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_refused_for_good_takes_no_other_with_it_unless_it_is_in_doubt() {
    let calm = Trouble { invalid: 30, busy: 30, ..Trouble::default() };
    // Of one that is in doubt itself all that is in doubt behind it fails too, which may be sixty-three further ones: fewer of them.
    let wild = Trouble { invalid: 8, cut: 20, cut_in_frame: 20, storage: 20, ..calm };
    let mut refused = 0;
    for index in 0..rounds() {
        let trouble = if index % 2 == 0 { calm } else { wild };
        let (failed, _) = round(trouble, seed_of(index)).await;
        assert!(failed < 1_000, "{failed} of 2000 records failed");
        refused += failed;
    }
    // Not in each: one round in some hundreds meets no refusal.
    assert!(refused > 0, "nothing was refused for good");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_forgets_its_producers_costs_nothing_while_nothing_is_in_doubt() {
    // Without cuts nothing is ever in doubt. (With them a broker that forgets within seconds what it promised to know
    // for days could be sent its first batch twice.)
    let trouble = Trouble { amnesia: 10, busy: 10, ..Trouble::default() };
    for index in 0..rounds() {
        let (failed, _) = round(trouble, seed_of(index)).await;
        assert_eq!(failed, 0, "nothing was in doubt");
    }
}
