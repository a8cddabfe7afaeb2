//! How much a connection may have written that its peer has not acknowledged: a little each, more out of one budget.
//!
//! quinn keeps what was written until it is acknowledged, to send it again. A long path needs megabytes of it, most
//! connections need next to nothing, and a peer that acknowledges nothing holds all there is. So each connection of a
//! listener begins with [`FIRST_SEND_WINDOW`]. A stream that waits for room takes a step more, if the listener's budget has
//! one; it keeps those that let it write, until it ends, and gives back what did not help: whoever waits because its peer
//! does not read takes nothing from others.
//!
//! Bounds: a connection has [`SEND_WINDOW`] at most; all of a listener have a first window each, and the budget together.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::params::{FIRST_SEND_WINDOW, SEND_WINDOW};

/// Bytes that a stream that waits takes at a time: the window grows by 15 of them at most.
const STEP: u64 = FIRST_SEND_WINDOW;

/// What the connections of a listener share.
#[derive(Clone, Debug)]
pub(super) struct SendBudget {
    steps: Arc<Semaphore>,
}

impl SendBudget {
    /// Whole steps of `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        let steps = usize::try_from(bytes / STEP).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { steps: Arc::new(Semaphore::new(steps)) }
    }
}

/// The window of one connection.
#[derive(Debug)]
pub(super) struct SendRoom {
    budget: SendBudget,
    window: Mutex<u64>,
}

/// A part of the budget, for as long as its stream holds it. Goes back by [`SendRoom::give_back`].
#[derive(Debug)]
pub(super) struct SendStep {
    _permit: OwnedSemaphorePermit,
}

impl SendRoom {
    pub(super) fn new(budget: SendBudget) -> Self {
        Self { budget, window: Mutex::new(FIRST_SEND_WINDOW) }
    }

    /// Lets `connection` write a step more, if it may and the budget has one.
    pub(super) fn take(&self, connection: &Connection) -> Option<SendStep> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if *window + STEP > SEND_WINDOW {
            return None;
        }
        let permit = Arc::clone(&self.budget.steps).try_acquire_owned().ok()?;
        *window += STEP;
        connection.set_send_window(*window);
        Some(SendStep { _permit: permit })
    }

    /// Takes steps from `connection` again; the budget has them once they are dropped. What the connection has written
    /// beyond its window stays until it is acknowledged.
    pub(super) fn give_back(&self, connection: &Connection, steps: &[SendStep]) {
        if steps.is_empty() {
            return;
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        *window -= STEP * steps.len() as u64;
        connection.set_send_window(*window);
    }
}
