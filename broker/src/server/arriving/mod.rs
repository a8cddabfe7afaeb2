//! Memory for frames that are still arriving, over all sessions.
//!
//! The first [`FREE`] bytes of a frame lie in its session's own buffer. A larger frame is **charged** to the broker's budget,
//! `limits.arriving`, before its buffer grows: by steps in proportion to what has arrived ([`Advance::Full`]), and by what it
//! claims only where its session has brought a frame like it before. The charge is what may lie in the buffer beyond [`FREE`], to the
//! byte (the buffer itself is up to an eighth larger, so that it can serve again), and is given back once the frame was handed on (its
//! batch has its part of `limits.in_flight`) or refused.
//!
//! ```text
//!              outgrows FREE            budget has room
//!     free ─────────────────► asking ────────────────────► charged ──► (outgrows its room) asking
//!                               │  ▲                         │
//!          the budget is spent  ▼  │ room came, first in     │ all there: whole ──► handed on, or refused
//!                             waiting  first out             │
//!                               │ │                          └─ too slow, while somebody waits: refused
//!                               │ └─ its patience is over: refused
//!                               ▼ first in line, and the lane is free
//!                             in the lane: goes on to its end beyond the budget ──► whole
//!                               └─ too slow, or too long while somebody waits: refused
//! ```
//!
//! - **Waiting**, a session is not read from: the transport holds its client back. It waits for at most the patience of
//!   `limits.in_flight` ([`PRODUCE_PATIENCE`](super::options::PRODUCE_PATIENCE)).
//! - **The lane** ([`lane`](super::lane)) is one place. However many frames are half there and wait for each other, one of them goes on to its end,
//!   by at most one `limits.frame` beyond the budget: what frames take in all is `limits.arriving` and one frame.
//!   It must bring [`STEP`] bytes in each [`LANE_STALL`], and while others wait it must be done within [`LANE_TURN`].
//! - **Charged**, a frame may take its time as long as nobody waits. While somebody does, it must bring [`STEP`] bytes in each
//!   [`STALL`], or its client take the answers that hold it up.
//! - **Refused** frames are thrown away and end their session with `Busy`, which the client takes as a reason to come again.
//!
//! What large frames arrive in serves again ([`Buffers`]), [`KEPT`] bytes of it at most while nobody uses it, beside the budget.
//!
//! Owners: [`Arrivals`] is the broker's; a [`Charge`] the session's whose frame it is, from its
//! [`Inlet`](super::session::inlet::Inlet) to whoever hands the frame on.

mod pace;

use std::future::Future;
use std::time::Duration;

#[cfg(doc)]
use sealstream_client::wire::Advance;
use sealstream_client::wire::reader::MAX_READ;
use sealstream_protocol::Buffers;
use sealstream_protocol::message::admin::Level;
use sealstream_protocol::message::{Fault, FaultCode};
use tokio::time::{Instant, sleep_until, timeout_at};

pub(crate) use self::pace::Pace;
use super::lane::{Charge, LanedBudget};
use super::session::PLACE_RETRY;

/// 64 KiB of each frame are free: they lie in the session's own read buffer, which is counted with the session.
pub(crate) const FREE: usize = MAX_READ;

/// 64 KiB: the least that a buffer grows by, and what a frame must bring in its time to be called moving.
pub(crate) const STEP: usize = 64 << 10;

/// 1 s for each [`STEP`] in the lane: who is slower than 64 KiB/s has others wait for the sake of very little.
const LANE_STALL: Duration = Duration::from_secs(1);

/// 5 s in the lane while others wait: a batch of 1 MiB passes at 2 Mbit/s, a frame of 16 MiB at 27 Mbit/s.
const LANE_TURN: Duration = Duration::from_secs(5);

/// 5 s for each [`STEP`] while others wait for what the frame holds: 13 KiB/s.
const STALL: Duration = Duration::from_secs(5);

/// 8 MiB of buffers that wait for their next frame: the window of a producer, as many frames as become free at once.
const KEPT: usize = 8 << 20;

/// The broker's memory for frames that are arriving.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    memory: LanedBudget,
    buffers: Buffers,
    patience: Duration,
}

impl Arrivals {
    /// `budget` bytes, at least one frame, for which a frame waits as long as `patience`.
    pub(crate) fn new(budget: u32, patience: Duration) -> Self {
        Self { memory: LanedBudget::new(budget), buffers: Buffers::new(KEPT), patience }
    }

    /// Where the buffers of frames come from.
    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// What is charged, of how much; with the one in the lane it may be a frame more.
    pub(crate) fn level(&self) -> Level {
        self.memory.level()
    }

    /// Charges `more` bytes to a frame that has waited since `since`, once they are to be had or the lane is. The error ends
    /// the session. Cancellation safe: nothing is charged, and the place in the line is lost.
    pub(crate) async fn charge(&self, charge: &mut Charge, more: u32, since: Instant) -> Result<(), Fault> {
        timeout_at(since + self.patience, self.memory.charge(charge, more))
            .await
            .map_err(|_| busy("the broker's memory for arriving frames is spent: send it again"))
    }

    /// Resolves once a frame that holds `charge` is to give it up, with what its client is told. Cancellation safe.
    pub(crate) async fn overdue(&self, charge: &Charge, pace: &Pace) -> Fault {
        if charge.is_nothing() {
            return std::future::pending().await;
        }
        // In a box: a session without such a frame does not hold it.
        Box::pin(self.stalled(charge, pace)).await
    }

    async fn stalled(&self, charge: &Charge, pace: &Pace) -> Fault {
        let Some(stay) = charge.stay() else {
            self.memory.waited_for(pace.due(STALL)).await;
            return busy("a frame came too slowly while others wait for memory: send it again");
        };
        tokio::select! {
            biased;
            () = sleep_until(pace.due(LANE_STALL)) => {}
            () = self.memory.waited_for(stay.since() + LANE_TURN) => {}
        }
        busy("a frame came too slowly while it had others wait: send it again")
    }

    /// Awaits something that the client has a part in while its frame, which is all there, holds `charge`; the error ends the
    /// session.
    pub(crate) async fn holding<T>(
        &self,
        charge: &Charge,
        work: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let pace = Pace::new(0, Instant::now());
        tokio::select! {
            biased;
            done = work => Ok(done),
            fault = self.overdue(charge, &pace) => Err(fault),
        }
    }
}

fn busy(text: &str) -> Fault {
    Fault::new(FaultCode::Busy, text).retry_after(PLACE_RETRY)
}

#[cfg(test)]
mod tests;
