//! One group as it stands, and what each input makes of it. No I/O; the time is passed in.
//!
//! Whatever happens ends in [`Group::settle`]: it compares who has what with who shall have it, and grants, revokes or waits. It
//! can be called at any time, and does nothing where nothing is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::balance::{Wanted, balance};
use super::change::{Change, StreamId, partitions_of};
use super::error::GroupError;
use super::rules::Rules;
use super::seat::{Joining, Why};
use super::{Place, Report, Shape, Shapes};
use crate::log::PartitionId;

/// A member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) identity: Arc<str>,
    /// For people; empty until it comes again after a restart.
    pub(super) address: String,
    pub(super) client: String,
    pub(super) topics: BTreeSet<String>,
    /// Its last sign of life; or the loss of its stream, or the broker's start.
    pub(super) heard: Instant,
    /// `None`: it is within its grace.
    pub(super) stream: Option<StreamId>,
}

/// A partition that a member has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    pub(super) member: Uuid,
    pub(super) epoch: u32,
    /// When it moves without the member, once it is being revoked.
    pub(super) revoked: Option<Instant>,
    /// What the last heartbeat said.
    pub(super) position: Option<u64>,
}

/// A group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    rules: Rules,
    /// The last epoch given: one count for all partitions, so that none comes twice for any of them.
    pub(super) epoch: u32,
    pub(super) members: BTreeMap<Uuid, Member>,
    pub(super) owned: BTreeMap<PartitionId, Owned>,
    pub(super) committed: BTreeMap<PartitionId, Place>,
    /// The topics that the group has something of, by id.
    pub(super) names: BTreeMap<Uuid, Arc<str>>,
    /// How many partitions its members want to read.
    pub(super) wanted: usize,
    /// Since when it has no members, in milliseconds since the Unix epoch.
    pub(super) idle_since: Option<i64>,
    /// When the group last looked at the time.
    looked: Instant,
    streams: StreamId,
}

impl Group {
    /// A group without members, idle since `wall`.
    pub(super) fn new(rules: Rules, now: Instant, wall: i64) -> Self {
        Self {
            rules,
            epoch: 0,
            members: BTreeMap::new(),
            owned: BTreeMap::new(),
            committed: BTreeMap::new(),
            names: BTreeMap::new(),
            wanted: 0,
            idle_since: Some(wall),
            looked: now,
            streams: 0,
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn member(&self, id: &Uuid) -> Option<&Member> {
        self.members.get(id)
    }

    /// Who has a partition.
    pub(super) fn owner(&self, partition: PartitionId) -> Option<&Owned> {
        self.owned.get(&partition)
    }

    pub(super) fn owned(&self) -> impl Iterator<Item = (&PartitionId, &Owned)> {
        self.owned.iter()
    }

    pub(super) fn committed(&self, partition: PartitionId) -> Option<Place> {
        self.committed.get(&partition).copied()
    }

    pub(super) fn topic_name(&self, topic: Uuid) -> Option<Arc<str>> {
        self.names.get(&topic).cloned()
    }

    /// Whether some member has a stream.
    pub(super) fn is_connected(&self) -> bool {
        self.members.values().any(|member| member.stream.is_some())
    }

    /// When the group is to look at the time again at the latest; `None` while it has no members.
    pub(super) fn due(&self) -> Option<Instant> {
        let members = self.members.values().map(|member| member.heard + self.rules.grace);
        let revoked = self.owned.values().filter_map(|owned| owned.revoked);
        let beat = (!self.members.is_empty()).then(|| self.looked + self.rules.heartbeat);
        members.chain(revoked).chain(beat).min()
    }

    /// Whether the time of a member is over, or of a partition that is being revoked.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let out = self.members.values().any(|member| member.heard + self.rules.grace <= now);
        out || self.owned.values().any(|owned| owned.revoked.is_some_and(|deadline| deadline <= now))
    }

    /// Whether it has been idle for so long that it is to be forgotten.
    pub(super) fn is_expired(&self, wall: i64) -> bool {
        let keep = i64::try_from(self.rules.idle_expiry.as_millis()).unwrap_or(i64::MAX);
        self.idle_since.is_some_and(|since| wall.saturating_sub(since) >= keep)
    }

    /// Takes a member in, or resumes its membership on a new stream, whose number is returned.
    pub(super) fn join(
        &mut self,
        now: Instant,
        joining: Joining,
        shapes: &dyn Shapes,
    ) -> Result<(StreamId, Change), GroupError> {
        self.look(now);
        self.check_join(&joining, shapes)?;
        let Joining { member: id, identity, address, client, topics } = joining;
        let mut change = Change::default();
        let before = self.members.get(&id);
        if let Some(stream) = before.and_then(|member| member.stream) {
            change.ended.push((id, stream, Why::Replaced));
        }
        change.dirty = before.is_none_or(|member| member.topics != topics);
        self.streams += 1;
        let stream = self.streams;
        self.members
            .insert(id, Member { identity, address, client, topics, heard: now, stream: Some(stream) });
        self.idle_since = None;
        change.fresh.insert(id);
        self.settle(now, shapes, &mut change);
        Ok((stream, change))
    }

    fn check_join(&self, joining: &Joining, shapes: &dyn Shapes) -> Result<(), GroupError> {
        let Rules { max_members, max_topics, max_partitions, .. } = self.rules;
        if joining.topics.is_empty() {
            return Err(GroupError::NoTopics);
        }
        if joining.topics.len() > max_topics {
            return Err(GroupError::TooManyTopics { asked: joining.topics.len(), most: max_topics });
        }
        match self.members.get(&joining.member) {
            Some(member) if member.identity != joining.identity => return Err(GroupError::OtherIdentity),
            None if self.members.len() >= max_members => return Err(GroupError::TooManyMembers(max_members)),
            _ => {}
        }
        let mut names: BTreeSet<&str> = self.wanted_names();
        if joining.topics.iter().all(|topic| names.contains(topic.as_str())) {
            return Ok(());
        }
        names.extend(joining.topics.iter().map(String::as_str));
        let partitions = names.into_iter().filter_map(|name| shapes.shape(name));
        let asked = partitions.map(|shape| shape.partitions as usize).sum();
        if asked > max_partitions {
            return Err(GroupError::TooManyPartitions { asked, most: max_partitions });
        }
        Ok(())
    }

    pub(super) fn wanted_names(&self) -> BTreeSet<&str> {
        self.members.values().flat_map(|member| &member.topics).map(String::as_str).collect()
    }

    /// The partitions of a topic that it has a committed offset of.
    pub(super) fn committed_of(&self, topic: Uuid) -> impl Iterator<Item = PartitionId> + '_ {
        let of_topic = PartitionId { topic, index: 0 }..=PartitionId { topic, index: u32::MAX };
        self.committed.range(of_topic).map(|(id, _)| *id)
    }

