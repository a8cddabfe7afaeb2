//! All groups of the broker: finds the actor of each, and makes it where a first member comes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealstream_protocol::limits::MAX_TOPICS_IN_LIST;
use sealstream_protocol::message::admin::{GroupDescription, GroupList, GroupSummary, Level, ListGroups};
use sealstream_protocol::name;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Place;
use super::actor::{Actor, Command, Entry};
use super::error::{GroupError, LoadGroupsError};
use super::group::Group;
use super::record::{GROUPS, decode};
use super::rules::Rules;
use super::seat::{Joining, Seat};
use crate::log::PartitionId;
use crate::log::clock::Clock;
use crate::topics::Topics;

/// 1 s before it is tried again to make durable what time or topics have changed in a group.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// How often a request looks for its group anew that was going when it came: it cannot go three times in a row but by design.
const TRIES: usize = 3;

/// What every actor shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topics: Arc<Topics>,
    pub(super) rules: Rules,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) draining: CancellationToken,
    aborted: CancellationToken,
    tasks: TaskTracker,
    /// How often a group without members looks whether its time is over.
    pub(super) idle_look: Duration,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Shared {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the durable end of a partition lies.
    pub(super) fn ends(&self) -> impl Fn(PartitionId) -> Option<u64> {
        |id| Some(self.topics.shards().of(&id).partition(id)?.durable_end)
    }

    /// An actor ends: nobody finds it any more.
    pub(super) fn forget(&self, name: &str, actor: &mpsc::WeakSender<Command>) {
        let own = actor.upgrade();
        let mut entries = self.entries();
        let found = entries.get(name).zip(own).is_some_and(|(entry, own)| entry.commands.same_channel(&own));
        if found {
            entries.remove(name);
        }
    }

    fn start(self: &Arc<Self>, name: String, group: Group, version: u64) -> Entry {
        let (actor, entry) = Actor::new(name, Arc::clone(self), group, version);
        let aborted = self.aborted.clone();
        self.tasks.spawn(async move { aborted.run_until_cancelled(Box::pin(actor.run())).await });
        entry
    }
}

/// All groups of the broker.
#[derive(Debug)]
pub(crate) struct Groups(Arc<Shared>);

/// The lives of a broker's tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lives {
    pub(crate) tasks: TaskTracker,
    pub(crate) draining: CancellationToken,
    pub(crate) aborted: CancellationToken,
}

impl Groups {
    /// Reads all groups, and begins their graces.
    pub(crate) fn load(
        topics: Arc<Topics>,
        rules: Rules,
        clock: Arc<dyn Clock>,
        lives: Lives,
        idle_look: Duration,
    ) -> Result<Self, LoadGroupsError> {
        let Lives { tasks, draining, aborted } = lives;
        let entries = Mutex::default();
        let shared = Arc::new(Shared { topics, rules, clock, draining, aborted, tasks, idle_look, entries });
        let now = Instant::now();
        let mut groups = Vec::new();
        for shard in shared.topics.shards().all() {
            for (key, stored) in shard.meta_with_prefix(GROUPS) {
                let mut group = decode(&key, &stored.value, rules, now)?;
                let name = key[GROUPS.len()..].to_owned();
                for (partition, (offset, log_epoch)) in shard.committed_offsets(&name) {
                    group.committed.insert(partition, Place { offset, log_epoch });
                }
                groups.push((name, group, stored.version));
            }
        }
        for (name, group, version) in groups {
            let entry = shared.start(name.clone(), group, version);
            shared.entries().insert(name, entry);
        }
        Ok(Self(shared))
    }

    /// The first `most` by name, each with how often its partitions have moved since the start.
    pub(crate) fn rebalances(&self, most: usize) -> Vec<(GroupSummary, u64)> {
        let entries = self.0.entries();
        let shown = entries.values().take(most);
        shown.map(|entry| (entry.summary.borrow().clone(), entry.rebalances.get())).collect()
    }

    /// How many there are, of how many.
    pub(crate) fn level(&self) -> Level {
        Level { now: self.0.entries().len() as u64, limit: self.0.rules.max_groups as u64 }
    }

