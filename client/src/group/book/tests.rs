//! What the book decides, step by step.

use std::time::Duration;

use sealstream_protocol::message::group::NO_PLACE;

use super::*;

const NOW: Duration = Duration::from_secs(1_000);

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: Uuid::from_u128(1), partition }
}

fn assignment(partition: u32, epoch: u32, committed: Option<(u64, u32)>) -> Assignment {
    Assignment { name: "t".to_owned(), at: at(partition), epoch, committed }
}

fn book(commits: Commits) -> Book {
    let rules = Rules {
        group: "g".to_owned(),
        start: Position::End,
        until_end: false,
        on_out_of_range: OnOutOfRange::Error,
        on_diverged: OnDiverged::Error,
        commits,
    };
    Book::new(rules, Uuid::from_u128(2))
}

fn mark(offset: u64) -> Mark {
    Mark { offset, epoch: 3 }
}

/// A book with partition 0 under epoch 5, committed at 10, and its reading.
fn reading(commits: Commits) -> (Book, Arc<Reading>) {
    let mut book = book(commits);
    book.assign(vec![assignment(0, 5, Some((10, 3)))], true).unwrap();
    let mut plan = book.plan();
    assert_eq!(plan.begin.len(), 1);
    let Begin { reading, position, epoch } = plan.begin.remove(0);
    assert_eq!((position, epoch), (Position::Offset(10), Some(3)));
    (book, reading)
}

fn offsets(progress: &[Progress]) -> Vec<(u32, u64)> {
    progress.iter().map(|one| (one.at.partition, one.offset)).collect()
}

fn instant(after: Duration) -> Instant {
    Instant::now() + NOW + after
}

#[test]
fn what_is_read_is_planned_once() {
    let (mut book, reading) = reading(Commits::Automatic);
    let plan = book.plan();
    assert!(plan.begin.is_empty() && !plan.taken_back);
    assert!(book.hand_out(&reading, mark(11)));
}

#[test]
fn a_revoked_partition_waits_for_what_is_in_hand_and_no_longer_than_its_time() {
    for late in [false, true] {
        let (mut book, reading) = reading(Commits::Automatic);
        assert!(book.hand_out(&reading, mark(11)));
        let until = instant(Duration::from_secs(5));
        assert_eq!(book.revoke(&[(at(0), 5), (at(1), 5), (at(0), 4)], until).len(), 1);
        assert!(book.plan().taken_back && reading.is_taken_back());
        assert!(!book.hand_out(&reading, mark(12)), "nothing more is handed out");
        assert_eq!(book.next_release(), Some(until));
        let before = instant(Duration::from_secs(1));
        assert_eq!(book.release(before).0, [], "it is in hand");
        let (progress, expected) = if late {
            (book.release(until).0, NO_PLACE)
        } else {
            assert!(book.finish(&at(0), 5, mark(11)), "the driver waits for it");
            (book.release(before).0, 11)
        };
        assert_eq!(offsets(&progress), [(0, expected)]);
        assert_eq!(book.assignment(), []);
    }
}

#[test]
fn a_program_that_commits_itself_is_waited_for_until_it_has() {
    let (mut book, reading) = reading(Commits::Manual);
    assert!(book.hand_out(&reading, mark(11)));
    book.finish(&at(0), 5, mark(11));
    book.revoke(&[(at(0), 5)], instant(Duration::from_secs(5)));
    assert_eq!(book.release(instant(Duration::ZERO)).0, [], "it is not committed");
    book.committed(&[Progress { at: at(0), epoch: 5, offset: 11, log_epoch: 3 }]);
    assert_eq!(offsets(&book.release(instant(Duration::ZERO)).0), [(0, NO_PLACE)]);
}

