//! What a session's next turn may read, and what it holds for that.
//!
//! ```text
//! has its part of the window ──► the budget has a turn ───────────────► reads 1 MiB
//!                          └───► it is spent, nothing is outside of it ► reads 64 KiB outside of the budget
//!                          └───► one such turn is under way ───────────► waits until the transport has taken it
//!
//! finds an entry larger than its turn: gives all back, waits for room for the whole entry, in the budget or in its lane, and reads
//! it alone
//! ```
//!
//! So what all sessions have read ahead is bounded: the budget, in the lane one entry, and [`CONSUME_FLOOR`] for each session. Stuck
//! readers may hold the budget for as long as they live, and the others still go on: by small turns, and past entries that are larger
//! by the lane. Who does not take what it has there within [`LANE_STAY`], while others wait, is cut off.

use std::time::Duration;

use crate::log::{PartitionId, ReadError, ReadOutcome, Shard, Within};
use crate::server::admission::{ByteBudget, Places};
use crate::server::lane::{Charge, LanedBudget, Stay};
use crate::server::options::CONSUME_FLOOR;
use crate::server::writing::Permits;

/// 5 s for a large entry to be read and to leave while others wait for the lane: 16 MiB at 27 Mbit/s.
const LANE_STAY: Duration = Duration::from_secs(5);

/// The turns of one session.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    window: ByteBudget,
    budget: LanedBudget,
    /// One place: a turn outside of the budget.
    outside: Places,
    /// Bytes of a whole turn.
    most: u32,
}

/// The right to read so many bytes.
#[derive(Debug)]
pub(super) struct Turn {
    bytes: u32,
    permits: Permits,
}

impl Turns {
    pub(super) fn new(window: ByteBudget, budget: LanedBudget, most: u32) -> Self {
        Self { window, budget, outside: Places::new(1), most }
    }

    /// The next turn, once the window has room for it. Cancellation safe.
    pub(super) async fn next(&self) -> Turn {
        let window = self.window.take(self.most).await;
        let mut budget = Charge::default();
        if self.budget.try_charge(&mut budget, self.most) {
            return Turn { bytes: self.most, permits: Permits { window, budget, outside: None } };
        }
        // Shown as held is what is read, or about to be.
        drop(window);
        let bytes = self.most.min(CONSUME_FLOOR);
        let outside = self.outside.wait().await;
        let window = self.window.take(bytes).await;
        Turn { bytes, permits: Permits { window, budget, outside: Some(outside) } }
    }

    /// Reads what `turn` allows; an entry that is larger alone, as soon as there is room for that.
    pub(super) async fn read(
        &self,
        turn: Turn,
        shard: &dyn Shard,
        partition: PartitionId,
        from: u64,
    ) -> (Result<ReadOutcome, ReadError>, Permits) {
        let Turn { bytes, permits } = turn;
        let larger = match shard.read_within(partition, from, bytes as usize).await {
            Ok(Within::Read(outcome)) => return (Ok(outcome), permits),
            Ok(Within::Larger(larger)) => larger,
            Err(error) => return (Err(error), permits),
        };
        // Who waits is not to hold what others wait for.
        drop(permits);
        let bytes = u32::try_from(larger).unwrap_or(u32::MAX);
        let window = self.window.take(bytes).await;
        let mut budget = Charge::default();
        self.budget.charge(&mut budget, bytes).await;
        (shard.read(partition, from, larger).await, Permits { window, budget, outside: None })
    }

    /// Resolves once a session's `stay` in the lane has lasted too long; waits for ever without one. Cancellation safe.
    pub(super) async fn overstayed(&self, stay: Option<&Stay>) {
        let Some(stay) = stay else { return std::future::pending().await };
        self.budget.waited_for(stay.since() + LANE_STAY).await;
        if !stay.lasts() {
            std::future::pending::<()>().await;
        }
    }
}
