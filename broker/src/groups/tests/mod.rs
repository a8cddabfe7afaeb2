//! What a group makes of each input, by itself.

mod places;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::change::{Change, StreamId};
use super::commits::CommitRefusal;
use super::error::GroupError;
use super::group::Group;
use super::rules::Rules;
use super::seat::{Event, Joining, Why};
use super::{Place, Report, Shape, Shapes};
use crate::log::PartitionId;
use crate::server::GroupOptions;

/// Topics that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics(pub(super) BTreeMap<String, Shape>);

impl Shapes for Topics {
    fn shape(&self, topic: &str) -> Option<Shape> {
        self.0.get(topic).copied()
    }
}

/// Topics whose ids follow from their names.
pub(super) fn topics(topics: &[(&str, u32)]) -> Topics {
    let shape = |(name, partitions): &(&str, u32)| {
        let id = Uuid::from_u128(name.bytes().fold(1, |id, byte| id << 8 | u128::from(byte)));
        ((*name).to_owned(), Shape { id, partitions: *partitions })
    };
    Topics(topics.iter().map(shape).collect())
}

pub(super) fn rules() -> Rules {
    Rules::of(&GroupOptions::default())
}

pub(super) fn joining(member: u128, topics: &[&str]) -> Joining {
    Joining {
        member: Uuid::from_u128(member),
        identity: "cn:reader".into(),
        address: String::new(),
        client: String::new(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Every log ends at 1,000.
#[expect(clippy::unnecessary_wraps, reason = "it stands for one that may not know")]
fn ends(_: PartitionId) -> Option<u64> {
    Some(1000)
}

/// A group in a test, its topics and its time.
struct Bench {
    group: Group,
    topics: Topics,
    now: Instant,
}

impl Bench {
    fn new(there: &[(&str, u32)]) -> Self {
        let now = Instant::now();
        Self { group: Group::new(rules(), now, 0), topics: topics(there), now }
    }

    /// Joins, and gives the stream and what everybody is told.
    fn join(&mut self, member: u128, wants: &[&str]) -> (StreamId, Told) {
        let (stream, change) = self.group.join(self.now, joining(member, wants), &self.topics).unwrap();
        (stream, self.told(&change))
    }

    fn told(&self, change: &Change) -> Told {
        Told(change.events(&self.group, self.now))
    }

    fn release(&mut self, member: u128, stream: StreamId, reports: &[Report]) -> Told {
        let who = (Uuid::from_u128(member), stream);
        let change = self.group.release(self.now, who, reports, &ends, &self.topics);
        self.told(&change)
    }

    /// Time passes as it does for a group that looks at it when it is due.
    fn pass(&mut self, time: Duration) -> Told {
        let until = self.now + time;
        let mut told = Told(Vec::new());
        loop {
            self.now = self.group.due().map_or(until, |due| due.clamp(self.now, until));
            let change = self.group.tick(self.now, 0, &self.topics);
            told.0.extend(self.told(&change).0);
            if self.now == until {
                return told;
            }
        }
    }

    fn hear(&mut self, member: u128, stream: StreamId) {
        self.group.heard(self.now, Uuid::from_u128(member), stream);
    }

    /// What a member has, as it would report it with this place.
    fn reports(&self, member: u128, place: Option<Place>) -> Vec<Report> {
        let owned = self.group.owned().filter(|(_, owned)| owned.member == Uuid::from_u128(member));
        owned.map(|(partition, owned)| Report { partition: *partition, epoch: owned.epoch, place }).collect()
    }
}

/// What was told, and to whom.
struct Told(Vec<(Uuid, StreamId, Event)>);

impl Told {
    fn of(&self, member: u128) -> Vec<&Event> {
        self.0.iter().filter(|told| told.0 == Uuid::from_u128(member)).map(|told| &told.2).collect()
    }

    /// The partitions assigned to a member, with their epochs.
    fn assigned(&self, member: u128) -> Vec<(u32, u32)> {
        let grants = self.of(member).into_iter().filter_map(|event| match event {
            Event::Assign(granted) => Some(granted),
            _ => None,
        });
        grants.flatten().map(|granted| (granted.partition.index, granted.epoch)).collect()
    }

    /// The partitions revoked from a member, with their epochs and its time.
    fn revoked(&self, member: u128) -> Vec<(u32, u32, Duration)> {
        let mut revoked = Vec::new();
        for event in self.of(member) {
            if let Event::Revoke { within, partitions } = event {
                revoked.extend(partitions.iter().map(|(id, epoch)| (id.index, *epoch, *within)));
            }
        }
        revoked
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a report may have none")]
fn place(offset: u64) -> Option<Place> {
    Some(Place { offset, log_epoch: 1 })
}

/// A group of two members that have two partitions each, and their streams.
pub(super) fn two_members_of_four_partitions(now: Instant) -> (Group, [StreamId; 2]) {
    let (bench, streams) = pair_at(now);
    (bench.group, streams)
}

fn pair_at(now: Instant) -> (Bench, [StreamId; 2]) {
    let mut bench = Bench::new(&[("t", 4)]);
    (bench.now, bench.group) = (now, Group::new(rules(), now, 0));
    let (first, _) = bench.join(1, &["t"]);
    let (second, told) = bench.join(2, &["t"]);
    let revoked: Vec<u32> = told.revoked(1).iter().map(|(index, ..)| *index).collect();
    let mut reports = bench.reports(1, None);
    reports.retain(|report| revoked.contains(&report.partition.index));
    bench.release(1, first, &reports);
    (bench, [first, second])
}

fn pair() -> (Bench, [StreamId; 2]) {
    pair_at(Instant::now())
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut bench = Bench::new(&[("t", 3)]);
    let (_, told) = bench.join(1, &["t"]);
    assert_eq!(told.assigned(1), [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(told.of(1).len(), 1);
}

#[test]
fn a_partition_moves_after_its_release_and_not_before() {
    let mut bench = Bench::new(&[("t", 4)]);
    let (first, _) = bench.join(1, &["t"]);
    let (_, told) = bench.join(2, &["t"]);
    assert_eq!(told.of(2), [&Event::Assign(vec![])], "complete, and empty");
    let revoked = told.revoked(1);
    assert_eq!(revoked.len(), 2);
    assert!(revoked.iter().all(|(_, _, within)| *within == rules().release));
    for (index, epoch, _) in revoked {
        let partition = PartitionId { topic: bench.topics.0["t"].id, index };
        let told = bench.release(1, first, &[Report { partition, epoch, place: place(5) }]);
        let [(moved, new)] = told.assigned(2)[..] else { panic!("one moves at a time") };
        assert!(moved == index && new > epoch);
        assert_eq!(bench.group.committed(partition), place(5));
    }
    assert_eq!((bench.reports(1, None).len(), bench.reports(2, None).len()), (2, 2));
}

#[test]
fn a_partition_that_is_not_released_moves_at_the_deadline_and_its_owner_is_told() {
    let mut bench = Bench::new(&[("t", 2)]);
    let (first, _) = bench.join(1, &["t"]);
    let (second, told) = bench.join(2, &["t"]);
    let [(index, epoch, _)] = told.revoked(1)[..] else { panic!("one is revoked") };
    for _ in 0..29 {
        assert!(bench.pass(SECOND).0.is_empty());
        bench.hear(1, first);
        bench.hear(2, second);
    }
    let told = bench.pass(SECOND);
    assert_eq!(told.revoked(1), [(index, epoch, Duration::ZERO)]);
    let [(moved, new)] = told.assigned(2)[..] else { panic!("it moves") };
    assert!(moved == index && new > epoch);
}

#[test]
fn a_cut_within_the_grace_moves_nothing_and_the_member_is_told_everything_again() {
    let (mut bench, [first, second]) = pair();
    let before = bench.reports(1, None);
    bench.group.detach(bench.now, Uuid::from_u128(1), first);
    for _ in 0..9 {
        assert!(bench.pass(SECOND).0.is_empty());
        bench.hear(2, second);
    }
    let (stream, told) = bench.join(1, &["t"]);
    assert!(stream > first);
    let kept: Vec<_> = before.iter().map(|report| (report.partition.index, report.epoch)).collect();
    assert_eq!(told.assigned(1), kept);
    assert!(told.of(2).is_empty());
    bench.hear(2, second);
    assert!(bench.pass(SECOND * 9).0.is_empty());
}

#[test]
fn what_a_member_within_its_grace_has_is_left_alone_though_another_joins() {
    let mut bench = Bench::new(&[("t", 4)]);
    let now = bench.now;
    bench.group = Group::new(Rules { release: SECOND, ..rules() }, now, 0);
    let (first, _) = bench.join(1, &["t"]);
    bench.group.detach(now, Uuid::from_u128(1), first);
    let (second, told) = bench.join(2, &["t"]);
    assert_eq!(told.of(2), [&Event::Assign(vec![])]);
    for _ in 0..9 {
        assert!(bench.pass(SECOND).0.is_empty());
        bench.hear(2, second);
    }
    // It is asked when it is back.
    let (_, told) = bench.join(1, &["t"]);
    assert_eq!((told.assigned(1).len(), told.revoked(1).len()), (4, 2));
}

#[test]
fn a_member_that_is_not_heard_for_the_grace_is_out_and_its_stream_ends() {
    let (mut bench, [_, second]) = pair();
    for _ in 0..9 {
        assert!(bench.pass(SECOND).0.is_empty());
        bench.hear(2, second);
    }
    let told = bench.pass(SECOND);
    assert_eq!(told.of(1), [&Event::End(Why::Silent)]);
    assert_eq!(told.assigned(2).len(), 2);
    let (_, told) = bench.join(1, &["t"]);
    assert_eq!(told.assigned(1), [], "it comes as a new one");
}

#[test]
fn a_newer_stream_fences_the_older() {
    let (mut bench, [first, _]) = pair();
    let change = bench.group.join(bench.now, joining(1, &["t"]), &bench.topics).unwrap().1;
    assert_eq!(bench.told(&change).0[0], (Uuid::from_u128(1), first, Event::End(Why::Replaced)));
    let reports = bench.reports(1, place(1));
    let verdict = bench.group.commit(bench.now, Uuid::from_u128(1), first, &reports, &ends);
    assert!(verdict.taken.is_empty());
    assert!(matches!(verdict.refused[..], [(_, CommitRefusal::NotAMember), (_, CommitRefusal::NotAMember)]));
    // Nor does its end cost the member its new one.
    bench.group.detach(bench.now, Uuid::from_u128(1), first);
    assert!(bench.group.member(&Uuid::from_u128(1)).unwrap().stream.is_some());
}

#[test]
fn a_member_id_is_bound_to_its_identity() {
    let (mut bench, _) = pair();
    let thief = Joining { identity: "cn:thief".into(), ..joining(1, &["t"]) };
    let refused = bench.group.join(bench.now, thief, &bench.topics);
    assert!(matches!(refused, Err(GroupError::OtherIdentity)));
}

#[test]
fn whoever_leaves_gives_up_everything_at_once() {
    let (mut bench, [first, _]) = pair();
    let change = bench.group.leave(bench.now, 7, Uuid::from_u128(1), first, &bench.topics);
    assert_eq!(bench.told(&change).assigned(2).len(), 2);
    assert_eq!(bench.group.idle_since, None);
}

#[test]
fn a_group_is_idle_from_its_last_member_on_and_expires() {
    let mut bench = Bench::new(&[("t", 1)]);
    let (stream, _) = bench.join(1, &["t"]);
    assert!(!bench.group.is_expired(i64::MAX));
    bench.group.leave(bench.now, 7, Uuid::from_u128(1), stream, &bench.topics);
    let week = 7 * 24 * 3_600_000;
    assert!(!bench.group.is_expired(7 + week - 1));
    assert!(bench.group.is_expired(7 + week));
    assert_eq!(bench.group.due(), None);
}

#[test]
fn a_topic_that_comes_later_is_assigned_when_it_comes_and_grows_under_its_group() {
    let mut bench = Bench::new(&[]);
    let (_, told) = bench.join(1, &["t"]);
    assert_eq!(told.of(1), [&Event::Assign(vec![])]);
    bench.topics = topics(&[("t", 1)]);
    assert_eq!(bench.pass(Duration::ZERO).assigned(1), [(0, 1)]);
    bench.topics = topics(&[("t", 3)]);
    assert_eq!(bench.pass(Duration::ZERO).assigned(1), [(1, 2), (2, 3)]);
}

#[test]
fn a_deleted_topic_takes_its_partitions_and_offsets_along() {
    let (mut bench, [first, _]) = pair();
    let reports = bench.reports(1, place(4));
    bench.group.commit(bench.now, Uuid::from_u128(1), first, &reports, &ends);
    // Made again under the same name, it is another.
    bench.topics.0.get_mut("t").unwrap().id = Uuid::from_u128(99);
    let change = bench.group.tick(bench.now, 0, &bench.topics);
    assert_eq!(change.forgets, [reports[0].partition, reports[1].partition]);
    let told = bench.told(&change);
    assert_eq!(told.revoked(1).len(), 2);
    assert!(told.revoked(1).iter().all(|(_, _, within)| within.is_zero()));
    assert_eq!((told.assigned(1).len(), told.assigned(2).len()), (2, 2));
    assert!(bench.group.committed.is_empty());
}

#[test]
fn a_member_that_joins_anew_for_other_topics_releases_those_it_wants_no_more() {
    let mut bench = Bench::new(&[("a", 1), ("b", 1)]);
    bench.join(1, &["a"]);
    let (stream, told) = bench.join(1, &["b"]);
    // All that it has, then what it shall release.
    assert_eq!(told.assigned(1), [(0, 1), (0, 2)]);
    assert_eq!(told.revoked(1), [(0, 1, rules().release)]);
    let report = bench.reports(1, None)[0];
    bench.release(1, stream, &[report]);
    assert_eq!(bench.reports(1, None).len(), 1);
}

#[test]
fn nobody_is_blamed_for_what_the_group_could_not_hear() {
    let (mut bench, [first, second]) = pair();
    bench.pass(SECOND);
    // The process stands still for a minute: then one look at the time, before anything that came meanwhile is read.
    bench.now += SECOND * 60;
    let change = bench.group.tick(bench.now, 0, &bench.topics);
    assert!(bench.told(&change).0.is_empty());
    bench.hear(1, first);
    bench.hear(2, second);
    assert!(bench.pass(SECOND * 9).0.is_empty());
    assert_eq!(bench.pass(SECOND * 2).0.len(), 2, "who stays silent is out all the same");
}

#[test]
fn limits_are_kept() {
    let mut bench = Bench::new(&[("t", 300), ("u", 4000)]);
    let join = |bench: &mut Bench, member, topics: &[&str]| {
        bench.group.join(bench.now, joining(member, topics), &bench.topics).map(drop)
    };
    assert!(matches!(join(&mut bench, 1, &[]), Err(GroupError::NoTopics)));
    let many: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(join(&mut bench, 1, &many), Err(GroupError::TooManyTopics { .. })));
    assert!(matches!(join(&mut bench, 1, &["t", "u"]), Err(GroupError::TooManyPartitions { .. })));
    for member in 0..256 {
        join(&mut bench, member, &["t"]).unwrap();
    }
    assert!(matches!(join(&mut bench, 256, &["t"]), Err(GroupError::TooManyMembers(256))));
    join(&mut bench, 255, &["t"]).expect("who is in may come again");
    assert!(matches!(join(&mut bench, 255, &["u"]), Err(GroupError::TooManyPartitions { .. })));
    // A topic that grows under its group: what is beyond the bound is nobody's.
    bench.topics = topics(&[("t", 5000)]);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.group.owned.len(), 4096);
}
