//! Finds in a history what must not happen.
//!
//! Appends have values that are never used twice, so that a value in the log names its append. An append whose outcome is
//! unknown may be in the log or not. Each check is one pass over sorted operations: O(n log n).

use std::collections::{BTreeMap, HashMap};

use crate::group_checker;
use crate::record::{Action, History, Operation, Outcome, Time};

/// A promise that was broken, with what shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// An append was acknowledged, and the log has another value or none at that offset.
    Lost { partition: u32, offset: u64, value: u64 },
    /// A reader was given what the log does not have.
    Vanished { partition: u32, offset: u64, value: u64 },
    /// A value is in the log twice, at two offsets or in two partitions.
    Duplicate { value: u64, first: (u32, u64), second: (u32, u64) },
    /// An append that was refused for good is in the log.
    Undead { partition: u32, offset: u64, value: u64 },
    /// A value is in the log that nobody sent there.
    Stranger { partition: u32, offset: u64, value: u64 },
    /// An offset was given to two values, by acknowledgements or to readers.
    TwoValues { partition: u32, offset: u64, first: u64, second: u64 },
    /// `later` was begun after `earlier`, by the same client or when `earlier` had been acknowledged, and stands before it.
    Disorder { partition: u32, earlier: u64, later: u64 },
    /// The log, or a reader's pass over it, goes on at another offset than the next.
    Hole { partition: u32, expected: u64, found: u64 },
    /// A group's committed offset was lower than one that had been committed, or seen, before.
    WentBack { partition: u32, from: u64, to: u64 },
    /// What was promised of a group.
    Group { group: u32, violation: GroupViolation },
}

/// A promise of a group that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupViolation {
    /// A partition was two members' under one epoch.
    TwoOwners { partition: u32, epoch: u32, first: u32, second: u32 },
    /// Whoever came was told an older epoch than one that had been given before.
    EpochWentBack { partition: u32, from: u32, to: u32 },
    /// A commit was taken under an epoch although a newer one had been given before.
    StaleCommit { partition: u32, epoch: u32, newer: u32 },
    /// The committed offset was lower than one that had been committed, or seen, before, and nobody had moved the group.
    WentBack { partition: u32, from: Option<u64>, to: Option<u64> },
    /// The committed offset is one that nobody committed, or that was taken back by a seek.
    Invented { partition: u32, offset: u64 },
    /// A record reached no member of a group that came to the end.
    Undelivered { partition: u32, offset: u64 },
    /// It had been made, nobody had deleted it, and it is not there.
    Gone,
    /// It had been deleted, nobody has made it again, and it is there.
    Undead,
}

/// All that is wrong with a history; nothing, if the promises were kept.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let appends = Appends::of(&history.operations);
    check_log(history, &appends, &mut found);
    check_offsets(history, &mut found);
    check_passes(&history.operations, &mut found);
    for (&partition, log) in &history.log {
        check_order(partition, log, &appends, &mut found);
    }
    check_commits(&history.operations, &mut found);
    group_checker::check(history, &mut found);
    found
}

#[derive(Clone, Copy)]
struct Append {
    client: u32,
    partition: u32,
    begun: Time,
    /// When it was acknowledged: `Time::MAX` if it was not.
    acknowledged: Time,
    outcome: Outcome,
    /// Its place among the client's operations.
    place: usize,
}

/// The appends, by value.
struct Appends(HashMap<u64, Append>);

impl Appends {
    fn of(operations: &[Operation]) -> Self {
        let mut begun: Vec<&Operation> = operations.iter().collect();
        begun.sort_by_key(|operation| operation.begun);
        let appends = begun.iter().enumerate().filter_map(|(place, operation)| {
            let Action::Append { value, outcome } = operation.action else { return None };
            let acknowledged = if let Outcome::At(_) = outcome { operation.ended } else { Time::MAX };
            let Operation { client, partition, begun, .. } = **operation;
            Some((value, Append { client, partition, begun, acknowledged, outcome, place }))
        });
        let all: HashMap<u64, Append> = appends.collect();
        let count = operations.iter().filter(|operation| matches!(operation.action, Action::Append { .. }));
        assert_eq!(all.len(), count.count(), "a value was used twice: the history proves nothing");
        Self(all)
    }
}

