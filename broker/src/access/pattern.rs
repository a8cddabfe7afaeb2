//! Patterns of identities and topics: the whole text, or its beginning and `*`.

use std::fmt;
use std::str::FromStr;

/// The longest pattern, in bytes: a SPIFFE ID has up to 2,048.
const MAX_PATTERN: usize = 2048;

/// Fits a text that is the same, or, of a pattern that ends in `*`, one that begins with what stands before it.
///
/// ```
/// use sealstream_broker::access::Pattern;
///
/// let pattern: Pattern = "orders.*".parse()?;
/// assert!(pattern.matches("orders.eu") && pattern.matches("orders."));
/// assert!(!pattern.matches("orders"));
/// # Ok::<(), sealstream_broker::access::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Without the `*`.
    text: Box<str>,
    open: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It has no characters.
    #[error("the pattern is empty: write `*` for everything")]
    Empty,
    /// There is a `*` before its end.
    #[error("`{0}` has a `*` before its end: a pattern is exact, or ends in one `*`")]
    Star(String),
    /// It is longer than anything it could fit.
    #[error("the pattern has {0} bytes: at most {MAX_PATTERN} are allowed")]
    TooLong(usize),
}

impl Pattern {
    /// Whether it fits.
    pub fn matches(&self, text: &str) -> bool {
        if self.open { text.starts_with(&*self.text) } else { *text == *self.text }
    }

    /// What a text must be, or begin with.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it ends in `*`.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > MAX_PATTERN {
            return Err(PatternError::TooLong(pattern.len()));
        }
        let (text, open) = match pattern.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (pattern, false),
        };
        if text.contains('*') {
            return Err(PatternError::Star(pattern.to_owned()));
        }
        if text.is_empty() && !open {
            return Err(PatternError::Empty);
        }
        Ok(Self { text: text.into(), open })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.open { "*" } else { "" })
    }
}
