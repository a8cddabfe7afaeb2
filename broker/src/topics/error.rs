//! Why something about a topic could not be done.

use uuid::Uuid;

use crate::log::CommitError;

/// Why the topics could not be read at the start.
#[derive(Debug, thiserror::Error)]
pub enum LoadTopicsError {
    /// A record is not what this broker writes.
    #[error(
        "the record {key} cannot be read: {reason}; restore the data directory from a copy, or report it"
    )]
    Unreadable {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record comes from the future.
    #[error(
        "{key} was written by a newer broker (record version {version}, this one reads up to {newest}): start that version"
    )]
    Newer {
        /// Its key.
        key: String,
        /// Its version.
        version: u32,
        /// The newest version that this broker reads.
        newest: u32,
    },
}

/// Why a topic was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FindTopicError {
    #[error(
        "no topic {name:?}: create it with `sealstream topic create`, or check the name with `sealstream topic list`"
    )]
    Unknown { name: String },
    #[error("topic {name:?} with the id {id} was deleted: forget what is known of it and begin anew")]
    Gone { name: String, id: Uuid },
}

/// Why a topic was not made, altered or deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicError {
    #[error(transparent)]
    NotFound(#[from] FindTopicError),
    #[error("{0}")]
    BadName(String),
    #[error("topic {name:?} is there already: take another name, or ask for it only if it is not there")]
    Exists { name: String },
    #[error(
        "topic {name:?} has {has} partitions: some can be added, none removed, so ask for {has} or more, not {asked}"
    )]
    FewerPartitions { name: String, has: u32, asked: u32 },
    #[error(
        "how many partitions a new topic has is said by the field `partitions`, not by tag 6: leave that out"
    )]
    PartitionsTwice,
    #[error("segment_bytes is {bytes}: it must be 0, for the broker's own, or from {least} to {most}")]
    SegmentBytes { bytes: u64, least: u64, most: u64 },
    #[error("a topic has 1 to {most} partitions, not {asked}")]
    TooManyPartitions { asked: u32, most: u32 },
    #[error(
        "the broker has {used} of at most {most} partitions, too many for {asked} more: delete topics, or raise the limit"
    )]
    NoRoom { asked: u32, used: u32, most: u32 },
    #[error("topic {name:?} was changed by somebody else meanwhile: look at it and try again")]
    Conflict { name: String },
    #[error("topic {name:?}: {source}")]
    Log { name: String, source: CommitError },
    #[error("topic {name:?}: whether the change is stored is unknown: {reason}")]
    NotDurable { name: String, reason: String },
}
