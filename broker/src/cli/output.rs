//! How things are shown: tables for people, JSON for machines, sizes and times that can be read.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde_json::Value;

use super::{Failure, progress, style};

/// Writes a line to stdout.
pub(super) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(|error| Failure::output(&error))
}

/// Fails where what is written to stdout is nobody's, for a command whose output cannot be had a second time.
///
/// Whoever starts us with stdout closed gets `/dev/null` in its place before `main`, from Rust's runtime, so that no file opened
/// later takes its number: open for reading too, which no shell's `>/dev/null` is.
pub(super) fn demand_stdout() -> Result<(), Failure> {
    let out = rustix::stdio::stdout();
    let both_ways = rustix::fs::fcntl_getfl(out).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDWR);
    let null = std::fs::metadata("/dev/null").map(|null| null.rdev()).ok();
    if both_ways && rustix::fs::fstat(out).is_ok_and(|stat| Some(stat.st_rdev) == null) {
        return Err(Failure::new(
            "cannot write to stdout: it is closed: nothing was asked of the broker; give it a file or a pipe, or `>/dev/null` to do \
             without",
        ));
    }
    Ok(())
}

/// Writes a line to stderr, for people. One that cannot be written is lost: what the command does does not hang on it.
pub(super) fn note(text: impl std::fmt::Display) {
    let _ = progress::aside(|| writeln!(io::stderr(), "{text}"));
}

/// Writes a JSON value and a newline to stdout.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    line(value)
}

/// Writes rows in columns as wide as their widest cell; the first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut widths = vec![0; rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let cells = cells.join("  ");
        let text = cells.trim_end();
        line(if number == 0 { style::out(style::HEADING, text) } else { text.to_owned() })?;
    }
    Ok(())
}

/// A number and what of: `1 record`, `2 records`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A number of bytes in the largest binary unit that fits, with one digit behind the point.
pub(super) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

/// Bytes per second in decimal units, as network and disk speeds are given.
pub(super) fn speed(bytes_per_second: f64) -> String {
    if bytes_per_second < 1e6 {
        return format!("{:.0} kB/s", bytes_per_second / 1e3);
    }
    format!("{:.0} MB/s", bytes_per_second / 1e6)
}
