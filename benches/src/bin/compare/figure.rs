//! What was measured: one record for each figure, whatever it is about.

use sealstream_benches::spread::Spread;
use serde::{Serialize, Serializer};

/// What a figure counts. Values are kept in the unit without prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Of payload, a second.
    BytesPerSecond,
    /// Records, or connections, a second.
    PerSecond,
    /// A time.
    Seconds,
    /// Memory, or a file.
    Bytes,
    /// Processor seconds of client and server together for 10^9 bytes of payload.
    CpuPerGigabyte,
    /// Things.
    Count,
}

impl Unit {
    /// Its name, as JSON has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BytesPerSecond => "B/s",
            Self::PerSecond => "1/s",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::CpuPerGigabyte => "s/GB",
            Self::Count => "1",
        }
    }

    /// A value for people: three digits, with a prefix.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::BytesPerSecond => format!("{} MB/s", digits(value / 1e6)),
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Seconds if value >= 1.0 => format!("{} s", digits(value)),
            Self::Seconds if value >= 1e-3 => format!("{} ms", digits(value * 1e3)),
            Self::Seconds => format!("{} µs", digits(value * 1e6)),
            Self::Bytes if value >= 1e6 => format!("{} MB", digits(value / 1e6)),
            Self::Bytes => format!("{} KiB", digits(value / 1024.0)),
            Self::CpuPerGigabyte => format!("{} s/GB", digits(value)),
            Self::Count => thousands(value),
        }
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{value:.2}"),
        middling if middling < 100.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// A whole number, with commas.
fn thousands(value: f64) -> String {
    let plain = format!("{value:.0}");
    let digits = plain.trim_start_matches('-');
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if plain.len() > digits.len() { format!("-{shown}") } else { shown }
}

/// What one measurement found, of which a round may make several.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// What it is.
    pub(crate) name: String,
    /// What it counts.
    pub(crate) unit: Unit,
    /// How much.
    pub(crate) value: f64,
}

impl Sample {
    /// One.
    pub(crate) fn new(name: impl Into<String>, unit: Unit, value: f64) -> Self {
        Self { name: name.into(), unit, value }
    }
}

/// A figure: what all rounds found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// The workload that it belongs to.
    pub(crate) workload: String,
    /// What is measured.
    pub(crate) name: String,
    /// Of what work.
    pub(crate) case: String,
    /// Whose it is.
    pub(crate) contestant: String,
    /// What it counts.
    pub(crate) unit: Unit,
    /// The middle, and between which quarters the rounds lie.
    #[serde(flatten)]
    pub(crate) spread: Spread,
    /// Round by round; figures of one workload and case were measured in turns.
    pub(crate) rounds: Vec<f64>,
}

impl Figure {
    /// The middle with its quarters, for people.
    pub(crate) fn show(&self) -> String {
        let Spread { low, median, high } = self.spread;
        let show = |value| self.unit.show(value);
        if self.rounds.len() == 1 {
            return show(median);
        }
        format!("{} ({} to {})", show(median), show(low), show(high))
    }

    /// The ratio to another figure, round by round.
    pub(crate) fn over(&self, other: &Self) -> Spread {
        Spread::of(self.rounds.iter().zip(&other.rounds).map(|(one, other)| one / other))
    }
}

/// `f64` of a count: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "figures of three digits are shown")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_three_digits_and_a_prefix() {
        assert_eq!(Unit::Seconds.show(0.000_008_13), "8.13 µs");
        assert_eq!(Unit::Seconds.show(0.0123), "12.3 ms");
        assert_eq!(Unit::BytesPerSecond.show(3_051_000_000.0), "3,051 MB/s");
        assert_eq!(Unit::PerSecond.show(1_234_567.0), "1,234,567/s");
        assert_eq!(Unit::Bytes.show(8_192.0), "8.00 KiB");
        assert_eq!(Unit::Count.show(-1_500.0), "-1,500");
    }

    #[test]
    fn a_ratio_is_the_middle_of_the_rounds_and_not_the_ratio_of_the_middles() {
        let figure = |rounds: [f64; 3]| Figure {
            workload: String::new(),
            name: String::new(),
            case: String::new(),
            contestant: String::new(),
            unit: Unit::Count,
            spread: Spread::of(rounds),
            rounds: rounds.to_vec(),
        };
        let ratio = figure([10.0, 2.0, 3.0]).over(&figure([5.0, 1.0, 6.0]));
        assert!((ratio.median - 2.0).abs() < 1e-9 && (ratio.low - 0.5).abs() < 1e-9, "{ratio:?}");
    }
}
