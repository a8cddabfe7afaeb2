//! Values as they are typed: what cannot be one says what could.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use sealstream_protocol::name::check_topic;

use crate::access::known_identity;
use crate::config::{Size, Span};

/// A number that counts something: 1 or more.
pub(super) fn one_to<T: FromStr>(text: &str, most: impl Display) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number from 1 to {most}"))
}

/// A time to wait; a number without a unit is milliseconds.
pub(super) fn wait(text: &str) -> Result<Span, String> {
    text.parse().map(|ms| Span(Duration::from_millis(ms))).or_else(|_| text.parse())
}

/// A time that is none at all for nothing.
pub(super) fn some_time(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0.is_zero() { Err("it must be longer than zero".to_owned()) } else { Ok(span) }
}

/// A size that is not less than something.
pub(super) fn at_least(text: &str, least: u64) -> Result<Size, String> {
    let size: Size = text.parse()?;
    if size.0 >= least {
        return Ok(size);
    }
    Err(format!("`{text}` is too small: it must be at least {least} B"))
}

/// Where something listens.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an IP address and a port, such as 127.0.0.1:7420 or [::1]:7420")
    })
}

/// What a topic may be called, or a token.
pub(super) fn name(text: &str) -> Result<String, String> {
    check_topic(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// Whom a broker may take somebody for.
pub(super) fn identity(text: &str) -> Result<String, String> {
    known_identity(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// A header, its name before the first `=`.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};

    fn refused(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn what_cannot_be_a_value_says_what_could() {
        for (line, says) in [
            ("s bench latency --record-bytes 7", "`7` is too small: it must be at least 8 B"),
            ("s bench latency --duration 0s", "it must be longer than zero"),
            ("s bench latency --batch-records 0", "`0` is not a whole number from 1 to 4294967295"),
            ("s bench produce --record-bytes 0", "`0` is too small: it must be at least 1 B"),
            ("s bench connect --parallel 70000", "`70000` is not a whole number from 1 to 65535"),
            ("s bench connect --connections 0", "`0` is not a whole number from 1 to "),
            ("s topic create t --partitions 1025", "1025 is not in 1..=1024"),
            ("s topic create t --retention-bytes 5x", "`5x` is not a size such as 4096, 64KiB or 1GiB"),
            ("s topic create a/b", "the name has '/' at byte 1"),
            ("s token create a/b", "the name has '/' at byte 1"),
            ("s produce t --linger soon", "`soon` is not a length of time such as 500ms"),
            ("s produce t --header type", "`type` is not NAME=VALUE"),
            (
                "s serve --listen localhost",
                "`localhost` is not an IP address and a port, such as 127.0.0.1:7420",
            ),
            ("s health --monitor 7421", "`7421` is not an IP address and a port"),
            (
                "s auth check bill produce t",
                "no identity is like `bill`: they are `anonymous`, or begin with",
            ),
        ] {
            let error = refused(line);
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn a_wait_without_a_unit_is_milliseconds() {
        for (typed, ms) in [("7", 7), ("7ms", 7), ("2s", 2000), ("0", 0)] {
            let cli = Cli::try_parse_from(["s", "produce", "t", "--linger", typed]).unwrap();
            let Command::Produce(args) = cli.command else { panic!("produce") };
            assert_eq!(args.linger.0.as_millis(), ms, "{typed}");
        }
    }

    #[test]
    fn bench_latency_still_takes_its_former_flags() {
        Cli::try_parse_from(["s", "bench", "latency", "--size", "1KiB", "--batch", "4"]).unwrap();
    }
}
