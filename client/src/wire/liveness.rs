//! When to ping, and when the other side is gone: a state machine without a clock of its own.
//!
//! Both sides of a session live by one rule: who has heard nothing for the idle deadline ends it. A side therefore
//! pings when it has heard nothing, or said nothing, for half of the deadline: the ping or its answer may be late by the other half and
//! neither side is given up. A second ping would not come sooner than the first: both transports repeat what is lost, in order. Both
//! sides would ping in the same moment: the broker waits a quarter longer, and one ping with its answer serves both.

use std::time::{Duration, Instant};

use sealstream_protocol::message::hello::Ping;

/// The first of so many parts of an idle deadline passes before a ping.
const PARTS: u32 = 2;

/// Watches over one session.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sealstream_client::wire::{Liveness, Pulse};
///
/// let start = Instant::now();
/// let mut liveness = Liveness::new(Duration::from_secs(30), start);
/// assert_eq!(liveness.poll(start), Pulse::Quiet { until: start + Duration::from_secs(15) });
/// assert!(matches!(liveness.poll(start + Duration::from_secs(15)), Pulse::Ping(_)));
/// assert_eq!(liveness.poll(start + Duration::from_secs(30)), Pulse::Gone);
/// ```
#[derive(Debug)]
pub struct Liveness {
    idle: Duration,
    /// Of silence, between two pings.
    interval: Duration,
    /// Of silence, before the next one.
    patience: Duration,
    heard: Instant,
    sent: Instant,
    pinged: Instant,
    nonce: u64,
}

/// What [`Liveness::poll`] asks for.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sealstream_client::wire::{Liveness, Pulse};
///
/// let now = Instant::now();
/// match Liveness::new(Duration::from_secs(30), now).poll(now) {
///     Pulse::Quiet { until } => assert_eq!(until - now, Duration::from_secs(15)),
///     Pulse::Ping(_) | Pulse::Gone => panic!("the session has just begun"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Nothing until then; poll again at that time.
    Quiet {
        /// When to poll again.
        until: Instant,
    },
    /// Send this now, then poll again.
    Ping(Ping),
    /// Nothing was heard for the idle deadline: end the session.
    Gone,
}

impl Liveness {
    /// Both sides have just been heard. `idle` is the deadline of the Welcome.
    pub fn new(idle: Duration, now: Instant) -> Self {
        let interval = idle / PARTS;
        Self { idle, interval, patience: interval, heard: now, sent: now, pinged: now, nonce: 0 }
    }

    /// That of the broker's side, which leaves it to the client to ping first.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.interval += self.interval / 4;
        self.patience = self.interval;
        self
    }

    /// Has the first ping go out after `part` of the silence, 0 to 1, that comes before every other. Sessions that begin together,
    /// when a broker was started again, would ping together for as long as they are idle: each takes a part by chance.
    ///
    /// # Panics
    ///
    /// If `part` is not a number.
    #[must_use]
    pub fn staggered(mut self, part: f32) -> Self {
        self.patience = self.interval.mul_f32(part.clamp(0.0, 1.0));
        self
    }

    /// Something arrived: any bytes count, half a frame too. Call it as well while this side does not read by its own
    /// choice: the peer cannot be heard then and must not be blamed for it.
    pub fn heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// Something was sent.
    pub fn sent(&mut self, now: Instant) {
        self.sent = self.sent.max(now);
    }

    /// What to do now. A ping is counted as sent at once.
    pub fn poll(&mut self, now: Instant) -> Pulse {
        if now >= self.heard + self.idle {
            return Pulse::Gone;
        }
        let due = self.heard.min(self.sent).max(self.pinged) + self.patience;
        if now < due {
            return Pulse::Quiet { until: due.min(self.heard + self.idle) };
        }
        self.patience = self.interval;
        self.pinged = now;
        self.sent = now;
        self.nonce += 1;
        Pulse::Ping(Ping { nonce: self.nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_that_is_busy_both_ways_is_never_pinged() {
        let start = Instant::now();
        let mut liveness = Liveness::new(IDLE, start);
        for second in 0..100 {
            let now = at(start, second);
            liveness.heard(now);
            liveness.sent(now);
            assert!(matches!(liveness.poll(now), Pulse::Quiet { .. }), "after {second} s");
        }
    }

    #[test]
    fn a_side_that_only_listens_still_lets_itself_be_heard() {
        let start = Instant::now();
        let mut liveness = Liveness::new(IDLE, start);
        let mut pings = 0;
        for second in 1..=60 {
            let now = at(start, second);
            liveness.heard(now);
            pings += u32::from(matches!(liveness.poll(now), Pulse::Ping(_)));
        }
        assert_eq!(pings, 4, "one in fifteen seconds");
    }

    #[test]
    fn a_silent_peer_is_pinged_and_gone_at_the_deadline() {
        let start = Instant::now();
        let mut liveness = Liveness::new(IDLE, start);
        let mut now = start;
        let mut pings = Vec::new();
        loop {
            match liveness.poll(now) {
                Pulse::Quiet { until } => now = until,
                Pulse::Ping(ping) => pings.push((ping.nonce, now - start)),
                Pulse::Gone => break,
            }
        }
        assert_eq!(now - start, IDLE);
        assert_eq!(pings, [(1, IDLE / 2)]);
    }

    #[test]
    fn sessions_that_began_together_ping_one_after_the_other() {
        let start = Instant::now();
        for (part, first) in [(0.0, 0), (0.2, 3), (1.0, 15), (7.0, 15)] {
            let mut liveness = Liveness::new(IDLE, start).staggered(part);
            let mut pinged = Vec::new();
            for second in 0..=45 {
                let now = at(start, second);
                if let Pulse::Ping(_) = liveness.poll(now) {
                    liveness.heard(now);
                    pinged.push(second);
                }
            }
            let due: Vec<u64> = (first..=45).step_by(15).collect();
            assert_eq!(pinged, due, "the first after {part} of the silence");
        }
    }

    #[test]
    fn the_broker_never_pings_a_client_that_does() {
        let start = Instant::now();
        let mut client = Liveness::new(IDLE, start);
        let mut broker = Liveness::new(IDLE, start).patient();
        let way = Duration::from_millis(300);
        let mut now = start;
        for _ in 0..10_000 {
            now += Duration::from_millis(100);
            if let Pulse::Ping(_) = client.poll(now) {
                broker.heard(now + way);
                broker.sent(now + way);
                client.heard(now + 2 * way);
            }
            assert!(matches!(broker.poll(now), Pulse::Quiet { .. }), "after {:?}", now - start);
        }
    }

    #[test]
    fn a_broker_pings_a_client_that_says_nothing() {
        let start = Instant::now();
        let mut broker = Liveness::new(IDLE, start).patient();
        let mut pings = 0;
        for second in 1..30 {
            pings += u32::from(matches!(broker.poll(at(start, second)), Pulse::Ping(_)));
        }
        assert_eq!((pings, broker.poll(at(start, 30))), (1, Pulse::Gone));
    }

    #[test]
    fn a_late_answer_saves_the_session() {
        let start = Instant::now();
        let mut liveness = Liveness::new(IDLE, start);
        liveness.heard(at(start, 29));
        assert_ne!(liveness.poll(at(start, 31)), Pulse::Gone);
        assert_eq!(liveness.poll(at(start, 59)), Pulse::Gone);
    }
}
