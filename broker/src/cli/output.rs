//! How things are shown: tables for people, JSON for machines, sizes and times that can be read.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::Value;

use super::Failure;

/// Writes a line to stdout.
pub(super) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(|error| Failure::output(&error))
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
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// A number of bytes in the largest binary unit that fits, with one digit behind the point.
pub(super) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub(super) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

/// Bytes per second in decimal megabytes, as network and disk speeds are given.
pub(super) fn speed(bytes_per_second: f64) -> String {
    format!("{:.0} MB/s", bytes_per_second / 1e6)
}
