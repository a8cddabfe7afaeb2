//! Colours: on a terminal, unless `NO_COLOR`, `TERM=dumb` or `--color` say otherwise.

use std::ffi::OsString;
use std::io;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum as _;

use super::args::Color;

/// What went wrong.
pub(super) const ERROR: Style = AnsiColor::Red.on_default().bold();

/// What may go wrong.
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default();

/// What is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();

/// The heading of a table.
pub(super) const HEADING: Style = Style::new().bold();

/// Reads `--color` before anything else is read: the help and the errors of the command line are coloured by it too.
pub(super) fn choose(args: impl IntoIterator<Item = OsString>) {
    let choice = match color_of(args).unwrap_or_default() {
        Color::Auto => ColorChoice::Auto,
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    };
    choice.write_global();
}

fn color_of(args: impl IntoIterator<Item = OsString>) -> Option<Color> {
    let mut args = args.into_iter().map_while(|arg| arg.into_string().ok()).take_while(|arg| arg != "--");
    let mut found = None;
    while let Some(arg) = args.next() {
        let value = match arg.strip_prefix("--color") {
            Some("") => args.next(),
            Some(rest) => rest.strip_prefix('=').map(ToOwned::to_owned),
            None => None,
        };
        found = value.and_then(|value| Color::from_str(&value, false).ok()).or(found);
    }
    found
}

/// `text` in a style, where stdout takes colours.
pub(super) fn out(style: Style, text: &str) -> String {
    painted(style, text, &io::stdout())
}

/// `text` in a style, where stderr takes colours.
pub(super) fn err(style: Style, text: &str) -> String {
    painted(style, text, &io::stderr())
}

/// Whether stderr takes colours.
pub(super) fn on_stderr() -> bool {
    is_on(&io::stderr())
}

fn painted(style: Style, text: &str, stream: &impl RawStream) -> String {
    if is_on(stream) { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

fn is_on(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: &[&str]) -> Option<Color> {
        color_of(args.iter().map(OsString::from))
    }

    #[test]
    fn the_choice_is_found_wherever_it_stands_but_for_what_is_data() {
        assert_eq!(chosen(&["topic", "--color", "never", "list"]), Some(Color::Never));
        assert_eq!(chosen(&["--color=always", "help"]), Some(Color::Always));
        assert_eq!(chosen(&["topic", "describe", "--", "--color=always"]), None);
        assert_eq!(chosen(&["--color", "--color=never"]), None);
    }
}
