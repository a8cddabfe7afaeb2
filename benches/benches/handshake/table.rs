//! What the tables are made of: medians with their quarters, sizes, and rows of Markdown.

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

    pub(crate) fn quarters(&self) -> String {
        format!("({:.2} to {:.2})", self.low, self.high)
    }
}

/// What so many cost together, for each of them.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    bytes: f64,
}

impl Share {
    /// Of less than 2 GiB.
    pub(crate) fn of(bytes: i64, count: usize) -> Self {
        let small = |number| f64::from(i32::try_from(number).expect("a small number"));
        Self { bytes: small(bytes) / small(i64::try_from(count).expect("a small number")) }
    }

    pub(crate) fn ratio(self, of: Self) -> String {
        format!("{:.2}", self.bytes / of.bytes)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} KiB", self.bytes / 1024.0)
    }
}

/// Prints one row.
pub(crate) fn row<C: fmt::Display>(cells: impl IntoIterator<Item = C>) {
    for cell in cells {
        print!("| {cell} ");
    }
    println!("|");
}
