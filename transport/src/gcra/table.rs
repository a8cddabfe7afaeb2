//! The state of many keys in memory: sharded, expiring, and bounded.
//!
//! A key whose TAT has passed says nothing and goes when a new one comes along. When a shard is full of keys that do say
//! something, the one that is nearest to expiry among a small sample goes. That only forgives: the forgotten key starts with a
//! full bucket again, and nobody is ever denied because the table is full.

use std::array;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limit::Limit;
use super::tat::{Decision, Tat};

/// Locks of a table. A decision holds one for 40 to 100 ns, so that even 16 cores at once seldom meet in one of 16.
const SHARDS: usize = 16;

/// Entries looked at when a key is added. All that have expired go, so that a table in steady use sheds up to eight for each
/// one that it takes; the nearest to expiry of eight is among the next fifth to expire in five cases of six (1 − 0.8⁸).
pub const EVICTION_SAMPLE: usize = 8;

/// What a part of a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes part in the decision, and spends if all are allowed.
    Spend,
    /// Takes part in the decision, and spends nothing.
    CheckOnly,
    /// Best effort: takes no part in the decision; if that is allowed, and it is allowed itself, it spends.
    SpendOnly,
}

/// One part of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Spend<'a, K> {
    /// Who spends.
    pub key: &'a K,
    /// How much that may be.
    pub limit: &'a Limit,
    /// How much it is.
    pub cost: u64,
    /// What the part does.
    pub role: Role,
}

/// The state of a bounded number of keys. Decisions on present keys allocate nothing.
#[derive(Debug)]
pub struct Table<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    /// Random, so that nobody can choose keys that meet in one shard.
    hasher: RandomState,
    /// Entries per shard.
    capacity: usize,
}

impl<K: Clone + Eq + Hash> Table<K> {
    /// An empty table of at most this many keys, rounded up to a multiple of 16. It grows as they come. Keys spread over the
    /// shards by chance, so that the first shard is full some time before the last: a table for exactly `n` keys needs room
    /// for more than `n`.
    pub fn new(max_keys: usize) -> Self {
        Self {
            shards: array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            capacity: max_keys.div_ceil(SHARDS).max(1),
        }
    }

    /// Takes `cost` units from a key, or none of them.
    pub fn spend(&self, now: Duration, key: &K, limit: &Limit, cost: u64) -> Decision {
        let mut shard = self.lock(self.shard_of(key));
        shard.forgive(now, key, limit);
        shard.spend(now, key, limit, cost, self.capacity)
    }

    /// What a spend would answer.
    pub fn check(&self, now: Duration, key: &K, limit: &Limit, cost: u64) -> Decision {
        self.lock(self.shard_of(key)).tat(key).check(limit, now, cost)
    }

    /// Gives back `cost` units of an earlier spend. A key of which nothing is known is full: denied.
    pub fn refund(&self, now: Duration, key: &K, limit: &Limit, cost: u64) -> Decision {
        let mut shard = self.lock(self.shard_of(key));
        shard.forgive(now, key, limit);
        let mut tat = shard.tat(key);
        let decision = tat.refund(limit, now, cost);
        if decision.allowed {
            shard.store(now, key, tat, self.capacity);
        }
        decision
    }

    /// Spends from several keys or from none: the strictest decision answers, and one denial stores nothing. Atomic. Each
    /// key must be named once only.
    pub fn transaction(&self, now: Duration, parts: &[Spend<'_, K>]) -> Decision {
        let mut wanted = [false; SHARDS];
        for part in parts {
            wanted[self.shard_of(part.key)] = true;
        }
        // Always in ascending order, so that two transactions cannot wait for each other.
        let mut locked: [_; SHARDS] = array::from_fn(|shard| wanted[shard].then(|| self.lock(shard)));
        let mut answer = Decision::UNLIMITED;
        for part in parts {
            let shard = held(&mut locked, self.shard_of(part.key));
            shard.forgive(now, part.key, part.limit);
            if part.role != Role::SpendOnly {
                answer = answer.stricter(shard.tat(part.key).check(part.limit, now, part.cost));
            }
        }
        if !answer.allowed {
            return answer;
        }
        for part in parts.iter().filter(|part| part.role != Role::CheckOnly) {
            let shard = held(&mut locked, self.shard_of(part.key));
            // Checked above, or best effort.
            let _ = shard.spend(now, part.key, part.limit, part.cost, self.capacity);
        }
        answer
    }

    /// Keys of which something is remembered, expired ones that nobody has met yet among them.
    pub fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.lock(shard).entries.len()).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard_of(&self, key: &K) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).expect("less than the number of shards")
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard<K>> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shard that a transaction has locked.
fn held<'a, K>(locked: &'a mut [Option<MutexGuard<'_, Shard<K>>>; SHARDS], shard: usize) -> &'a mut Shard<K> {
    locked[shard].as_mut().expect("every shard of a part was locked")
}

/// The keys of one lock. The entries lie dense, so that a sample of them is a slice.
#[derive(Debug)]
struct Shard<K> {
    positions: HashMap<K, usize>,
    entries: Vec<(K, Tat)>,
    /// Where the next sample begins.
    cursor: usize,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self { positions: HashMap::new(), entries: Vec::new(), cursor: 0 }
    }
}

impl<K: Clone + Eq + Hash> Shard<K> {
    fn tat(&self, key: &K) -> Tat {
        self.positions.get(key).map_or_else(Tat::default, |&position| self.entries[position].1)
    }

