//! Bytes that all connections of a listener share, lent in steps to those that need more than their own.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whole steps, of a size that whoever lends them knows. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    steps: Arc<Semaphore>,
}

/// A part of a budget, which has it again once this is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    permit: OwnedSemaphorePermit,
}

impl Budget {
    /// As many steps of `step` bytes as `bytes` hold.
    pub(super) fn new(bytes: u64, step: u64) -> Self {
        let steps = usize::try_from(bytes / step).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { steps: Arc::new(Semaphore::new(steps)) }
    }

    /// A step, if there is one.
    pub(super) fn lend(&self) -> Option<Lent> {
        let permit = Arc::clone(&self.steps).try_acquire_owned().ok()?;
        Some(Lent { permit })
    }
}

impl Lent {
    pub(super) fn steps(&self) -> u32 {
        u32::try_from(self.permit.num_permits()).expect("a budget has fewer")
    }

    /// Makes one loan of two from the same budget.
    pub(super) fn add(&mut self, other: Self) {
        self.permit.merge(other.permit);
    }
}
