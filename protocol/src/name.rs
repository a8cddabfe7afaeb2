//! What names may look like. Checked where a name enters, on either side; the codec takes any string.

use crate::limits::MAX_NAME;
use crate::message::{Fault, FaultCode};

/// Why a name is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no characters.
    #[error("the name is empty")]
    Empty,
    /// It exceeds [`MAX_NAME`].
    #[error("the name has {len} bytes: at most {MAX_NAME} are allowed")]
    TooLong {
        /// In bytes of UTF-8.
        len: usize,
    },
    /// It contains a character that is not allowed.
    #[error("the name has {character:?} at byte {at}: {allowed}")]
    Character {
        /// Which one; control characters are shown escaped.
        character: char,
        /// Where, in bytes.
        at: usize,
        /// What would be allowed.
        allowed: &'static str,
    },
    /// It is `.` or `..`, which name directories.
    #[error("nothing can be named . or ..")]
    Dots,
}

impl From<&NameError> for Fault {
    fn from(error: &NameError) -> Self {
        Self::new(FaultCode::InvalidRequest, error.to_string())
    }
}

/// Checks a topic's name: 1 to 255 bytes of `a-z A-Z 0-9 . _ -`, neither `.` nor `..`.
///
/// ```
/// # use sealstream_protocol::name::check_topic;
/// assert!(check_topic("orders.v2").is_ok());
/// let error = check_topic("orders\n").unwrap_err();
/// assert_eq!(error.to_string(), r"the name has '\n' at byte 6: allowed are a-z A-Z 0-9 . _ -");
/// ```
pub fn check_topic(name: &str) -> Result<(), NameError> {
    check_portable(name)
}

/// Checks a token's name: the same as a topic's.
pub fn check_token(name: &str) -> Result<(), NameError> {
    check_portable(name)
}

fn check_portable(name: &str) -> Result<(), NameError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    check(name, allowed, "allowed are a-z A-Z 0-9 . _ -")?;
    if matches!(name, "." | "..") { Err(NameError::Dots) } else { Ok(()) }
}

/// Checks the name of a group or a client: 1 to 255 bytes without control characters.
pub fn check_name(name: &str) -> Result<(), NameError> {
    check(name, |c| !c.is_control(), "control characters are not allowed")
}

fn check(name: &str, is_allowed: impl Fn(char) -> bool, allowed: &'static str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { len: name.len() });
    }
    match name.char_indices().find(|(_, character)| !is_allowed(*character)) {
        None => Ok(()),
        Some((at, character)) => Err(NameError::Character { character, at, allowed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_by_the_portable_characters_alone() {
        for good in ["a", "...", "Orders.v2_x-9", &"n".repeat(255)] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        assert_eq!(check_topic(""), Err(NameError::Empty));
        assert_eq!(check_topic("."), Err(NameError::Dots));
        assert_eq!(check_topic(".."), Err(NameError::Dots));
        assert_eq!(check_topic(&"n".repeat(256)), Err(NameError::TooLong { len: 256 }));
        for bad in ["a b", "a/b", "a\0", "é", "a\u{202e}b", "\u{1b}[2J"] {
            assert!(matches!(check_topic(bad), Err(NameError::Character { .. })), "{bad:?}");
        }
    }

    #[test]
    fn an_error_shows_a_control_character_escaped() {
        let text = check_topic("a\u{1b}[2J").unwrap_err().to_string();
        assert!(text.contains(r"'\u{1b}' at byte 1"), "{text}");
        assert!(text.chars().all(|c| !c.is_control()));
    }

    #[test]
    fn a_group_may_be_named_in_any_script_but_without_control_characters() {
        assert_eq!(check_name("Prüfer 東京"), Ok(()));
        assert!(check_name("a\tb").is_err());
        assert!(check_name("a\u{85}b").is_err());
        assert_eq!(check_name(&"é".repeat(128)), Err(NameError::TooLong { len: 256 }));
    }
}
