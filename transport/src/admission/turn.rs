//! Turns: the right to compute one step of a handshake, so that a storm of them leaves the cores to those who are in.
//!
//! A step takes 0.1 to 1 ms and cannot be interrupted. Whoever comes to his turn first yields once while he holds it: tokio
//! resumes a task that yields after it has polled its driver and emptied its run queue (after 61 tasks at the latest), so that
//! between two steps everything that was ready on an established stream has gone first.

#[cfg(test)]
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::task::yield_now;

use super::Admission;
use super::semaphore::Permit;

/// The right to compute one step of a handshake. Take it for that step only; dropped, the next one's turn comes.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    _permit: Permit,
}

impl Admission {
    /// A turn, first come first served. Compute without awaiting anything meanwhile.
    ///
    /// Cancellation safe: a turn that nobody took is the next one's.
    pub(crate) async fn turn(&self) -> Turn {
        let permit = self.shared.turns.acquire().await;
        yield_now().await;
        Turn { _permit: permit }
    }

    /// Computes a step when its turn has come.
    ///
    /// Cancellation safe: the step runs to its end, or not at all.
    pub(crate) async fn compute<T>(&self, step: impl FnOnce() -> T) -> T {
        let _turn = self.turn().await;
        step()
    }

    /// Drives a future that computes when it is made and when it is polled, such as a TLS handshake over a socket: making it and
    /// polling it once is the first step, every further poll another one. Return `&mut future` to keep it.
    ///
    /// Cancellation safe where the future is.
    #[cfg(test)]
    pub(crate) async fn paced<F: Future + Unpin>(&self, begin: impl FnOnce() -> F) -> F::Output {
        match self.paced_unless(|| Ok::<_, Infallible>(begin())).await {
            Ok(output) => output,
            Err(never) => match never {},
        }
    }

    /// The same where it may have become pointless while its turn was waited for: then `begin` says why, and nothing more is
    /// computed.
    pub(crate) async fn paced_unless<F: Future + Unpin, E>(
        &self,
        begin: impl FnOnce() -> Result<F, E>,
    ) -> Result<F::Output, E> {
        let mut turn = self.turn().await;
        let mut future = begin()?;
        loop {
            if let Poll::Ready(output) = poll_once(&mut future).await {
                return Ok(output);
            }
            drop(turn);
            // Nothing was awaited since the future was polled, so the task waits for what the future waits for; and whatever
            // wakes the task from here on, in the queue for the next turn too, is followed by a poll of the future. No waking
            // can be lost; one too many costs a turn.
            woken().await;
            turn = self.turn().await;
        }
    }
}

/// What one poll answers.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Resolves when the task is polled the next time, and does not wake it.
async fn woken() {
    let mut suspended = false;
    poll_fn(|_| if std::mem::replace(&mut suspended, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}
