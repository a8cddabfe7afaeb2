//! What can go wrong with a group.

use crate::log::CommitError;
use crate::topics::FindTopicError;

/// Why a group does not do what it was asked for. Nothing of it happened, but where the log says that it may have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    /// Nobody made it.
    #[error("there is no group {0:?}: a group is made by its first member")]
    Unknown(String),
    /// The group's name, or a topic's, is none.
    #[error("{0}")]
    BadName(String),
    /// A member reads something.
    #[error("the member names no topic: name one at least")]
    NoTopics,
    /// More topics than a member may have.
    #[error("a member reads at most {most} topics, not {asked}: raise groups.max_topics")]
    TooManyTopics {
        /// How many it asked for.
        asked: usize,
        /// The limit.
        most: usize,
    },
    /// More partitions than a group may have.
    #[error("the group would have {asked} partitions, and may have {most}: raise groups.max_partitions")]
    TooManyPartitions {
        /// How many it would have.
        asked: usize,
        /// The limit.
        most: usize,
    },
    /// More members than a group may have.
    #[error("the group has {0} members, its limit: try again later, or raise groups.max_members")]
    TooManyMembers(usize),
    /// More groups than there may be.
    #[error("the broker has {0} groups, its limit: try again later, or delete some")]
    TooManyGroups(usize),
    /// Its record would be larger than the log takes, or its description than a frame.
    #[error("the group would take {0} bytes, more than fit: have fewer members, or shorter names")]
    TooLarge(usize),
    /// The member id belongs to somebody else.
    #[error("this member id belongs to another identity: take a new random id")]
    OtherIdentity,
    /// The identity may not read the topic.
    #[error("{identity} may not consume topic {topic:?}")]
    Forbidden {
        /// Who.
        identity: String,
        /// What.
        topic: String,
    },
    /// The member has no such partition under such an epoch.
    #[error("the epoch {0} of this assignment is over, or another member's: wait for an Assign")]
    StaleEpoch(u32),
    /// The member's stream was replaced, or its grace is over.
    #[error("the member is not in the group any more: join again")]
    NotAMember,
    /// Members have what would be taken from them.
    #[error("{0}")]
    InUse(String),
    /// A topic of an operator's request.
    #[error(transparent)]
    Topic(#[from] FindTopicError),
    /// A place of an operator's request: the fault says what is wrong with it.
    #[error("{0}")]
    Place(Box<sealstream_protocol::message::Fault>),
    /// It could not be made durable.
    #[error("the group could not be changed: {0}")]
    Log(#[from] CommitError),
    /// The broker is shutting down, or the group is going.
    #[error("the broker is shutting down")]
    Stopping,
}

/// Why the groups could not be read at the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadGroupsError {
    /// A newer broker wrote it.
    #[error(
        "{key} was written by a newer broker (record version {version}, this one reads up to {newest}): start that version"
    )]
    Newer {
        /// The record.
        key: String,
        /// Its version.
        version: u32,
        /// What this broker reads.
        newest: u32,
    },
    /// It is not what a broker writes.
    #[error("the record {key} cannot be read: {reason}")]
    Unreadable {
        /// The record.
        key: String,
        /// Why.
        reason: String,
    },
}
