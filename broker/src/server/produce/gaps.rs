//! Gaps in producers' sequences that a refusal made, as far as this session knows.
//!
//! The log knows the sequence of every producer that it has stored a batch of, and refuses what comes after a gap. Of a
//! producer whose very first batch was refused it knows nothing, and calls the ones behind it strangers: here is kept
//! that they are not.

use std::collections::HashMap;

use uuid::Uuid;

use crate::log::PartitionId;

/// 1,024 gaps at about 60 bytes each. One more forgets them all: a producer whose gap is forgotten gets the log's own
/// answer, which is right for everyone but those who had pipelined behind a refused first batch.
const MAX_GAPS: usize = 1024;

/// By partition and producer: the sequence that is missing.
#[derive(Debug, Default)]
pub(super) struct Gaps(HashMap<(PartitionId, Uuid), u64>);

impl Gaps {
    /// A batch was refused.
    pub(super) fn refused(&mut self, partition: PartitionId, producer: Uuid, sequence: u64) {
        if self.0.len() >= MAX_GAPS && !self.0.contains_key(&(partition, producer)) {
            self.0.clear();
        }
        let missing = self.0.entry((partition, producer)).or_insert(sequence);
        *missing = sequence.min(*missing);
    }

    /// A batch was stored.
    pub(super) fn stored(&mut self, partition: PartitionId, producer: Uuid, sequence: u64) {
        if self.missing(partition, producer).is_some_and(|missing| missing <= sequence) {
            self.0.remove(&(partition, producer));
        }
    }

    /// The sequence that is missing, if one is.
    pub(super) fn missing(&self, partition: PartitionId, producer: Uuid) -> Option<u64> {
        self.0.get(&(partition, producer)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId { topic: Uuid::from_u128(1), index: 0 };
    const PRODUCER: Uuid = Uuid::from_u128(2);

    #[test]
    fn a_gap_is_open_from_its_refusal_until_its_batch_is_stored() {
        let mut gaps = Gaps::default();
        gaps.refused(PARTITION, PRODUCER, 4);
        gaps.refused(PARTITION, PRODUCER, 5);
        assert_eq!(gaps.missing(PARTITION, PRODUCER), Some(4));
        gaps.stored(PARTITION, PRODUCER, 3);
        assert_eq!(gaps.missing(PARTITION, PRODUCER), Some(4));
        gaps.stored(PARTITION, PRODUCER, 4);
        assert_eq!(gaps.missing(PARTITION, PRODUCER), None);
    }

    #[test]
    fn there_are_never_more_gaps_than_their_bound() {
        let mut gaps = Gaps::default();
        for producer in 0..10_000 {
            gaps.refused(PARTITION, Uuid::from_u128(producer), 0);
            assert!(gaps.0.len() <= MAX_GAPS);
        }
    }
}
