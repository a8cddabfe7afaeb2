//! Who shall have which partition: sticky, and as even as what each member wants to read allows.
//!
//! Whoever has a partition keeps it unless another who wants it has at least two partitions fewer. What nobody has goes to
//! whoever has the fewest. Where members want different topics, a partition may have to go by way of others: the one with
//! the most gives one to somebody, who gives one to somebody, until it reaches one who has at least two fewer.
//!
//! Cost: a step a partition that is free or moves, each over members and topics once; the caller bounds all three.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use uuid::Uuid;

use crate::log::PartitionId;

/// A topic: its partitions, and the members that want to read it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) partitions: Vec<PartitionId>,
    pub(super) members: BTreeSet<Uuid>,
}

/// The owner that each partition of `topics` shall have, given who has what. A partition that no member wants gets none.
pub(super) fn balance(topics: &[Wanted], has: &BTreeMap<PartitionId, Uuid>) -> BTreeMap<PartitionId, Uuid> {
    let mut table = Table::new(topics, has);
    table.hand_out();
    // Each move brings the sum of the squared loads down, which the first hand-out bounds: this is for show.
    let most = topics.iter().map(|topic| topic.partitions.len()).sum::<usize>().saturating_mul(4);
    for _ in 0..most {
        if !table.even_out() {
            break;
        }
    }
    table.owners()
}

/// Members and topics by number.
struct Table<'a> {
    topics: &'a [Wanted],
    ids: Vec<Uuid>,
    /// Of a topic, the members that want it.
    eligible: Vec<Vec<usize>>,
    /// Of a member, what it has of each topic.
    held: Vec<BTreeMap<usize, Vec<PartitionId>>>,
    load: Vec<usize>,
    free: Vec<(usize, PartitionId)>,
}

impl<'a> Table<'a> {
    fn new(topics: &'a [Wanted], has: &BTreeMap<PartitionId, Uuid>) -> Self {
        let ids: BTreeSet<Uuid> = topics.iter().flat_map(|topic| &topic.members).copied().collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let number = |id: &Uuid| ids.binary_search(id).ok();
        let eligible: Vec<Vec<usize>> =
            topics.iter().map(|topic| topic.members.iter().filter_map(number).collect()).collect();
        let (mut held, mut load) = (vec![BTreeMap::<_, Vec<_>>::new(); ids.len()], vec![0; ids.len()]);
        let mut free = Vec::new();
        for (topic, wanted) in topics.iter().enumerate() {
            for partition in &wanted.partitions {
                let owner = has.get(partition).filter(|owner| wanted.members.contains(owner));
                match owner.and_then(number) {
                    Some(owner) => {
                        held[owner].entry(topic).or_default().push(*partition);
                        load[owner] += 1;
                    }
                    None => free.push((topic, *partition)),
                }
            }
        }
        Self { topics, ids, eligible, held, load, free }
    }

    /// Gives what is free to whoever has the fewest, beginning with the topics that the fewest want.
    fn hand_out(&mut self) {
        let mut free = std::mem::take(&mut self.free);
        free.sort_by_key(|(topic, partition)| (self.eligible[*topic].len(), *topic, *partition));
        for of_topic in free.chunk_by(|(one, _), (other, _)| one == other) {
            let topic = of_topic[0].0;
            let eligible = self.eligible[topic].iter();
            let mut fewest: BinaryHeap<_> =
                eligible.map(|member| Reverse((self.load[*member], *member))).collect();
            for (_, partition) in of_topic {
                let Some(Reverse((_, member))) = fewest.pop() else { break };
                self.give(member, topic, *partition);
                fewest.push(Reverse((self.load[member], member)));
            }
        }
    }

    fn give(&mut self, member: usize, topic: usize, partition: PartitionId) {
        self.held[member].entry(topic).or_default().push(partition);
        self.load[member] += 1;
    }

    /// Takes one partition from a member to one that has at least two fewer; `false` if there is no such pair.
    fn even_out(&mut self) -> bool {
        let mut members: Vec<usize> = (0..self.ids.len()).collect();
        members.sort_by_key(|member| Reverse(self.load[*member]));
        for member in members {
            if let Some(path) = self.path_down(member) {
                let mut from = member;
                for (topic, to) in path {
                    let moved = self.held[from].get_mut(&topic).and_then(Vec::pop);
                    let moved = moved.expect("a step leads from one who has something of the topic");
                    self.load[from] -= 1;
                    self.give(to, topic, moved);
                    from = to;
                }
                return true;
            }
        }
        false
    }

