//! Random lives of a group, against what must hold whatever happens: nothing is owned twice in one epoch, epochs only rise,
//! cuts within the grace move nothing, and once it is quiet everything is owned and even.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::change::{Change, StreamId};
use super::group::Group;
use super::record;
use super::rules::Rules;
use super::seat::Event;
use super::tests::{Topics, joining, rules, topics};
use super::{Place, Report};
use crate::log::PartitionId;

const PARTITIONS: u32 = 64;
const MEMBERS: u128 = 12;

/// A member as it sees itself.
#[derive(Debug, Default)]
struct Member {
    stream: Option<StreamId>,
    has: BTreeMap<PartitionId, u32>,
    /// What it is to release, sooner or later.
    revoked: Vec<(PartitionId, u32)>,
    /// What was its own, and not being revoked, when its stream was lost.
    safe: Vec<(PartitionId, u32)>,
    /// It says nothing and releases nothing until then.
    stalled_until: Option<Instant>,
}

struct World {
    random: StdRng,
    rules: Rules,
    group: Group,
    topics: Topics,
    now: Instant,
    members: BTreeMap<u128, Member>,
    /// Who was ever told of a partition and epoch: one member, once.
    given: HashMap<(PartitionId, u32), u128>,
    newest: HashMap<PartitionId, u32>,
    committed: HashMap<PartitionId, u64>,
    moves: u64,
}

