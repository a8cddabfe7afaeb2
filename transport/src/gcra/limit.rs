//! How much a key may spend: a rate and a burst, checked once.
//!
//! Time is counted in femtoseconds in a `u128`. Nanoseconds would do for requests, not for bytes: at 1 GiB/s a byte takes
//! 0.93 ns, which is 0 when floored. The longest [`Duration`] has 1.9e34 femtoseconds, a `u128` holds 3.4e38.

use std::time::Duration;

/// Femtoseconds of a nanosecond.
const FEMTOS: u128 = 1_000_000;

/// The highest rate. A unit then takes 1,000 femtoseconds, so that flooring its interval errs by a thousandth at most.
pub const MAX_COUNT_PER_SECOND: u64 = 1_000_000_000_000;

/// The longest time that an empty bucket may take to be full: a century. Longer is a mistake in the configuration.
pub const MAX_REFILL: Duration = Duration::from_hours(100 * 366 * 24);

/// A rate and a burst: `count` units per `period`, and `burst` units at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    count: u64,
    period: Duration,
    burst: u64,
    /// What one unit takes: `period / count`, floored.
    interval: u128,
}

impl Limit {
    /// A limit that can be kept.
    ///
    /// # Errors
    ///
    /// If any of the three is zero, the rate exceeds [`MAX_COUNT_PER_SECOND`], or the burst takes longer than
    /// [`MAX_REFILL`] to come back.
    pub const fn new(count: u64, period: Duration, burst: u64) -> Result<Self, LimitError> {
        if count == 0 || burst == 0 || period.is_zero() {
            return Err(LimitError::Zero { count, period, burst });
        }
        // A `u64` fits into a `u128`; `From` is not const.
        let interval = femtos(period) / count as u128;
        if interval < femtos(Duration::from_secs(1)) / MAX_COUNT_PER_SECOND as u128 {
            return Err(LimitError::TooFast { count, period });
        }
        match interval.checked_mul(burst as u128) {
            Some(refill) if refill <= femtos(MAX_REFILL) => Ok(Self { count, period, burst, interval }),
            _ => Err(LimitError::TooSlow { count, period, burst }),
        }
    }

    /// Units per [`period`](Self::period).
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The time in which [`count`](Self::count) units come back.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Units that can be spent at once after a rest; a spend of more is never allowed.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// What one unit takes, in femtoseconds; never zero.
    pub const fn interval(&self) -> u128 {
        self.interval
    }

    /// How far ahead of the clock a TAT may be, in femtoseconds: at most [`MAX_REFILL`].
    pub fn burst_offset(&self) -> u128 {
        self.interval * u128::from(self.burst)
    }
}

/// Why a limit cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// It would let nothing pass, or everything.
    #[error(
        "a limit of {count} per {period:?} with a burst of {burst} has a zero in it: each must be at least 1"
    )]
    Zero {
        /// Units per period.
        count: u64,
        /// The period.
        period: Duration,
        /// Units at once.
        burst: u64,
    },
    /// Its rate cannot be told from no limit.
    #[error(
        "a limit of {count} per {period:?} is more than {MAX_COUNT_PER_SECOND} per second: lower it, or switch it off"
    )]
    TooFast {
        /// Units per period.
        count: u64,
        /// The period.
        period: Duration,
    },
    /// What was spent would never come back.
    #[error(
        "a burst of {burst} at {count} per {period:?} takes more than 100 years to come back: lower the burst"
    )]
    TooSlow {
        /// Units per period.
        count: u64,
        /// The period.
        period: Duration,
        /// Units at once.
        burst: u64,
    },
}

/// A time in femtoseconds.
pub(super) const fn femtos(time: Duration) -> u128 {
    time.as_nanos() * FEMTOS
}

/// Femtoseconds as a time, rounded up to the nanosecond: whoever waits for it has waited long enough.
pub(super) fn duration(femtos: u128) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    let nanos = femtos.div_ceil(FEMTOS);
    match (u64::try_from(nanos / NANOS), u32::try_from(nanos % NANOS)) {
        (Ok(secs), Ok(nanos)) => Duration::new(secs, nanos),
        _ => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_limit_with_a_zero_in_it_is_refused() {
        for (count, period, burst) in [(0, SECOND, 1), (1, Duration::ZERO, 1), (1, SECOND, 0)] {
            assert_eq!(Limit::new(count, period, burst), Err(LimitError::Zero { count, period, burst }));
        }
    }

    #[test]
    fn a_limit_that_cannot_be_counted_is_refused() {
        assert!(Limit::new(MAX_COUNT_PER_SECOND, SECOND, 1).is_ok());
        assert!(matches!(Limit::new(MAX_COUNT_PER_SECOND + 1, SECOND, 1), Err(LimitError::TooFast { .. })));
        assert!(Limit::new(1, MAX_REFILL, 1).is_ok());
        assert!(matches!(Limit::new(1, MAX_REFILL, 2), Err(LimitError::TooSlow { .. })));
        assert!(matches!(Limit::new(1, Duration::MAX, u64::MAX), Err(LimitError::TooSlow { .. })));
    }

    #[test]
    fn a_wait_is_rounded_up_never_down() {
        assert_eq!(duration(0), Duration::ZERO);
        assert_eq!(duration(1), Duration::from_nanos(1));
        assert_eq!(duration(femtos(Duration::MAX)), Duration::MAX);
        assert_eq!(duration(u128::MAX), Duration::MAX);
    }
}