    fn spend(&mut self, now: Duration, key: &K, limit: &Limit, cost: u64, capacity: usize) -> Decision {
        let mut tat = self.tat(key);
        let decision = tat.spend(limit, now, cost);
        if decision.allowed {
            self.store(now, key, tat, capacity);
        }
        decision
    }

    fn forgive(&mut self, now: Duration, key: &K, limit: &Limit) {
        if let Some(&position) = self.positions.get(key) {
            self.entries[position].1.forgive(limit, now);
        }
    }

    fn store(&mut self, now: Duration, key: &K, tat: Tat, capacity: usize) {
        if let Some(&position) = self.positions.get(key) {
            self.entries[position].1 = tat;
        } else if !tat.has_passed(now) {
            self.make_room(now, capacity);
            self.positions.insert(key.clone(), self.entries.len());
            self.entries.push((key.clone(), tat));
        }
    }

    /// Looks at the next few entries: the expired ones go, and if the shard is full still, the nearest to expiry.
    fn make_room(&mut self, now: Duration, capacity: usize) {
        let mut nearest: Option<(Tat, usize)> = None;
        for _ in 0..EVICTION_SAMPLE.min(self.entries.len()) {
            if self.cursor >= self.entries.len() {
                self.cursor = 0;
            }
            let tat = self.entries[self.cursor].1;
            if tat.has_passed(now) {
                // Another one takes its position, and is looked at next. With it gone, the shard is full no more.
                self.remove(self.cursor);
            } else {
                nearest = nearest.into_iter().chain([(tat, self.cursor)]).min();
                self.cursor += 1;
            }
        }
        if let Some((_, position)) = nearest.filter(|_| self.entries.len() >= capacity) {
            self.remove(position);
        }
    }

    fn remove(&mut self, position: usize) {
        let (key, _) = self.entries.swap_remove(position);
        self.positions.remove(&key);
        if let Some((moved, _)) = self.entries.get(position) {
            *self.positions.get_mut(moved).expect("every entry has its position") = position;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    fn per_second(count: u64, burst: u64) -> Limit {
        Limit::new(count, Duration::from_secs(1), burst).unwrap()
    }

    /// The entries and their positions agree, whatever was added and removed.
    fn assert_consistent<K: Clone + Eq + Hash>(table: &Table<K>) {
        for shard in &table.shards {
            let shard = shard.lock().unwrap();
            assert_eq!(shard.positions.len(), shard.entries.len());
            for (position, (key, _)) in shard.entries.iter().enumerate() {
                assert_eq!(shard.positions.get(key), Some(&position));
            }
        }
    }

    #[test]
    fn the_table_never_outgrows_its_bound_and_only_forgives() {
        let table = Table::new(160);
        let limit = per_second(1, 5);
        for key in 0..10_000 {
            assert!(table.spend(Duration::ZERO, &key, &limit, 1).allowed, "a full table denies nobody");
            assert!(table.len() <= 160);
        }
        assert!(table.len() > 80);
        assert_consistent(&table);
    }

    #[test]
    fn who_has_spent_the_most_is_remembered_when_the_table_is_full() {
        let table = Table::new(160);
        let limit = per_second(1, 1000);
        assert!(table.spend(Duration::ZERO, &u64::MAX, &limit, 1000).allowed);
        for key in 0..10_000 {
            table.spend(Duration::ZERO, &key, &limit, 1);
        }
        assert!(!table.check(Duration::ZERO, &u64::MAX, &limit, 1).allowed);
    }

    #[test]
    fn expired_keys_make_room_before_anybody_is_forgotten() {
        let table = Table::new(1600);
        let limit = per_second(1, 10);
        for key in 0..800 {
            table.spend(Duration::ZERO, &key, &limit, 1);
        }
        let later = Duration::from_secs(1);
        for key in 800..1200 {
            table.spend(later, &key, &limit, 10);
        }
        assert!((800..1200).all(|key| !table.check(later, &key, &limit, 1).allowed));
        assert!(table.len() < 800, "expired keys went: {} left", table.len());
        assert_consistent(&table);
    }

    #[test]
    fn what_says_nothing_is_not_stored() {
        let table = Table::new(160);
        let limit = per_second(1, 5);
        assert!(table.spend(Duration::ZERO, &1, &limit, 0).allowed);
        assert!(!table.spend(Duration::ZERO, &1, &limit, 6).allowed);
        assert!(!table.refund(Duration::ZERO, &1, &limit, 1).allowed);
        assert!(table.check(Duration::ZERO, &1, &limit, 5).allowed);
        assert!(table.is_empty());
    }

    #[test]
    fn threads_together_spend_the_burst_and_no_more() {
        let table = Table::new(160);
        let limit = per_second(1, 1000);
        let spent = AtomicU64::new(0);
        let keys = ["one", "two", "three"];
        thread::scope(|scope| {
            for thread in 0..8 {
                let (table, limit, spent) = (&table, &limit, &spent);
                scope.spawn(move || {
                    let (first, second) = (&keys[thread % 3], &keys[(thread + 1) % 3]);
                    let part = |key, role| Spend { key, limit, cost: 1, role };
                    let parts = [part(first, Role::Spend), part(second, Role::Spend)];
                    while table.transaction(Duration::ZERO, &parts).allowed {
                        spent.fetch_add(2, Ordering::Relaxed);
                    }
                });
            }
        });
        let left: u64 = keys.iter().map(|key| table.check(Duration::ZERO, key, &limit, 0).remaining).sum();
        assert_eq!(spent.into_inner() + left, 3000);
        let exhausted =
            keys.iter().filter(|key| !table.check(Duration::ZERO, key, &limit, 1).allowed).count();
        assert!(exhausted >= 2, "every pair has an exhausted key");
    }
}
