//! Hand-made histories: each fault is found, by its name, and what only looks like one is not.

use crate::checker::{GroupViolation, Violation, check};
use crate::record::{Action, GroupAction, History, Operation, Outcome, Told};

fn append(client: u32, begun: u64, ended: u64, value: u64, outcome: Outcome) -> Operation {
    Operation { client, begun, ended, partition: 0, action: Action::Append { value, outcome } }
}

fn read(pass: u32, offset: u64, value: u64) -> Operation {
    Operation { client: 9, begun: 50, ended: 50, partition: 0, action: Action::Read { pass, offset, value } }
}

fn commit(begun: u64, ended: u64, offset: u64, done: bool) -> Operation {
    Operation { client: 8, begun, ended, partition: 0, action: Action::Commit { offset, done } }
}

fn committed(begun: u64, ended: u64, offset: Option<u64>) -> Operation {
    Operation { client: 8, begun, ended, partition: 0, action: Action::Committed { offset } }
}

/// Two clients that append 10 and 11, and 20, with a reader of all of it.
fn sound() -> History {
    History {
        operations: vec![
            append(1, 0, 10, 10, Outcome::At(0)),
            append(2, 5, 30, 20, Outcome::At(1)),
            append(1, 20, 40, 11, Outcome::At(2)),
            read(0, 0, 10),
            read(0, 1, 20),
            read(0, 2, 11),
            commit(60, 70, 2, true),
            committed(80, 90, Some(2)),
        ],
        log: [(0, vec![(0, 10), (1, 20), (2, 11)])].into(),
        ..History::default()
    }
}

fn with(change: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = sound();
    change(&mut history);
    check(&history)
}

#[test]
fn a_sound_history_has_no_fault() {
    assert_eq!(check(&sound()), []);
}

#[test]
fn an_acknowledged_value_that_is_not_in_the_log_is_lost() {
    let found = with(|history| history.log.get_mut(&0).unwrap().truncate(2));
    let (partition, offset, value) = (0, 2, 11);
    assert_eq!(
        found,
        [Violation::Lost { partition, offset, value }, Violation::Vanished { partition, offset, value }]
    );
}

#[test]
fn what_was_not_acknowledged_may_be_there_or_not() {
    for there in [false, true] {
        let found = with(|history| {
            history.operations.push(append(2, 60, 61, 21, Outcome::Unknown));
            if there {
                history.log.get_mut(&0).unwrap().push((3, 21));
            }
        });
        assert_eq!(found, []);
    }
}

#[test]
fn a_value_that_is_there_twice_is_a_duplicate() {
    let found = with(|history| history.log.get_mut(&0).unwrap().push((3, 20)));
    assert_eq!(found, [Violation::Duplicate { value: 20, first: (0, 1), second: (0, 3) }]);
    let found = with(|history| drop(history.log.insert(1, vec![(0, 20)])));
    assert_eq!(found, [Violation::Duplicate { value: 20, first: (0, 1), second: (1, 0) }]);
}

#[test]
fn a_value_that_was_refused_or_never_sent_must_not_be_there() {
    let found = with(|history| {
        history.operations.push(append(2, 60, 61, 21, Outcome::Refused));
        history.log.get_mut(&0).unwrap().extend([(3, 21), (4, 99)]);
    });
    assert_eq!(
        found,
        [
            Violation::Undead { partition: 0, offset: 3, value: 21 },
            Violation::Stranger { partition: 0, offset: 4, value: 99 }
        ]
    );
}

#[test]
fn an_offset_that_two_values_were_given_is_found_though_the_log_has_one_of_them() {
    let found = with(|history| history.operations.push(append(2, 60, 61, 21, Outcome::At(2))));
    assert!(found.contains(&Violation::TwoValues { partition: 0, offset: 2, first: 11, second: 21 }));
}

#[test]
fn what_a_client_began_later_stands_later() {
    let found = with(|history| {
        // Both under way at once: only the order of their beginnings tells.
        history
            .operations
            .extend([append(3, 100, 200, 31, Outcome::At(4)), append(3, 110, 190, 32, Outcome::At(3))]);
        history.log.get_mut(&0).unwrap().extend([(3, 32), (4, 31)]);
    });
    assert_eq!(found, [Violation::Disorder { partition: 0, earlier: 31, later: 32 }]);
}

