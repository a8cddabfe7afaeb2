//! The script decides as the algorithm in memory does, to the femtosecond.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use redis::AsyncCommands as _;
use sealstream_transport::gcra::{Limit, Role, Spend, Table};

use super::super::{RedisStore, script};
use super::server::Server;
use super::{TaskTracker, UNHURRIED, key, options};
use crate::quotas::RateStore;
use crate::quotas::lease::{Ledger, Order, Terms};
use crate::quotas::vector_tests::{walk_sequences, walk_transactions};

const CLOCK: &str = "clock";

/// A store whose clock is a key of the server.
async fn clocked(server: &Server, prefix: String, tasks: &TaskTracker) -> RedisStore {
    let options = super::RedisOptions { prefix, ..options(&server.url(), UNHURRIED) };
    let stop = tokio_util::sync::CancellationToken::new();
    RedisStore::start_with(script::Scripts::with_clock_under(CLOCK), options, tasks, stop).await
}

async fn set_clock(store: &RedisStore, time: Duration) {
    let (_, mut connection) = store.link.connection().unwrap();
    let _: () = connection.set(CLOCK, u64::try_from(time.as_micros()).unwrap()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn the_store_in_redis_decides_every_vector_alike() {
    let server = Server::start();
    let (tasks, fresh) = (TaskTracker::new(), AtomicUsize::new(0));
    let clock = clocked(&server, "clock:".into(), &tasks).await;
    let store = async || {
        let prefix = format!("{}:", fresh.fetch_add(1, Ordering::Relaxed));
        Box::new(clocked(&server, prefix, &tasks).await) as Box<dyn RateStore>
    };
    walk_transactions(&store, Duration::ZERO).await;
    let (_, mut connection) = clock.link.connection().unwrap();
    let start: u64 = 1_700_000_000_000_000;
    set_clock(&clock, Duration::from_micros(start)).await;
    let advance = async |time: Duration| {
        let micros = i64::try_from(time.as_micros()).unwrap();
        let _: i64 = connection.clone().incr(CLOCK, micros).await.unwrap();
    };
    walk_sequences(&store, advance, Duration::ZERO).await;
    let _: () = connection.del(CLOCK).await.unwrap();
}

/// Runs as many cases as `SEALSTREAM_ROUNDS` says, from the seed in `SEALSTREAM_SEED`, if there is one. It is printed.
fn runner() -> TestRunner {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("SEALSTREAM_SEED").unwrap_or_else(rand::random);
    println!("SEALSTREAM_SEED={seed}");
    let cases = number("SEALSTREAM_ROUNDS").and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or(64);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config { cases, failure_persistence: None, ..Config::default() }, random)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Transact([(u8, u64); 2]),
    Refund(usize, u64),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let part = || (0..3_u8, 0..40_u64);
    prop_oneof![
        (part(), part()).prop_map(|(a, b)| Step::Transact([a, b])),
        (0..2_usize, 0..40_u64).prop_map(|(key, cost)| Step::Refund(key, cost)),
        (0..3_000_000_u64).prop_map(Step::Advance),
    ]
}

/// Walks the steps through the script and through the table in memory.
async fn compare(store: &RedisStore, table: &Table<super::Key>, round: usize, steps: &[Step]) {
    // No interval is a whole number of nanoseconds. All are longer than the steps take: keys expire by the real time.
    let limits = [
        Limit::new(7, Duration::from_secs(1), 30).unwrap(),
        Limit::new(3, Duration::from_secs(7), 20).unwrap(),
    ];
    // Now and then others hold.
    let others = [
        Limit::new(9, Duration::from_secs(1), 10).unwrap(),
        Limit::new(1, Duration::from_secs(1), 5).unwrap(),
    ];
    let keys = [key(&format!("a{round}")), key(&format!("b{round}"))];
    let mut now = Duration::from_secs(1_700_000_000);
    set_clock(store, now).await;
    for (number, step) in steps.iter().enumerate() {
        let limits = if number % 5 == 4 { &others } else { &limits };
        match *step {
            Step::Advance(micros) => {
                now += Duration::from_micros(micros);
                set_clock(store, now).await;
            }
            Step::Refund(which, cost) => {
                let redis = store.refund(&keys[which], &limits[which], cost).await.unwrap();
                assert_eq!(redis, table.refund(now, &keys[which], &limits[which], cost), "{step:?}");
            }
            Step::Transact(roles) => {
                let parts: Vec<_> = (0..2)
                    .map(|which| {
                        let (role, cost) = roles[which];
                        let role = [Role::Spend, Role::CheckOnly, Role::SpendOnly][usize::from(role)];
                        Spend { key: &keys[which], limit: &limits[which], cost, role }
                    })
                    .collect();
                let redis = store.transact(&parts).await.unwrap().decision;
                assert_eq!(redis, table.transaction(now, &parts), "{step:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn random_transactions_and_refunds_are_decided_as_in_memory() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tasks = TaskTracker::new();
    let store = runtime.block_on(clocked(&server, "random:".into(), &tasks));
    let (table, rounds) = (Table::new(1 << 16), AtomicUsize::new(0));
    let mut runner = runner();
    let steps = prop::collection::vec(step(), 1..40);
    let ran = runner.run(&steps, |steps| {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(compare(&store, &table, round, &steps));
        Ok(())
    });
    ran.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn every_key_expires_once_its_bucket_is_full() {
    let server = Server::start();
    let connected = super::Connected::to(&server.url(), UNHURRIED).await;
    let minute = Limit::new(1, Duration::from_mins(1), 10).unwrap();
    for name in ["a", "b", "c"] {
        connected.spend(&key(name), &minute, 2).await.unwrap();
    }
    let (_, mut connection) = connected.store.link.connection().unwrap();
    let names: Vec<String> = connection.keys("*").await.unwrap();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let millis: i64 = connection.pttl(&name).await.unwrap();
        // The probe's has perhaps gone by now.
        assert!(millis != -1 && millis <= 120_001, "{name} expires in {millis} ms");
    }
    connected.store.refund(&key("a"), &minute, 2).await.unwrap();
    let known: bool = connection.exists("sealstream:test:requests:identity:a").await.unwrap();
    assert!(!known, "a full bucket is forgotten");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_clock_that_was_set_back_an_hour_empties_a_bucket_and_no_more() {
    let server = Server::start();
    let store = clocked(&server, "back:".into(), &TaskTracker::new()).await;
    let (now, key) = (Duration::from_secs(1_700_000_000), key("a"));
    let limit = Limit::new(1, Duration::from_secs(1), 10).unwrap();
    let parts = [Spend { key: &key, limit: &limit, cost: 5, role: Role::Spend }];
    set_clock(&store, now).await;
    assert!(store.transact(&parts).await.unwrap().decision.allowed);
    let earlier = now.saturating_sub(super::HOUR);
    set_clock(&store, earlier).await;
    let denied = store.transact(&parts).await.unwrap().decision;
    assert!(!denied.allowed);
    assert_eq!(denied.retry_in, Duration::from_secs(5));
    set_clock(&store, earlier + denied.retry_in).await;
    assert!(store.transact(&parts).await.unwrap().decision.allowed);
}

/// Walks random orders of three brokers through the script and through the ledger of the tests in memory.
async fn compare_leases(stores: &[RedisStore], round: usize, steps: &[(usize, u64, u64, u64)]) {
    let limit = Limit::new(7, Duration::from_secs(1), 100).unwrap();
    let bucket = key(&format!("lease {round}"));
    let mut ledger = Ledger::default();
    let mut now = Duration::from_secs(1_700_000_000);
    for &(broker, held, units, advance) in steps {
        now += Duration::from_millis(advance);
        set_clock(&stores[0], now).await;
        let terms = Terms::of(&limit, Order { held, units, least: units / 4, back: advance % 5 });
        let redis = stores[broker].lease(&bucket, &terms).await.unwrap();
        assert_eq!(redis, ledger.lease(&format!("{broker}"), &terms, now), "{terms:?}");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn random_orders_of_leases_are_granted_as_the_rules_have_it() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tasks = TaskTracker::new();
    let stores: Vec<_> =
        (0..3).map(|_| runtime.block_on(clocked(&server, "leases:".into(), &tasks))).collect();
    let rounds = AtomicUsize::new(0);
    let mut runner = runner();
    let advance = prop_oneof![0..3_000_u64, 0..80_000_u64];
    let steps = prop::collection::vec((0..3_usize, 0..40_u64, 0..60_u64, advance), 1..40);
    let ran = runner.run(&steps, |steps| {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(compare_leases(&stores, round, &steps));
        Ok(())
    });
    ran.unwrap();
}
