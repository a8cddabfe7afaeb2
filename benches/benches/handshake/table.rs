//! What the tables are made of: medians with their quarters, and rows of Markdown.

use std::fmt;

/// Between which quarters the values of the rounds lie, and what is in the middle.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    low: f64,
    pub(crate) median: f64,
    high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.low, self.high)
    }
}

/// A time in seconds, as microseconds.
pub(crate) fn microseconds(seconds: f64) -> String {
    format!("{:.0}", seconds * 1e6)
}

/// Prints one row.
pub(crate) fn row<C: fmt::Display>(cells: impl IntoIterator<Item = C>) {
    for cell in cells {
        print!("| {cell} ");
    }
    println!("|");
}