#[test]
fn what_was_begun_after_an_acknowledgement_stands_behind_it() {
    let swapped = |second_begun| {
        with(|history| {
            history.operations.extend([
                append(3, 100, 110, 31, Outcome::At(4)),
                append(4, second_begun, 190, 41, Outcome::At(3)),
            ]);
            history.log.get_mut(&0).unwrap().extend([(3, 41), (4, 31)]);
        })
    };
    assert_eq!(swapped(120), [Violation::Disorder { partition: 0, earlier: 31, later: 41 }]);
    // Both under way at once: either order will do.
    assert_eq!(swapped(105), []);
}

#[test]
fn a_log_and_a_pass_over_it_have_no_holes() {
    let found = with(|history| {
        history.operations.push(append(2, 60, 61, 21, Outcome::Unknown));
        history.log.get_mut(&0).unwrap().push((4, 21));
    });
    assert_eq!(found, [Violation::Hole { partition: 0, expected: 3, found: 4 }]);
    let found = with(|history| history.operations.extend([read(1, 0, 10), read(1, 2, 11)]));
    assert_eq!(found, [Violation::Hole { partition: 0, expected: 1, found: 2 }]);
    // Another pass may begin anywhere.
    assert_eq!(with(|history| history.operations.push(read(2, 1, 20))), []);
}

#[test]
fn a_committed_offset_never_goes_back() {
    let later = |offset| with(|history| history.operations.push(committed(100, 101, offset)));
    assert_eq!(later(Some(2)), []);
    assert_eq!(later(Some(3)), []);
    assert_eq!(later(Some(1)), [Violation::WentBack { partition: 0, from: 2, to: 1 }]);
    assert_eq!(later(None), [Violation::WentBack { partition: 0, from: 2, to: 0 }]);
    // Asked while the commit was under way, or the commit was not confirmed: either answer will do.
    assert_eq!(with(|history| history.operations.push(committed(65, 66, Some(1)))), []);
    let unconfirmed = |history: &mut History| {
        history.operations.extend([commit(100, 110, 9, false), committed(120, 130, Some(2))]);
    };
    assert_eq!(with(unconfirmed), []);
}

/// What clients 1 and 2 do with partition 0 of a group, and an operator.
fn group(operations: &[(u32, u64, u64, GroupAction)]) -> Vec<GroupViolation> {
    let operation = |(client, begun, ended, action): &(u32, u64, u64, GroupAction)| Operation {
        client: *client,
        begun: *begun,
        ended: *ended,
        partition: 0,
        action: Action::Group(7, *action),
    };
    let operations = operations.iter().map(operation).collect();
    let history = History { operations, deaths: vec![1_000], ..History::default() };
    let of_group = |violation| match violation {
        Violation::Group { group: 7, violation } => violation,
        other => panic!("{other:?}"),
    };
    check(&history).into_iter().map(of_group).collect()
}

fn assigned(epoch: u32, committed: Option<u64>) -> GroupAction {
    GroupAction::Assigned { epoch, committed, complete: true }
}

fn group_commit(epoch: u32, offset: u64, told: Told) -> GroupAction {
    GroupAction::Commit { epoch, offset, told }
}

fn asked(committed: Option<u64>) -> GroupAction {
    GroupAction::Asked { committed }
}

#[test]
fn an_epoch_has_one_owner_and_ends_all_before_it() {
    let first = (1, 0, 10, assigned(1, None));
    let second = (2, 20, 30, assigned(2, None));
    assert_eq!(group(&[first, second]), []);
    assert_eq!(
        group(&[first, (2, 5, 30, assigned(1, None))]),
        [GroupViolation::TwoOwners { partition: 0, epoch: 1, first: 1, second: 2 }]
    );
    // Who asked before the second was told may be told the first.
    assert_eq!(group(&[first, second, (1, 25, 40, assigned(1, None))]), []);
    assert_eq!(
        group(&[first, second, (1, 35, 40, assigned(1, None))]),
        [GroupViolation::EpochWentBack { partition: 0, from: 2, to: 1 }]
    );
    assert_eq!(group(&[first, second, (1, 25, 40, group_commit(1, 3, Told::Done))]), []);
    assert_eq!(group(&[first, second, (1, 35, 40, group_commit(1, 3, Told::Refused))]), []);
    assert_eq!(
        group(&[first, second, (1, 35, 40, group_commit(1, 3, Told::Done))]),
        [GroupViolation::StaleCommit { partition: 0, epoch: 1, newer: 2 }]
    );
}

