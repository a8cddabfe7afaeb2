//! How far a frame may go, and whether it moves: decisions without I/O or clock.

use std::time::Duration;

use tokio::time::Instant;

use super::STEP;

/// 512 KiB: below it a buffer grows fourfold, so that a frame of 1 MiB is moved twice and 384 KiB of it are copied; above it
/// twofold, so that of a large frame more than two fifths of what it holds have arrived.
const QUICK: usize = 512 << 10;

/// 2 MiB: the largest frame that a session is trusted with as soon as it has begun, once it has brought one like it.
const TRUSTED: usize = 2 << 20;

/// The room that a frame of `whole` bytes is to have once `arrived` bytes of it, fewer than `whole`, fill the room it had: in
/// proportion to these, and never more than it needs. All of it at once, up to [`TRUSTED`], if it is no larger by more than a quarter
/// than what its session has `proven` by bringing it: so no frame of a usual producer is copied while it arrives, but for its first.
pub(crate) fn room_after(arrived: usize, whole: usize, proven: usize) -> usize {
    if whole <= proven.saturating_add(proven / 4).min(TRUSTED) {
        return whole;
    }
    let grown = if arrived < QUICK { 4 * arrived } else { 2 * arrived };
    (grown + STEP).min(whole)
}

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
    use crate::server::arriving::FREE;

    #[test]
    fn room_is_in_proportion_to_what_has_arrived_and_never_more_than_the_frame() {
        for whole in [FREE + 1, 300 << 10, 1 << 20, 5 << 20, 16 << 20] {
            let mut rooms = vec![FREE];
            while let Some(&room) = rooms.last().filter(|room| **room < whole) {
                let next = room_after(room, whole, whole / 2);
                assert!(next > room && next <= whole && next <= 5 * room, "{rooms:?}");
                assert!(room < 1 << 20 || next <= 2 * room + STEP, "{rooms:?}");
                rooms.push(next);
            }
            assert!(rooms.len() <= 9, "{rooms:?}");
        }
    }

    #[test]
    fn a_frame_is_trusted_once_its_session_has_brought_one_as_large() {
        for proven in [1 << 20, 900 << 10] {
            assert_eq!(room_after(FREE, 1 << 20, proven), 1 << 20);
        }
        assert!(room_after(FREE, 1 << 20, 800 << 10) < 1 << 20, "not with less");
        assert_eq!(room_after(FREE, TRUSTED, usize::MAX), TRUSTED);
        assert!(room_after(FREE, TRUSTED + 1, usize::MAX) <= 5 * FREE, "nor with more");
    }

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
