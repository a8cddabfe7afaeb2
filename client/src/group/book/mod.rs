//! What a member holds and how far it is: decisions only, without I/O or a clock.
//!
//! ```text
//!             assigned              revoked                  released, or the deadline
//!   (absent) ─────────► held ─────────────────► leaving ─────────────────────────────► (absent)
//!                        ▲ │                       │
//!      assigned again,   │ └──────── lost ─────────┴──► (absent)    its epoch is over, the member was out
//!      same epoch: stays ┘
//!
//!   held is read, unless: paused (by the program) · halted (by an error of its own) · doubted (its
//!   reading was refused, and the group has not said why yet) · ended (read to the end, where
//!   the consumer stops there) · the book is suspended (the group was not heard for its grace, or is being left)
//!
//!   positions of each, next offsets all:   committed ≤ finished ≤ handed      but for seeks, and logs that were cut
//!             the broker has it ┘            │           └ given to the program
//!                        the program has asked for what follows, or said that it is done
//! ```
//!
//! Owner: [`Shared`](super::shared::Shared), behind its lock; program and driver both change it. A reading is made when
//! a partition begins to be read and is never used again: what still comes of one that was taken back is thrown away,
//! and records are handed out under the lock only, so that nothing is handed out of what is held no more.
//!
//! Bounds: [`MAX_HELD`] partitions, of a fixed size each.

mod held;
mod positions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sealstream_protocol::message::consume::{Membership, Position};
use sealstream_protocol::message::group::{Assignment, Progress, TopicPartition};
use tokio::time::Instant;
use uuid::Uuid;

pub(super) use held::Mark;

use super::event::AssignedPartition;
use super::options::MAX_TOPICS;
use crate::consumer::reading::{Reading, Terms};
use crate::consumer::{OnDiverged, OnOutOfRange};
use held::{Held, Standing};

/// Partitions that one member holds at most: six topics of the most partitions there can be. At 300 bytes each, 18 MiB.
pub(super) const MAX_HELD: u32 = 60_000;

/// Positions in one frame: at 37 bytes each a third of the largest frame of its kind.
pub(super) const PER_FRAME: usize = 10_000;

/// Who decides what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commits {
    /// The consumer: what is finished.
    Automatic,
    /// The program.
    Manual,
}

/// What holds for every partition.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) group: String,
    pub(super) start: Position,
    pub(super) until_end: bool,
    pub(super) on_out_of_range: OnOutOfRange,
    pub(super) on_diverged: OnDiverged,
    pub(super) commits: Commits,
}

/// A reading to begin.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) reading: Arc<Reading>,
    pub(super) position: Position,
    pub(super) epoch: Option<u32>,
}

/// What is to be done about readings.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) begin: Vec<Begin>,
    /// Whether some were taken back, which their drivers must be told.
    pub(super) taken_back: bool,
}

/// What an assignment changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reassigned {
    pub(super) assigned: Vec<AssignedPartition>,
    pub(super) lost: Vec<AssignedPartition>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    rules: Rules,
    member: Uuid,
    held: HashMap<TopicPartition, Held>,
    /// What readings of a topic have in common, its name for one.
    topics: BTreeMap<Uuid, Arc<Terms>>,
    next_reading: u64,
    /// Readings were taken back since the last plan.
    taken_back: bool,
    suspended: bool,
}

impl Book {
    pub(super) fn new(rules: Rules, member: Uuid) -> Self {
        Self {
            rules,
            member,
            held: HashMap::new(),
            topics: BTreeMap::new(),
            next_reading: 0,
            taken_back: false,
            suspended: false,
        }
    }

    /// From now on partitions are read as this member.
    pub(super) fn set_member(&mut self, member: Uuid) {
        self.member = member;
    }

    pub(super) fn commits(&self) -> Commits {
        self.rules.commits
    }

