//! What a partition knows of its producers: which sequence each must send next, and where its latest batches went.
//!
//! Pure state: bytes and time go in, decisions come out. It is a function of the appends recorded, in their order and
//! with their append times, so that a replay of the log over a snapshot gives the same table.
//!
//! ```text
//! check ──► Accept ──► the engine appends ──► record        several appends of one commit: check(.., staged)
//!      └──► Duplicate, Refused                 truncate_to   after the log was cut
//! ```
//!
//! Memory is bounded: [`MAX_PRODUCERS`] producers, each with the latest [`REMEMBERED`] durable batches and those that are
//! not durable yet (which the byte permits of the broker bound).

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};

use uuid::Uuid;

use super::engine::Refusal;

pub use snapshot::SnapshotError;

/// How many of a producer's latest batches are known as duplicates when they come again. A client therefore keeps at
/// most so many batches of one partition unanswered: with 16 of one record each, client and broker spend their time falling asleep and
/// waking, and store half as many a second.
pub const REMEMBERED: usize = 64;

/// A producer that has not appended for so long is forgotten: 7 days, in milliseconds.
pub const EXPIRY_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How many producers a partition knows. One takes up to 80 × 24 bytes for remembered batches and about 150 of its own: 4,096 are
/// 8.5 MB at worst, and about 1 MB when most have sent little.
///
/// Beyond it the longest idle is forgotten before its 7 days are over. In mid-sequence it is then told
/// [`Refusal::UnknownProducer`], as if it had expired. Only a producer whose *first* batch of the partition went unanswered while 4,096
/// others appended could have that batch stored twice.
pub const MAX_PRODUCERS: usize = 4_096;

/// An append of a producer: what the table learns from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerAppend {
    /// Whose.
    pub producer: Uuid,
    /// The hash of the identity that it is bound to.
    pub identity: u64,
    /// Which of its batches.
    pub sequence: u64,
    /// Where the batch went.
    pub base_offset: u64,
    /// The log epoch that it was stored in.
    pub epoch: u32,
}

/// What is to be done with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Accept,
    /// It is in the log already.
    Duplicate {
        /// Where.
        base_offset: u64,
        /// The log epoch that it was stored in.
        epoch: u32,
    },
    /// Refuse it.
    Refused(Refusal),
}

/// Beyond so many a producer's batches get room for so many more at a time: doubled, most of it would stay empty.
const ROOM: usize = 16;

/// A batch that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    base_offset: u64,
    epoch: u32,
    /// Its append time.
    time: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    identity: u64,
    /// The sequence awaited.
    next: u64,
    /// Where the batches with the sequences just below `next` went: consecutive, the last of them `next - 1`. Never empty
    /// between two calls.
    recent: VecDeque<Stored>,
}

/// What a partition knows of its producers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: HashMap<Uuid, Producer>,
    /// The same producers by the time of their last append: the first is the longest idle.
    idle: BTreeSet<(i64, Uuid)>,
}

impl ProducerTable {
    /// A table that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many producers it knows.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether it knows nobody.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The hash of the identity that a producer is bound to, if the table knows it, expired or not.
    pub fn identity(&self, producer: Uuid) -> Option<u64> {
        self.producers.get(&producer).map(|known| known.identity)
    }

    /// What is to be done with batch `sequence` of `producer`, sent by `identity` at `now` (milliseconds since the Unix epoch).
    ///
    /// `staged` are appends to this partition that are ahead in the same commit, in order, and not recorded yet; the time taken
    /// grows with their number.
    pub fn check(
        &self,
        producer: Uuid,
        sequence: u64,
        identity: u64,
        now: i64,
        staged: &[ProducerAppend],
    ) -> Verdict {
        let mine = || staged.iter().filter(|append| append.producer == producer);
        let known = self.producers.get(&producer).filter(|known| !expired(known.last_used(), now));
        let bound = known.map(|known| known.identity).or_else(|| mine().next().map(|append| append.identity));
        let Some(bound) = bound else {
            return if sequence == 0 { Verdict::Accept } else { Verdict::Refused(Refusal::UnknownProducer) };
        };
        if bound != identity {
            return Verdict::Refused(Refusal::ProducerFenced);
        }
        let expected = mine()
            .next_back()
            .map_or_else(|| known.map_or(0, |known| known.next), |append| append.sequence + 1);
        if sequence == expected {
            return Verdict::Accept;
        }
        if sequence > expected {
            return Verdict::Refused(Refusal::OutOfSequence { expected });
        }
        if expected - sequence > REMEMBERED as u64 {
            return Verdict::Refused(Refusal::TooOld { expected });
        }
        let stored = mine()
            .find(|append| append.sequence == sequence)
            .map(|append| (append.base_offset, append.epoch))
            .or_else(|| known?.stored(sequence).map(|stored| (stored.base_offset, stored.epoch)));
        match stored {
            Some((base_offset, epoch)) => Verdict::Duplicate { base_offset, epoch },
            None => Verdict::Refused(Refusal::TooOld { expected }),
        }
    }

