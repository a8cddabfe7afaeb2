//! Hand-made histories: each fault is found, by its name, and what only looks like one is not.

use crate::checker::{Violation, check};
use crate::record::{Action, History, Operation, Outcome};

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
