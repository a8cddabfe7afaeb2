//! Finds in a history what must not happen to groups.
//!
//! What a group has committed is a register: commits, seeks and deletions write it, whoever asks reads it. Commits only raise it,
//! so that a reader finds at least what was known before it asked, but for seeks and deletions, and nothing that nobody wrote. Each check is one pass
//! over the operations of a group; those who ask, and what takes back, are few, so that a pass for each of them does no harm.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::checker::{GroupViolation, Violation};
use crate::record::{Action, GroupAction, History, Operation, Time, Told};

/// All that is wrong with the groups of a history.
pub(crate) fn check(history: &History, found: &mut Vec<Violation>) {
    let mut groups: BTreeMap<u32, Vec<(&Operation, GroupAction)>> = BTreeMap::new();
    for operation in &history.operations {
        if let Action::Group(group, action) = operation.action {
            groups.entry(group).or_default().push((operation, action));
        }
    }
    for (&group, operations) in &groups {
        let mut violations = Vec::new();
        check_owners(operations, &mut violations);
        check_epochs(operations, &mut violations);
        check_existence(history, operations, &mut violations);
        let mut partitions: BTreeMap<u32, Vec<(&Operation, GroupAction)>> = BTreeMap::new();
        for (operation, action) in operations {
            partitions.entry(operation.partition).or_default().push((operation, *action));
        }
        let deletions = operations.iter().filter(|(_, action)| matches!(action, GroupAction::Deleted { .. }));
        let deletions: Vec<_> = deletions.copied().collect();
        for of_partition in partitions.values_mut() {
            of_partition.extend(&deletions);
        }
        for (&partition, operations) in &partitions {
            Register::of(history, operations).check(partition, &mut violations);
        }
        if history.finished.contains(&group) {
            check_deliveries(history, operations, &mut violations);
        }
        found.extend(violations.into_iter().map(|violation| Violation::Group { group, violation }));
    }
}

type Actions<'a> = [(&'a Operation, GroupAction)];

/// Whether whoever had a partition had it alone.
fn check_owners(operations: &Actions<'_>, found: &mut Vec<GroupViolation>) {
    let mut owners: HashMap<(u32, u32), u32> = HashMap::new();
    for (Operation { partition, client, .. }, action) in operations {
        let (GroupAction::Assigned { epoch, .. } | GroupAction::Given { epoch, .. }) = *action else {
            continue;
        };
        let first = *owners.entry((*partition, epoch)).or_insert(*client);
        if first != *client {
            found.push(GroupViolation::TwoOwners { partition: *partition, epoch, first, second: *client });
        }
    }
}

/// Whether an epoch that was given ended every earlier one: for who came afterwards, and for who committed afterwards.
fn check_epochs(operations: &Actions<'_>, found: &mut Vec<GroupViolation>) {
    let mut given: BTreeMap<u32, Vec<(Time, u32)>> = BTreeMap::new();
    for (operation, action) in operations {
        if let GroupAction::Assigned { epoch, .. } = *action {
            given.entry(operation.partition).or_default().push((operation.ended, epoch));
        }
    }
    for (Operation { partition, begun, .. }, action) in operations {
        let before = given.get(partition).into_iter().flatten().filter(|(ended, _)| ended < begun);
        let newest = before.map(|(_, epoch)| *epoch).max().unwrap_or(0);
        let partition = *partition;
        match *action {
            GroupAction::Assigned { epoch, complete: true, .. } if epoch < newest => {
                found.push(GroupViolation::EpochWentBack { partition, from: newest, to: epoch });
            }
            GroupAction::Commit { epoch, told: Told::Done, .. } if epoch < newest => {
                found.push(GroupViolation::StaleCommit { partition, epoch, newer: newest });
            }
            _ => {}
        }
    }
}

/// When at the latest something has happened, if it ever does.
fn latest(history: &History, ended: Time, told: Told) -> Time {
    if told != Told::Unknown {
        return ended;
    }
    history.deaths.iter().copied().filter(|death| *death > ended).min().unwrap_or(Time::MAX)
}

/// Whether a group is there from its first member to its deletion.
fn check_existence(history: &History, operations: &Actions<'_>, found: &mut Vec<GroupViolation>) {
    let all = |wanted: fn(GroupAction) -> Option<Told>| {
        let all =
            operations.iter().filter_map(move |(operation, action)| Some((*operation, wanted(*action)?)));
        all.filter(|(_, told)| *told != Told::Refused)
    };
    let joins = || all(|action| if let GroupAction::Joined { told } = action { Some(told) } else { None });
    let deletions =
        || all(|action| if let GroupAction::Deleted { told } = action { Some(told) } else { None });
    let begun_by = |(operation, _): &(&Operation, Told), time: Time| operation.begun < time;
    let is_past =
        |(operation, told): &(&Operation, Told), time: Time| *told == Told::Done && operation.ended < time;
    let may_follow = |(operation, told): &(&Operation, Told), first: &Operation| {
        latest(history, operation.ended, *told) > first.begun
    };
    for (Operation { begun, ended, .. }, action) in operations {
        let GroupAction::Listed { there } = *action else { continue };
        let is_made = joins().filter(|join| is_past(join, *begun)).any(|(join, _)| {
            !deletions().any(|deletion| begun_by(&deletion, *ended) && may_follow(&deletion, join))
        });
        let is_deleted = deletions()
            .filter(|deletion| is_past(deletion, *begun))
            .any(|(deletion, _)| !joins().any(|join| begun_by(&join, *ended) && may_follow(&join, deletion)));
        if is_made && !there {
            found.push(GroupViolation::Gone);
        }
        if is_deleted && there {
            found.push(GroupViolation::Undead);
        }
    }
}

