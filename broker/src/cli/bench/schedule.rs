//! When each batch is to be sent, and how long it took from then on. No I/O and no clock: times are counted from the run's start.
//!
//! **Coordinated omission.** A load generator that waits for a slow server before it goes on sends less just when the server is slow, and
//! measures least where there is most to measure. Here the schedule says when each batch is due, whatever became of those before it, and
//! a latency counts from that moment and not from when it could be sent: the batches that a stall held back show it, each by as
//! much as it was late. What was never sent counts for as long as it has been due.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The longest latency that is told apart: an hour. Three digits of 1 ns to 1 h take 32 × 1,024 × 8 bytes, 256 KiB.
const LONGEST: u64 = 3_600_000_000_000;

/// Of batches that were never sent, so many are looked at one by one; of more, one speaks for as many as it takes.
const GIVEN_UP: u64 = 100_000;

/// When batches are due: evenly, from the start on. The first ones, which find connections cold, are not counted.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Batches a second; more than 0.
    rate: f64,
    warm_up: u64,
    total: u64,
}

impl Schedule {
    /// Batches at `rate` a second: for `warm_up` without being counted, then for `duration`; at least one that counts.
    pub fn new(rate: f64, warm_up: Duration, duration: Duration) -> Self {
        let within = |time: Duration| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it saturates, and is not negative"
            )]
            let count = (rate * time.as_secs_f64()).round() as u64;
            count
        };
        let warm_up = within(warm_up);
        Self { rate, warm_up, total: warm_up.saturating_add(within(duration).max(1)) }
    }

    /// How many batches there are, those of the warm-up too.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The same without the batches from `number` on.
    pub(super) fn cut(self, number: u64) -> Self {
        Self { total: number.min(self.total), ..self }
    }

    /// When batch `number`, from 0, is due.
    pub fn due(&self, number: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 batches")]
        let number = number as f64;
        Duration::from_secs_f64(number / self.rate)
    }

    /// When the last one is over.
    pub fn end(&self) -> Duration {
        self.due(self.total)
    }
}

/// How long batches took from the moment when they were due.
#[derive(Clone, Debug)]
pub struct Latencies {
    schedule: Schedule,
    nanos: Histogram<u64>,
}

impl Latencies {
    /// None yet.
    pub fn of(schedule: Schedule) -> Self {
        Self { schedule, nanos: histogram() }
    }

    /// Batch `number` got there at `now`.
    pub fn record(&mut self, number: u64, now: Duration) {
        if number >= self.schedule.warm_up && number < self.schedule.total {
            record(&mut self.nanos, now.saturating_sub(self.schedule.due(number)));
        }
    }

    /// The batches from `number` on never got there: until `now` they have waited in vain.
    pub fn give_up(&mut self, number: u64, now: Duration) {
        let (first, end) = (number.max(self.schedule.warm_up), self.schedule.total);
        let stride = end.saturating_sub(first).div_ceil(GIVEN_UP).max(1);
        let mut number = first;
        while number < end {
            let waited = nanos_of(now.saturating_sub(self.schedule.due(number)));
            self.nanos.saturating_record_n(waited, stride.min(end - number));
            number += stride;
        }
    }

    /// What is told of them.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles::of(&self.nanos)
    }
}

/// An empty histogram of nanoseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants")
}

/// Counts a time, at most the longest that is told apart.
pub(super) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(nanos_of(time));
}

fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(LONGEST)
}

/// What is told of many times.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles {
    /// How many there are.
    pub count: u64,
    /// What half of them exceed.
    pub p50: Duration,
    /// One of ten.
    pub p90: Duration,
    /// One of a hundred.
    pub p99: Duration,
    /// One of a thousand.
    pub p99_9: Duration,
    /// The longest.
    pub max: Duration,
}

impl Percentiles {
    /// Of a [`histogram`].
    pub(super) fn of(nanos: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_nanos(nanos.value_at_quantile(quantile));
        Self {
            count: nanos.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: Duration::from_nanos(nanos.max()),
        }
    }

