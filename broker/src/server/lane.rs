//! A budget of memory with a *lane*: a way on for whoever finds it spent.
//!
//! What is to be held is charged to the budget, first come first served. Where it is spent, the first in the line is let into the lane
//! as soon as that is free: it goes on beyond the budget, alone, until it gives back all that it has. So nobody waits for ever for those
//! who wait themselves, and what is held in all is the budget and what one of its users may hold. Who is in the lane must not stay:
//! how long it may, and who else has to give way while somebody waits, is for its users to say ([`LanedBudget::waited_for`]).

use std::sync::{Arc, Weak};

use sealstream_protocol::message::admin::Level;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::admission::{self, ByteBudget, Overdraft, Place, Places};

/// A number of bytes that are shared, and the lane beside them.
#[derive(Clone, Debug)]
pub(crate) struct LanedBudget {
    bytes: ByteBudget,
    lane: Places,
    /// How many wait. Told of whenever one begins to.
    waiting: Arc<watch::Sender<usize>>,
}

/// What somebody has of the budget, or beyond it; dropped, it is given back.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    bytes: Option<admission::Bytes>,
    lane: Option<Lane>,
}

/// The right to go beyond the budget.
#[derive(Debug)]
struct Lane {
    // Before the place: who comes next is not to find it still counted.
    beyond: Overdraft,
    _place: Place,
    stay: Arc<Instant>,
}

/// Somebody's stay in the lane, as it is seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    since: Instant,
    held: Weak<Instant>,
}

impl Stay {
    /// When it began.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Whether it lasts.
    pub(crate) fn lasts(&self) -> bool {
        self.held.strong_count() > 0
    }
}

/// Somebody waits, for as long as this lives.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Charge {
    /// How many bytes are charged.
    pub(crate) fn bytes(&self) -> usize {
        let charged = self.bytes.as_ref().map_or(0, admission::Bytes::count);
        let beyond = self.lane.as_ref().map_or(0, |lane| lane.beyond.count());
        usize::try_from(charged + beyond).unwrap_or(usize::MAX)
    }

    /// Whether nothing is charged.
    pub(crate) fn is_nothing(&self) -> bool {
        self.bytes.is_none() && self.lane.is_none()
    }

    /// The stay in the lane, for whoever is there.
    pub(crate) fn stay(&self) -> Option<Stay> {
        let stay = &self.lane.as_ref()?.stay;
        Some(Stay { since: **stay, held: Arc::downgrade(stay) })
    }

    /// Gives back what the budget gave beyond `bytes`. What was taken in the lane is what was needed.
    pub(crate) fn shrink_to(&mut self, bytes: u32) {
        if let Some(charged) = &mut self.bytes {
            charged.shrink_to(bytes);
        }
    }

    fn add(&mut self, more: admission::Bytes) {
        match &mut self.bytes {
            Some(bytes) => bytes.merge(more),
            None => self.bytes = Some(more),
        }
    }
}

impl LanedBudget {
    pub(crate) fn new(bytes: u32) -> Self {
        Self { bytes: ByteBudget::new(bytes), lane: Places::new(1), waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// What is charged, of how much; beyond that is what the one in the lane holds.
    pub(crate) fn level(&self) -> Level {
        self.bytes.level()
    }

    /// Charges `more` bytes if they are to be had at once, as they always are for who is in the lane.
    pub(crate) fn try_charge(&self, charge: &mut Charge, more: u32) -> bool {
        if let Some(lane) = &mut charge.lane {
            lane.beyond.add(more);
            return true;
        }
        let Some(bytes) = self.bytes.try_take(more) else { return false };
        charge.add(bytes);
        true
    }

    /// Charges `more` bytes once they are to be had, or the lane is. Cancellation safe: nothing is charged, and the place in the
    /// line is lost.
    pub(crate) async fn charge(&self, charge: &mut Charge, more: u32) {
        if self.try_charge(charge, more) {
            return;
        }
        let _waiting = self.wait_in_line();
        tokio::select! {
            biased;
            bytes = self.bytes.take(more) => charge.add(bytes),
            place = self.lane.wait() => {
                let mut beyond = self.bytes.overdraw();
                beyond.add(more);
                charge.lane = Some(Lane { beyond, _place: place, stay: Arc::new(Instant::now()) });
            }
        }
    }

    /// Resolves at `time` or later, as soon as somebody waits. Cancellation safe.
    pub(crate) async fn waited_for(&self, time: Instant) {
        let mut waiting = self.waiting.subscribe();
        sleep_until(time).await;
        if *waiting.borrow_and_update() == 0 {
            // Every change that is told of is one more that waits, though it may be served by now. The sender is here.
            let _ = waiting.changed().await;
        }
    }

    fn wait_in_line(&self) -> Waiting<'_> {
        self.waiting.send_modify(|waiting| *waiting += 1);
        Waiting(&self.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|waiting| {
            *waiting -= 1;
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    async fn charged(budget: &LanedBudget, bytes: u32) -> Charge {
        let mut charge = Charge::default();
        budget.charge(&mut charge, bytes).await;
        charge
    }

    #[tokio::test]
    async fn one_at_a_time_goes_beyond_the_budget_and_the_next_in_line_follows_it() {
        let budget = LanedBudget::new(100);
        let full = charged(&budget, 100).await;
        let mut first = charged(&budget, 10).await;
        let stay = first.stay().expect("it is in the lane");
        assert!(budget.try_charge(&mut first, 15));
        assert_eq!((first.bytes(), budget.level().now), (25, 125));

        let (mut second, mut third) = (Charge::default(), Charge::default());
        {
            let mut waits = std::pin::pin!(budget.charge(&mut second, 5));
            let mut behind = std::pin::pin!(budget.charge(&mut third, 5));
            assert!(poll!(waits.as_mut()).is_pending() && poll!(behind.as_mut()).is_pending());
            assert_eq!((budget.level().now, *budget.waiting.borrow()), (125, 2), "who waits has nothing");
            assert!(stay.lasts());
            drop(first);
            assert!(!stay.lasts());
            assert!(poll!(behind.as_mut()).is_pending(), "it is not its turn");
            waits.await;
            drop(full);
            behind.await;
        }
        assert!(second.stay().is_some() && third.stay().is_none());
        drop((second, third));
        assert_eq!((budget.level().now, *budget.waiting.borrow()), (0, 0));
        assert!(charged(&budget, 100).await.stay().is_none());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let budget = LanedBudget::new(100);
        let (full, lane) = (charged(&budget, 60).await, charged(&budget, 50).await);
        let mut waiting = Charge::default();
        assert!(poll!(std::pin::pin!(budget.charge(&mut waiting, 50))).is_pending());
        assert!(waiting.is_nothing());
        drop((full, lane));
        assert_eq!((budget.level().now, *budget.waiting.borrow()), (0, 0));
        assert!(budget.try_charge(&mut waiting, 100));
    }
}
