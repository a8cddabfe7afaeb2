//! What a client may have on its connection: few streams on a fresh one, more as it uses them; and how much of them may be
//! unread.
//!
//! All streams of a connection have one window, which quinn fixes by the handshake. A listener's are narrow,
//! [`STREAM_WINDOW`], but for as many connections as its budget has room for: these have the wide one, [`WIDE_STREAM_WINDOW`],
//! which long paths and fast ones need. Either way the window of the connection is those of all its streams together, so that
//! none that is unread stalls another.
//!
//! A wide connection that needs more streams takes the room for them too. Where the budget has none it goes on with what it
//! has, up to the number of streams that narrow ones would have in it; then it waits. Only there, with a quarter of its
//! streams full and unread at once, do they stall others of their connection.
//!
//! Bounds: all streams of a listener's connections have unread a narrow window each, and the budget together.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::{Connection, VarInt};

use super::budget::{Budget, Lent};
use super::params::{FIRST_STREAMS, MAX_STREAMS, STREAM_WINDOW, WIDE_STREAM_WINDOW, receive_window};

/// The allowance doubles when this many quarters of it are in use, so that a client that needs more seldom waits a round
/// trip for it.
const QUARTERS_IN_USE: u32 = 3;

/// What wide windows are lent by: so many bytes let [`FIRST_STREAMS`] be wide instead of narrow.
pub(super) const WIDE_STEP: u32 = FIRST_STREAMS * (WIDE_STREAM_WINDOW - STREAM_WINDOW);

/// How many narrow windows a wide one is.
const WIDTH: u32 = WIDE_STREAM_WINDOW / STREAM_WINDOW;

/// The room that makes a connection's windows wide, from its handshake on and for as long as it lives.
#[derive(Debug)]
pub(super) struct WideRoom {
    budget: Budget,
    lent: Lent,
}

impl WideRoom {
    /// Room for the streams of a fresh connection, if `budget` has it.
    pub(super) fn take(budget: &Budget) -> Option<Self> {
        Some(Self { budget: budget.clone(), lent: budget.lend()? })
    }

    /// How many streams there is room for.
    fn streams(&self) -> u32 {
        self.lent.steps() * FIRST_STREAMS
    }

    /// Makes room for `streams`, as far as the budget has it.
    fn grow(&mut self, streams: u32) {
        while self.streams() < streams
            && let Some(lent) = self.budget.lend()
        {
            self.lent.add(lent);
        }
    }
}

/// The streams allowed on one connection, and its window. Raising allocates at once, so it happens only after the peer has
/// proven who it is, and only as far as it uses.
#[derive(Debug)]
pub(super) struct StreamCredit {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: u32,
    allowed: u32,
    /// Of a wide connection.
    room: Option<WideRoom>,
}

/// What a stream changed that came near the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raised {
    allowed: u32,
    window: VarInt,
}

impl State {
    /// Counts an open stream.
    fn count(&mut self) -> Option<Raised> {
        self.open += 1;
        if self.allowed == MAX_STREAMS || self.open * 4 < self.allowed * QUARTERS_IN_USE {
            return None;
        }
        let allowed = MAX_STREAMS.min(self.allowed * 2);
        let window = match &mut self.room {
            None => receive_window(allowed, STREAM_WINDOW),
            Some(room) => {
                room.grow(allowed);
                if allowed > room.streams() * WIDTH {
                    return None;
                }
                receive_window(allowed.min(room.streams()), WIDE_STREAM_WINDOW)
            }
        };
        self.allowed = allowed;
        Some(Raised { allowed, window })
    }
}

/// The right to one open stream. Dropping it gives the stream back.
#[derive(Debug)]
pub(super) struct StreamPermit {
    credit: Arc<StreamCredit>,
}

impl StreamCredit {
    /// For a fresh connection, wide if there is `room`.
    pub(super) fn new(room: Option<WideRoom>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { open: 0, allowed: FIRST_STREAMS, room }) })
    }

    /// Counts a stream that the peer has opened on `connection`, and allows more where this one comes near the bound.
    pub(super) fn take(self: &Arc<Self>, connection: &Connection) -> StreamPermit {
        if let Some(raised) = self.count() {
            // The window first: a stream more must never find less room.
            connection.set_receive_window(raised.window);
            connection.set_max_concurrent_bi_streams(raised.allowed.into());
        }
        StreamPermit { credit: Arc::clone(self) }
    }

    fn count(&self) -> Option<Raised> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).count()
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.credit.state.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With which stream the bound is raised, to how many, and how many bytes they may have unread.
    fn raised(credit: &StreamCredit) -> Vec<(u32, u32, u64)> {
        (1..=MAX_STREAMS)
            .filter_map(|open| {
                credit.count().map(|raised| (open, raised.allowed, raised.window.into_inner()))
            })
            .collect()
    }

    /// A budget of so many steps.
    fn budget(steps: u64) -> Budget {
        Budget::new(steps * u64::from(WIDE_STEP), WIDE_STEP.into())
    }

    #[test]
    fn the_bound_doubles_as_it_is_used_and_stops_at_the_most() {
        let narrow = u64::from(STREAM_WINDOW);
        let expected = [(12, 32), (24, 64), (48, 128), (96, 256)];
        let expected = expected.map(|(open, allowed)| (open, allowed, u64::from(allowed) * narrow));
        assert_eq!(raised(&StreamCredit::new(None)), expected);
    }

    #[test]
    fn a_wide_connection_has_room_for_all_its_streams_while_the_budget_lasts() {
        let wide = u64::from(WIDE_STREAM_WINDOW);
        let budget = budget(17);
        let credit = StreamCredit::new(WideRoom::take(&budget));
        let expected = [(12, 32), (24, 64), (48, 128), (96, 256)];
        let expected = expected.map(|(open, allowed)| (open, allowed, u64::from(allowed) * wide));
        assert_eq!(raised(&credit), expected);
        let _last = budget.lend().expect("16 of 17 steps are lent");
        assert!(budget.lend().is_none());
        drop(credit);
        assert!(budget.lend().is_some(), "the connection is gone");
    }

    #[test]
    fn without_more_room_a_wide_connection_has_as_many_streams_as_narrow_ones_fit() {
        let wide = u64::from(WIDE_STREAM_WINDOW);
        let budget = budget(2);
        let [first, second] = [(); 2].map(|()| StreamCredit::new(WideRoom::take(&budget)));
        assert!(WideRoom::take(&budget).is_none(), "the budget is spent");
        let first_windows = u64::from(FIRST_STREAMS) * wide;
        assert_eq!(raised(&first), [(12, 32, first_windows), (24, 64, first_windows)]);
        drop(second);
        let more = first.count().unwrap_or_else(|| panic!("{first:?}: the second's room is free"));
        assert_eq!((more.allowed, more.window.into_inner()), (128, 2 * first_windows));
    }

    #[test]
    fn streams_one_after_another_never_raise_the_bound() {
        let credit = StreamCredit::new(None);
        for _ in 0..1_000 {
            assert_eq!(credit.count(), None);
            drop(StreamPermit { credit: Arc::clone(&credit) });
        }
    }
}