    /// Takes partitions in; if these are `all` that the member has, what is not among them is lost. `Err` says that
    /// they are too many.
    pub(super) fn assign(&mut self, assignments: Vec<Assignment>, all: bool) -> Result<Reassigned, String> {
        let mut changes = Reassigned::default();
        if all {
            let kept: HashMap<_, _> = assignments.iter().map(|one| (&one.at, one.epoch)).collect();
            self.held.retain(|at, held| {
                let keep = kept.get(at) == Some(&held.epoch);
                if !keep {
                    self.taken_back |= held.stop_reading();
                    changes.lost.push(held.named());
                }
                keep
            });
            self.suspended = false;
        }
        for assignment in assignments {
            if let Some(held) = self.held.get_mut(&assignment.at) {
                if held.epoch == assignment.epoch {
                    if held.standing == Standing::Doubted {
                        held.standing = Standing::Going;
                    }
                    continue;
                }
                changes.lost.push(held.named());
                self.drop_held(&assignment.at);
            }
            if self.held.len() >= MAX_HELD as usize {
                return Err(format!("more than {MAX_HELD} partitions are assigned to one member"));
            }
            let terms = self.terms(&assignment);
            let held = Held::new(assignment, terms);
            changes.assigned.push(held.named());
            self.held.insert(held.at.clone(), held);
        }
        changes.assigned.sort_unstable();
        changes.lost.sort_unstable();
        Ok(changes)
    }

    /// Begins to give partitions up, by `until` at the latest. Which they are: an epoch that is not held is over already.
    pub(super) fn revoke(
        &mut self,
        partitions: &[(TopicPartition, u32)],
        until: Instant,
    ) -> Vec<AssignedPartition> {
        let mut revoked = Vec::new();
        for (at, epoch) in partitions {
            if let Some(held) = self.held.get_mut(at).filter(|held| held.epoch == *epoch) {
                held.leaves_at.get_or_insert(until);
                revoked.push(held.named());
            }
        }
        revoked
    }

    /// Gives up what is revoked and finished, or due: how far each is, and which they are.
    pub(super) fn release(&mut self, now: Instant) -> (Vec<Progress>, Vec<AssignedPartition>) {
        let commits = self.rules.commits;
        let ready: Vec<_> = self
            .held
            .values()
            .filter(|held| held.leaves_at.is_some_and(|at| at <= now || !held.is_in_hand(commits)))
            .map(|held| held.at.clone())
            .take(PER_FRAME)
            .collect();
        let mut progress = Vec::with_capacity(ready.len());
        let mut released = Vec::with_capacity(ready.len());
        for at in ready {
            let Some(held) = self.drop_held(&at) else { continue };
            released.push(held.named());
            progress.push(held.last_word(commits));
        }
        (progress, released)
    }

    /// When the next revoked partition is given up, finished or not.
    pub(super) fn next_release(&self) -> Option<Instant> {
        self.held.values().filter_map(|held| held.leaves_at).min()
    }

    /// The partition is another's by now: its name, if it was held under that epoch.
    pub(super) fn lose(&mut self, at: &TopicPartition, epoch: u32) -> Option<AssignedPartition> {
        self.held.get(at).filter(|held| held.epoch == epoch)?;
        self.drop_held(at).map(|held| held.named())
    }

    /// All partitions are others' by now.
    pub(super) fn lose_all(&mut self) -> Vec<AssignedPartition> {
        let mut lost: Vec<_> = self.held.values().map(Held::named).collect();
        for (_, mut held) in self.held.drain() {
            self.taken_back |= held.stop_reading();
        }
        lost.sort_unstable();
        lost
    }

    /// Nothing is handed out until an assignment says what is still the member's. Says whether that is news.
    pub(super) fn suspend(&mut self) -> bool {
        !std::mem::replace(&mut self.suspended, true)
    }

    /// Begins and ends readings as the book stands.
    pub(super) fn plan(&mut self) -> Plan {
        let mut plan = Plan { taken_back: std::mem::take(&mut self.taken_back), ..Plan::default() };
        for held in self.held.values_mut() {
            match (&held.reading, held.wants_reading() && !self.suspended) {
                (None, true) => {
                    let (position, epoch) = held.position(self.rules.start);
                    let (group, member) = (self.rules.group.clone(), self.member);
                    let membership = Membership { group, member, epoch: held.epoch };
                    let terms = held.terms.clone();
                    let reading = Reading::new(self.next_reading, terms, held.at.partition, Some(membership));
                    let reading = Arc::new(reading);
                    self.next_reading += 1;
                    held.reading = Some(reading.clone());
                    plan.begin.push(Begin { reading, position, epoch });
                }
                (Some(_), false) => plan.taken_back |= held.stop_reading(),
                _ => {}
            }
        }
        plan
    }

