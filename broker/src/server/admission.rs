//! Who and how much is let in: places for connections and sessions, and bytes that wait.
//!
//! Holding a value means the right to act: a [`Place`] is a connection or session that counts against its limit, and
//! gives the place back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sealstream_protocol::message::admin::Level;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place under a limit; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Bytes under a bound; dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Bytes {
    permit: OwnedSemaphorePermit,
    held: Arc<AtomicU64>,
}

impl Bytes {
    /// How many they are.
    pub(crate) fn count(&self) -> u64 {
        self.permit.num_permits() as u64
    }

    /// Adds `more` of the same budget.
    pub(crate) fn merge(&mut self, mut more: Self) {
        // What is left of `more` is nothing, and so is what its drop gives back.
        if let Some(permit) = more.permit.split(more.permit.num_permits()) {
            self.permit.merge(permit);
        }
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u32) {
        let keep = usize::try_from(bytes).unwrap_or(usize::MAX);
        let excess = self.permit.num_permits().saturating_sub(keep);
        self.held.fetch_sub(excess as u64, Relaxed);
        drop(self.permit.split(excess));
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.held.fetch_sub(self.permit.num_permits() as u64, Relaxed);
    }
}

/// Bytes beyond a budget: counted as held, though nobody had them to give. Dropped, they are gone.
#[derive(Debug)]
pub(crate) struct Overdraft {
    bytes: u64,
    held: Arc<AtomicU64>,
}

impl Overdraft {
    /// How many they are.
    pub(crate) fn count(&self) -> u64 {
        self.bytes
    }

    /// More of them. Whoever asks answers for their bound.
    pub(crate) fn add(&mut self, bytes: u32) {
        self.bytes += u64::from(bytes);
        self.held.fetch_add(bytes.into(), Relaxed);
    }
}

impl Drop for Overdraft {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Relaxed);
    }
}

/// A number of places, handed out at once or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    all: usize,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        let all = limit.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    /// A place once there is one, first come first served.
    pub(crate) async fn wait(&self) -> Place {
        Place(Arc::clone(&self.free).acquire_owned().await.expect("the semaphore is never closed"))
    }

    /// A place, unless all are taken.
    pub(crate) fn take(&self) -> Option<Place> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(Place)
    }

    /// How many are taken, of how many.
    pub(crate) fn level(&self) -> Level {
        let now = self.all.saturating_sub(self.free.available_permits());
        Level { now: now as u64, limit: self.all as u64 }
    }
}

/// A number of bytes that are shared, first come first served.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    free: Arc<Semaphore>,
    /// What somebody has. The semaphore cannot tell: it sets aside what is free for whoever waits.
    held: Arc<AtomicU64>,
    all: u32,
}

impl ByteBudget {
    pub(crate) fn new(all: u32) -> Self {
        let free = Arc::new(Semaphore::new(usize::try_from(all).unwrap_or(usize::MAX)));
        Self { free, held: Arc::default(), all }
    }

    /// So many bytes once they are free. What is more than the whole budget takes the whole budget: it passes alone.
    pub(crate) async fn take(&self, bytes: u32) -> Bytes {
        let permit = Arc::clone(&self.free).acquire_many_owned(bytes.min(self.all)).await;
        self.grant(permit.expect("the semaphore is never closed"))
    }

    /// So many bytes, if they become free in time.
    pub(crate) async fn take_within(&self, bytes: u32, patience: Duration) -> Option<Bytes> {
        if let Some(taken) = self.try_take(bytes) {
            return Some(taken);
        }
        tokio::time::timeout(patience, self.take(bytes)).await.ok()
    }

    /// So many bytes, if they are free now.
    pub(crate) fn try_take(&self, bytes: u32) -> Option<Bytes> {
        Arc::clone(&self.free)
            .try_acquire_many_owned(bytes.min(self.all))
            .ok()
            .map(|permit| self.grant(permit))
    }

    /// The right to go beyond the budget, of nothing so far.
    pub(crate) fn overdraw(&self) -> Overdraft {
        Overdraft { bytes: 0, held: Arc::clone(&self.held) }
    }

    fn grant(&self, permit: OwnedSemaphorePermit) -> Bytes {
        self.held.fetch_add(permit.num_permits() as u64, Relaxed);
        Bytes { permit, held: Arc::clone(&self.held) }
    }

    /// How many are taken, of how many.
    pub(crate) fn level(&self) -> Level {
        Level { now: self.held.load(Relaxed), limit: self.all.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Places::new(1);
        let first = places.take();
        assert!(first.is_some());
        assert!(places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }

    #[tokio::test]
    async fn a_level_is_what_is_taken_and_not_what_is_waited_for() {
        let budget = ByteBudget::new(10);
        let mut some = budget.take(6).await;
        let mut waiting = std::pin::pin!(budget.take(8));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert_eq!(budget.level(), Level { now: 6, limit: 10 });
        some.shrink_to(2);
        let more = waiting.await;
        assert_eq!(budget.level().now, 10);
        drop((some, more));
        assert_eq!(budget.level().now, 0);
        let places = Places::new(3);
        let place = places.take();
        assert_eq!(places.level(), Level { now: 1, limit: 3 });
        drop(place);
        assert_eq!(places.level().now, 0);
    }

    #[tokio::test]
    async fn what_exceeds_the_whole_budget_passes_alone() {
        let budget = ByteBudget::new(10);
        let all = budget.take(1000).await;
        assert!(budget.try_take(1).is_none());
        drop(all);
        assert!(budget.try_take(10).is_some());
    }

    #[tokio::test]
    async fn what_is_not_needed_is_given_back() {
        let budget = ByteBudget::new(10);
        let mut taken = budget.take(8).await;
        taken.shrink_to(9);
        assert!(budget.try_take(3).is_none());
        taken.shrink_to(3);
        let rest = budget.try_take(7);
        assert!(rest.is_some());
        drop((taken, rest));
        assert!(budget.try_take(10).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let budget = ByteBudget::new(10);
        let _held = budget.take(5).await;
        assert!(budget.take_within(6, Duration::from_secs(2)).await.is_none());
        assert!(budget.take_within(5, Duration::from_secs(2)).await.is_some());
    }
}