/// What is in the log that should not be, and not in it that should.
fn check_log(history: &History, appends: &Appends, found: &mut Vec<Violation>) {
    let mut places: HashMap<u64, (u32, u64)> = HashMap::new();
    for (&partition, log) in &history.log {
        for &(offset, value) in log {
            if let Some(&first) = places.get(&value) {
                found.push(Violation::Duplicate { value, first, second: (partition, offset) });
                continue;
            }
            places.insert(value, (partition, offset));
            match appends.0.get(&value) {
                Some(append) if append.partition != partition => {
                    found.push(Violation::Stranger { partition, offset, value });
                }
                Some(append) if append.outcome == Outcome::Refused => {
                    found.push(Violation::Undead { partition, offset, value });
                }
                Some(_) => {}
                None => found.push(Violation::Stranger { partition, offset, value }),
            }
        }
        for pair in log.windows(2) {
            if pair[1].0 != pair[0].0 + 1 {
                found.push(Violation::Hole { partition, expected: pair[0].0 + 1, found: pair[1].0 });
            }
        }
    }
    for operation in &history.operations {
        let partition = operation.partition;
        match operation.action {
            Action::Append { value, outcome: Outcome::At(offset) }
                if places.get(&value) != Some(&(partition, offset)) =>
            {
                found.push(Violation::Lost { partition, offset, value });
            }
            _ => {}
        }
        if let Some((_, offset, value)) = operation.action.read()
            && places.get(&value) != Some(&(partition, offset))
        {
            found.push(Violation::Vanished { partition, offset, value });
        }
    }
}

/// Whether all who speak of an offset speak of the same value.
fn check_offsets(history: &History, found: &mut Vec<Violation>) {
    let mut values: HashMap<(u32, u64), u64> = HashMap::new();
    let seen = history.operations.iter().filter_map(|operation| match operation.action {
        Action::Append { value, outcome: Outcome::At(offset) } => Some((operation.partition, offset, value)),
        _ => operation.action.read().map(|(_, offset, value)| (operation.partition, offset, value)),
    });
    for (partition, offset, value) in seen {
        let first = *values.entry((partition, offset)).or_insert(value);
        if first != value {
            found.push(Violation::TwoValues { partition, offset, first, second: value });
        }
    }
}

/// Whether each reader was given one record after the other.
fn check_passes(operations: &[Operation], found: &mut Vec<Violation>) {
    let mut expected: HashMap<(u32, u32, u32), u64> = HashMap::new();
    for operation in operations {
        let Some((pass, offset, _)) = operation.action.read() else { continue };
        let (partition, reader) = (operation.partition, operation.client);
        if let Some(expected) = expected.insert((reader, pass, partition), offset + 1)
            && expected != offset
        {
            found.push(Violation::Hole { partition, expected, found: offset });
        }
    }
}

/// Whether the log has appends in the order in which they were begun, where that order is certain.
fn check_order(partition: u32, log: &[(u64, u64)], appends: &Appends, found: &mut Vec<Violation>) {
    // From the end of the log: of all that stands behind, what was acknowledged first, and what each client began first.
    let mut acknowledged: Option<(Time, u64)> = None;
    let mut begun: BTreeMap<u32, (usize, u64)> = BTreeMap::new();
    for &(_, value) in log.iter().rev() {
        let Some(append) = appends.0.get(&value) else { continue };
        let behind = acknowledged.filter(|(time, _)| *time < append.begun).map(|(_, earlier)| earlier);
        let same = begun.get(&append.client).filter(|(place, _)| *place < append.place);
        if let Some(earlier) = behind.or(same.map(|(_, earlier)| *earlier)) {
            found.push(Violation::Disorder { partition, earlier, later: value });
        }
        if acknowledged.is_none_or(|(time, _)| append.acknowledged < time) {
            acknowledged = Some((append.acknowledged, value));
        }
        // What nobody knows the outcome of is under way for ever, as far as its client can tell.
        if let Outcome::At(_) = append.outcome {
            let first = begun.entry(append.client).or_insert((append.place, value));
            *first = (*first).min((append.place, value));
        }
    }
}

/// Whether whoever asks for the committed offset is told one at least as high as any that was known when he asked.
fn check_commits(operations: &[Operation], found: &mut Vec<Violation>) {
    // Until when which offset was known, and who asked when and was told what.
    let mut known: BTreeMap<u32, Vec<(Time, u64)>> = BTreeMap::new();
    let mut asked: Vec<(u32, Time, u64)> = Vec::new();
    for Operation { partition, begun, ended, action, .. } in operations {
        match *action {
            Action::Commit { offset, done: true } => {
                known.entry(*partition).or_default().push((*ended, offset));
            }
            Action::Committed { offset } => {
                let offset = offset.unwrap_or(0);
                known.entry(*partition).or_default().push((*ended, offset));
                asked.push((*partition, *begun, offset));
            }
            _ => {}
        }
    }
    for offsets in known.values_mut() {
        offsets.sort_unstable();
        let mut highest = 0;
        for (_, offset) in offsets {
            highest = highest.max(*offset);
            *offset = highest;
        }
    }
    for (partition, begun, to) in asked {
        let offsets = &known[&partition];
        let before = offsets.partition_point(|(ended, _)| *ended < begun);
        if let Some(&(_, from)) = before.checked_sub(1).and_then(|last| offsets.get(last))
            && from > to
        {
            found.push(Violation::WentBack { partition, from, to });
        }
    }
}