/// Something that sets how far a group is in a partition.
#[derive(Clone, Copy)]
struct Write {
    begun: Time,
    /// When it was acknowledged.
    ended: Time,
    /// When it has happened at the latest.
    latest: Time,
    /// `None`: it is forgotten.
    offset: Option<u64>,
    told: Told,
}

/// Somebody who was told how far it is.
#[derive(Clone, Copy)]
struct Ask {
    begun: Time,
    ended: Time,
    committed: Option<u64>,
}

/// How far a group is in a partition.
struct Register {
    writes: Vec<Write>,
    /// Those of them that take back what is higher.
    resets: Vec<Write>,
    asks: Vec<Ask>,
    /// Told with news that may have been under way for long: nobody knows from when it is.
    told: Vec<Ask>,
}

impl Register {
    fn of(history: &History, operations: &Actions<'_>) -> Self {
        let mut register =
            Self { writes: Vec::new(), resets: Vec::new(), asks: Vec::new(), told: Vec::new() };
        for (Operation { begun, ended, .. }, action) in operations {
            let (begun, ended) = (*begun, *ended);
            let mut write = |offset, told, resets: bool| {
                let latest = latest(history, ended, told);
                if told != Told::Refused {
                    let write = Write { begun, ended, latest, offset, told };
                    register.writes.push(write);
                    register.resets.extend(resets.then_some(write));
                }
            };
            match *action {
                GroupAction::Commit { offset, told, .. } => write(Some(offset), told, false),
                GroupAction::Sought { offset, told } => write(Some(offset), told, true),
                GroupAction::Deleted { told } => write(None, told, true),
                GroupAction::Asked { committed }
                | GroupAction::Assigned { committed, complete: true, .. } => {
                    register.asks.push(Ask { begun, ended, committed });
                }
                GroupAction::Assigned { committed, .. } => {
                    register.told.push(Ask { begun, ended, committed });
                }
                _ => {}
            }
        }
        register
    }

    fn check(&self, partition: u32, found: &mut Vec<GroupViolation>) {
        for ask in &self.asks {
            if let Some(from) = self.known_before(ask).filter(|known| Some(*known) > ask.committed) {
                found.push(GroupViolation::WentBack { partition, from: Some(from), to: ask.committed });
            }
        }
        for ask in self.asks.iter().chain(&self.told) {
            if let Some(offset) = ask.committed
                && !self.writes.iter().any(|write| write.offset == Some(offset) && self.may_show(write, ask))
            {
                found.push(GroupViolation::Invented { partition, offset });
            }
        }
    }

    /// The highest offset that was known before somebody asked, and that no seek may have taken back.
    fn known_before(&self, ask: &Ask) -> Option<u64> {
        let written = self.writes.iter().filter(|write| write.told == Told::Done);
        let written = written.filter_map(|write| Some((write.begun, write.ended, write.offset?)));
        let seen = self.asks.iter().filter_map(|seen| Some((seen.begun, seen.ended, seen.committed?)));
        let taken_back = |(begun, offset): (Time, u64)| {
            let behind = |write: &&Write| write.offset < Some(offset);
            self.resets.iter().filter(behind).any(|seek| seek.latest > begun && seek.begun < ask.ended)
        };
        let known = written.chain(seen).filter(|(_, ended, _)| *ended < ask.begun);
        known
            .map(|(begun, _, offset)| (begun, offset))
            .filter(|known| !taken_back(*known))
            .map(|known| known.1)
            .max()
    }

    /// Whether somebody may be told what a write wrote: it was begun, and no seek came certainly behind it.
    fn may_show(&self, write: &Write, ask: &Ask) -> bool {
        let covered = self
            .resets
            .iter()
            .any(|seek| seek.told == Told::Done && write.latest < seek.begun && seek.ended < ask.begun);
        write.begun < ask.ended && !covered
    }
}

/// Whether every record reached a member, at least once.
fn check_deliveries(history: &History, operations: &Actions<'_>, found: &mut Vec<GroupViolation>) {
    let given = |(operation, action): &(&Operation, GroupAction)| match *action {
        GroupAction::Given { offset, .. } => Some((operation.partition, offset)),
        _ => None,
    };
    let given: HashSet<(u32, u64)> = operations.iter().filter_map(given).collect();
    for (&partition, log) in &history.log {
        for &(offset, _) in log {
            if !given.contains(&(partition, offset)) {
                found.push(GroupViolation::Undelivered { partition, offset });
            }
        }
    }
}
