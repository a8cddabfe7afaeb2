//! Rates as people write them: `10MiB/s`, `600/min`, `1000/h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Size;

/// So much in a time: `10MiB/s`, `600/min`, `1000/h`; `0` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    pub(super) count: u64,
    pub(super) period: Duration,
    text: String,
}

impl Rate {
    /// What comes back in a second, 1 at least.
    pub(super) fn a_second(&self) -> u64 {
        (self.count / self.period.as_secs().max(1)).max(1)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a rate such as 10MiB/s, 600/min or 1000/h, nor 0 for none");
        let (count, period) = match text.split_once('/') {
            None if text.trim() == "0" => ("0", 1),
            Some((count, "s")) => (count, 1),
            Some((count, "min")) => (count, 60),
            Some((count, "h")) => (count, 3600),
            _ => return Err(bad()),
        };
        let count = count.trim().parse::<Size>().map_err(|_| bad())?.0;
        Ok(Self { count, period: Duration::from_secs(period), text: text.to_owned() })
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.text
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
