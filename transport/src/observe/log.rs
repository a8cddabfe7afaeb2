//! Log lines for handshakes that fail: enough to see what is wrong, and never more than a storm deserves.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::HandshakeObserver;
use super::event::{FailureCause, HandshakeEnd, HandshakeStart, Outcome, ShedConnection};
use crate::admission::Shed;
use crate::gcra::{Limit, Tat};
use crate::tls::Side;

/// Lines of one cause at once, and one more every so often: a storm that lasts a minute writes 5 + 6 lines of each cause.
const BURST: u64 = 5;
const INTERVAL: Duration = Duration::from_secs(10);

/// Writes a line for each failure and each connection turned away, limited by cause; a line says how many of its cause were
/// held back before it. What is still held back at the end is told when this is dropped.
#[derive(Debug)]
pub struct HandshakeLog {
    begun: Instant,
    limit: Limit,
    failures: [[Mutex<Held>; FailureCause::ALL.len()]; 2],
    shed: [Mutex<Held>; Shed::ALL.len()],
}

#[derive(Debug, Default)]
struct Held {
    tat: Tat,
    back: u64,
}

impl Held {
    /// How many were held back before this one; `None` if it is held back itself.
    fn pass(&mut self, limit: &Limit, now: Duration) -> Option<u64> {
        if self.tat.spend(limit, now, 1).allowed {
            return Some(std::mem::take(&mut self.back));
        }
        self.back += 1;
        None
    }
}

impl HandshakeLog {
    /// A log that has written nothing yet.
    ///
    /// # Panics
    ///
    /// Never: its limit can be kept.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            limit: Limit::new(1, INTERVAL, BURST).expect("a limit that can be kept"),
            failures: std::array::from_fn(|_| std::array::from_fn(|_| Mutex::default())),
            shed: std::array::from_fn(|_| Mutex::default()),
        }
    }

    fn pass(&self, held: &Mutex<Held>) -> Option<u64> {
        held.lock().unwrap_or_else(PoisonError::into_inner).pass(&self.limit, self.begun.elapsed())
    }

    fn of(&self, side: Side, cause: FailureCause) -> &Mutex<Held> {
        let index = FailureCause::ALL.iter().position(|other| *other == cause).unwrap_or(0);
        &self.failures[usize::from(side == Side::Server)][index]
    }
}

impl Default for HandshakeLog {
    fn default() -> Self {
        Self::new()
    }
}

impl HandshakeObserver for HandshakeLog {
    fn finish(&self, start: &HandshakeStart, end: &HandshakeEnd<'_>) {
        let Outcome::Failed(cause) = end.outcome else { return };
        // Ours, and in great numbers at every shutdown.
        if cause == FailureCause::Abandoned {
            return;
        }
        let Some(held_back) = self.pass(self.of(start.side, cause)) else { return };
        let error = end.error.map(ToString::to_string).unwrap_or_default();
        tracing::info!(
            remote = %start.remote_addr, transport = %start.transport, cause = cause.name(), error, held_back,
            "handshake failed"
        );
    }

    fn shed(&self, shed: &ShedConnection) {
        let index = Shed::ALL.iter().position(|other| *other == shed.cause).unwrap_or(0);
        let Some(held_back) = self.pass(&self.shed[index]) else { return };
        tracing::warn!(
            remote = %shed.remote_addr, transport = %shed.transport, cause = shed.cause.name(), held_back,
            "connection turned away"
        );
    }
}

impl Drop for HandshakeLog {
    fn drop(&mut self) {
        let failures = FailureCause::ALL.iter().map(|cause| cause.name()).cycle();
        let failures = failures.zip(self.failures.iter_mut().flatten());
        let shed = Shed::ALL.iter().map(|cause| cause.name()).zip(self.shed.iter_mut());
        for (cause, held) in failures.chain(shed) {
            let held_back = held.get_mut().unwrap_or_else(PoisonError::into_inner).back;
            if held_back > 0 {
                tracing::info!(cause, held_back, "handshakes that failed since the last line of this cause");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_failures_write_tens_of_lines_and_none_is_lost_from_the_count() {
        let log = HandshakeLog::new();
        let mut held = Held::default();
        let (mut lines, mut told) = (0_u64, 0);
        for n in 0..1_000_000_u64 {
            // Over ten minutes.
            let now = Duration::from_micros(n * 600);
            if let Some(before) = held.pass(&log.limit, now) {
                (lines, told) = (lines + 1, told + before + 1);
            }
        }
        assert!((BURST + 55..BURST + 65).contains(&lines), "{lines}");
        assert_eq!(told + held.back, 1_000_000);
    }

    #[test]
    fn a_cause_does_not_speak_for_another() {
        let log = HandshakeLog::new();
        for _ in 0..2 * BURST {
            log.pass(log.of(Side::Server, FailureCause::TimedOut));
        }
        assert_eq!(log.pass(log.of(Side::Server, FailureCause::TimedOut)), None);
        assert_eq!(log.pass(log.of(Side::Client, FailureCause::TimedOut)), Some(0));
        assert_eq!(log.pass(log.of(Side::Server, FailureCause::Alpn)), Some(0));
    }
}