    /// The heading over [`cells`](Self::cells).
    pub(super) fn heading() -> [String; 5] {
        ["p50", "p90", "p99", "p99.9", "max"].map(str::to_owned)
    }

    pub(super) fn cells(&self) -> [String; 5] {
        [self.p50, self.p90, self.p99, self.p99_9, self.max].map(|time| format!("{:.3} ms", millis(time)))
    }

    /// As `--json` has it.
    pub(super) fn json(&self) -> Value {
        json!({
            "count": self.count, "p50_ms": millis(self.p50), "p90_ms": millis(self.p90), "p99_ms": millis(self.p99),
            "p99_9_ms": millis(self.p99_9), "max_ms": millis(self.max),
        })
    }
}

/// In milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A server that answers one batch after the other in half a millisecond, and stands still for the second from 4 s to 5 s. Gives the latencies
    /// from when batches were due, and those from when they were sent, as a generator that waits has them.
    fn behind_a_stall(rate: f64) -> (Percentiles, Percentiles) {
        let schedule = Schedule::new(rate, Duration::ZERO, 10 * Duration::from_secs(1));
        let (mut corrected, mut naive) = (Latencies::of(schedule), histogram());
        let stall = Duration::from_secs(4)..Duration::from_secs(5);
        let mut free = Duration::ZERO;
        for number in 0..schedule.total() {
            // Nothing is sent before the answer to what went before it.
            let sent = schedule.due(number).max(free);
            let begun = if stall.contains(&sent) { stall.end } else { sent };
            free = begun + MS / 2;
            corrected.record(number, free);
            record(&mut naive, free.saturating_sub(sent));
        }
        (corrected.percentiles(), Percentiles::of(&naive))
    }

    #[test]
    fn a_stall_of_the_server_shows_in_the_percentiles_though_nothing_was_sent_meanwhile() {
        let (corrected, naive) = behind_a_stall(1000.0);
        // A tenth of the run stood still, and what had piled up took as long again to be worked off.
        assert!(corrected.p50 < MS && corrected.p90 > 300 * MS && corrected.p99 > 900 * MS, "{corrected:?}");
        assert!(corrected.max >= 999 * MS && corrected.max < 1010 * MS, "{corrected:?}");
        assert_eq!(corrected.count, 10_000);
        // What it is about: one batch of 10,000 saw the stall.
        assert!(naive.p99_9 < MS && naive.max >= 999 * MS, "{naive:?}");
    }

    #[test]
    fn what_could_not_be_sent_any_more_counts_for_as_long_as_it_was_due() {
        let schedule = Schedule::new(100.0, Duration::ZERO, Duration::from_secs(10));
        let mut latencies = Latencies::of(schedule);
        for number in 0..500 {
            latencies.record(number, schedule.due(number) + MS);
        }
        latencies.give_up(500, Duration::from_secs(10));
        let found = latencies.percentiles();
        assert_eq!(found.count, 1000);
        assert!(found.p99 > 4800 * MS && found.p99 < 5010 * MS, "{found:?}");
        let mut latencies = Latencies::of(Schedule::new(1e6, Duration::ZERO, Duration::from_secs(1)));
        latencies.give_up(1, Duration::from_secs(1));
        let found = latencies.percentiles();
        assert_eq!(found.count, 999_999);
        assert!(found.p50 > 499 * MS && found.p50 < 501 * MS, "{found:?}");
    }

    #[test]
    fn the_schedule_is_even_and_its_warm_up_is_not_counted() {
        let schedule = Schedule::new(250.0, Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!((schedule.total(), schedule.warm_up), (750, 250));
        assert_eq!((schedule.due(250), schedule.end()), (Duration::from_secs(1), Duration::from_secs(3)));
        assert_eq!((schedule.due(2), schedule.due(3)), (8 * MS, 12 * MS));
        let mut latencies = Latencies::of(schedule);
        latencies.record(249, Duration::from_mins(1));
        assert_eq!(latencies.percentiles().count, 0);
        latencies.record(250, schedule.due(250));
        assert_eq!(latencies.percentiles().count, 1);
        assert_eq!(Schedule::new(0.1, Duration::ZERO, MS).total(), 1);
    }
}
