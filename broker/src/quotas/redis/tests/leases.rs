//! Bytes that are spent from leases.

use std::sync::Arc;
use std::time::Duration;

use sealstream_transport::gcra::Limit;
use tokio::task::JoinSet;

use super::server::Server;
use super::{OnLoss, Rates, Resource, UNHURRIED, broker};
use crate::quotas::{Allowance, Quotas};

const LEASE: u64 = 64 << 10;
const BURST: u64 = 1 << 20;

/// A limit that gives nothing back while a test runs; an hour for a byte would be more than a century for all of them.
fn still(burst: u64) -> Limit {
    Limit::new(1, Duration::from_secs(100), burst).unwrap()
}

fn session(quotas: &Arc<Quotas>) -> Allowance {
    quotas.allowance(&"dns:client".into(), [127, 0, 0, 1].into())
}

/// Produces batches of this size until the quota is said to be spent for long: how many bytes.
async fn produce_all(mut session: Allowance, size: u64) -> u64 {
    let mut produced = 0;
    loop {
        match session.produce(size).await {
            Ok(_) => produced += size,
            Err(denied) if denied.retry_after > Duration::from_secs(1) => return produced,
            Err(denied) => tokio::time::sleep(denied.retry_after).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn bytes_of_four_brokers_are_never_over_the_quota_and_under_it_by_a_lease_each_at_most() {
    let server = Server::start();
    let rates = Rates { produced: Some(still(BURST)), ..Rates::default() };
    let mut sessions = JoinSet::new();
    let mut brokers = Vec::new();
    for _ in 0..4 {
        let quotas = broker(&server, rates, OnLoss::Closed, LEASE, UNHURRIED).await;
        for size in [100, 1_000, 7_777, 16 << 10] {
            sessions.spawn(produce_all(session(&quotas), size));
        }
        brokers.push(quotas);
    }
    let produced: u64 = sessions.join_all().await.into_iter().sum();
    assert!(produced <= BURST, "{produced} of {BURST}");
    assert!(produced + 4 * LEASE >= BURST, "{produced} of {BURST}");
    for quotas in brokers {
        assert_eq!(quotas.counts().produced.by_policy, 0);
        quotas.close().await;
    }
    // What the brokers had left over, they have given back.
    let last = broker(&server, rates, OnLoss::Closed, LEASE, UNHURRIED).await;
    let left = produce_all(session(&last), 1).await;
    assert_eq!(produced + left, BURST);
    last.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_batch_that_is_larger_than_a_lease_passes_if_the_quota_covers_it() {
    let server = Server::start();
    let rates = Rates { produced: Some(still(BURST)), ..Rates::default() };
    let quotas = broker(&server, rates, OnLoss::Closed, LEASE, UNHURRIED).await;
    assert_eq!(produce_all(session(&quotas), BURST / 2).await, BURST);
    quotas.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn the_first_batch_of_a_session_finds_its_lease_there() {
    let server = Server::start();
    let rates = Rates { produced: Some(still(BURST)), consumed: Some(still(BURST)), ..Rates::default() };
    let quotas = broker(&server, rates, OnLoss::Closed, LEASE, UNHURRIED).await;
    let mut session = session(&quotas);
    session.warm(Resource::Produced).await;
    session.warm(Resource::Consumed).await;
    session.produce(LEASE).await.unwrap();
    session.consume(LEASE).unwrap();
    quotas.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn no_batch_waits_for_redis() {
    let server = Server::start();
    let rates = Rates { produced: Some(still(BURST)), ..Rates::default() };
    let quotas = broker(&server, rates, OnLoss::Closed, LEASE, UNHURRIED).await;
    let mut session = session(&quotas);
    session.warm(Resource::Produced).await;
    server.freeze();
    let mut passed = 0;
    // Polled once: what would wait would not be done.
    while let Some(Ok(_)) = futures_util::FutureExt::now_or_never(session.produce(1_000)) {
        passed += 1_000;
    }
    assert!(passed > LEASE - 1_000, "{passed}");
    let refused = futures_util::FutureExt::now_or_never(session.produce(1_000));
    assert!(matches!(refused, Some(Err(_))), "{refused:?}");
    server.thaw();
    quotas.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_batch_whose_request_is_refused_costs_no_bytes() {
    let server = Server::start();
    let rates = Rates {
        produced: Some(still(BURST)),
        requests: Some(Limit::new(1, super::HOUR, 1).unwrap()),
        consumed: None,
    };
    let quotas = broker(&server, rates, OnLoss::Closed, LEASE, UNHURRIED).await;
    let mut session = session(&quotas);
    session.warm(Resource::Produced).await;
    session.produce(1_000).await.unwrap();
    for _ in 0..200 {
        let denied = session.produce(1_000).await.unwrap_err();
        assert!(denied.text.contains("requests"), "{denied:?}");
    }
    assert_eq!(quotas.counts().produced.admitted, 1_000);
    quotas.close().await;
    let produced_only = Rates { requests: None, ..rates };
    let last = broker(&server, produced_only, OnLoss::Closed, LEASE, UNHURRIED).await;
    assert_eq!(produce_all(super::leases::session(&last), 1_000).await, BURST / 1_000 * 1_000 - 1_000);
    last.close().await;
}