#[test]
fn what_is_not_in_a_list_of_all_is_lost_and_what_is_keeps_its_place() {
    let (mut book, reading) = reading(Commits::Automatic);
    book.assign(vec![assignment(1, 1, None), assignment(2, 1, None)], false).unwrap();
    assert!(book.hand_out(&reading, mark(42)));
    let all = vec![assignment(0, 5, Some((10, 3))), assignment(1, 2, None)];
    let changes = book.assign(all, true).unwrap();
    assert_eq!(changes.lost.iter().map(|one| one.partition).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(changes.assigned.iter().map(|one| one.partition).collect::<Vec<_>>(), [1]);
    assert!(!reading.is_taken_back(), "it is read on");
    assert_eq!(book.handed_out().iter().map(|one| one.offset).collect::<Vec<_>>(), [42]);
}

#[test]
fn a_suspended_book_reads_nothing_and_goes_on_where_it_was() {
    let (mut book, reading) = reading(Commits::Automatic);
    assert!(book.hand_out(&reading, mark(12)));
    assert!(book.suspend());
    assert!(!book.suspend(), "it is no news twice");
    assert!(book.plan().taken_back);
    assert!(!book.hand_out(&reading, mark(13)));
    book.assign(vec![assignment(0, 5, Some((10, 3)))], true).unwrap();
    let plan = book.plan();
    assert_eq!(plan.begin[0].position, Position::Offset(12));
    assert_ne!(plan.begin[0].reading.id, reading.id, "what still comes of the first is told apart");
}

#[test]
fn what_a_reading_brings_that_was_taken_back_changes_nothing() {
    let (mut book, reading) = reading(Commits::Automatic);
    book.seek("t", 0, Position::Beginning).unwrap();
    book.plan();
    assert!(!book.hand_out(&reading, mark(11)));
    assert!(!book.halt(&reading));
    book.ended(&reading);
    book.doubt(&reading);
    assert!(!book.is_done());
    assert!(book.plan().begin.is_empty(), "the reading of after the seek goes on");
}

#[test]
fn a_position_that_is_behind_is_not_committed_unless_the_log_was_cut() {
    let (mut book, reading) = reading(Commits::Automatic);
    book.hand_out(&reading, mark(8));
    book.finish(&at(0), 5, mark(8));
    assert_eq!(book.uncommitted(), [], "behind");
    book.finish(&at(0), 5, Mark { offset: 8, epoch: 4 });
    assert_eq!(offsets(&book.uncommitted()), [(0, 8)]);
}

#[test]
fn what_the_program_commits_is_finished_and_never_undone_by_the_consumer() {
    let (mut book, reading) = reading(Commits::Automatic);
    book.hand_out(&reading, mark(20));
    book.finish(&at(0), 5, mark(11));
    book.committed(&[Progress { at: at(0), epoch: 5, offset: 15, log_epoch: 3 }]);
    assert_eq!(book.uncommitted(), []);
    book.finish(&at(0), 5, mark(20));
    assert_eq!(offsets(&book.uncommitted()), [(0, 20)]);
}

#[test]
fn what_is_handed_back_comes_again_and_is_not_finished() {
    let (mut book, reading) = reading(Commits::Automatic);
    book.hand_out(&reading, mark(11));
    book.hand_back(&at(0), 5, 10);
    assert!(!book.hand_out(&reading, mark(12)));
    assert_eq!(book.plan().begin[0].position, Position::Offset(10));
    assert_eq!(book.uncommitted(), []);
}

#[test]
fn answers_and_frames_of_an_epoch_that_is_over_are_ignored() {
    let (mut book, _) = reading(Commits::Automatic);
    book.committed(&[Progress { at: at(0), epoch: 4, offset: 99, log_epoch: 3 }]);
    assert!(!book.finish(&at(0), 4, mark(99)));
    assert_eq!(book.lose(&at(0), 4), None);
    assert_eq!(book.heartbeats(), [vec![Progress { at: at(0), epoch: 5, offset: 10, log_epoch: 3 }]]);
}

#[test]
fn a_reading_that_came_to_its_end_is_done_with_and_not_begun_again() {
    let (mut book, reading) = reading(Commits::Automatic);
    assert!(!book.is_done());
    book.ended(&reading);
    assert!(book.is_done());
    assert!(book.plan().begin.is_empty());
    book.lose_all();
    assert!(!book.is_done(), "who has nothing waits for something");
}
