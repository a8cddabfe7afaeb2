//! Starting and stopping: who owns every task, and in which order they go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sealstream_transport::Listener;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::accept;
use super::admission::{ByteBudget, Places};
use super::arriving::Arrivals;
use super::lane::LanedBudget;
use super::meters::Meters;
use super::options::{BrokerOptions, InvalidOption};
use super::presence::Presence;
use super::view::View;
use super::windows::Windows;
use crate::access::{Access, LoadTokensError};
use crate::groups::{Groups, Lives, LoadGroupsError, Rules};
use crate::log::clock::{Clock, SystemClock};
use crate::log::{LogEngine, OpenShardError};
use crate::topics::{LoadTopicsError, Shards, TopicRules, Topics, housekeeping};

/// 4 compressed batches are checked at a time: with up to 32 MiB of content each, 128 MiB.
const MAX_DECOMPRESSIONS: usize = 4;

/// What every task of the server shares.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: BrokerOptions,
    pub(crate) topics: Arc<Topics>,
    pub(crate) access: Arc<Access>,
    pub(crate) groups: Groups,
    pub(crate) engine: Arc<dyn LogEngine>,
    /// When it began to serve.
    pub(crate) started: Instant,
    /// Random, new at every start.
    pub(crate) incarnation: Uuid,
    /// Streams whose Hello is awaited.
    pub(crate) greetings: Places,
    pub(crate) sessions: Places,
    /// Compressed batches that are being checked.
    pub(crate) decompressions: Places,
    /// Frames that are still arriving.
    pub(crate) arrivals: Arrivals,
    /// Batches that the log is not done with.
    pub(crate) produce_budget: ByteBudget,
    /// Entries that were read and not yet written.
    pub(crate) consume_budget: LanedBudget,
    /// The windows of all sessions that have one.
    pub(crate) windows: Windows,
    /// Who is connected.
    pub(crate) presence: Presence,
    /// What sessions have done.
    pub(crate) meters: Arc<Meters>,
    /// Owns every task of the server.
    pub(crate) tasks: TaskTracker,
    /// Take nothing new; finish what is under way.
    pub(crate) draining: CancellationToken,
    /// Drop everything.
    pub(crate) aborted: CancellationToken,
}

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nobody could be served by the options.
    #[error(transparent)]
    Options(#[from] InvalidOption),
    /// A shard of the log could not be opened.
    #[error(transparent)]
    Log(#[from] OpenShardError),
    /// The topics could not be read.
    #[error(transparent)]
    Topics(#[from] LoadTopicsError),
    /// The tokens could not be read.
    #[error(transparent)]
    Tokens(#[from] LoadTokensError),
    /// The consumer groups could not be read.
    #[error(transparent)]
    Groups(#[from] LoadGroupsError),
}

/// The broker, before it runs.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// Opens the log's shards and every topic, then serves each of `listeners` until [`RunningBroker::shutdown`].
    ///
    /// Nothing is accepted before the log has recovered. Dropped half-way, it leaves no task behind.
    pub async fn start(
        options: BrokerOptions,
        engine: Arc<dyn LogEngine>,
        listeners: Vec<Box<dyn Listener>>,
    ) -> Result<RunningBroker, StartError> {
        Self::start_with_clock(options, engine, listeners, Arc::new(SystemClock)).await
    }

    /// Like [`start`](Self::start), with a clock of its own for retention and the dates of topics.
    pub async fn start_with_clock(
        options: BrokerOptions,
        engine: Arc<dyn LogEngine>,
        listeners: Vec<Box<dyn Listener>>,
        clock: Arc<dyn Clock>,
    ) -> Result<RunningBroker, StartError> {
        options.validate()?;
        let begun = Instant::now();
        let shards = Shards::open(&*engine).await?;
        let metadata = Arc::clone(shards.metadata());
        let access = Arc::new(Access::load(options.rules.clone(), metadata, Arc::clone(&clock))?);
        let topics = Arc::new(Topics::load(shards, TopicRules::of(&options), Arc::clone(&clock)).await?);
        say_recovered(&*engine, begun.elapsed());
        let lives = Lives::default();
        let groups = Groups::load(
            Arc::clone(&topics),
            Rules::of(&options.groups),
            clock,
            lives.clone(),
            options.retention_interval,
        )?;
        let Lives { tasks, draining, aborted } = lives;
        let core = Arc::new(Core {
            topics: Arc::clone(&topics),
            access: Arc::clone(&access),
            groups,
            engine,
            started: Instant::now(),
            greetings: Places::new(options.max_greetings),
            decompressions: Places::new(MAX_DECOMPRESSIONS),
            sessions: Places::new(options.max_sessions),
            arrivals: Arrivals::new(options.arriving_budget, options.produce_patience),
            produce_budget: ByteBudget::new(options.produce_budget),
            consume_budget: LanedBudget::new(options.consume_budget),
            windows: Windows::default(),
            presence: Presence::default(),
            meters: Arc::new(Meters::new()),
            incarnation: Uuid::new_v4(),
            tasks,
            draining,
            aborted,
            options,
        });
        let house = housekeeping::keep_house(topics, core.options.retention_interval, core.draining.clone());
        core.tasks.spawn(house);
        let (tokens, draining) = (Arc::clone(access.tokens()), core.draining.clone());
        core.tasks.spawn(async move { tokens.watch_over_ends(draining).await });
        let addresses = listeners.iter().map(|listener| listener.local_addr()).collect();
        for listener in listeners {
            core.tasks.spawn(accept::accept(Arc::clone(&core), listener));
        }
        Ok(RunningBroker { core, addresses, ended: OnceCell::new() })
    }
}

/// A broker that serves. Stop it by [`shutdown`](Self::shutdown): dropped without, its tasks are aborted and the log is
/// left to recovery.
#[derive(Debug)]
pub struct RunningBroker {
    pub(super) core: Arc<Core>,
    addresses: Vec<SocketAddr>,
    ended: OnceCell<Result<Stopped, Arc<io::Error>>>,
}

/// How a broker stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Whether every session came to its end in time; otherwise the rest were cut off.
    pub in_time: bool,
}

impl RunningBroker {
    /// The addresses listened on, in the order of the listeners given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The broker as whoever watches it sees it.
    pub fn view(&self) -> View {
        View(Arc::clone(&self.core))
    }

    /// Tells this run of the broker from every other: it is in each Welcome.
    pub fn incarnation(&self) -> Uuid {
        self.core.incarnation
    }

    /// Stops in order: accepts nothing more, tells the sessions, lets them finish until `deadline` has passed, cuts the
    /// rest off, and seals the log. Called again, also while an earlier call is under way, it cuts off at once.
    ///
    /// Cancellation safe: dropped half-way, the next call goes on where it stopped. The error is that of sealing the
    /// log: all that was acknowledged is safe, and the next start recovers.
    pub async fn shutdown(&self, deadline: Duration) -> Result<Stopped, Arc<io::Error>> {
        if self.core.draining.is_cancelled() {
            self.abort();
        }
        self.core.draining.cancel();
        self.ended.get_or_init(|| self.stop(deadline)).await.clone()
    }

    /// Cuts every session off now. [`shutdown`](Self::shutdown), whether under way or called next, ends at once.
    pub fn abort(&self) {
        self.core.draining.cancel();
        self.core.aborted.cancel();
    }

    async fn stop(&self, deadline: Duration) -> Result<Stopped, Arc<io::Error>> {
        let Core { tasks, aborted, .. } = &*self.core;
        tracing::info!(?deadline, "shutting down: the sessions may finish");
        tasks.close();
        let in_time = tokio::select! {
            biased;
            () = tasks.wait() => !aborted.is_cancelled(),
            () = aborted.cancelled() => false,
            () = tokio::time::sleep(deadline) => false,
        };
        if !in_time {
            tracing::warn!(tasks = tasks.len(), "cutting off what has not finished");
            aborted.cancel();
            tasks.wait().await;
        }
        self.core.options.quotas.close().await;
        self.core.engine.close().await.map_err(Arc::new)?;
        tracing::info!("the log is sealed");
        Ok(Stopped { in_time })
    }
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Says what a start read of a log that was not closed cleanly, if it was such a one.
fn say_recovered(engine: &dyn LogEngine, took: Duration) {
    if let Some(log) = engine.counters().filter(|log| log.recovered > 0) {
        tracing::info!(
            partitions = log.recovered,
            bytes = log.recovered_bytes,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "the log is recovered"
        );
    }
}