    /// A stream is lost: its member has its grace from now on.
    pub(super) fn detach(&mut self, now: Instant, id: Uuid, stream: StreamId) {
        if let Some(member) = self.on(id, stream) {
            (member.stream, member.heard) = (None, now);
        }
    }

    /// The member, if the stream is its current one.
    pub(super) fn on(&mut self, id: Uuid, stream: StreamId) -> Option<&mut Member> {
        self.members.get_mut(&id).filter(|member| member.stream == Some(stream))
    }

    pub(super) fn heard(&mut self, now: Instant, id: Uuid, stream: StreamId) {
        if let Some(member) = self.on(id, stream) {
            member.heard = now;
        }
    }

    /// A heartbeat: for people to see how far the member is.
    pub(super) fn heartbeat(&mut self, now: Instant, id: Uuid, stream: StreamId, reports: &[Report]) {
        if self.on(id, stream).is_none() {
            return;
        }
        self.heard(now, id, stream);
        for report in reports {
            if let Some(owned) = self.held(id, report) {
                owned.position = report.place.map(|place| place.offset);
            }
        }
    }

    /// The partition of a report, if the member has it under that epoch.
    pub(super) fn held(&mut self, id: Uuid, report: &Report) -> Option<&mut Owned> {
        let owned = self.owned.get_mut(&report.partition)?;
        (owned.member == id && owned.epoch == report.epoch).then_some(owned)
    }

