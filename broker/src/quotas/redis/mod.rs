//! Buckets in Redis, shared by many brokers: one atomic script a transaction, by Redis' own clock.
//!
//! All transactions go over one connection, pipelined. One that is not answered within the deadline is not repeated, for
//! it may have been carried out; it takes the connection with it.
//!
//! # States
//!
//! ```text
//!            connected, and a spend answered
//!  ┌──── away ────────────────────────────────► there ────┐
//!  │      ▲  no answer within the deadline, connection    │
//!  └──────┴───────── lost, an error for an answer ────────┘
//! ```
//!
//! Owner: [`RedisStore`], by one *keeper* task that connects, drives the connection, and probes it while nobody else uses it.
//! Whoever notices that Redis is away says so to all in the same moment; while it is away nobody waits. Each change is
//! logged once.
//!
//! # Bounds
//!
//! One connection; a transaction waits for `deadline`, connecting for [`CONNECT_DEADLINE`], between two attempts
//! [`RETRY_MIN`] to [`RETRY_MAX`]. Every key expires once its bucket is full. Needs Redis 6 or later, not a cluster: a
//! transaction's keys lie on one server.

mod endpoint;
mod script;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, ScriptInvocation};
use sealstream_transport::BoxFuture;
use sealstream_transport::gcra::{Decision, Limit, Role, Spend};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::endpoint::{RedisFiles, RedisUrl};
use self::script::{Reply, Scripts};
use super::key::{Key, Resource, Spender};
use super::lease::{self, Terms};
use super::store::{RateStore, StoreAway, Verdict};

/// 75 ms without an answer is no answer: with 25 ms for whatever else has to happen, the policy for a lost Redis is entered within
/// 100 ms.
pub const DEFAULT_DEADLINE: Duration = Duration::from_millis(75);

/// 2 s to connect, which is names, three round trips and reading files.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// 20 ms after a loss for the first attempt, so that a connection that was cut alone is back at once.
pub const RETRY_MIN: Duration = Duration::from_millis(20);

/// 500 ms between two attempts: how long Redis may be back without being noticed.
pub const RETRY_MAX: Duration = Duration::from_millis(500);

/// 1 s between two probes: so long may Redis stand still unnoticed, while nobody asks it for anything.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// 1,000 a second: what probes spend from is always full.
const PROBE_LIMIT: Limit = match Limit::new(1_000, Duration::from_secs(1), 1_000) {
    Ok(limit) => limit,
    Err(_) => panic!("it can be kept"),
};

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where it is.
    pub url: RedisUrl,
    /// What a connection needs.
    pub files: RedisFiles,
    /// Stands before every key: brokers share quotas that have it in common.
    pub prefix: String,
    /// How long an answer is waited for.
    pub deadline: Duration,
    /// What holds while it is away, for the log.
    pub policy: &'static str,
}

impl RedisOptions {
    /// Whether the files can be used. Blocks.
    pub fn check(&self) -> Result<(), String> {
        tls::load(&self.url, &self.files).map(drop)
    }
}

/// What was counted of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisCounts {
    /// Whether it is away now.
    pub away: bool,
    /// How often it went away.
    pub losses: u64,
    /// How often it came back, the first time included.
    pub recoveries: u64,
    /// Transactions that were sent and not answered. They were not repeated.
    pub unanswered: u64,
}

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisStore {
    link: Arc<Link>,
}

/// What the store and its keeper share.
struct Link {
    options: RedisOptions,
    scripts: Scripts,
    /// This broker, as leases are kept under.
    broker: String,
    /// The connection, and which it is: none while Redis is away.
    current: RwLock<Option<(u64, MultiplexedConnection)>>,
    /// The connection was given up.
    lost: Notify,
    /// Redis is there.
    found: Notify,
    losses: AtomicU64,
    recoveries: AtomicU64,
    unanswered: AtomicU64,
}

impl RedisStore {
    /// Connects, and goes on trying for as long as `stop` is not cancelled, in a task of `tasks`. Returns once connected, or
    /// after the first attempt has failed: then Redis is away for the time being.
    pub async fn start(options: RedisOptions, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        Self::start_with(Scripts::default(), options, tasks, stop).await
    }