    /// Takes note of an append made at `now`, the entry's append time. `durable_end` is the partition's at that moment: what is
    /// below it cannot be cut any more, so that of those batches only the latest [`REMEMBERED`] are kept.
    ///
    /// Also forgets whoever has expired by `now`, and the longest idle if there are too many. An append that does not continue
    /// the sequence known (a replay of a producer that expired meanwhile) starts the producer anew.
    pub fn record(&mut self, append: &ProducerAppend, now: i64, durable_end: u64) {
        self.expire(now);
        let stored = Stored { base_offset: append.base_offset, epoch: append.epoch, time: now };
        let producer = self.producers.entry(append.producer).or_insert_with(|| Producer {
            identity: append.identity,
            next: append.sequence,
            recent: VecDeque::new(),
        });
        if !producer.recent.is_empty() {
            self.idle.remove(&(producer.last_used(), append.producer));
        }
        if producer.next != append.sequence {
            producer.recent.clear();
        }
        producer.identity = append.identity;
        producer.next = append.sequence + 1;
        producer.remember(stored);
        while producer.recent.get(REMEMBERED).is_some_and(|stored| stored.base_offset < durable_end) {
            producer.recent.pop_front();
        }
        self.idle.insert((now, append.producer));
        if self.producers.len() > MAX_PRODUCERS {
            self.forget_longest_idle();
        }
    }

    /// Forgets whoever has been idle for [`EXPIRY_MS`] at `now`.
    pub fn expire(&mut self, now: i64) {
        while self.idle.first().is_some_and(|&(last_used, _)| expired(last_used, now)) {
            self.forget_longest_idle();
        }
    }

    /// Takes back every append at or above `offset`, where the log was cut. Exact for a cut at or above the durable end
    /// given to [`Self::record`]: the sequences are awaited again. For a deeper one, a producer all of whose
    /// remembered batches are gone is forgotten, as nobody knows how many more there were.
    pub fn truncate_to(&mut self, offset: u64) {
        let Self { producers, idle } = self;
        producers.retain(|id, producer| {
            let last_used = producer.last_used();
            while producer.recent.back().is_some_and(|stored| stored.base_offset >= offset) {
                producer.recent.pop_back();
                producer.next -= 1;
            }
            let kept = !producer.recent.is_empty();
            if !kept || producer.last_used() != last_used {
                idle.remove(&(last_used, *id));
            }
            if kept {
                idle.insert((producer.last_used(), *id));
            }
            kept
        });
    }

    fn forget_longest_idle(&mut self) {
        if let Some((_, id)) = self.idle.pop_first() {
            self.producers.remove(&id);
        }
    }
}

impl Producer {
    fn remember(&mut self, stored: Stored) {
        if self.recent.len() == self.recent.capacity() && self.recent.len() >= ROOM {
            self.recent.reserve_exact(ROOM);
        }
        self.recent.push_back(stored);
    }

    /// The append time of its last batch.
    fn last_used(&self) -> i64 {
        self.recent.back().map_or(i64::MIN, |stored| stored.time)
    }

    /// Where the batch with this sequence, which is below `next`, went.
    fn stored(&self, sequence: u64) -> Option<Stored> {
        let back = usize::try_from(self.next - sequence).ok()?;
        self.recent.len().checked_sub(back).map(|index| self.recent[index])
    }
}

fn expired(last_used: i64, now: i64) -> bool {
    now.saturating_sub(last_used) >= EXPIRY_MS
}