    /// Leaves: what the member has is free at once.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        wall: i64,
        id: Uuid,
        stream: StreamId,
        shapes: &dyn Shapes,
    ) -> Change {
        let mut change = Change::default();
        if self.on(id, stream).is_some() {
            self.remove(id, wall, &mut change);
            self.settle(now, shapes, &mut change);
        }
        change
    }

    /// Looks at the time, and at the topics: who is out, what moves without its owner, what has come and gone.
    pub(super) fn tick(&mut self, now: Instant, wall: i64, shapes: &dyn Shapes) -> Change {
        self.look(now);
        let mut change = Change::default();
        let grace = self.rules.grace;
        let out: Vec<(Uuid, Option<StreamId>)> = self
            .members
            .iter()
            .filter(|(_, member)| member.heard + grace <= now)
            .map(|(id, member)| (*id, member.stream))
            .collect();
        for (id, stream) in out {
            change.ended.extend(stream.map(|stream| (id, stream, Why::Silent)));
            self.remove(id, wall, &mut change);
        }
        let late = |owned: &Owned| owned.revoked.is_some_and(|deadline| deadline <= now);
        let late: Vec<PartitionId> =
            self.owned().filter(|(_, owned)| late(owned)).map(|(id, _)| *id).collect();
        for partition in late {
            self.take_away(partition, &mut change);
        }
        self.settle(now, shapes, &mut change);
        change
    }

    /// Looks at the time. A group that was kept from it for long blames nobody for what it did not hear meanwhile.
    pub(super) fn look(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.looked);
        self.looked = self.looked.max(now);
        if passed > self.rules.late() {
            self.forgive(passed.saturating_sub(self.rules.heartbeat));
        }
    }

    fn forgive(&mut self, time: Duration) {
        for member in self.members.values_mut() {
            member.heard += time;
        }
        for deadline in self.owned.values_mut().filter_map(|owned| owned.revoked.as_mut()) {
            *deadline += time;
        }
    }

    fn remove(&mut self, id: Uuid, wall: i64, change: &mut Change) {
        self.members.remove(&id);
        self.owned.retain(|_, owned| owned.member != id);
        change.dirty = true;
        if self.members.is_empty() {
            self.idle_since = Some(wall);
        }
    }

    /// Ends an epoch without waiting for its owner, who is told that it is over.
    pub(super) fn take_away(&mut self, partition: PartitionId, change: &mut Change) {
        if let Some(owned) = self.owned.remove(&partition) {
            change.gone.entry(owned.member).or_default().push((partition, owned.epoch));
            change.dirty = true;
        }
    }

    /// Brings who has what nearer to who shall have it.
    pub(super) fn settle(&mut self, now: Instant, shapes: &dyn Shapes, change: &mut Change) {
        self.drop_deleted(shapes, change);
        let wanted = self.wanted(shapes);
        for (name, shape, _) in &wanted {
            self.names.entry(shape.id).or_insert_with(|| Arc::clone(name));
        }
        let topics: Vec<Wanted> = wanted.into_iter().map(|(_, _, wanted)| wanted).collect();
        self.wanted = topics.iter().map(|topic| topic.partitions.len()).sum();
        let kept = self.owned.iter().filter(|(_, owned)| owned.revoked.is_none());
        let kept: BTreeMap<PartitionId, Uuid> = kept.map(|(id, owned)| (*id, owned.member)).collect();
        let shall = balance(&topics, &kept);
        self.revoke(now, &shall, change);
        for (partition, member) in shall {
            self.grant(partition, member, change);
        }
    }

    /// Topics that are gone take everything along that the group had of them.
    fn drop_deleted(&mut self, shapes: &dyn Shapes, change: &mut Change) {
        let gone = |(id, name): (&Uuid, &Arc<str>)| {
            shapes.shape(name).is_none_or(|shape| shape.id != *id).then_some(*id)
        };
        let gone: Vec<Uuid> = self.names.iter().filter_map(gone).collect();
        for topic in gone {
            let of_topic = PartitionId { topic, index: 0 }..=PartitionId { topic, index: u32::MAX };
            let owned: Vec<PartitionId> = self.owned.range(of_topic).map(|(id, _)| *id).collect();
            for partition in owned {
                self.take_away(partition, change);
            }
            let committed: Vec<PartitionId> = self.committed_of(topic).collect();
            for partition in committed {
                self.committed.remove(&partition);
                change.forgets.push(partition);
            }
            self.names.remove(&topic);
            change.dirty = true;
        }
        let used: BTreeSet<Uuid> =
            self.owned.keys().chain(self.committed.keys()).map(|id| id.topic).collect();
        let before = self.names.len();
        self.names.retain(|id, _| used.contains(id));
        change.dirty |= self.names.len() < before;
    }

    /// The topics that are there and that members want, with their partitions as far as the bound allows.
    fn wanted(&self, shapes: &dyn Shapes) -> Vec<(Arc<str>, Shape, Wanted)> {
        let mut by_name: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
        for (id, member) in &self.members {
            for topic in &member.topics {
                by_name.entry(topic).or_default().insert(*id);
            }
        }
        let mut room = self.rules.max_partitions;
        let mut wanted = Vec::new();
        for (name, members) in by_name {
            let Some(shape) = shapes.shape(name) else { continue };
            // Topics that came or grew behind a join are not refused, but what is beyond the bound is not assigned.
            let partitions: Vec<PartitionId> = partitions_of(shape).take(room).collect();
            room -= partitions.len();
            wanted.push((Arc::from(name), shape, Wanted { partitions, members }));
        }
        wanted
    }

    /// Asks owners for what others shall have. Whoever is not there is asked when it comes back; and if it does not, its grace ends.
    fn revoke(&mut self, now: Instant, shall: &BTreeMap<PartitionId, Uuid>, change: &mut Change) {
        let deadline = now + self.rules.release;
        for (partition, owned) in &mut self.owned {
            let stays = shall.get(partition) == Some(&owned.member);
            let connected = self.members.get(&owned.member).is_some_and(|member| member.stream.is_some());
            if owned.revoked.is_none() && !stays && connected {
                owned.revoked = Some(deadline);
                change.revoking.entry(owned.member).or_default().push((*partition, owned.epoch));
            }
        }
    }

    /// Gives a partition to a member if nobody has it, under the next epoch.
    fn grant(&mut self, partition: PartitionId, member: Uuid, change: &mut Change) {
        if self.owned.contains_key(&partition) {
            return;
        }
        // Four thousand million grants: a thousand a second for seven weeks. None is given twice.
        let Some(epoch) = self.epoch.checked_add(1) else { return };
        self.epoch = epoch;
        self.owned.insert(partition, Owned { member, epoch, revoked: None, position: None });
        change.granted.entry(member).or_default().push(partition);
        change.dirty = true;
    }
}
