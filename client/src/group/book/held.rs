//! One partition that is assigned to the member, and how far it is.

use std::sync::Arc;

use sealstream_protocol::message::consume::Position;
use sealstream_protocol::message::group::{Assignment, NO_PLACE, Progress, TopicPartition};
use tokio::time::Instant;

use super::Commits;
use crate::consumer::reading::{Reading, Terms};
use crate::group::event::AssignedPartition;

/// A place in a partition: the next offset to read, and the log epoch of the record before it (0: not known).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::group) struct Mark {
    pub(in crate::group) offset: u64,
    pub(in crate::group) epoch: u32,
}

/// What commits nothing.
const NOWHERE: Mark = Mark { offset: NO_PLACE, epoch: 0 };

impl Mark {
    /// Whether it may be committed where the other is: further on, or in a log that was cut since.
    pub(super) fn is_ahead_of(self, committed: Self) -> bool {
        self.offset > committed.offset || self.epoch > committed.epoch
    }
}

/// Whether a partition is to be read, as far as it and the broker have a say in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Going,
    /// It cannot be read on; the program was told why.
    Halted,
    /// Its epoch was said to be over by a session that reads; the group's own session has the last word.
    Doubted,
    /// It was read to the end at which the consumer stops.
    Ended,
}

/// See the module.
#[derive(Debug)]
pub(in crate::group) struct Held {
    pub(super) at: TopicPartition,
    pub(super) terms: Arc<Terms>,
    /// The assignment's.
    pub(super) epoch: u32,
    /// Where reading was found to begin, if neither the group nor a record said it before.
    pub(super) began: Option<u64>,
    /// After the last record handed out.
    pub(super) handed: Option<Mark>,
    /// After the last record that the program is done with.
    pub(super) finished: Option<Mark>,
    /// As the broker has it.
    pub(super) committed: Option<Mark>,
    /// Where the program wants it read next, if it has said so since the last record.
    pub(super) sought: Option<Position>,
    pub(super) reading: Option<Arc<Reading>>,
    pub(super) paused: bool,
    pub(super) standing: Standing,
    /// It is to be given up, by then at the latest.
    pub(super) leaves_at: Option<Instant>,
}

impl Held {
    pub(super) fn new(assignment: Assignment, terms: Arc<Terms>) -> Self {
        Self {
            at: assignment.at,
            terms,
            epoch: assignment.epoch,
            began: None,
            handed: None,
            finished: None,
            committed: assignment.committed.map(|(offset, epoch)| Mark { offset, epoch }),
            sought: None,
            reading: None,
            paused: false,
            standing: Standing::Going,
            leaves_at: None,
        }
    }

    pub(super) fn named(&self) -> AssignedPartition {
        let (topic, partition) = (self.terms.topic.clone(), self.at.partition);
        AssignedPartition { topic, partition, assignment: self.epoch }
    }

    /// Whether it is to be read.
    pub(super) fn wants_reading(&self) -> bool {
        self.standing == Standing::Going && !self.paused && self.leaves_at.is_none()
    }

    /// Where to read on, and the log epoch below, where one was never told otherwise.
    pub(super) fn position(&self, start: Position) -> (Position, Option<u32>) {
        if let Some(sought) = self.sought {
            return (sought, None);
        }
        match self.handed.or(self.committed) {
            Some(mark) => (Position::Offset(mark.offset), (mark.epoch != 0).then_some(mark.epoch)),
            None => (self.began.map_or(start, Position::Offset), None),
        }
    }

    /// Ends the reading: nothing more of it is handed out. Where it began counts from now on, so that a start «at the
    /// end» is not one further along next time. Says whether there was one.
    pub(super) fn stop_reading(&mut self) -> bool {
        let found = self.found();
        let Some(reading) = self.reading.take() else { return false };
        reading.take_back();
        if self.sought.is_some() {
            self.sought = reading.start().map(Position::Offset).or(self.sought);
        } else {
            self.began = found;
        }
        true
    }

    /// Where reading was found to begin, as far as that is known.
    fn found(&self) -> Option<u64> {
        let reading = self.reading.as_ref().filter(|_| self.sought.is_none());
        self.began.or_else(|| reading.and_then(|reading| reading.start()))
    }

    /// Whether the program has something of it in hand.
    pub(super) fn is_in_hand(&self, commits: Commits) -> bool {
        let done = match commits {
            Commits::Automatic => self.finished,
            // What is not committed may be in hand yet: only the program knows.
            Commits::Manual => self.committed,
        };
        self.handed.is_some() && self.handed != done
    }

    /// What giving it up commits, if it commits anything.
    pub(super) fn last_word(&self, commits: Commits) -> Progress {
        match self.uncommitted() {
            Some(mark) if commits == Commits::Automatic => self.progress_at(mark),
            // The beginning that was found is nobody's work, and is committed in either case.
            Some(mark) if self.finished.is_none() => self.progress_at(mark),
            _ => self.progress_at(NOWHERE),
        }
    }

    /// What is finished and not committed. A beginning that was found counts: without it a group that starts at the
    /// end would start at a later one after a reassignment.
    pub(super) fn uncommitted(&self) -> Option<Mark> {
        let mark = match self.committed {
            Some(_) => self.finished,
            None => self.finished.or_else(|| self.beginning()),
        };
        mark.filter(|mark| self.committed.is_none_or(|committed| mark.is_ahead_of(committed)))
    }

    fn beginning(&self) -> Option<Mark> {
        self.found().map(|offset| Mark { offset, epoch: 0 })
    }

    /// How far it is, for a heartbeat.
    pub(super) fn progress(&self) -> Progress {
        let mark = self.finished.or(self.committed).or_else(|| self.beginning());
        self.progress_at(mark.unwrap_or(NOWHERE))
    }

    pub(super) fn progress_at(&self, mark: Mark) -> Progress {
        Progress { at: self.at.clone(), epoch: self.epoch, offset: mark.offset, log_epoch: mark.epoch }
    }
}
