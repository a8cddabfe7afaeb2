//! Numbers that hot paths add to and whoever watches reads: relaxed atomics, never a lock, never an allocation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Bounds of buckets: from 0.1 ms, the page cache of one machine, by doubling to 13 s, beyond every deadline of a client.
pub const BOUNDS: usize = 18;

/// The first bound.
const FIRST: Duration = Duration::from_micros(100);

/// How long something took, by buckets.
#[derive(Debug, Default)]
pub(crate) struct Times {
    buckets: [AtomicU64; BOUNDS + 1],
    nanos: AtomicU64,
}

impl Times {
    pub(crate) fn add(&self, time: Duration) {
        self.buckets[bucket(time)].fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> TimeCounts {
        TimeCounts {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Relaxed)),
            total: Duration::from_nanos(self.nanos.load(Relaxed)),
        }
    }
}

/// The bucket of a time: the first whose bound is not below it.
fn bucket(time: Duration) -> usize {
    let firsts = time.as_nanos().div_ceil(FIRST.as_nanos());
    let doublings = firsts.checked_sub(1).map_or(0, |below| u128::BITS - below.leading_zeros());
    usize::try_from(doublings).unwrap_or(BOUNDS).min(BOUNDS)
}

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeCounts {
    /// By bucket, each without those before it; the last one has no bound.
    pub buckets: [u64; BOUNDS + 1],
    /// All of it together.
    pub total: Duration,
}

impl TimeCounts {
    /// How often in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The bound of a bucket; of the last there is none.
    pub fn bound(bucket: usize) -> Option<Duration> {
        (bucket < BOUNDS).then(|| FIRST * (1 << bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_whose_bound_is_not_below_it() {
        for index in 0..BOUNDS {
            let bound = TimeCounts::bound(index).unwrap();
            assert_eq!(bucket(bound), index, "{bound:?}");
            assert_eq!(bucket(bound + Duration::from_nanos(1)), index + 1, "just above {bound:?}");
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BOUNDS));
        assert_eq!(TimeCounts::bound(BOUNDS), None);
    }

    #[test]
    fn what_was_added_is_read_with_its_sum() {
        let times = Times::default();
        for millis in [1, 1, 30_000] {
            times.add(Duration::from_millis(millis));
        }
        let read = times.read();
        assert_eq!((read.count(), read.total), (3, Duration::from_millis(30_002)));
        assert_eq!((read.buckets[4], read.buckets[BOUNDS]), (2, 1));
    }
}
