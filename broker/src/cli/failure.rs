//! How a command fails: one sentence on stderr, and exit code 1.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::interrupt::Interrupted;
use super::{remedy, style};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// What to tell the user: names the thing and the remedy.
    Message(String),
    /// Whoever read our output has read enough (`sealstream consume … | head`): nothing to tell.
    OutputClosed,
    /// A signal ended it. What was done so far is told already.
    Interrupted(Interrupted),
}

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// What writing to stdout said.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Message(format!("cannot write to stdout: {error}"))
    }

    /// Says it, as one JSON object or as a sentence, and gives the exit code.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        let message = match self {
            Self::Message(message) => message,
            Self::OutputClosed => return ExitCode::SUCCESS,
            Self::Interrupted(by) => return by.exit_code(),
        };
        let line = if json {
            serde_json::json!({ "error": message }).to_string()
        } else {
            format!("{} {message}", style::err(style::ERROR, "error:"))
        };
        // Where nobody reads stderr any more, the exit code says it.
        let _ = writeln!(io::stderr(), "{line}");
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::OutputClosed => f.write_str("nobody reads the output any more"),
            Self::Interrupted(_) => f.write_str("ended by a signal"),
        }
    }
}

/// The error and its causes, each once: many an error's message already ends in its cause's. Then the remedy, where there is one.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        if let Some(remedy) = remedy::of(&error) {
            message = format!("{message}: {remedy}");
        }
        Self::Message(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer{text}")]
    struct Outer {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        for text in ["", ": inner"] {
            let failure = Failure::from(Outer { text, source: io::Error::other("inner") });
            let Failure::Message(message) = failure else { panic!("a message") };
            assert_eq!(message, "outer: inner");
        }
    }
}
