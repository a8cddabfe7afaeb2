//! Many rounds in three numbers.

use serde::Serialize;

/// Between which quarters the values of the rounds lie, and what is in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The lower quartile.
    pub low: f64,
    /// What is in the middle.
    pub median: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Spread {
    /// Of one value a round, at least one; an odd number has a middle.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values[(values.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// The quarters, for ratios.
    pub fn quarters(&self) -> String {
        format!("({:.2} to {:.2})", self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle_whatever_came_first() {
        let spread = Spread::of([9.0, 1.0, 5.0, 3.0, 7.0]);
        assert_eq!(spread, Spread { low: 3.0, median: 5.0, high: 7.0 });
        assert_eq!(Spread::of([2.0]), Spread { low: 2.0, median: 2.0, high: 2.0 });
    }
}
