//! How much a connection may have written that its peer has not acknowledged: a little each, more out of one budget.
//!
//! quinn keeps what was written until it is acknowledged, to send it again. A long path needs megabytes of it, most
//! connections need next to nothing, and a peer that acknowledges nothing holds all there is. So each connection of a
//! listener begins with [`FIRST_SEND_WINDOW`]. A stream that waits for room takes a step more, if the listener's budget has
//! one; it keeps those that let it write, until it ends, and gives back what did not help: whoever waits because its peer
//! does not read takes nothing from others.
//!
//! Bounds: a connection has [`SEND_WINDOW`] at most; all of a listener have a first window each, and the budget together.

use std::sync::{Mutex, PoisonError};

use quinn::Connection;

use super::budget::{Budget, Lent};
use super::params::{FIRST_SEND_WINDOW, SEND_WINDOW};

/// Bytes that a stream that waits takes at a time: the window grows by 15 of them at most.
pub(super) const SEND_STEP: u64 = FIRST_SEND_WINDOW;

/// The window of one connection.
#[derive(Debug)]
pub(super) struct SendRoom {
    budget: Budget,
    window: Mutex<u64>,
}

impl SendRoom {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, window: Mutex::new(FIRST_SEND_WINDOW) }
    }

    /// Lets `connection` write a step more, if it may and the budget has one. It goes back by [`give_back`](Self::give_back).
    pub(super) fn take(&self, connection: &Connection) -> Option<Lent> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if *window + SEND_STEP > SEND_WINDOW {
            return None;
        }
        let step = self.budget.lend()?;
        *window += SEND_STEP;
        connection.set_send_window(*window);
        Some(step)
    }

    /// Takes from `connection` again what it was lent. What it has written beyond its window stays until it is acknowledged.
    pub(super) fn give_back(&self, connection: &Connection, lent: Lent) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        *window -= SEND_STEP * u64::from(lent.steps());
        connection.set_send_window(*window);
        drop(lent);
    }
}
