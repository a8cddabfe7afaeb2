//! What sessions have done, counted as they do it: a few relaxed additions a batch.
//!
//! Bounds: the first [`METERED_TOPICS`] topics that are used have numbers of their own, all others share one set; those of a topic that is gone
//! are let go of when somebody looks, and their place with them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sealstream_protocol::message::FaultCode;
use sealstream_protocol::message::hello::SessionKind;

use crate::log::Durability;
use crate::meter::{Count, TimeCounts, Times};
use crate::topics::Catalogue;

/// 1,000 topics with numbers of their own: with six series each, an answer of about 500 KiB.
pub(crate) const METERED_TOPICS: usize = 1000;

/// What went into a topic, and out of it.
#[derive(Debug, Default)]
pub(crate) struct TopicMeter {
    pub(crate) produced_batches: Count,
    pub(crate) produced_records: Count,
    pub(crate) produced_bytes: Count,
    pub(crate) consumed_records: Count,
    pub(crate) consumed_bytes: Count,
}

/// What sessions have done since the start.
#[derive(Debug)]
pub(crate) struct Meters {
    topics: RwLock<HashMap<String, Arc<TopicMeter>>>,
    others: Arc<TopicMeter>,
    duplicates: Count,
    /// By the place of the code in [`FaultCode::ALL`].
    refused: [Count; FaultCode::ALL.len()],
    acks_disk: Times,
    acks_memory: Times,
    /// When a batch was last refused because the disk failed, and when because it is full.
    storage_failed: Last,
    no_room: Last,
    opened: [Count; KINDS.len()],
    closed: [Count; KINDS.len()],
}

/// When something happened last.
#[derive(Debug)]
struct Last {
    begun: Instant,
    /// In milliseconds since `begun`, and one more; 0: never.
    at: AtomicU64,
}

impl Last {
    fn never() -> Self {
        Self { begun: Instant::now(), at: AtomicU64::new(0) }
    }

    fn is_now(&self) {
        let at = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.store(at.saturating_add(1), Relaxed);
    }

    fn ago(&self) -> Option<Duration> {
        let at = self.at.load(Relaxed).checked_sub(1)?;
        Some(self.begun.elapsed().saturating_sub(Duration::from_millis(at)))
    }
}

/// Every kind of session, with its name as a label.
pub(crate) const KINDS: [(SessionKind, &str); 4] = [
    (SessionKind::Admin, "admin"),
    (SessionKind::Produce, "produce"),
    (SessionKind::Consume, "consume"),
    (SessionKind::Group, "group"),
];

