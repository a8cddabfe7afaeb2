//! Sizes, as the tables have them.

use std::fmt;

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