    async fn start_with(
        scripts: Scripts,
        options: RedisOptions,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let link = Arc::new(Link {
            options,
            scripts,
            broker: Uuid::new_v4().to_string(),
            current: RwLock::new(None),
            lost: Notify::new(),
            found: Notify::new(),
            losses: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        });
        let keeper = Arc::clone(&link);
        let settled = link.found.notified();
        tasks.spawn(async move { stop.run_until_cancelled(keep(&keeper)).await });
        settled.await;
        Self { link }
    }

    /// Orders units of a bucket for this broker, and tells what it holds and gives back. The bucket is one of leases alone.
    pub(super) async fn lease(&self, key: &Key, terms: &Terms) -> Result<lease::Reply, StoreAway> {
        let Link { scripts, options, broker, .. } = &*self.link;
        let invocation = script::lease(&scripts.lease, &options.prefix, key, broker, terms);
        self.link.run(invocation, script::leased).await
    }

    /// What was counted so far.
    pub fn counts(&self) -> RedisCounts {
        let Link { losses, recoveries, unanswered, .. } = &*self.link;
        RedisCounts {
            away: self.is_away(),
            losses: losses.load(Relaxed),
            recoveries: recoveries.load(Relaxed),
            unanswered: unanswered.load(Relaxed),
        }
    }
}

impl RateStore for RedisStore {
    fn transact<'a>(&'a self, parts: &'a [Spend<'a, Key>]) -> BoxFuture<'a, Result<Verdict, StoreAway>> {
        let invocation = script::transaction(&self.link.scripts.spend, &self.link.options.prefix, parts);
        let read = |numbers: &[i64]| Reply::read(numbers, parts.len());
        Box::pin(async move { Ok(self.link.run(invocation, read).await?.verdict(parts)) })
    }

    fn refund<'a>(
        &'a self,
        key: &'a Key,
        limit: &'a Limit,
        cost: u64,
    ) -> BoxFuture<'a, Result<Decision, StoreAway>> {
        let invocation =
            script::refund(&self.link.scripts.spend, &self.link.options.prefix, key, limit, cost);
        let read = |numbers: &[i64]| Reply::read(numbers, 1);
        Box::pin(async move { Ok(self.link.run(invocation, read).await?.refunded(limit, cost)) })
    }

    fn is_away(&self) -> bool {
        self.link.connection().is_none()
    }
}

impl Link {
    fn connection(&self) -> Option<(u64, MultiplexedConnection)> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs the script once. Whatever is no answer takes the connection with it.
    async fn run<T>(
        &self,
        invocation: ScriptInvocation<'_>,
        read: impl FnOnce(&[i64]) -> Option<T>,
    ) -> Result<T, StoreAway> {
        let (number, mut connection) = self.connection().ok_or(StoreAway)?;
        let why = match ask(&mut connection, &invocation, read, self.options.deadline).await {
            Ok(reply) => return Ok(reply),
            Err(why) => why,
        };
        self.unanswered.fetch_add(1, Relaxed);
        self.lose(number, &why);
        Err(StoreAway)
    }

    /// Gives the connection of this number up, unless somebody has already.
    fn lose(&self, number: u64, why: &str) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(held, _)| *held != number) {
            return;
        }
        *current = None;
        drop(current);
        self.losses.fetch_add(1, Relaxed);
        let RedisOptions { url, policy, .. } = &self.options;
        tracing::warn!(%url, policy, reason = why, "Redis is away: quotas go by their policy until it is back");
        self.lost.notify_one();
    }

    fn gain(&self, number: u64, connection: MultiplexedConnection) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some((number, connection));
        self.recoveries.fetch_add(1, Relaxed);
        tracing::info!(url = %self.options.url, "Redis is there: quotas are counted in it");
    }
}

