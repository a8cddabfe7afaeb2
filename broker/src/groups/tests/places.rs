//! How far a group has come: commits, what is released, seeks.

use std::time::Duration;

use uuid::Uuid;

use super::{ends, pair, place};
use crate::groups::commits::CommitRefusal;
use crate::groups::error::GroupError;
use crate::groups::seat::Event;
use crate::groups::{Place, Report};

#[test]
fn commits_count_only_from_the_owner_under_its_epoch_and_never_go_back() {
    let (mut bench, [first, second]) = pair();
    let own = bench.reports(1, place(10))[0];
    let mut commit = |member: u128, stream, report: Report| {
        let who = Uuid::from_u128(member);
        let mut verdict = bench.group.commit(bench.now, who, stream, &[report], &ends);
        verdict.refused.pop().map(|(_, refusal)| refusal)
    };
    assert!(commit(1, first, own).is_none());
    assert!(matches!(commit(2, second, own), Some(CommitRefusal::Stale { .. })));
    let early = Report { epoch: own.epoch + 100, ..own };
    assert!(matches!(commit(1, first, early), Some(CommitRefusal::Stale { .. })));
    assert!(matches!(
        commit(1, first, Report { place: place(9), ..own }),
        Some(CommitRefusal::Behind { committed: 10 })
    ));
    assert!(commit(1, first, own).is_none(), "the same again is no error");
    // The log was cut, and goes on in a newer epoch from further back.
    let cut = Some(Place { offset: 8, log_epoch: 2 });
    assert!(commit(1, first, Report { place: cut, ..own }).is_none());
    assert!(matches!(
        commit(1, first, Report { place: place(1001), ..own }),
        Some(CommitRefusal::BeyondEnd { end: 1000 })
    ));
    assert!(matches!(commit(1, first, Report { place: None, ..own }), Some(CommitRefusal::NoPlace)));
}

#[test]
fn what_is_released_without_a_place_commits_nothing() {
    let (mut bench, [first, _]) = pair();
    let report = bench.reports(1, None)[0];
    bench.release(1, first, &[report]);
    assert_eq!(bench.group.committed(report.partition), None);
    assert_ne!(bench.group.owner(report.partition).map(|owned| owned.epoch), Some(report.epoch));
}

#[test]
fn a_seek_goes_either_way_where_nobody_reads_and_fences_the_owner_only_by_force() {
    let (mut bench, [first, _]) = pair();
    let report = bench.reports(1, place(10))[0];
    bench.group.commit(bench.now, Uuid::from_u128(1), first, &[report], &ends);
    let to = [(report.partition, Place { offset: 3, log_epoch: 0 })];
    let topic = ("t", report.partition.topic);
    let refused = bench.group.seek(bench.now, topic, &to, false, &bench.topics);
    assert!(matches!(refused, Err(GroupError::InUse(_))));
    let change = bench.group.seek(bench.now, topic, &to, true, &bench.topics).unwrap();
    let told = bench.told(&change);
    assert_eq!(told.revoked(1), [(report.partition.index, report.epoch, Duration::ZERO)]);
    let Some(Event::Assign(granted)) = told.of(1).pop() else {
        panic!("it is free, and the least loaded gets it")
    };
    assert_eq!(granted[0].committed, Some(to[0].1));
    assert!(granted[0].epoch > report.epoch);
}
