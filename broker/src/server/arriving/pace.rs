//! Whether a frame moves: decisions without I/O or clock.

use std::time::Duration;

use tokio::time::Instant;

use super::STEP;

/// Whether a frame moves: when it last brought [`STEP`] bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    mark: u64,
    since: Instant,
}

impl Pace {
    /// From `now` on, with `received` bytes so far.
    pub(crate) fn new(received: u64, now: Instant) -> Self {
        Self { mark: received, since: now }
    }

    /// So many bytes have been received by `now`.
    pub(crate) fn note(&mut self, received: u64, now: Instant) {
        if received >= self.mark + STEP as u64 {
            *self = Self::new(received, now);
        }
    }

    /// When a frame that has `patience` for each step is too slow.
    pub(crate) fn due(&self, patience: Duration) -> Instant {
        self.since + patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_is_not_a_pace() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(100, start);
        for moment in 1..=4 {
            pace.note(100 + u64::from(moment), start + second * moment);
            assert_eq!(pace.due(second * 5), start + second * 5);
        }
        pace.note(100 + STEP as u64, start + second * 4);
        assert_eq!(pace.due(second * 5), start + second * 9);
    }
}
