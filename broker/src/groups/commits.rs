//! How far a group has come: commits, what is released, and where an operator moves it.

use tokio::time::Instant;
use uuid::Uuid;

use super::change::{Change, StreamId};
use super::error::GroupError;
use super::group::Group;
use super::{Place, Report, Shapes};
use crate::log::{CommitError, PartitionId};

/// Why an offset of a commit was not committed.
#[derive(Debug)]
pub(crate) enum CommitRefusal {
    /// The member does not have the partition, or not under this epoch.
    Stale { epoch: u32 },
    /// The group is further already.
    Behind { committed: u64 },
    /// The log does not go so far.
    BeyondEnd { end: u64 },
    /// There is no place in it.
    NoPlace,
    /// The member is out.
    NotAMember,
    /// It could not be made durable.
    Log(Option<CommitError>),
}

/// Where each partition's durable end lies.
pub(super) type Ends<'a> = &'a dyn Fn(PartitionId) -> Option<u64>;

/// What came of a commit: the places that count from now on, and must be made durable, and those refused.
#[derive(Debug, Default)]
pub(super) struct CommitVerdict {
    pub(super) taken: Vec<(PartitionId, Place)>,
    pub(super) refused: Vec<(PartitionId, CommitRefusal)>,
}

impl Group {
    /// Commits, each partition by itself.
    pub(super) fn commit(
        &mut self,
        now: Instant,
        id: Uuid,
        stream: StreamId,
        reports: &[Report],
        ends: Ends<'_>,
    ) -> CommitVerdict {
        let mut verdict = CommitVerdict::default();
        if self.on(id, stream).is_none() {
            let refused = reports.iter().map(|report| (report.partition, CommitRefusal::NotAMember));
            verdict.refused.extend(refused);
            return verdict;
        }
        self.heard(now, id, stream);
        for report in reports {
            match self.check(id, report, ends) {
                Ok(place) => {
                    self.committed.insert(report.partition, place);
                    verdict.taken.push((report.partition, place));
                }
                Err(refusal) => verdict.refused.push((report.partition, refusal)),
            }
        }
        verdict
    }

    fn check(&mut self, id: Uuid, report: &Report, ends: Ends<'_>) -> Result<Place, CommitRefusal> {
        if self.held(id, report).is_none() {
            return Err(CommitRefusal::Stale { epoch: report.epoch });
        }
        let place = report.place.ok_or(CommitRefusal::NoPlace)?;
        if let Some(end) = ends(report.partition)
            && place.offset > end
        {
            return Err(CommitRefusal::BeyondEnd { end });
        }
        match self.committed(report.partition) {
            Some(committed) if place.is_behind(committed) => {
                Err(CommitRefusal::Behind { committed: committed.offset })
            }
            _ => Ok(place),
        }
    }

    /// A commit could not be made durable: what counts is what the log has.
    pub(super) fn restore(&mut self, partition: PartitionId, place: Option<Place>) {
        match place {
            Some(place) => self.committed.insert(partition, place),
            None => self.committed.remove(&partition),
        };
    }

    /// A member gives partitions up, asked or not, and commits how far it came.
    pub(super) fn release(
        &mut self,
        now: Instant,
        (id, stream): (Uuid, StreamId),
        reports: &[Report],
        ends: Ends<'_>,
        shapes: &dyn Shapes,
    ) -> Change {
        let mut change = Change::default();
        if self.on(id, stream).is_none() {
            return change;
        }
        self.heard(now, id, stream);
        for report in reports {
            if let Ok(place) = self.check(id, report, ends) {
                self.committed.insert(report.partition, place);
                change.commits.push((report.partition, place));
            }
            if self.held(id, report).is_some() {
                self.owned.remove(&report.partition);
                change.dirty = true;
            }
        }
        self.settle(now, shapes, &mut change);
        change
    }

    /// Moves the group in partitions of one topic; with `force` also where a member has one, whose epoch ends.
    pub(super) fn seek(
        &mut self,
        now: Instant,
        (topic, id): (&str, Uuid),
        places: &[(PartitionId, Place)],
        force: bool,
        shapes: &dyn Shapes,
    ) -> Result<Change, GroupError> {
        let in_use = places.iter().filter(|(partition, _)| self.owned.contains_key(partition)).count();
        if in_use > 0 && !force {
            let text = format!("members have {in_use} of these partitions: stop them, or force it");
            return Err(GroupError::InUse(text));
        }
        let mut change = Change { dirty: true, commits: places.to_vec(), ..Change::default() };
        self.names.entry(id).or_insert_with(|| topic.into());
        for (partition, place) in places {
            self.committed.insert(*partition, *place);
            self.take_away(*partition, &mut change);
        }
        self.settle(now, shapes, &mut change);
        Ok(change)
    }
}
