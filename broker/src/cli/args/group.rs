//! `group`.

use clap::{Args, Subcommand};

use super::{Connection, From};

/// `group`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List all consumer groups
    List(GroupList),
    /// Show a group's members, and how far it is behind in each partition
    Describe(GroupDescribe),
    /// Move a group to another place in a topic, in either direction
    #[command(
        after_help = "Where a member has one of the partitions nothing is moved, but with --force: then the member loses it, and \
whoever has it next starts at the new place.

Examples:
  sealstream group seek billing orders --to beginning
  sealstream group seek billing orders --to 2026-01-31T12:00:00Z --partition 0"
    )]
    Seek(GroupSeek),
    /// Forget a group and all that it has committed
    Delete(GroupDelete),
}

/// `group list`.
#[derive(Debug, Args)]
pub struct GroupList {
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `group describe`.
#[derive(Debug, Args)]
pub struct GroupDescribe {
    /// The group
    pub name: String,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `group seek`.
#[derive(Debug, Args)]
pub struct GroupSeek {
    /// The group
    pub name: String,
    /// The topic
    pub topic: String,
    /// Where: beginning, end, an offset, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "PLACE", required = true)]
    pub to: From,
    /// Only this partition; may be given more than once [default: all of the topic]
    #[arg(long = "partition", value_name = "P")]
    pub partitions: Vec<u32>,
    /// Also where a member has the partition, which it loses
    #[arg(long)]
    pub force: bool,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

/// `group delete`.
#[derive(Debug, Args)]
pub struct GroupDelete {
    /// The group
    pub name: String,
    /// Yes, forget all that it has committed
    #[arg(long, required = true)]
    pub yes: bool,
    /// Also while it has members, whose sessions end
    #[arg(long)]
    pub force: bool,
    /// The broker.
    #[command(flatten)]
    pub connection: Connection,
}

impl GroupCommand {
    /// The broker that the command is for.
    pub fn connection(&self) -> &Connection {
        match self {
            Self::List(args) => &args.connection,
            Self::Describe(args) => &args.connection,
            Self::Seek(args) => &args.connection,
            Self::Delete(args) => &args.connection,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::args::Cli;

    #[test]
    fn deleting_a_group_takes_a_yes_and_a_seek_takes_a_place() {
        assert!(Cli::try_parse_from(["sealstream", "group", "delete", "g"]).is_err());
        assert!(Cli::try_parse_from(["sealstream", "group", "delete", "g", "--yes"]).is_ok());
        assert!(Cli::try_parse_from(["sealstream", "group", "seek", "g", "t"]).is_err());
        assert!(Cli::try_parse_from(["sealstream", "group", "seek", "g", "t", "--to", "end"]).is_ok());
    }
}