    /// The reading came to the end at which the consumer stops.
    pub(super) fn ended(&mut self, reading: &Reading) {
        if let Some(held) = self.read_by(reading) {
            held.standing = Standing::Ended;
            self.taken_back |= held.stop_reading();
        }
    }

    /// The reading failed. Says whether it was one that counts.
    pub(super) fn halt(&mut self, reading: &Reading) -> bool {
        let Some(held) = self.read_by(reading) else { return false };
        held.standing = Standing::Halted;
        self.taken_back |= held.stop_reading();
        true
    }

    /// The reading was refused because its epoch is over. A broker that has just started may not know better yet: how far
    /// the partition is stays known until the group's session says whose it is.
    pub(super) fn doubt(&mut self, reading: &Reading) {
        if let Some(held) = self.read_by(reading) {
            held.standing = Standing::Doubted;
            self.taken_back |= held.stop_reading();
        }
    }

    /// Stops handing out a partition, or goes on with it. `None` if it is not held.
    pub(super) fn set_paused(&mut self, topic: &str, partition: u32, paused: bool) -> Option<()> {
        let held = self.find(topic, partition)?;
        held.paused = paused;
        if held.standing == Standing::Halted && !paused {
            held.standing = Standing::Going;
        }
        Some(())
    }

    /// Reads a partition on from `position`. `None` if it is not held.
    pub(super) fn seek(&mut self, topic: &str, partition: u32, position: Position) -> Option<()> {
        let held = self.find(topic, partition)?;
        let stopped = held.stop_reading();
        held.sought = Some(position);
        if held.standing != Standing::Doubted {
            held.standing = Standing::Going;
        }
        self.taken_back |= stopped;
        Some(())
    }

    /// Whether everything that is held was read to its end. Who holds nothing waits for something.
    pub(super) fn is_done(&self) -> bool {
        !self.held.is_empty()
            && self.held.values().all(|held| held.standing == Standing::Ended && held.leaves_at.is_none())
    }

    /// What is held, in order.
    pub(super) fn assignment(&self) -> Vec<AssignedPartition> {
        let mut all: Vec<_> = self.held.values().map(Held::named).collect();
        all.sort_unstable();
        all
    }

    /// The name of a topic that is or was held.
    pub(super) fn topic_name(&self, topic: &Uuid) -> Option<Arc<str>> {
        self.topics.get(topic).map(|terms| terms.topic.clone())
    }

    fn drop_held(&mut self, at: &TopicPartition) -> Option<Held> {
        let mut held = self.held.remove(at)?;
        self.taken_back |= held.stop_reading();
        Some(held)
    }

    fn read_by(&mut self, reading: &Reading) -> Option<&mut Held> {
        let at = TopicPartition { topic: reading.terms.topic_id, partition: reading.partition };
        let held = self.held.get_mut(&at)?;
        let is_its = held.reading.as_ref().is_some_and(|its| its.id == reading.id);
        (is_its && held.leaves_at.is_none()).then_some(held)
    }

    fn find(&mut self, topic: &str, partition: u32) -> Option<&mut Held> {
        // Of several topics that had the name one after the other, one at most is held.
        let named = self.topics.iter().filter(|(_, terms)| *terms.topic == *topic);
        let mut places = named.map(|(id, _)| TopicPartition { topic: *id, partition });
        let at = places.find(|at| self.held.contains_key(at))?;
        self.held.get_mut(&at)
    }

    fn terms(&mut self, assignment: &Assignment) -> Arc<Terms> {
        if self.topics.len() > 2 * MAX_TOPICS {
            // Topics that were deleted and made again under the same names: what nobody holds goes.
            self.topics.retain(|_, terms| Arc::strong_count(terms) > 1);
        }
        let rules = &self.rules;
        let make = || Terms {
            topic: Arc::from(assignment.name.as_str()),
            topic_id: assignment.at.topic,
            until_end: rules.until_end,
            on_out_of_range: rules.on_out_of_range,
            on_diverged: rules.on_diverged,
        };
        self.topics.entry(assignment.at.topic).or_insert_with(|| Arc::new(make())).clone()
    }
}