    /// The shortest way from a member to one that has at least two partitions fewer: of which topic each step is, and to whom.
    fn path_down(&self, start: usize) -> Option<Vec<(usize, usize)>> {
        let target = self.load[start].checked_sub(2)?;
        let mut came = vec![None; self.ids.len()];
        let mut topics_done = vec![false; self.topics.len()];
        let mut queue = VecDeque::from([start]);
        while !queue.is_empty() {
            // One step further at a time, so that among the nearest the one with the fewest is found.
            let mut level = Vec::new();
            for from in queue.drain(..) {
                for (topic, held) in &self.held[from] {
                    if held.is_empty() || std::mem::replace(&mut topics_done[*topic], true) {
                        continue;
                    }
                    for to in &self.eligible[*topic] {
                        if *to != start && came[*to].is_none() {
                            came[*to] = Some((*topic, from));
                            level.push(*to);
                        }
                    }
                }
            }
            let least = level.iter().copied().min_by_key(|member| self.load[*member]);
            if let Some(mut at) = least.filter(|member| self.load[*member] <= target) {
                let mut path = Vec::new();
                while let Some((topic, from)) = came[at] {
                    path.push((topic, at));
                    at = from;
                }
                path.reverse();
                return Some(path);
            }
            queue.extend(level);
        }
        None
    }

    fn owners(self) -> BTreeMap<PartitionId, Uuid> {
        let all = self.ids.iter().zip(self.held);
        all.flat_map(|(id, held)| held.into_values().flatten().map(move |partition| (partition, *id)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn topic(number: u128, partitions: u32, members: &[u128]) -> Wanted {
        let id = Uuid::from_u128(1000 + number);
        Wanted {
            partitions: (0..partitions).map(|index| PartitionId { topic: id, index }).collect(),
            members: members.iter().copied().map(member).collect(),
        }
    }

    fn loads(owners: &BTreeMap<PartitionId, Uuid>) -> BTreeMap<Uuid, usize> {
        let mut loads = BTreeMap::new();
        for owner in owners.values() {
            *loads.entry(*owner).or_default() += 1;
        }
        loads
    }

    fn moved(before: &BTreeMap<PartitionId, Uuid>, after: &BTreeMap<PartitionId, Uuid>) -> usize {
        after
            .iter()
            .filter(|(partition, owner)| before.get(partition).is_some_and(|had| had != *owner))
            .count()
    }

    #[test]
    fn a_join_moves_no_more_than_the_share_of_whoever_joins() {
        let mut has = BTreeMap::new();
        for members in 1..=9 {
            let everybody: Vec<u128> = (1..=members).collect();
            let after = balance(&[topic(1, 64, &everybody)], &has);
            let share = 64 / usize::try_from(members).unwrap();
            assert!(moved(&has, &after) <= share, "{members} members");
            let loads = loads(&after);
            assert_eq!(after.len(), 64);
            assert!(loads.values().all(|load| *load == share || *load == share + 1), "{loads:?}");
            has = after;
        }
    }

    #[test]
    fn what_a_leaver_had_is_spread_and_nothing_else_moves() {
        let has = balance(&[topic(1, 64, &[1, 2, 3, 4])], &BTreeMap::new());
        let after = balance(&[topic(1, 64, &[1, 2, 4])], &has);
        let kept = has.iter().filter(|(_, owner)| **owner != member(3));
        assert!(kept.clone().all(|(partition, owner)| after[partition] == *owner));
        let loads = loads(&after);
        assert!(loads.values().max().unwrap() - loads.values().min().unwrap() <= 1, "{loads:?}");
    }

    #[test]
    fn a_partition_goes_by_way_of_others_where_members_want_different_topics() {
        // 1 wants the first topic, 3 the second, 2 both: nothing can go from 1 to 3 directly.
        let topics = [topic(1, 6, &[1, 2]), topic(2, 3, &[2, 3])];
        let mut has = BTreeMap::new();
        for (at, partition) in topics[0].partitions.iter().enumerate() {
            has.insert(*partition, if at < 4 { member(1) } else { member(2) });
        }
        for (at, partition) in topics[1].partitions.iter().enumerate() {
            has.insert(*partition, if at < 1 { member(2) } else { member(3) });
        }
        let loads = loads(&balance(&topics, &has));
        assert_eq!(loads.into_values().collect::<Vec<_>>(), [3, 3, 3]);
    }

    #[test]
    fn nobody_gets_what_it_does_not_want_though_it_has_it() {
        let topics = [topic(1, 2, &[1]), topic(2, 2, &[])];
        let has = topics.iter().flat_map(|topic| &topic.partitions).map(|id| (*id, member(2))).collect();
        let after = balance(&topics, &has);
        assert_eq!(after.into_values().collect::<Vec<_>>(), [member(1), member(1)]);
    }

    #[test]
    fn nothing_moves_once_it_is_even() {
        let topics = [topic(1, 7, &[1, 2, 3]), topic(2, 5, &[2, 3, 4]), topic(3, 1, &[4])];
        let has = balance(&topics, &BTreeMap::new());
        assert_eq!(has.len(), 13);
        assert_eq!(balance(&topics, &has), has);
    }
}
