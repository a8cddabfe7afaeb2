//! `topic`.

use clap::{Args, Subcommand};

use super::Connection;
use super::values::name;
use crate::config::{DurabilityName, Size, Span};
use crate::server::MAX_PARTITIONS_PER_TOPIC;

/// `topic`.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Make a topic
    #[command(after_help = "Examples:
  sealstream topic create orders --partitions 8
  sealstream topic create metrics --durability memory --retention 12h")]
    Create(TopicCreate),
    /// List all topics
    List(TopicList),
    /// Show a topic and its partitions
    Describe(TopicDescribe),
    /// Change how a topic is kept
    Alter(TopicAlter),
    /// Delete a topic and its records
    Delete(TopicDelete),
}

/// How a topic is kept; what is not given stays as it is.
#[derive(Debug, Args)]
pub struct TopicOptions {
    /// What an acknowledgement promises: disk survives power loss, memory the end of the broker's process
    #[arg(long, value_name = "KIND")]
    pub durability: Option<DurabilityName>,
    /// Delete records older than this, such as 12h or 7days; 0s keeps them for ever
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Span>,
    /// Delete the oldest records of a partition beyond this, such as 10GiB; 0 keeps all
    #[arg(long, value_name = "SIZE")]
    pub retention_bytes: Option<Size>,
    /// Begin a new segment from this size on, from 1MiB to 1GiB; 0 takes the broker's. Retention deletes whole segments
    #[arg(long, value_name = "SIZE")]
    pub segment_bytes: Option<Size>,
    /// Begin a new segment when the last one is so old, such as 1day; 0s never does
    #[arg(long, value_name = "TIME")]
    pub segment_age: Option<Span>,
}

/// `topic create`.
#[derive(Debug, Args)]
pub struct TopicCreate {
    /// 1 to 255 of: letters, digits, `.`, `_`, `-`
    #[arg(value_parser = name)]
    pub name: String,
    /// How many partitions [default: the broker's, usually 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PARTITIONS_PER_TOPIC)))]
    pub partitions: Option<u32>,
    /// Leave a topic that is there as it is, and succeed
    #[arg(long)]
    pub if_not_exists: bool,
    /// How it is kept.
    #[command(flatten)]
    pub options: TopicOptions,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic list`.
#[derive(Debug, Args)]
pub struct TopicList {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic describe`.
#[derive(Debug, Args)]
pub struct TopicDescribe {
    /// The topic
    pub name: String,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic alter`.
#[derive(Debug, Args)]
pub struct TopicAlter {
    /// The topic
    pub name: String,
    /// Add partitions until there are so many; none can be removed. Keys of records written from then on map to other partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PARTITIONS_PER_TOPIC)))]
    pub partitions: Option<u32>,
    /// What to change.
    #[command(flatten)]
    pub options: TopicOptions,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `topic delete`.
#[derive(Debug, Args)]
pub struct TopicDelete {
    /// The topic
    pub name: String,
    /// Yes, delete all of its records
    #[arg(long, required = true)]
    pub yes: bool,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

impl TopicCommand {
    /// The broker that the command is for.
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Create(args) => &args.connection,
            Self::List(args) => &args.connection,
            Self::Describe(args) => &args.connection,
            Self::Alter(args) => &args.connection,
            Self::Delete(args) => &args.connection,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::args::Cli;

    #[test]
    fn deleting_a_topic_takes_a_yes() {
        assert!(Cli::try_parse_from(["sealstream", "topic", "delete", "t"]).is_err());
        assert!(Cli::try_parse_from(["sealstream", "topic", "delete", "t", "--yes"]).is_ok());
    }
}
