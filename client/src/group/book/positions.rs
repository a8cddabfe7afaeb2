//! How far the partitions are: handed out, finished, committed.

use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::{Progress, TopicPartition};

use super::held::{Held, Standing};
use super::{Book, Mark, PER_FRAME};
use crate::consumer::reading::Reading;

impl Book {
    /// Whether a record that `reading` brought may be handed out, after which its partition is at `next`.
    pub(in crate::group) fn hand_out(&mut self, reading: &Reading, next: Mark) -> bool {
        let Some(held) = self.read_by(reading) else { return false };
        held.handed = Some(next);
        held.sought = None;
        true
    }

    /// The program is done with what was handed out up to `mark`. Says whether the driver waits for it.
    pub(in crate::group) fn finish(&mut self, at: &TopicPartition, epoch: u32, mark: Mark) -> bool {
        match self.held.get_mut(at).filter(|held| held.epoch == epoch) {
            Some(held) => {
                held.finished = Some(mark);
                held.leaves_at.is_some()
            }
            None => false,
        }
    }

    /// What was handed out of the partition last is to be handed out again, from `offset` on.
    pub(in crate::group) fn hand_back(&mut self, at: &TopicPartition, epoch: u32, offset: u64) {
        if let Some(held) = self.held.get_mut(at).filter(|held| held.epoch == epoch) {
            self.taken_back |= held.stop_reading();
            held.standing = Standing::Going;
            held.handed = held.finished;
            if held.handed.is_none_or(|handed| handed.offset != offset) {
                held.sought = Some(Position::Offset(offset));
            }
        }
    }

    /// What is finished and not committed, as much as fits a frame.
    pub(in crate::group) fn uncommitted(&self) -> Vec<Progress> {
        let uncommitted = |held: &Held| held.uncommitted().map(|mark| held.progress_at(mark));
        self.held.values().filter_map(uncommitted).take(PER_FRAME).collect()
    }

    /// Everything that was handed out and is not committed.
    pub(in crate::group) fn handed_out(&self) -> Vec<Progress> {
        let ahead = |handed: Mark, held: &Held| held.committed.is_none_or(|it| handed.is_ahead_of(it));
        let news = |held: &Held| held.handed.filter(|handed| ahead(*handed, held));
        self.held.values().filter_map(|held| news(held).map(|mark| held.progress_at(mark))).collect()
    }

    /// A position in what is held: `None` if it is not held, or not under that epoch.
    pub(in crate::group) fn progress(
        &mut self,
        topic: &str,
        partition: u32,
        assignment: Option<u32>,
        mark: Mark,
    ) -> Option<Progress> {
        let held = self.find(topic, partition)?;
        assignment.is_none_or(|epoch| epoch == held.epoch).then(|| held.progress_at(mark))
    }

    /// The broker has committed these. What the program has committed of its own accord is finished too.
    pub(in crate::group) fn committed(&mut self, progress: &[Progress]) {
        for one in progress {
            if let Some(held) = self.held.get_mut(&one.at).filter(|held| held.epoch == one.epoch) {
                let mark = Mark { offset: one.offset, epoch: one.log_epoch };
                held.committed = Some(mark);
                if held.finished.is_some_and(|finished| finished.offset < mark.offset) {
                    held.finished = Some(mark);
                }
            }
        }
    }

    /// The group has committed further than what it was asked to: from now on that is known.
    pub(in crate::group) fn is_behind(&mut self, refused: &Progress, committed: u64) {
        if let Some(held) = self.held.get_mut(&refused.at).filter(|held| held.epoch == refused.epoch) {
            held.committed = Some(Mark { offset: committed, epoch: refused.log_epoch });
        }
    }

    /// How far everything is, a frame's worth each.
    pub(in crate::group) fn heartbeats(&self) -> Vec<Vec<Progress>> {
        let progress: Vec<_> = self.held.values().map(Held::progress).collect();
        if progress.is_empty() {
            return vec![Vec::new()];
        }
        progress.chunks(PER_FRAME).map(<[Progress]>::to_vec).collect()
    }
}
