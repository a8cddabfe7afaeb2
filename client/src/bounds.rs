//! Options that are checked when something is built: an error names the option, its value and its bound.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// An option has a value that it cannot have. Nothing was sent yet.
///
/// ```
/// use std::time::Duration;
/// use sealstream_client::{BuildError, Client};
///
/// let built = Client::builder().url("tls://localhost").hello_timeout(Duration::ZERO).build();
/// let Err(BuildError::Option(error)) = built else { panic!("a broker cannot answer at once") };
/// assert_eq!(error.to_string(), "the option hello_timeout is 0ns: it must be longer than zero");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the option {option} is {value}: it must be {bound}")]
#[non_exhaustive]
pub struct OptionError {
    /// The option, by the name of the builder's method.
    pub option: &'static str,
    /// What it is.
    pub value: String,
    /// What it must be.
    pub bound: String,
}

/// Whether a number is one that the option can have.
pub(crate) fn within<T: Copy + Display + PartialOrd>(
    option: &'static str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<(), OptionError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let bound = format!("{} to {}", bounds.start(), bounds.end());
    Err(OptionError { option, value: value.to_string(), bound })
}

/// Whether a number is at least as large as the option must be.
pub(crate) fn at_least<T: Copy + Display + PartialOrd>(
    option: &'static str,
    value: T,
    least: T,
) -> Result<(), OptionError> {
    if value >= least {
        return Ok(());
    }
    Err(OptionError { option, value: value.to_string(), bound: format!("at least {least}") })
}

/// Whether there is any time at all.
pub(crate) fn some_time(option: &'static str, value: Duration) -> Result<(), OptionError> {
    if !value.is_zero() {
        return Ok(());
    }
    Err(OptionError { option, value: format!("{value:?}"), bound: "longer than zero".to_owned() })
}

/// Whether a time is no shorter than another.
pub(crate) fn no_shorter(
    option: &'static str,
    value: Duration,
    least: Duration,
    what: &str,
) -> Result<(), OptionError> {
    if value >= least {
        return Ok(());
    }
    let bound = format!("no shorter than {what}{least:?}");
    Err(OptionError { option, value: format!("{value:?}"), bound })
}

/// Whether a time is no longer than another.
pub(crate) fn no_longer(option: &'static str, value: Duration, most: Duration) -> Result<(), OptionError> {
    if value <= most {
        return Ok(());
    }
    Err(OptionError { option, value: format!("{value:?}"), bound: format!("no longer than {most:?}") })
}
