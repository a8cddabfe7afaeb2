//! `produce` and `consume`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Connection;
use super::values::{at_least, header, wait};
use crate::config::{Size, Span};

/// `produce`.
#[derive(Debug, Args)]
#[command(
    after_help = "The newline is not part of the record; a last line without one counts; \\r is kept. Returns once every record \
is acknowledged. A broker that restarts meanwhile is waited for, and no record is stored twice.

Examples:
  sealstream produce logs < app.log
  sealstream produce users --file users.tsv --key-separator $'\\t'
  journalctl -f | sealstream produce journal --linger 200"
)]
pub struct Produce {
    /// The topic
    pub topic: String,
    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What stands before the first S in a line is the record's key
    #[arg(long, value_name = "S", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub key_separator: Option<String>,
    /// Write to this partition only
    #[arg(long, value_name = "P")]
    pub partition: Option<u32>,
    /// Give every record this header; may be given more than once
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Wait so long for a batch to fill; a number without a unit is milliseconds
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = wait)]
    pub linger: Span,
    /// Send a batch once it holds so much
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = |text: &str| at_least(text, 1))]
    pub batch_bytes: Size,
    /// Compress batches
    #[arg(long, value_enum, value_name = "CODEC", default_value_t = Compression::None)]
    pub compression: Compression,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
}

/// `consume`.
#[derive(Debug, Args)]
#[command(after_help = "Starts at the beginning and stops at the end, unless told otherwise.

With --group it is a member of that group: it shares the topic's partitions with the group's other members, \
starts where the group is (at the beginning if it is nowhere yet), and commits what it has written. Ctrl-C \
commits and leaves; a second one ends it at once. A member that is killed repeats at most about what it wrote \
in the last second.

Examples:
  sealstream consume logs | grep ERROR
  sealstream consume logs --from end --follow
  sealstream consume logs --from 2026-01-31T12:00:00Z --format json | jq .value
  sealstream consume orders --group billing --follow | ./bill")]
pub struct Consume {
    /// The topic
    pub topic: String,
    /// Where to start: beginning, end, an offset, or a time (RFC 3339) [default: beginning]
    #[arg(long, value_name = "WHERE")]
    pub from: Option<From>,
    /// Read as a member of this group, from where the group is, and commit what was written
    #[arg(long, value_name = "G", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub group: Option<String>,
    /// Read this partition only
    #[arg(long, value_name = "P", conflicts_with = "group")]
    pub partition: Option<u32>,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Wait for new records at the end
    #[arg(long)]
    pub follow: bool,
    /// raw writes value and newline, json one object a line [default: raw, or json with --json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

impl Produce {
    /// What is wrong with the arguments together.
    pub(super) fn fault(&self) -> Option<String> {
        let none = self.connection.timeout.is_some_and(|timeout| timeout.0.is_zero());
        none.then(|| "--timeout must be longer than zero: no batch could be acknowledged in time".to_owned())
    }
}

impl Consume {
    /// What is wrong with the arguments together.
    pub(super) fn fault(&self) -> Option<String> {
        let (Some(group), Some(from)) = (&self.group, self.from) else { return None };
        let topic = &self.topic;
        let to = match from {
            From::Beginning => "beginning".to_owned(),
            From::End => "end".to_owned(),
            From::Offset(offset) => offset.to_string(),
            From::Time(_) => "TIME".to_owned(),
        };
        Some(format!(
            "--from cannot be used with --group: a group starts where it is. To move it, use `sealstream group seek {group} \
             {topic} --to {to}`"
        ))
    }
}

/// How `consume` writes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The value and a newline.
    Raw,
    /// One JSON object a line: partition, offset, timestamp, key, value, headers. Bytes that are not UTF-8 come as `{"base64": …}`.
    Json,
}

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first record that is there.
    Beginning,
    /// After the last.
    End,
    /// At this offset of every partition read.
    Offset(u64),
    /// At the first batch that was stored at or after this time, in milliseconds since the Unix epoch.
    Time(i64),
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => return Ok(Self::Beginning),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            format!("`{text}` is neither beginning, end, an offset such as 42, nor a time such as 2026-01-31T12:00:00Z")
        })?;
        Ok(Self::Time(time.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::From;

    #[test]
    fn a_start_is_a_word_an_offset_or_a_time() {
        assert_eq!("end".parse(), Ok(From::End));
        assert_eq!("42".parse(), Ok(From::Offset(42)));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(From::Time(1000)));
        assert!("yesterday".parse::<From>().unwrap_err().contains("2026-01-31T12:00:00Z"));
    }
}