/// A session that is counted; dropped, it is not any more.
#[derive(Debug)]
#[must_use = "the session counts for as long as this lives"]
pub(crate) struct Counted {
    meters: Arc<Meters>,
    kind: usize,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            topics: RwLock::default(),
            others: Arc::default(),
            duplicates: Count::default(),
            refused: std::array::from_fn(|_| Count::default()),
            acks_disk: Times::default(),
            acks_memory: Times::default(),
            storage_failed: Last::never(),
            no_room: Last::never(),
            opened: std::array::from_fn(|_| Count::default()),
            closed: std::array::from_fn(|_| Count::default()),
        }
    }

    /// The numbers of a topic. Asked once for each handle and subscription, not for each batch.
    pub(crate) fn topic(&self, name: &str) -> Arc<TopicMeter> {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(meter) = known {
            return meter;
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.len() >= METERED_TOPICS && !topics.contains_key(name) {
            return Arc::clone(&self.others);
        }
        Arc::clone(topics.entry(name.to_owned()).or_default())
    }

    /// The topics with numbers of their own, by name, and what all others have together. Lets go of those that are not in `catalogue`.
    pub(crate) fn topics(&self, catalogue: &Catalogue) -> (Vec<(String, Arc<TopicMeter>)>, Arc<TopicMeter>) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|name, _| catalogue.get(name).is_some());
        let mut shown: Vec<_> =
            topics.iter().map(|(name, meter)| (name.clone(), Arc::clone(meter))).collect();
        drop(topics);
        shown.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        (shown, Arc::clone(&self.others))
    }

    /// A batch was acknowledged, so long after it had come.
    pub(crate) fn acknowledged(&self, durability: Durability, after: Duration, duplicate: bool) {
        self.acks(durability).add(after);
        if duplicate {
            self.duplicates.add(1);
        }
    }

    /// A batch was refused.
    pub(crate) fn refused(&self, code: Option<FaultCode>) {
        let Some(index) = code.and_then(|code| FaultCode::ALL.iter().position(|known| *known == code)) else {
            return;
        };
        self.refused[index].add(1);
        match code {
            Some(FaultCode::Storage) => self.storage_failed.is_now(),
            Some(FaultCode::DiskFull) => self.no_room.is_now(),
            _ => {}
        }
    }

    /// How long ago a batch was last refused because the disk failed.
    pub(crate) fn storage_failed_ago(&self) -> Option<Duration> {
        self.storage_failed.ago()
    }

    /// How long ago a batch was last refused because the disk is full.
    pub(crate) fn no_room_ago(&self) -> Option<Duration> {
        self.no_room.ago()
    }

    /// Refused batches by code, those that there were.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = FaultCode::ALL.iter().zip(&self.refused);
        counts.map(|(code, count)| (code.name(), count.get())).filter(|(_, count)| *count > 0)
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates.get()
    }

    /// How long acknowledgements took.
    pub(crate) fn ack_times(&self, durability: Durability) -> TimeCounts {
        self.acks(durability).read()
    }

    fn acks(&self, durability: Durability) -> &Times {
        match durability {
            Durability::Disk => &self.acks_disk,
            Durability::Memory => &self.acks_memory,
        }
    }

    /// Counts a session for as long as what is returned lives.
    pub(crate) fn session(self: &Arc<Self>, kind: SessionKind) -> Counted {
        let kind = KINDS.iter().position(|(known, _)| *known == kind).unwrap_or(0);
        self.opened[kind].add(1);
        Counted { meters: Arc::clone(self), kind }
    }

    /// Sessions by kind: how many there are, and how many were opened since the start.
    pub(crate) fn sessions(&self) -> [(&'static str, u64, u64); KINDS.len()] {
        std::array::from_fn(|index| {
            // In this order: what closes meanwhile is not below nothing.
            let closed = self.closed[index].get();
            let opened = self.opened[index].get();
            (KINDS[index].1, opened.saturating_sub(closed), opened)
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meters.closed[self.kind].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_beyond_the_bound_share_one_set_of_numbers_and_those_that_are_gone_make_room() {
        let meters = Meters::new();
        for index in 0..METERED_TOPICS + 2 {
            meters.topic(&format!("t{index}")).produced_batches.add(1);
        }
        assert_eq!(meters.others.produced_batches.get(), 2);
        meters.topic("t0").produced_batches.add(1);
        assert_eq!(meters.topic("t0").produced_batches.get(), 2);
        let (shown, others) = meters.topics(&Catalogue::default());
        assert!(shown.is_empty());
        assert_eq!(others.produced_batches.get(), 2);
        meters.topic("t1001").produced_batches.add(1);
        assert_eq!(meters.others.produced_batches.get(), 2);
    }

    #[test]
    fn a_session_counts_until_it_is_over_and_as_opened_for_good() {
        let meters = Arc::new(Meters::new());
        let session = meters.session(SessionKind::Consume);
        assert_eq!(meters.sessions()[2], ("consume", 1, 1));
        drop(session);
        assert_eq!(meters.sessions()[2], ("consume", 0, 1));
        assert_eq!(meters.sessions()[0], ("admin", 0, 0));
    }

    #[test]
    fn a_refusal_counts_by_its_code_and_a_failing_and_a_full_disk_are_remembered() {
        let meters = Meters::new();
        meters.refused(Some(FaultCode::Busy));
        assert_eq!(meters.storage_failed_ago(), None);
        meters.refused(Some(FaultCode::Storage));
        assert!(meters.storage_failed_ago().is_some_and(|ago| ago < Duration::from_mins(1)));
        assert_eq!(meters.no_room_ago(), None);
        meters.refused(Some(FaultCode::DiskFull));
        assert!(meters.no_room_ago().is_some_and(|ago| ago < Duration::from_mins(1)));
        let refusals: Vec<_> = meters.refusals().collect();
        assert_eq!(refusals.iter().map(|(_, count)| count).sum::<u64>(), 3, "{refusals:?}");
        for code in ["busy", "storage", "disk-full"] {
            assert!(refusals.contains(&(code, 1)), "{refusals:?}");
        }
    }
}
