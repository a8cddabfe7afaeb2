//! What was found: how bad it is, what it is, what to do about it.

use std::fmt;

use anstyle::Style;
use serde_json::{Value, json};

use crate::cli::style;

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

    fn style(self) -> Style {
        match self {
            Self::Ok => style::GOOD,
            Self::Warn => style::WARNING,
            Self::Fail => style::ERROR,
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

    /// The line for people: `paint` colours the level, and the columns hold with and without colours.
    pub(super) fn line(&self, paint: impl Fn(Style, &str) -> String) -> String {
        let level = paint(self.level.style(), &format!("{:<4}", self.level.name()));
        let remedy = self.remedy.as_ref().map(|remedy| format!(": {remedy}")).unwrap_or_default();
        format!("{level}  {:<13}  {}{remedy}", self.check, self.text)
    }
}

/// Without colours.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(|_, text| text.to_owned()))
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

    #[test]
    fn each_level_has_a_colour_of_its_own_and_nothing_else_has() {
        let marked = |style: Style, text: &str| format!("{style}{text}{style:#}");
        let line = |finding: Finding| finding.line(marked);
        let (green, yellow, red, end) = ("\u{1b}[32m", "\u{1b}[33m", "\u{1b}[1m\u{1b}[31m", "\u{1b}[0m");
        assert_eq!(line(Finding::ok("a", "t".into())), format!("{green}ok  {end}  a              t"));
        assert_eq!(
            line(Finding::warn("a", "t".into(), "r")),
            format!("{yellow}warn{end}  a              t: r")
        );
        assert_eq!(line(Finding::fail("a", "t".into(), None)), format!("{red}fail{end}  a              t"));
    }
}
