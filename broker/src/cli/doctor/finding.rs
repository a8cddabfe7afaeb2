//! What was found: how bad it is, what it is, what to do about it.

use std::fmt;

use serde_json::{Value, json};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Ok,
    /// It works, and may not for long, or not as well as it could.
    Warn,
    /// A broker would not start or serve, or a client would not be served.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The subject: `keys`, `disk` and so on.
    pub(super) check: &'static str,
    pub(super) text: String,
    /// What to do, where the text does not say it.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, text: String) -> Self {
        Self { level: Level::Ok, check, text, remedy: None }
    }

    pub(super) fn warn(check: &'static str, text: String, remedy: &str) -> Self {
        Self { level: Level::Warn, check, text, remedy: Some(remedy.to_owned()) }
    }

    /// Errors of other parts name their remedy themselves.
    pub(super) fn fail(check: &'static str, text: String, remedy: Option<&str>) -> Self {
        Self { level: Level::Fail, check, text, remedy: remedy.map(str::to_owned) }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "level": self.level.name(), "check": self.check, "text": self.text, "remedy": self.remedy })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4}  {:<13}  {}", self.level.name(), self.check, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_level_the_subject_the_text_and_the_remedy() {
        let finding = Finding::warn("disk", "it is small".to_owned(), "buy one");
        assert_eq!(finding.to_string(), "warn  disk           it is small: buy one");
        assert_eq!(finding.json()["remedy"], "buy one");
        assert_eq!(Finding::ok("clock", "right".into()).to_string(), "ok    clock          right");
    }
}
