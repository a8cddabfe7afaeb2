//! Running a test's future, and waiting for conditions.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// After this long a test that has not finished has failed. The slowest members take a few seconds on two cores, and on
/// a machine with ten times the work that it can do still have to end by themselves.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// How often a condition that nothing announces is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// Runs a test's future to its end on two worker threads; panics after [`PATIENCE`].
pub fn run<F: Future>(name: &str, test: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async {
            tokio::time::timeout(PATIENCE, test).await.unwrap_or_else(|_| panic!("{name} hangs"))
        })
}

/// Waits until `condition` holds; panics with `what` if it never does.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE / 2, waiting).await.is_ok(), "never came true: {what}");
}

/// Polls `future` up to `polls` times, each when it asks for it, and drops it: `None` if it had not finished by then.
///
/// Cancels an operation at every point at which it can wait, one call after another.
pub async fn polled<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
