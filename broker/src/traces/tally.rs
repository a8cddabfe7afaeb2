//! What became of the spans that ended, and when somebody is told that some are lost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// 1 min between two warnings, however long the collector is away.
const QUIET: Duration = Duration::from_mins(1);

/// Counts, shared by whoever ends spans and by the thread that exports them.
#[derive(Debug)]
pub(super) struct Tally {
    /// How many may wait.
    bound: usize,
    waiting: AtomicUsize,
    sent: AtomicU64,
    /// Those that the collector did not take, and those that found the queue full.
    lost: AtomicU64,
    dropped: AtomicU64,
    told: Mutex<Told>,
}

/// What was said last.
#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    away: bool,
    lost: u64,
    dropped: u64,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Spans were lost since the last news.
    Losing { lost: u64, dropped: u64 },
    /// The collector takes spans again.
    Back { lost: u64, dropped: u64 },
}

impl Tally {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            waiting: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// A span may wait; otherwise it is counted as dropped.
    pub(super) fn admit(&self) -> bool {
        let admitted = self.waiting.fetch_add(1, Ordering::Relaxed) < self.bound;
        if !admitted {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// So many wait no longer.
    pub(super) fn take(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// An export of so many is over; what is to be said of it at `now`.
    pub(super) fn exported(&self, count: usize, taken: bool, now: Instant) -> Option<News> {
        let counter = if taken { &self.sent } else { &self.lost };
        counter.fetch_add(count as u64, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, lost, dropped) = self.counts();
        let (new_lost, new_dropped) = (lost - told.lost, dropped - told.dropped);
        let news = if taken && told.away {
            told.away = false;
            News::Back { lost: new_lost, dropped: new_dropped }
        } else if new_lost + new_dropped > 0
            && told.at.is_none_or(|at| now.saturating_duration_since(at) >= QUIET)
        {
            told.away = !taken;
            told.at = Some(now);
            News::Losing { lost: new_lost, dropped: new_dropped }
        } else {
            return None;
        };
        (told.lost, told.dropped) = (lost, dropped);
        Some(news)
    }

    /// How many were sent, lost, and dropped.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.sent), load(&self.lost), load(&self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_every_span_is_counted_once() {
        let tally = Tally::new(2);
        assert_eq!([tally.admit(), tally.admit(), tally.admit()], [true, true, false]);
        tally.take(2);
        tally.exported(2, true, Instant::now());
        assert!(tally.admit());
        tally.take(1);
        tally.exported(1, false, Instant::now());
        assert_eq!(tally.counts(), (2, 1, 1));
    }

    #[test]
    fn a_collector_that_is_away_is_told_at_once_and_then_once_a_minute_and_its_return() {
        let tally = Tally::new(10);
        let begun = Instant::now();
        let mut told = Vec::new();
        for second in 0..150 {
            told.extend(
                tally.exported(1, false, begun + Duration::from_secs(second)).map(|news| (second, news)),
            );
        }
        let losing = |lost| News::Losing { lost, dropped: 0 };
        assert_eq!(told, [(0, losing(1)), (60, losing(60)), (120, losing(60))]);
        let back = tally.exported(1, true, begun + Duration::from_secs(150));
        assert_eq!(back, Some(News::Back { lost: 29, dropped: 0 }));
        assert_eq!(tally.exported(1, true, begun + Duration::from_secs(151)), None);
    }
}
