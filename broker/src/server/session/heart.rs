//! Whether the client is still there: the session's [`Liveness`], shared by the two futures of its task.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealstream_client::wire::{Advance, Liveness, Pulse};
use sealstream_protocol::message::hello::Ping;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::{sleep, sleep_until, timeout};

use super::End;
use super::inlet::Inlet;

/// Parts of an idle deadline. After one in which nothing came a reader gives its buffer back, once between two pings; and as often a client
/// that is not read from is counted as heard.
const PARTS: u32 = 3;

/// The runtime's time, which tests can bend.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Beats while the client is there.
#[derive(Debug)]
pub(crate) struct Heart {
    /// Never held across an await: the two futures run on one task, one at a time.
    liveness: Mutex<Liveness>,
    idle: Duration,
}

impl Heart {
    pub(crate) fn new(idle: Duration) -> Self {
        Self { liveness: Mutex::new(Liveness::new(idle, now()).patient()), idle }
    }

    /// Something was written to the client.
    pub(crate) fn sent(&self) {
        self.lock().sent(now());
    }

    /// Awaits something while nothing is read by our own choice: a client that cannot be heard is not blamed for it.
    pub(crate) async fn while_busy<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = sleep(self.idle / PARTS) => self.heard(),
            }
        };
        self.heard();
        done
    }

    /// The client's next frame, or the end of the session. Cancellation safe.
    ///
    /// A large frame waits for its part of the broker's memory in here, and may lose it.
    pub(crate) async fn next(&self, inlet: &mut Inlet) -> Result<Message, End> {
        loop {
            let Ok(advanced) = timeout(self.idle / PARTS, inlet.advance()).await else {
                inlet.rest();
                continue;
            };
            match advanced? {
                Advance::Bytes => self.heard(),
                Advance::Message(Message::Error(fault)) => return Err(End::Accused(fault)),
                Advance::Message(message) => return Ok(message),
                // In a box: a session that waits for its client does not hold it.
                Advance::Full { wanted, .. } => Box::pin(self.while_busy(inlet.widen(wanted))).await?,
                Advance::Ended => return Err(End::Finished),
            }
        }
    }

    /// Watches until the client is gone, and says when to ping it.
    pub(crate) async fn watch(&self, mut ping: impl FnMut(Ping)) -> Fault {
        loop {
            let pulse = self.lock().poll(now());
            match pulse {
                Pulse::Quiet { until } => sleep_until(until.into()).await,
                Pulse::Ping(message) => ping(message),
                Pulse::Gone => {
                    let text = format!(
                        "nothing was heard for {:?}: send pings, or ask for a longer deadline",
                        self.idle
                    );
                    return Fault::new(FaultCode::Idle, text);
                }
            }
        }
    }

    fn heard(&self) {
        self.lock().heard(now());
    }

    fn lock(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
