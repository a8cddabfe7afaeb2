//! The history of a partition's log epochs: which epoch its records were appended in.

use bytes::{Buf, BufMut};

/// How many epochs are remembered. A log in use rises by one at each crash; 256 crashes ago is further back than any
/// reader's memory, and the 256 take 3 KiB.
const MAX_EPOCHS: usize = 256;

/// Epochs with the offset of their first record, both ascending. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EpochHistory(Vec<(u32, u64)>);

impl Default for EpochHistory {
    fn default() -> Self {
        Self(vec![(1, 0)])
    }
}

impl EpochHistory {
    /// The history of a new log whose first epoch is this, or 1 if that is higher.
    pub(super) fn beginning_with(epoch: u32) -> Self {
        Self(vec![(epoch.max(1), 0)])
    }

    /// The epoch of the next append.
    pub(super) fn current(&self) -> u32 {
        self.0.last().map_or(1, |(epoch, _)| *epoch)
    }

    /// The epoch that the record at `offset` must have been appended in; `None` if that was so long ago that it is forgotten.
    pub(super) fn at(&self, offset: u64) -> Option<u32> {
        let after = self.0.partition_point(|(_, start)| *start <= offset);
        Some(self.0[after.checked_sub(1)?].0)
    }

    /// Begins a new epoch at `end`, where the log ends now: what lay beyond it is history no more.
    pub(super) fn raise(&mut self, end: u64) -> u32 {
        self.raise_to(0, end)
    }

    /// The same, with an epoch of `least` at least.
    pub(super) fn raise_to(&mut self, least: u32, end: u64) -> u32 {
        let epoch = self.current().saturating_add(1).max(least);
        while self.0.last().is_some_and(|(_, start)| *start >= end) {
            self.0.pop();
        }
        self.0.push((epoch, end));
        if self.0.len() > MAX_EPOCHS {
            self.0.remove(0);
        }
        epoch
    }

    /// Whether a reader that saw everything below `offset`, the last of it in `epoch`, saw what the log of this `end` holds; if
    /// not, where the histories part.
    pub(super) fn check(&self, offset: u64, epoch: u32, end: u64) -> Result<(), u64> {
        if offset == 0 {
            return Ok(());
        }
        let after = self.0.partition_point(|(known, _)| *known <= epoch);
        let epoch_end = self.0.get(after).map_or(end, |(_, start)| *start);
        if offset > epoch_end {
            return Err(epoch_end);
        }
        match after.checked_sub(1).map(|at| self.0[at]) {
            // Its last record lies before this epoch began here: another log had the epoch there.
            Some((known, start)) if known == epoch && offset <= start => {
                Err(offset.min(start).saturating_sub(1))
            }
            // An epoch of a log that went on elsewhere: newer than anything here, or between two of ours, as after a copy was restored.
            Some((known, _)) if known < epoch => Err(epoch_end.min(offset)),
            _ => Ok(()),
        }
    }

    /// Forgets epochs that ended at or below `start`.
    pub(super) fn prune(&mut self, start: u64) {
        let ended = self.0.windows(2).take_while(|pair| pair[1].1 <= start).count();
        self.0.drain(..ended);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32_le(u32::try_from(self.0.len()).expect("at most MAX_EPOCHS"));
        for (epoch, start) in &self.0 {
            out.put_u32_le(*epoch);
            out.put_u64_le(*start);
        }
    }

    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
        if count == 0 || count > bytes.len() / 12 {
            return None;
        }
        let mut epochs = Vec::with_capacity(count);
        for _ in 0..count {
            epochs.push((bytes.try_get_u32_le().ok()?, bytes.try_get_u64_le().ok()?));
        }
        epochs.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1).then_some(Self(epochs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_ahead_of_a_cut_learns_where_it_was() {
        let mut epochs = EpochHistory::default();
        assert_eq!(epochs.check(10, 1, 10), Ok(()));
        epochs.raise(7);
        assert_eq!(epochs.current(), 2);
        assert_eq!(epochs.check(7, 1, 20), Ok(()));
        assert_eq!(epochs.check(8, 1, 20), Err(7));
        assert_eq!(epochs.check(8, 2, 20), Ok(()));
        assert_eq!(epochs.check(21, 2, 20), Err(20));
        assert_eq!((epochs.at(6), epochs.at(7)), (Some(1), Some(2)));
    }

    #[test]
    fn an_epoch_that_was_cut_away_whole_is_history_no_more() {
        let mut epochs = EpochHistory::default();
        epochs.raise(5);
        epochs.raise(3);
        assert_eq!(epochs.current(), 3);
        assert_eq!(epochs.check(8, 2, 10), Err(3));
        assert_eq!(epochs.check(3, 1, 10), Ok(()));
        epochs.raise(3);
        assert_eq!((epochs.at(2), epochs.at(3)), (Some(1), Some(4)));
    }

    #[test]
    fn an_epoch_never_heard_of_is_another_log() {
        let epochs = EpochHistory::default();
        assert_eq!(epochs.check(4, 9, 10), Err(4));
        assert_eq!(epochs.check(0, 9, 10), Ok(()));
    }

    #[test]
    fn an_epoch_that_a_restored_copy_passed_over_is_another_log() {
        let mut epochs = EpochHistory::default();
        assert_eq!(epochs.raise_to(70_000, 10), 70_000);
        assert_eq!(epochs.check(12, 70_000, 20), Ok(()));
        assert_eq!(epochs.check(10, 1, 20), Ok(()));
        // The original went on in epoch 1, or in an epoch 2 of its own.
        assert_eq!(epochs.check(12, 1, 20), Err(10));
        assert_eq!(epochs.check(12, 2, 20), Err(10));
        assert_eq!(epochs.check(9, 2, 20), Err(9));
        assert_eq!(epochs.raise(20), 70_001);
        let mut born = EpochHistory::beginning_with(70_000);
        assert_eq!((born.current(), born.at(0)), (70_000, Some(70_000)));
        assert_eq!(born.raise_to(3, 5), 70_001);
        assert_eq!(EpochHistory::beginning_with(0), EpochHistory::default());
    }

    #[test]
    fn pruning_keeps_the_epoch_that_holds_the_start() {
        let mut epochs = EpochHistory::default();
        epochs.raise(5);
        epochs.raise(9);
        epochs.prune(7);
        assert_eq!((epochs.at(4), epochs.at(7), epochs.at(9)), (None, Some(2), Some(3)));
        assert_eq!(epochs.current(), 3);
        let mut bytes = Vec::new();
        epochs.encode(&mut bytes);
        assert_eq!(EpochHistory::decode(&mut &bytes[..]), Some(epochs));
        assert_eq!(EpochHistory::decode(&mut &bytes[..7]), None);
    }
}
