//! How many streams a client may have open: few on a fresh connection, more as it uses them.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::Connection;

use super::params::{FIRST_STREAMS, MAX_STREAMS, receive_window};

/// The allowance doubles when this many quarters of it are in use, so that a client that needs more seldom waits a round
/// trip for it.
const QUARTERS_IN_USE: u32 = 3;

/// The streams allowed on one connection. Raising allocates at once, so it happens only after the peer has proven who
/// it is, and only as far as it uses.
#[derive(Debug)]
pub(super) struct StreamCredit {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: u32,
    allowed: u32,
}

/// The right to one open stream. Dropping it gives the stream back.
#[derive(Debug)]
pub(super) struct StreamPermit {
    credit: Arc<StreamCredit>,
}

impl StreamCredit {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { open: 0, allowed: FIRST_STREAMS }) })
    }

    /// Counts a stream that the peer has opened on `connection`, and allows more where this one comes near the bound.
    pub(super) fn take(self: &Arc<Self>, connection: &Connection) -> StreamPermit {
        if let Some(allowed) = self.count() {
            // The window first: a stream more must never find less room.
            connection.set_receive_window(receive_window(allowed));
            connection.set_max_concurrent_bi_streams(allowed.into());
        }
        StreamPermit { credit: Arc::clone(self) }
    }

    /// Counts an open stream, and returns the new bound if it is to be raised.
    fn count(&self) -> Option<u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open += 1;
        if state.allowed == MAX_STREAMS || state.open * 4 < state.allowed * QUARTERS_IN_USE {
            return None;
        }
        state.allowed = MAX_STREAMS.min(state.allowed * 2);
        Some(state.allowed)
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

    #[test]
    fn the_bound_doubles_as_it_is_used_and_stops_at_the_most() {
        let credit = StreamCredit::new();
        let raised: Vec<(u32, u32)> =
            (1..=MAX_STREAMS).filter_map(|open| credit.count().map(|allowed| (open, allowed))).collect();
        assert_eq!(raised, [(12, 32), (24, 64), (48, 128), (96, 256)]);
    }

    #[test]
    fn streams_one_after_another_never_raise_the_bound() {
        let credit = StreamCredit::new();
        for _ in 0..1_000 {
            assert_eq!(credit.count(), None);
            drop(StreamPermit { credit: Arc::clone(&credit) });
        }
    }
}