#[test]
fn nothing_is_owned_twice_in_one_epoch_and_everything_is_owned_in_the_end() {
    let seed = std::env::var("SEALSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    let rounds = std::env::var("SEALSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    for round in 0..rounds {
        println!("SEALSTREAM_SEED={seed} round {round}");
        let mut world = World::new(seed.wrapping_add(round));
        for _ in 0..1000 {
            world.step();
            world.check();
        }
        world.quiet();
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for one that may not know")]
fn ends(_: PartitionId) -> Option<u64> {
    Some(u64::MAX - 1)
}

impl Member {
    fn is_cut(&mut self) {
        let kept = self.has.iter().map(|(partition, epoch)| (*partition, *epoch));
        self.safe = kept.filter(|kept| !self.revoked.contains(kept)).collect();
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        // A deadline below the grace, or above it.
        let release = Duration::from_secs(if seed.is_multiple_of(2) { 3 } else { 30 });
        let rules = Rules { release, ..rules() };
        Self {
            random: StdRng::seed_from_u64(seed),
            group: Group::new(rules, now, 0),
            rules,
            topics: topics(&[("t", PARTITIONS)]),
            now,
            members: BTreeMap::new(),
            given: HashMap::new(),
            newest: HashMap::new(),
            committed: HashMap::new(),
            moves: 0,
        }
    }

    fn step(&mut self) {
        let member = self.random.random_range(0..MEMBERS);
        match self.random.random_range(0..100) {
            0..14 => self.join(member),
            14..20 => self.leave(member),
            20..30 => self.cut(member),
            30..35 => self.stall(member),
            35..37 => self.restart(),
            37..60 => self.release_some(member),
            60..75 => self.commit_some(member),
            _ => {
                let millis = self.random.random_range(1..3000);
                self.pass(Duration::from_millis(millis));
            }
        }
    }

    fn join(&mut self, id: u128) {
        let before = self.owners();
        let known = self.group.member(&Uuid::from_u128(id)).is_some();
        let (stream, change) = self.group.join(self.now, joining(id, &["t"]), &self.topics).unwrap();
        let before_cut = self.members.insert(id, Member { stream: Some(stream), ..Member::default() });
        self.hear(&change);
        if known {
            // However the others came and went meanwhile.
            for (partition, epoch) in before_cut.map(|member| member.safe).unwrap_or_default() {
                assert_eq!(self.members[&id].has.get(&partition), Some(&epoch), "a cut moved {partition}");
            }
            // It resumes: nothing is taken from anybody, and it has what it had.
            let after = self.owners();
            assert!(before.iter().all(|(partition, owner)| after.get(partition) == Some(owner)));
        } else {
            let revoked: usize = change.revoking.values().map(Vec::len).sum();
            let share = PARTITIONS as usize / self.group.members.len();
            let settled = before.len() == PARTITIONS as usize && self.is_even_without(id);
            assert!(!settled || revoked <= share, "a join moves {revoked}, its share is {share}");
        }
    }

    /// Whether the others were even before somebody came, so that only its own share has to move.
    fn is_even_without(&self, id: u128) -> bool {
        let newcomer = Uuid::from_u128(id);
        let mut loads: BTreeMap<Uuid, usize> = self
            .group
            .members
            .keys()
            .filter(|member| **member != newcomer)
            .map(|member| (*member, 0))
            .collect();
        for (_, owned) in self.group.owned() {
            *loads.entry(owned.member).or_default() += 1;
        }
        let even =
            loads.values().max().zip(loads.values().min()).is_none_or(|(most, least)| most - least <= 1);
        let all_connected = self.group.members.values().all(|member| member.stream.is_some());
        let earlier = self
            .group
            .owned()
            .filter(|(_, owned)| owned.revoked.is_some_and(|at| at < self.now + self.rules.release));
        even && all_connected && earlier.count() == 0
    }

    fn leave(&mut self, id: u128) {
        let Some(stream) = self.members.get(&id).and_then(|member| member.stream) else { return };
        let change = self.group.leave(self.now, 0, Uuid::from_u128(id), stream, &self.topics);
        self.members.remove(&id);
        self.hear(&change);
    }

    /// Its stream is lost. It knows what it has, and may come again.
    fn cut(&mut self, id: u128) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(stream) = member.stream.take() else { return };
        member.is_cut();
        self.group.detach(self.now, Uuid::from_u128(id), stream);
    }

    fn stall(&mut self, id: u128) {
        let until = self.now + Duration::from_millis(self.random.random_range(1..40_000));
        if let Some(member) = self.members.get_mut(&id) {
            member.stalled_until = Some(until);
        }
    }

    /// The broker is killed and starts again from its record: everybody has a grace.
    fn restart(&mut self) {
        let before = self.owners();
        let bytes = record::encode(&self.group);
        let committed = std::mem::take(&mut self.group.committed);
        self.group = record::decode("group/g", &bytes, self.rules, self.now).unwrap();
        self.group.committed = committed;
        for member in self.members.values_mut() {
            // Who was connected; the others have been cut before, and may be out.
            if member.stream.take().is_some() {
                member.revoked.clear();
                member.is_cut();
            }
        }
        let change = self.group.tick(self.now, 0, &self.topics);
        self.hear(&change);
        assert_eq!(self.owners(), before);
    }

    fn release_some(&mut self, id: u128) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else { return };
        let stalled = member.stalled_until.is_some_and(|until| until > now);
        let (Some(stream), false) = (member.stream, stalled) else { return };
        let some = self.random.random_range(0..=member.revoked.len());
        let released: Vec<_> = member.revoked.drain(..some).collect();
        let reports: Vec<Report> = released
            .iter()
            .map(|(partition, epoch)| {
                member.has.remove(partition);
                Report { partition: *partition, epoch: *epoch, place: None }
            })
            .collect();
        let who = (Uuid::from_u128(id), stream);
        let change = self.group.release(self.now, who, &reports, &ends, &self.topics);
        self.hear(&change);
    }

    /// Commits what it believes to have, a stale belief included: taken exactly where the belief is right.
    fn commit_some(&mut self, id: u128) {
        let Some(member) = self.members.get(&id) else { return };
        let stream = member.stream.unwrap_or(0);
        let reports: Vec<Report> = member
            .has
            .iter()
            .map(|(partition, epoch)| {
                let offset = self.random.random_range(0..1000);
                Report { partition: *partition, epoch: *epoch, place: Some(Place { offset, log_epoch: 1 }) }
            })
            .collect();
        let owners = self.owners();
        let verdict = self.group.commit(self.now, Uuid::from_u128(id), stream, &reports, &ends);
        for (partition, place) in verdict.taken {
            assert_eq!(owners.get(&partition), Some(&(Uuid::from_u128(id), member.has[&partition])));
            let before = self.committed.insert(partition, place.offset).unwrap_or(0);
            assert!(place.offset >= before, "a commit went back");
        }
    }

    /// Time passes: whoever is not stalled is heard, and the group looks when it is due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            for (id, member) in &self.members {
                if let Some(stream) = member.stream
                    && member.stalled_until.is_none_or(|until| until <= self.now)
                {
                    self.group.heard(self.now, Uuid::from_u128(*id), stream);
                }
            }
            self.now = self.group.due().map_or(until, |due| due.clamp(self.now, until));
            let change = self.group.tick(self.now, 0, &self.topics);
            self.hear(&change);
            if self.now == until {
                return;
            }
        }
    }

    /// Everybody hears what is told.
    fn hear(&mut self, change: &Change) {
        for (id, stream, event) in change.events(&self.group, self.now) {
            let id = id.as_u128();
            let Some(member) = self.members.get_mut(&id).filter(|member| member.stream == Some(stream))
            else {
                continue;
            };
            match event {
                Event::Assign(granted) => {
                    for granted in granted {
                        let (partition, epoch) = (granted.partition, granted.epoch);
                        let first = self.given.insert((partition, epoch), id).is_none_or(|other| other == id);
                        assert!(first, "{partition} is owned twice in epoch {epoch}");
                        let newest = self.newest.entry(partition).or_default();
                        assert!(epoch >= *newest, "the epoch of {partition} went back");
                        self.moves += u64::from(epoch > *newest);
                        *newest = epoch;
                        member.has.insert(partition, epoch);
                    }
                }
                Event::Revoke { within, partitions } if within.is_zero() => {
                    for (partition, epoch) in partitions {
                        member.has.retain(|id, had| *id != partition || *had != epoch);
                        member.revoked.retain(|revoked| *revoked != (partition, epoch));
                    }
                }
                Event::Revoke { partitions, .. } => member.revoked.extend(partitions),
                Event::End(_) => *member = Member::default(),
            }
        }
    }

    fn owners(&self) -> BTreeMap<PartitionId, (Uuid, u32)> {
        self.group.owned().map(|(partition, owned)| (*partition, (owned.member, owned.epoch))).collect()
    }

    /// Whoever is connected believes what the group believes.
    fn check(&self) {
        for (id, member) in self.members.iter().filter(|(_, member)| member.stream.is_some()) {
            let owned = self.group.owned().filter(|(_, owned)| owned.member == Uuid::from_u128(*id));
            let owned: BTreeMap<PartitionId, u32> =
                owned.map(|(partition, owned)| (*partition, owned.epoch)).collect();
            assert_eq!(member.has, owned, "member {id}");
        }
        let owners: Vec<Uuid> = self.group.owned().map(|(_, owned)| owned.member).collect();
        assert!(owners.iter().all(|owner| self.group.member(owner).is_some()), "a stranger owns something");
    }

    /// Nothing happens any more but that members do as they should.
    fn quiet(&mut self) {
        self.join(0);
        for _ in 0..60 {
            for member in self.members.values_mut() {
                member.stalled_until = None;
            }
            self.pass(Duration::from_secs(2));
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                self.release_some(id);
            }
            self.check();
        }
        let mut loads: BTreeMap<Uuid, u32> = self.group.members.keys().map(|member| (*member, 0)).collect();
        for (_, owned) in self.group.owned() {
            assert_eq!(owned.revoked, None);
            *loads.entry(owned.member).or_default() += 1;
        }
        assert_eq!(loads.values().sum::<u32>(), PARTITIONS, "everything is owned");
        let (most, least) = (loads.values().max().unwrap(), loads.values().min().unwrap());
        assert!(most - least <= 1, "{loads:?}");
        let moves = self.moves;
        self.pass(Duration::from_mins(1));
        assert_eq!(self.moves, moves, "nothing moves once it is quiet");
    }
}
