//! The broker as whoever watches it sees it: everything is read when it is asked for, and nothing is changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use sealstream_protocol::message::admin::{BrokerStatus, GroupDescription, Level, TlsStatus};
use sealstream_protocol::message::hello::Secret;
use sealstream_transport::Identity;
use tokio::time::{Instant, timeout_at};

use super::admin::status;
use super::broker::Core;
use super::meters::{Meters, TopicMeter};
use super::presence::Presence;
use super::rights::Rights;
use super::session::{anonymous_allowed, identify};
use crate::access::{ALL_TOPICS, Action, Pattern};
use crate::log::{LogCounters, Partition};
use crate::topics::Topic;

/// How many groups are asked at once: each is a task that answers in its turn.
const ASKED_AT_ONCE: usize = 16;

/// A running broker, seen from outside. Cheap to clone; it keeps no task of the broker alive.
#[derive(Clone, Debug)]
pub struct View(pub(super) Arc<Core>);

/// A group as it stands.
#[derive(Clone, Debug)]
pub(crate) struct GroupShown {
    pub(crate) name: String,
    pub(crate) members: u32,
    pub(crate) rebalances: u64,
    /// `None`: it did not answer in time.
    pub(crate) described: Option<GroupDescription>,
}

/// What is bounded in bytes over the whole broker, by name: what is held, and the bound.
pub(crate) fn budgets(status: &BrokerStatus) -> Vec<(&'static str, Level)> {
    let arriving = status.arriving.map(|level| ("arriving", level));
    let always = [("produce", status.produce), ("consume", status.consume), ("tail_cache", status.cache)];
    arriving.into_iter().chain(always).collect()
}

/// Why somebody may not see what the monitor shows.
#[derive(Debug)]
pub(crate) enum NotAViewer {
    /// It is not known who it is.
    Nobody(String),
    /// It is known, and may not.
    Forbidden(String),
}

impl View {
    /// What `sealstream status` shows, of all topics. Blocks for milliseconds where there are many partitions.
    pub(crate) fn status(&self) -> BrokerStatus {
        status::read(&self.0, |_| true)
    }

    pub(crate) fn name(&self) -> (&str, &str) {
        (&self.0.options.name, &self.0.options.cluster)
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    pub(crate) fn log(&self) -> Option<LogCounters> {
        self.0.engine.counters()
    }

    pub(crate) fn segments(&self) -> u64 {
        self.0.topics.shards().all().map(|shard| shard.segments()).sum()
    }

    pub(crate) fn tls(&self) -> Option<TlsStatus> {
        self.0.options.tls.as_ref().map(|tls| tls.status())
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.0.meters
    }

    pub(crate) fn presence(&self) -> &Presence {
        &self.0.presence
    }

    /// Whether somebody who came with `token` or `certificate` to `local`, an address that is not loopback, may see what the
    /// monitor shows: one of `viewers`, or who may administer the broker.
    pub(crate) fn may_watch(
        &self,
        token: Option<&Secret>,
        certificate: Option<&Identity>,
        local: SocketAddr,
        remote: SocketAddr,
        viewers: &[Pattern],
    ) -> Result<(), NotAViewer> {
        let anonymous = anonymous_allowed(self.0.options.anonymous, local);
        let who = identify(&self.0.access, token, certificate, anonymous, remote)
            .map_err(|fault| NotAViewer::Nobody(fault.text))?;
        if viewers.iter().any(|pattern| pattern.matches(&who.identity)) {
            return Ok(());
        }
        let rights = Rights::new(Arc::clone(&self.0.access), who.identity, remote);
        rights.demand(Action::Admin, ALL_TOPICS).map_err(|fault| {
            NotAViewer::Forbidden(format!("{}; or name the identity in monitor.viewers", fault.text))
        })
    }

    /// Every topic with its partitions as they stand; one that is not open has none.
    pub(crate) fn topics(&self) -> Vec<(Arc<Topic>, Vec<Partition>)> {
        let shards = self.0.topics.shards();
        let of = |topic: &Arc<Topic>| {
            let partitions = topic.partition_ids().filter_map(|id| shards.of(&id).partition(id)).collect();
            (Arc::clone(topic), partitions)
        };
        self.0.topics.snapshot().topics().map(of).collect()
    }

    /// The topics whose numbers are counted by themselves, by name, and what all others have together.
    pub(crate) fn topic_meters(&self) -> (Vec<(String, Arc<TopicMeter>)>, Arc<TopicMeter>) {
        self.0.meters.topics(&self.0.topics.snapshot())
    }

    /// The first `most` groups by name; those that do not answer within `patience` are there without a description.
    pub(crate) async fn groups(&self, most: usize, patience: Duration) -> Vec<GroupShown> {
        let deadline = Instant::now() + patience;
        let asked = self.0.groups.rebalances(most).into_iter().map(|(summary, rebalances)| async move {
            let described = timeout_at(deadline, self.0.groups.describe(&summary.name)).await;
            GroupShown {
                described: described.ok().and_then(Result::ok),
                name: summary.name,
                members: summary.members,
                rebalances,
            }
        });
        stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
    }
}
