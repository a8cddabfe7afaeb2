//! Threads that wait for the disk, so that a writer does not have to.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::shared::locked;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads and a queue of jobs. Who submits bounds the queue: a shard has at most 8 syncs under way, one recovery
/// or removal for each partition that is being opened or deleted, and one checkpoint for each that is open.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    /// Starts `count` threads with this name and a number.
    pub(super) fn start(name: &str, count: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue { state: Mutex::default(), wake: Condvar::new() });
        let pool = Self { queue: Arc::clone(&queue), threads: Mutex::default() };
        for number in 0..count {
            let queue = Arc::clone(&queue);
            let thread =
                std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || queue.work())?;
            locked(&pool.threads).push(thread);
        }
        Ok(pool)
    }

    /// Does `job` on one of the threads, after those submitted before. Once the pool is stopped: never.
    pub(super) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = locked(&self.queue.state);
        if !state.closed {
            state.jobs.push_back(Box::new(job));
            drop(state);
            self.queue.wake.notify_one();
        }
    }

    /// Waits until the threads have ended: after the jobs that were submitted, or, if `abandon`, after those that have begun.
    pub(super) fn stop(&self, abandon: bool) {
        let mut state = locked(&self.queue.state);
        state.closed = true;
        if abandon {
            state.jobs.clear();
        }
        drop(state);
        self.queue.wake.notify_all();
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            // A job that panicked has said so on stderr; its thread is gone either way.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop(true);
    }
}

impl Queue {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = locked(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn stopping_waits_for_every_job_and_takes_no_more() {
        let pool = Pool::start("test", 3).unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let done = Arc::clone(&done);
            pool.submit(move || {
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        pool.stop(false);
        assert_eq!(done.load(Ordering::SeqCst), 100);
        let late = Arc::clone(&done);
        pool.submit(move || {
            late.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(done.load(Ordering::SeqCst), 100);
        assert_eq!(Arc::strong_count(&done), 1);
    }
}
