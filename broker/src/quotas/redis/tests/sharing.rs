//! Many brokers, one quota of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sealstream_transport::gcra::{Role, Spend};
use tokio::task::JoinSet;

use super::server::Server;
use super::{Connected, OnLoss, Rates, UNHURRIED, broker, key, still};
use crate::quotas::RateStore;

const QUOTA: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn four_brokers_and_64_clients_admit_the_quota_of_requests_exactly() {
    let server = Server::start();
    let rates = Rates { requests: Some(still(QUOTA)), ..Rates::default() };
    let admitted = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    let mut brokers = Vec::new();
    for _ in 0..4 {
        let quotas = broker(&server, rates, OnLoss::Closed, 1, UNHURRIED).await;
        for _ in 0..16 {
            let admitted = Arc::clone(&admitted);
            let mut allowance = quotas.allowance(&"dns:client".into(), [127, 0, 0, 1].into());
            clients.spawn(async move {
                for _ in 0..QUOTA / 16 {
                    match allowance.request().await {
                        Ok(()) => drop(admitted.fetch_add(1, Ordering::Relaxed)),
                        Err(denied) => assert!(denied.retry_after > Duration::from_mins(1), "{denied:?}"),
                    }
                }
            });
        }
        brokers.push(quotas);
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(admitted.load(Ordering::Relaxed), QUOTA);
    let counted: u64 = brokers.iter().map(|quotas| quotas.counts().requests.admitted).sum();
    assert_eq!(counted, QUOTA);
    for quotas in brokers {
        let counts = quotas.counts();
        assert_eq!((counts.requests.by_policy, counts.redis.unwrap().losses), (0, 0));
        quotas.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn of_a_transaction_over_two_buckets_both_are_spent_or_none() {
    let server = Server::start();
    let (wide, narrow) = (still(1_000), still(100));
    let stores =
        [Connected::to(&server.url(), UNHURRIED).await, Connected::to(&server.url(), UNHURRIED).await];
    let mut spending = JoinSet::new();
    for store in stores.iter().cycle().take(16) {
        let store = store.store.clone();
        spending.spawn(async move {
            let (wide_key, narrow_key) = (key("wide"), key("narrow"));
            let parts = [
                Spend { key: &wide_key, limit: &wide, cost: 1, role: Role::Spend },
                Spend { key: &narrow_key, limit: &narrow, cost: 1, role: Role::Spend },
            ];
            let mut denials = Vec::new();
            for _ in 0..20 {
                let verdict = store.transact(&parts).await.unwrap();
                denials.extend((!verdict.decision.allowed).then_some(verdict.part));
            }
            denials
        });
    }
    let denials: Vec<_> = spending.join_all().await.into_iter().flatten().collect();
    assert_eq!(denials.len(), 16 * 20 - 100);
    assert!(denials.iter().all(|part| *part == 1), "the narrow one decides");
    assert_eq!(stores[0].remaining(&key("narrow"), &narrow).await, 0);
    assert_eq!(stores[0].remaining(&key("wide"), &wide).await, 900);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_has_forgotten_the_script_is_sent_it_again() {
    let server = Server::start();
    let store = Connected::to(&server.url(), UNHURRIED).await;
    let (_, mut connection) = store.store.link.connection().unwrap();
    let flush = redis::cmd("SCRIPT").arg("FLUSH").to_owned();
    flush.query_async::<()>(&mut connection).await.unwrap();
    assert!(store.spend(&key("a"), &still(3), 1).await.unwrap().allowed);
    assert_eq!(store.remaining(&key("a"), &still(3)).await, 2, "once, not twice");
    assert_eq!(store.store.counts().losses, 0);
}