#[test]
fn a_group_is_as_far_as_its_commits_and_seeks_have_brought_it() {
    let three = (1, 0, 10, group_commit(1, 3, Told::Done));
    let back = |told| (9, 20, 30, GroupAction::Sought { offset: 1, told });
    let ask = |offset| (9, 40, 50, asked(offset));
    assert_eq!(group(&[three, ask(Some(3))]), []);
    let went_back = |to| [GroupViolation::WentBack { partition: 0, from: Some(3), to }];
    assert_eq!(group(&[three, ask(None)]), went_back(None));
    assert_eq!(group(&[three, (9, 5, 8, asked(None))]), []);
    let invented = |offset| GroupViolation::Invented { partition: 0, offset };
    assert_eq!(group(&[three, ask(Some(4))]), [invented(4)]);
    assert_eq!(group(&[three, (1, 11, 12, group_commit(1, 4, Told::Refused)), ask(Some(4))]), [invented(4)]);
    assert_eq!(group(&[three, (1, 11, 12, group_commit(1, 4, Told::Unknown)), ask(Some(4))]), []);
    // A seek takes back what was before it, if it happened.
    assert_eq!(group(&[three, back(Told::Done), ask(Some(1))]), []);
    assert_eq!(group(&[three, back(Told::Done), ask(Some(3))]), [invented(3)]);
    for offset in [1, 3] {
        assert_eq!(group(&[three, back(Told::Unknown), ask(Some(offset))]), []);
    }
    let refused = group(&[three, back(Told::Refused), ask(Some(1))]);
    assert_eq!(refused, [went_back(Some(1))[0], invented(1)]);
    // What nobody knows of happens in its life of the broker, or never.
    let four = (1, 2_000, 2_010, group_commit(2, 4, Told::Done));
    assert_eq!(
        group(&[three, back(Told::Unknown), four, (9, 2_020, 2_030, asked(Some(1)))]),
        [GroupViolation::WentBack { partition: 0, from: Some(4), to: Some(1) }]
    );
    let gone = (9, 20, 30, GroupAction::Deleted { told: Told::Done });
    assert_eq!(group(&[three, gone, ask(None)]), []);
    assert_eq!(group(&[three, gone, ask(Some(3))]), [invented(3)]);
}

#[test]
fn a_group_is_there_from_its_first_member_to_its_deletion() {
    let joined = |begun, told| (1, begun, begun + 5, GroupAction::Joined { told });
    let deleted = |begun, told| (9, begun, begun + 5, GroupAction::Deleted { told });
    let listed = |there| (9, 50, 55, GroupAction::Listed { there });
    assert_eq!(group(&[joined(0, Told::Done), listed(true)]), []);
    assert_eq!(group(&[joined(0, Told::Done), listed(false)]), [GroupViolation::Gone]);
    for there in [true, false] {
        assert_eq!(group(&[joined(0, Told::Unknown), listed(there)]), []);
        assert_eq!(group(&[joined(0, Told::Done), deleted(10, Told::Unknown), listed(there)]), []);
        assert_eq!(group(&[deleted(10, Told::Done), joined(12, Told::Unknown), listed(there)]), []);
    }
    let past = [joined(0, Told::Done), deleted(10, Told::Done)];
    assert_eq!(group(&[past[0], past[1], listed(false)]), []);
    assert_eq!(group(&[past[0], past[1], listed(true)]), [GroupViolation::Undead]);
    assert_eq!(group(&[past[0], past[1], joined(20, Told::Done), listed(false)]), [GroupViolation::Gone]);
}

#[test]
fn every_record_reaches_a_group_that_came_to_the_end() {
    let mut history = sound();
    history.finished.insert(7);
    let given = |(offset, value)| Operation {
        client: 3,
        begun: 60,
        ended: 60,
        partition: 0,
        action: Action::Group(7, GroupAction::Given { pass: 0, epoch: 1, offset, value }),
    };
    history.operations.extend([(0, 10), (1, 20)].map(given));
    let violation = GroupViolation::Undelivered { partition: 0, offset: 2 };
    assert_eq!(check(&history), [Violation::Group { group: 7, violation }]);
    history.operations.push(given((2, 11)));
    assert_eq!(check(&history), []);
}
