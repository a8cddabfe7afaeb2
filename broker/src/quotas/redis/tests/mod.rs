//! The store against a real Redis, which each test starts on a free port.

mod leases;
mod loss;
mod sealed;
mod server;
mod sharing;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use sealstream_transport::gcra::{Decision, Limit, Role, Spend};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::server::Server;
use super::{RedisFiles, RedisOptions, RedisStore, RedisUrl};
use crate::quotas::{
    Key, OnLoss, Quotas, RateStore, Rates, Resource, Rules, SharedOptions, Spender, StoreAway,
};

/// Nothing in a test takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where an answer must come however loaded the machine is.
const UNHURRIED: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_hours(1);

/// A store with its tasks, which end with it.
struct Connected {
    store: RedisStore,
    stop: CancellationToken,
}

impl Connected {
    async fn to(url: &str, deadline: Duration) -> Self {
        Self::with(options(url, deadline)).await
    }

    async fn with(options: RedisOptions) -> Self {
        let stop = CancellationToken::new();
        let store = RedisStore::start(options, &TaskTracker::new(), stop.clone()).await;
        Self { store, stop }
    }

    async fn spend(&self, key: &Key, limit: &Limit, cost: u64) -> Result<Decision, StoreAway> {
        let parts = [Spend { key, limit, cost, role: Role::Spend }];
        self.store.transact(&parts).await.map(|verdict| verdict.decision)
    }

    async fn remaining(&self, key: &Key, limit: &Limit) -> u64 {
        let parts = [Spend { key, limit, cost: 0, role: Role::CheckOnly }];
        self.store.transact(&parts).await.unwrap().decision.remaining
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn options(url: &str, deadline: Duration) -> RedisOptions {
    let url: RedisUrl = url.parse().unwrap();
    RedisOptions {
        url,
        files: RedisFiles::default(),
        prefix: "sealstream:test:".into(),
        deadline,
        policy: "of the test",
    }
}

fn key(name: &str) -> Key {
    Key { resource: Resource::Requests, spender: Spender::Identity(name.into()) }
}

/// A limit that gives nothing back while a test runs.
fn still(burst: u64) -> Limit {
    Limit::new(1, HOUR, burst).unwrap()
}

/// The quotas of one broker of several.
async fn broker(
    server: &Server,
    rates: Rates,
    on_loss: OnLoss,
    lease: u64,
    deadline: Duration,
) -> Arc<Quotas> {
    let rules = Rules { defaults: rates, ..Rules::default() };
    let redis = options(&server.url(), deadline);
    Arc::new(Quotas::shared(rules, SharedOptions { redis, on_loss, lease }).await)
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