/// Connects, drives the connection until it is lost, and again.
async fn keep(link: &Link) {
    let mut number = 0;
    let mut pause = RETRY_MIN;
    let mut told = false;
    loop {
        number += 1;
        match timeout(CONNECT_DEADLINE, connect(link)).await {
            Ok(Ok((mut connection, mut driver))) => {
                let probed = tokio::select! {
                    () = &mut driver => Err("the connection was closed".to_owned()),
                    probed = probe(link, &mut connection) => probed,
                };
                match probed {
                    Ok(()) => {
                        (pause, told) = (RETRY_MIN, true);
                        link.gain(number, connection.clone());
                        link.found.notify_waiters();
                        hold(link, number, connection, driver).await;
                    }
                    Err(why) => still_away(link, &mut told, &why),
                }
            }
            Ok(Err(why)) => still_away(link, &mut told, &why),
            Err(_) => still_away(link, &mut told, "no connection within 2 s"),
        }
        link.found.notify_waiters();
        // Up to half as long again: brokers that lost Redis together do not come back together.
        sleep(pause.mul_f32(1.0 + rand::random::<f32>() / 2.0)).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// An attempt failed: the first of a broker that has never had Redis is told; later ones were by the loss.
fn still_away(link: &Link, told: &mut bool, why: &str) {
    let RedisOptions { url, policy, .. } = &link.options;
    if std::mem::replace(told, true) {
        tracing::debug!(%url, reason = why, "Redis is still away");
    } else {
        link.losses.fetch_add(1, Relaxed);
        tracing::warn!(%url, policy, reason = why, "Redis is away: quotas go by their policy until it is there");
    }
}

/// Drives a connection until it is given up, and probes it.
async fn hold(link: &Link, number: u64, mut connection: MultiplexedConnection, driver: Driver) {
    let probes = async {
        loop {
            sleep(PROBE_INTERVAL).await;
            if let Err(why) = probe(link, &mut connection).await {
                return why;
            }
        }
    };
    tokio::select! {
        () = driver => link.lose(number, "the connection was closed"),
        why = probes => link.lose(number, &why),
        () = link.lost.notified() => return,
    }
    // What `lose` has left behind, unless somebody else was first.
    let _ = timeout(Duration::ZERO, link.lost.notified()).await;
}

/// The other half of a connection: moves its bytes for as long as it is polled.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn connect(link: &Link) -> Result<(MultiplexedConnection, Driver), String> {
    let RedisOptions { url, files, .. } = link.options.clone();
    let (target, loading) = (url.clone(), files);
    let loaded = tokio::task::spawn_blocking(move || tls::load(&target, &loading)).await;
    let loaded = loaded.map_err(|error| error.to_string())??;
    let stream = tls::dial(&url, loaded.config).await?;
    let mut info = RedisConnectionInfo::default().set_db(url.database.into()).set_skip_set_lib_name();
    if let Some(user) = &url.user {
        info = info.set_username(user);
    }
    if let Some(password) = &loaded.password {
        info = info.set_password(password);
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
    let (connection, driver) = opened.map_err(|error| error.to_string())?;
    Ok((connection, Box::pin(driver)))
}

/// Spends something that nobody misses: a server that answers but cannot write is of no use.
async fn probe(link: &Link, connection: &mut MultiplexedConnection) -> Result<(), String> {
    let key = Key { resource: Resource::Requests, spender: Spender::Identity("".into()) };
    let parts = [Spend { key: &key, limit: &PROBE_LIMIT, cost: 1, role: Role::Spend }];
    let invocation = script::transaction(&link.scripts.spend, &link.options.prefix, &parts);
    let read = |numbers: &[i64]| Reply::read(numbers, 1);
    ask(connection, &invocation, read, link.options.deadline).await.map(drop)
}

async fn ask<T>(
    connection: &mut MultiplexedConnection,
    invocation: &ScriptInvocation<'_>,
    read: impl FnOnce(&[i64]) -> Option<T>,
    deadline: Duration,
) -> Result<T, String> {
    // By its hash; a server that does not know it says so, has done nothing, and is sent the whole.
    match timeout(deadline, invocation.invoke_async::<Vec<i64>>(connection)).await {
        Ok(Ok(numbers)) => read(&numbers).ok_or_else(|| "an answer without sense".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {deadline:?}")),
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("url", &self.options.url).finish_non_exhaustive()
    }
}
