//! A semaphore whose size can change while permits are out and waiters wait.
//!
//! It is tokio's, first come first served and without an allocation per waiter, with a debt: permits that a smaller size takes
//! away although they are out. What comes back pays the debt before it serves anybody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// A semaphore whose size can change.
#[derive(Debug)]
pub(super) struct ResizableSemaphore {
    free: Semaphore,
    /// Never held while a waiter is woken: its waker is code of others.
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    permits: usize,
    /// Permits that are out and must not come back. Not zero only while no permit is free.
    debt: usize,
}

impl ResizableSemaphore {
    /// The largest size.
    pub(super) const MAX: usize = Semaphore::MAX_PERMITS;

    pub(super) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { free: Semaphore::new(permits), size: Mutex::new(Size { permits, debt: 0 }) })
    }

    /// Holds from now on: a larger size serves waiters at once; a smaller one takes what is free, and the rest as it comes
    /// back.
    pub(super) fn resize(&self, permits: usize) {
        let mut size = self.size();
        let added = permits.saturating_sub(size.permits);
        size.debt += size.permits.saturating_sub(permits);
        size.permits = permits;
        let forgiven = added.min(size.debt);
        size.debt -= forgiven;
        drop(size);
        self.free.add_permits(added - forgiven);
        self.pay();
    }

    /// A permit, first come first served.
    ///
    /// Cancellation safe: a waiter that is dropped loses its place in the queue and nothing else.
    pub(super) async fn acquire(self: &Arc<Self>) -> Permit {
        // A permit that a cancelled waiter was given already is free again without passing through `release`.
        let _pay = PayOnDrop(self);
        self.free.acquire().await.expect("the semaphore is never closed").forget();
        Permit(Arc::clone(self))
    }

    fn release(&self) {
        let mut size = self.size();
        if size.debt > 0 {
            size.debt -= 1;
            return;
        }
        drop(size);
        self.free.add_permits(1);
        // A resize may have come between the two.
        self.pay();
    }

    /// Pays debt with permits that are free.
    fn pay(&self) {
        let mut size = self.size();
        size.debt -= self.free.forget_permits(size.debt);
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to act; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<ResizableSemaphore>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

struct PayOnDrop<'a>(&'a ResizableSemaphore);

impl Drop for PayOnDrop<'_> {
    fn drop(&mut self) {
        self.0.pay();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn try_acquire(semaphore: &Arc<ResizableSemaphore>) -> Option<Permit> {
        match poll(pin!(semaphore.acquire())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    fn take(semaphore: &Arc<ResizableSemaphore>, permits: usize) -> Vec<Permit> {
        (0..permits).map(|_| try_acquire(semaphore).expect("a permit is free")).collect()
    }

    #[test]
    fn a_smaller_size_holds_once_enough_has_come_back() {
        let semaphore = ResizableSemaphore::new(4);
        let mut held = take(&semaphore, 4);
        semaphore.resize(2);
        held.pop();
        assert!(try_acquire(&semaphore).is_none(), "three are out, two are allowed");
        held.pop();
        assert!(try_acquire(&semaphore).is_none(), "two are out");
        held.pop();
        held.extend(try_acquire(&semaphore));
        assert_eq!(held.len(), 2);
        assert!(try_acquire(&semaphore).is_none());
    }

    #[test]
    fn a_smaller_size_takes_what_is_free_at_once() {
        let semaphore = ResizableSemaphore::new(4);
        let _held = take(&semaphore, 1);
        semaphore.resize(2);
        let _second = take(&semaphore, 1);
        assert!(try_acquire(&semaphore).is_none());
    }

    #[test]
    fn growing_serves_those_who_wait_in_their_order() {
        let semaphore = ResizableSemaphore::new(1);
        let _held = take(&semaphore, 1);
        let mut first = Box::pin(semaphore.acquire());
        let mut second = Box::pin(semaphore.acquire());
        let mut third = Box::pin(semaphore.acquire());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        semaphore.resize(3);
        assert!(poll(third.as_mut()).is_pending(), "it came last");
        let (one, two) = (poll(first.as_mut()), poll(second.as_mut()));
        assert!(one.is_ready() && two.is_ready());
    }

    #[test]
    fn growing_again_forgives_the_debt_before_it_serves_anybody() {
        let semaphore = ResizableSemaphore::new(3);
        let mut held = take(&semaphore, 3);
        let mut waiter = Box::pin(semaphore.acquire());
        assert!(poll(waiter.as_mut()).is_pending());
        semaphore.resize(1);
        semaphore.resize(3);
        assert!(poll(waiter.as_mut()).is_pending(), "three are out");
        semaphore.resize(1);
        held.clear();
        assert!(poll(waiter.as_mut()).is_ready(), "what came back last serves the waiter");
        drop(waiter);
        let _all = take(&semaphore, 1);
        assert!(try_acquire(&semaphore).is_none());
    }

    #[test]
    fn a_cancelled_waiter_that_was_served_already_pays_the_debt() {
        let semaphore = ResizableSemaphore::new(2);
        let mut held = take(&semaphore, 2);
        let mut waiter = Box::pin(semaphore.acquire());
        assert!(poll(waiter.as_mut()).is_pending());
        held.pop(); // Goes to the waiter, which has not looked yet.
        semaphore.resize(1);
        drop(waiter);
        assert!(try_acquire(&semaphore).is_none(), "one is out, one is allowed");
        held.pop();
        let _one = take(&semaphore, 1);
        assert!(try_acquire(&semaphore).is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn resizing_under_load_loses_no_permit_and_invents_none() {
        const LARGEST: usize = 8;
        const TASKS: usize = 64;
        let semaphore = ResizableSemaphore::new(LARGEST);
        let out = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (semaphore, out) = (Arc::clone(&semaphore), Arc::clone(&out));
            tasks.spawn(async move {
                for round in 0..200 {
                    if (task + round) % 16 == 0 {
                        semaphore.resize(1 + (task * 7 + round) % LARGEST);
                    }
                    // Some give up at their first wait.
                    if task % 4 == 0 {
                        drop(try_acquire(&semaphore));
                        continue;
                    }
                    let permit = semaphore.acquire().await;
                    assert!(out.fetch_add(1, Ordering::SeqCst) < LARGEST);
                    tokio::task::yield_now().await;
                    out.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
        // The deadline is there only so that a lost permit fails the test.
        let all = tokio::time::timeout(Duration::from_mins(1), tasks.join_all());
        assert_eq!(all.await.map(|done| done.len()), Ok(TASKS));
        semaphore.resize(5);
        let _all = take(&semaphore, 5);
        assert!(try_acquire(&semaphore).is_none());
    }
}
