//! How a group's consumer is opened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::JoinGroup;
use sealstream_protocol::name::check_name;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{Instrument as _, debug_span};
use uuid::Uuid;

use super::GroupConsumer;
use super::book::{Book, Commits, MAX_HELD, Rules};
use super::commits::MAX_COMMITS;
use super::driver::Driver;
use super::error::JoinError;
use super::handle::GroupHandle;
use super::link;
use super::membership::Membership;
use super::shared::Shared;
use crate::backoff::{FOR_EVER, Retries};
use crate::bounds::{at_least, no_shorter};
use crate::connection::{Connections, Place};
use crate::consumer::shared::{OnFailure, Shared as Readers};
use crate::consumer::{DEFAULT_BUFFER_BYTES, OnDiverged, OnOutOfRange};

/// How often what is finished is committed by itself: a consumer that is killed repeats what it did in about so long,
/// and a thousand consumers make a thousand commits a second.
pub const DEFAULT_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest interval: each commit is a write to the broker's disk.
pub const MIN_COMMIT_INTERVAL: Duration = Duration::from_millis(10);

/// Topics that one member reads at most: their names, of 255 bytes each, fit the largest frame that can say them.
pub const MAX_TOPICS: usize = 1_000;

/// Opens a [`GroupConsumer`].
///
/// ```no_run
/// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sealstream_client::Position;
///
/// let consumer = client
///     .group_consumer("billing")
///     .topics(["orders", "refunds"])
///     .start(Position::End)
///     .commit_every(Duration::from_millis(200))
///     .open()
///     .await?;
/// # drop(consumer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct GroupConsumerBuilder {
    connections: Arc<Connections>,
    topics: BTreeSet<String>,
    rules: Rules,
    interval: Duration,
    member: Option<Uuid>,
    buffer_bytes: usize,
}

impl GroupConsumerBuilder {
    pub(crate) fn new(connections: Arc<Connections>, group: String) -> Self {
        let rules = Rules {
            group,
            start: Position::Beginning,
            until_end: false,
            on_out_of_range: OnOutOfRange::Error,
            on_diverged: OnDiverged::Error,
            commits: Commits::Automatic,
        };
        Self {
            connections,
            topics: BTreeSet::new(),
            rules,
            interval: DEFAULT_COMMIT_INTERVAL,
            member: None,
            buffer_bytes: DEFAULT_BUFFER_BYTES,
        }
    }

    /// Reads this topic, and others that were given.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.insert(topic.into());
        self
    }

    /// Reads these topics, and others that were given: at least one in all, and at most [`MAX_TOPICS`].
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Where partitions start of which the group has never committed an offset; by default at their beginning. Where
    /// that was is committed with the first commit, so that it is found once for a partition, and not with each member.
    pub fn start(mut self, position: Position) -> Self {
        self.rules.start = position;
        self
    }

    /// How often what the program is done with is committed; [`DEFAULT_COMMIT_INTERVAL`] by default, and at least
    /// [`MIN_COMMIT_INTERVAL`]. It is committed as well when a partition moves to another member, and at the end.
    pub fn commit_every(mut self, interval: Duration) -> Self {
        self.interval = interval.min(FOR_EVER);
        self.rules.commits = Commits::Automatic;
        self
    }

    /// Commits nothing by itself: see [`GroupConsumer::commit`].
    pub fn commit_manually(mut self) -> Self {
        self.rules.commits = Commits::Manual;
        self
    }

    /// What to do when a partition does not hold the offset that comes next: most often because retention deleted what
    /// the group had not read yet. By default that partition stands still and the error is returned.
    pub fn on_out_of_range(mut self, choice: OnOutOfRange) -> Self {
        self.rules.on_out_of_range = choice;
        self
    }

    /// What to do when a partition's log was cut below what the group has read. By default that partition stands still
    /// and the error is returned.
    pub fn on_diverged(mut self, choice: OnDiverged) -> Self {
        self.rules.on_diverged = choice;
        self
    }

    /// Stops once every partition that this member has was read to the end that it had when it was first subscribed to.
    /// A member that has none waits for some.
    pub fn until_end(mut self) -> Self {
        self.rules.until_end = true;
        self
    }

    /// Joins as this member, so that a process that is started again within the group's grace takes up its partitions and
    /// none moves. No two processes may use the same. By default each consumer is a member of its own.
    pub fn member(mut self, id: Uuid) -> Self {
        self.member = Some(id);
        self
    }

    /// How many bytes are read ahead of the program, at least 1; one frame always is. [`DEFAULT_BUFFER_BYTES`] by default.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// Joins the group, trying again within the client's retry policy. What no retry can cure, such as a missing
    /// permission, is returned at once. A topic that does not exist is no error, for it may come to exist: see
    /// [`GroupHandle::missing_topics`]. Partitions come later, as events and by their records.
    ///
    /// If it is dropped, the member may have joined: the group gives its partitions to others after the grace.
    pub async fn open(self) -> Result<GroupConsumer, JoinError> {
        no_shorter("commit_every", self.interval, MIN_COMMIT_INTERVAL, "")?;
        at_least("buffer_bytes", self.buffer_bytes, 1)?;
        check_name(&self.rules.group).map_err(JoinError::Name)?;
        if self.topics.is_empty() || self.topics.len() > MAX_TOPICS {
            return Err(JoinError::Topics { topics: self.topics.len() });
        }
        let membership = Membership::new(self.member, Instant::now());
        let group = self.rules.group.clone();
        let join = JoinGroup { group, member: membership.id(), topics: self.topics.into_iter().collect() };
        let mut retries = Retries::new(self.connections.settings.retry);
        let mut place = Place::Home;
        let (link, joined) = link::join(&self.connections, &join, &mut place, &mut retries).await?;

        let (readers, chunks) =
            Readers::new(self.connections.clone(), MAX_HELD, self.buffer_bytes, OnFailure::EndOne);
        let interval = (self.rules.commits == Commits::Automatic).then_some(self.interval);
        let until_end = self.rules.until_end;
        let book = Book::new(self.rules, membership.id());
        let shared = Arc::new(Shared::new(self.connections, Arc::new(readers), chunks.sender, book));
        let (sender, orders) = mpsc::channel(MAX_COMMITS);
        let driver = Driver::new(shared.clone(), orders, join.clone(), membership, interval, place);
        let missing = joined.missing.clone().unwrap_or_default();
        if !missing.is_empty() {
            tracing::warn!(?missing, "the group reads topics that do not exist");
        }
        // A reconnect may give the member another id: the events say so.
        let membership = debug_span!("membership", group = join.group, member = %join.member);
        shared.tasks.spawn(driver.run(link, joined).instrument(membership));
        let handle = GroupHandle::new(shared, sender, join, missing);
        Ok(GroupConsumer::new(handle, chunks.receiver, until_end))
    }
}
