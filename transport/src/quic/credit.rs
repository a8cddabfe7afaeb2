//! What a client may have on its connection: few streams on a fresh one, more as it uses them; and how much of them may be unread.
//!
//! One stream may be [`STREAM_WINDOW`] ahead of its reader, which fast paths and long ones need. A peer that is to cost less adds
//! [`STREAM_SHARE`] to the window of its connection by each stream: what is more, a stream that has carried much takes from a
//! budget that all connections of the listener share, and keeps it until it ends. While the budget lasts no unread stream stalls
//! another; once it is spent, a stream that is not read may hold up others of its connection.
//!
//! Bounds: on a connection are unread a share for each stream that was open at once, one more, and its steps; on all of a
//! listener's, those shares and the budget together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::{Connection, VarInt};

use super::budget::{Budget, Step};
use super::params::{FIRST_STREAMS, MAX_STREAMS, STREAM_SHARE, STREAM_WINDOW, receive_window};

/// The allowance doubles when this many quarters of it are in use, so that a client that needs more seldom waits a round
/// trip for it.
const QUARTERS_IN_USE: u32 = 3;

/// What a stream takes to have all of its window. It must have carried as much, so that taking and giving back lets nobody have
/// more in the end.
pub(super) const RECEIVE_STEP: u32 = STREAM_WINDOW - STREAM_SHARE;

/// The streams allowed on one connection, and its window. Raising the one allocates at once, so it happens only after the peer
/// has proven who it is, and only as far as it uses.
#[derive(Debug)]
pub(super) struct StreamCredit {
    budget: Budget,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: u32,
    /// The most that were open at once.
    most: u32,
    allowed: u32,
    steps: u32,
}

impl State {
    fn window(&self) -> VarInt {
        receive_window(self.most + 1, self.steps)
    }
}

/// What a further stream changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Raised {
    window: Option<VarInt>,
    allowed: Option<u32>,
}

/// The right to one open stream. Dropping it gives the stream back.
#[derive(Debug)]
pub(super) struct StreamPermit {
    credit: Arc<StreamCredit>,
}

impl StreamCredit {
    pub(super) fn new(budget: Budget) -> Arc<Self> {
        let state = State { open: 0, most: 0, allowed: FIRST_STREAMS, steps: 0 };
        Arc::new(Self { budget, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a stream that the peer has opened on `connection`, and allows more where this one comes near the bound.
    pub(super) fn take(self: &Arc<Self>, connection: &Connection) -> StreamPermit {
        let mut state = self.state();
        let Raised { window, allowed } = count(&mut state);
        // The window first: a stream more must never find less room.
        if let Some(window) = window {
            connection.set_receive_window(window);
        }
        if let Some(allowed) = allowed {
            connection.set_max_concurrent_bi_streams(allowed.into());
        }
        StreamPermit { credit: Arc::clone(self) }
    }
}

fn count(state: &mut State) -> Raised {
    let mut raised = Raised::default();
    state.open += 1;
    if state.open > state.most {
        state.most = state.open;
        raised.window = Some(state.window());
    }
    if state.allowed < MAX_STREAMS && state.open * 4 >= state.allowed * QUARTERS_IN_USE {
        state.allowed = MAX_STREAMS.min(state.allowed * 2);
        raised.allowed = Some(state.allowed);
    }
    raised
}

impl StreamPermit {
    /// The rest of its window for a stream of `connection` that has carried [`RECEIVE_STEP`], if the budget has it.
    pub(super) fn widen(&self, connection: &Connection) -> Option<Step> {
        let step = self.credit.budget.take()?;
        let mut state = self.credit.state();
        state.steps += 1;
        connection.set_receive_window(state.window());
        Some(step)
    }

    /// Takes it back from a stream that is read no further.
    pub(super) fn narrow(&self, connection: &Connection, step: Step) {
        let mut state = self.credit.state();
        state.steps -= 1;
        connection.set_receive_window(state.window());
        drop(step);
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.credit.state().open -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit() -> Arc<StreamCredit> {
        StreamCredit::new(Budget::new(0, RECEIVE_STEP.into()))
    }

    #[test]
    fn the_bound_doubles_as_it_is_used_and_stops_at_the_most() {
        let credit = credit();
        let raised: Vec<(u32, u32)> = (1..=MAX_STREAMS)
            .filter_map(|open| count(&mut credit.state()).allowed.map(|allowed| (open, allowed)))
            .collect();
        assert_eq!(raised, [(12, 32), (24, 64), (48, 128), (96, 256)]);
    }

    #[test]
    fn streams_one_after_another_raise_the_window_once_and_the_bound_never() {
        let credit = credit();
        let first = Raised { window: Some(receive_window(2, 0)), allowed: None };
        for expected in std::iter::once(first).chain((1..1_000).map(|_| Raised::default())) {
            assert_eq!(count(&mut credit.state()), expected);
            drop(StreamPermit { credit: Arc::clone(&credit) });
        }
    }
}