    /// A member joins, or resumes its membership.
    pub(crate) async fn join(&self, group: &str, joining: Joining) -> Result<Seat, GroupError> {
        name::check_name(group).map_err(|error| GroupError::BadName(error.to_string()))?;
        for topic in &joining.topics {
            name::check_topic(topic).map_err(|error| GroupError::BadName(error.to_string()))?;
        }
        for _ in 0..TRIES {
            let entry = self.find_or_make(group)?;
            let joining = joining.clone();
            if let Some(answer) = ask(&entry, |reply| Command::Join { joining, reply }).await {
                return answer;
            }
        }
        Err(GroupError::Stopping)
    }

    fn find_or_make(&self, name: &str) -> Result<Entry, GroupError> {
        if self.0.draining.is_cancelled() {
            return Err(GroupError::Stopping);
        }
        let mut entries = self.0.entries();
        if let Some(entry) = entries.get(name) {
            return Ok(entry.clone());
        }
        if entries.len() >= self.0.rules.max_groups {
            return Err(GroupError::TooManyGroups(self.0.rules.max_groups));
        }
        let group = Group::new(self.0.rules, Instant::now(), self.0.clock.now());
        let entry = self.0.start(name.to_owned(), group, 0);
        entries.insert(name.to_owned(), entry.clone());
        Ok(entry)
    }

    /// The tenure under which a member reads a partition: cancelled when it is over.
    pub(crate) async fn claim(
        &self,
        group: &str,
        (member, identity): (Uuid, Arc<str>),
        partition: PartitionId,
        epoch: u32,
    ) -> Result<CancellationToken, GroupError> {
        let claim = |reply| Command::Claim { member, identity, partition, epoch, reply };
        match self.ask(group, claim).await {
            Err(GroupError::Unknown(_)) => Err(GroupError::StaleEpoch(epoch)),
            answer => answer,
        }
    }

    /// A page of groups in the order of their names.
    pub(crate) fn list(&self, request: &ListGroups) -> GroupList {
        let limit = match request.limit {
            0 => MAX_TOPICS_IN_LIST,
            asked => asked.min(MAX_TOPICS_IN_LIST),
        };
        let entries = self.0.entries();
        let mut after = entries
            .range::<str, _>((Bound::Excluded(&*request.after), Bound::Unbounded))
            .map(|(_, entry)| entry.summary.borrow().clone());
        let groups = after.by_ref().take(limit as usize).collect();
        GroupList { groups, more: after.next().is_some() }
    }

    /// A group, its members and partitions.
    pub(crate) async fn describe(&self, group: &str) -> Result<GroupDescription, GroupError> {
        self.ask(group, |reply| Command::Describe { reply }).await
    }

    /// Moves a group in partitions of a topic.
    pub(crate) async fn seek(
        &self,
        group: &str,
        topic: (String, Uuid),
        places: Vec<(PartitionId, Place)>,
        force: bool,
    ) -> Result<(), GroupError> {
        self.ask(group, |reply| Command::Seek { topic, places, force, reply }).await
    }

    /// Forgets a group and all that it has committed.
    pub(crate) async fn delete(&self, group: &str, force: bool) -> Result<(), GroupError> {
        self.ask(group, |reply| Command::Delete { force, reply }).await
    }

    async fn ask<T>(
        &self,
        group: &str,
        command: impl FnOnce(oneshot::Sender<Result<T, GroupError>>) -> Command,
    ) -> Result<T, GroupError> {
        let entry = self.0.entries().get(group).cloned();
        let entry = entry.ok_or_else(|| GroupError::Unknown(group.to_owned()))?;
        match ask(&entry, command).await {
            Some(answer) => answer,
            None if self.0.draining.is_cancelled() => Err(GroupError::Stopping),
            // It was going when it was asked.
            None => Err(GroupError::Unknown(group.to_owned())),
        }
    }
}

/// The answer of an actor; `None` if it ended first.
async fn ask<T>(entry: &Entry, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    entry.commands.send(command(reply)).await.ok()?;
    answer.await.ok()
}
