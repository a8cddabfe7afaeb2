//! What clients are told when a group says no.

use sealstream_protocol::message::group::TopicPartition;
use sealstream_protocol::message::{Fault, FaultCode};

use super::incoming::place;
use crate::groups::{CommitRefusal, GroupError, Why};
use crate::log::{CommitError, PartitionId};
use crate::server::faults::{BUSY_RETRY, DISK_RETRY};
use crate::server::session::{PLACE_RETRY, shutting_down};

impl From<GroupError> for Fault {
    fn from(error: GroupError) -> Self {
        let text = error.to_string();
        match error {
            GroupError::Unknown(_) => Self::new(FaultCode::UnknownGroup, text),
            GroupError::BadName(_)
            | GroupError::NoTopics
            | GroupError::TooManyTopics { .. }
            | GroupError::TooManyPartitions { .. }
            | GroupError::TooLarge(_) => Self::new(FaultCode::InvalidRequest, text),
            GroupError::TooManyMembers(_) | GroupError::TooManyGroups(_) => {
                Self::new(FaultCode::Busy, text).retry_after(PLACE_RETRY)
            }
            GroupError::OtherIdentity | GroupError::Forbidden { .. } => Self::new(FaultCode::Forbidden, text),
            GroupError::StaleEpoch(_) => Self::new(FaultCode::StaleEpoch, text),
            GroupError::NotAMember => Self::new(FaultCode::MemberFenced, text),
            GroupError::InUse(_) => Self::new(FaultCode::GroupInUse, text),
            GroupError::Topic(error) => error.into(),
            GroupError::Place(fault) => *fault,
            GroupError::Log(error) => of_log(&error, text),
            GroupError::Stopping => shutting_down(),
        }
    }
}

fn of_log(error: &CommitError, text: String) -> Fault {
    match error {
        CommitError::Busy => Fault::new(FaultCode::Busy, text).retry_after(BUSY_RETRY),
        CommitError::DiskFull => Fault::new(FaultCode::DiskFull, text).retry_after(DISK_RETRY),
        CommitError::Closed => shutting_down(),
        CommitError::Storage(_) | CommitError::Fenced | CommitError::Refused { .. } => {
            Fault::new(FaultCode::Storage, text)
        }
    }
}

/// Why a member's stream is over.
pub(super) fn ended(why: Why) -> Fault {
    let text = match why {
        Why::Replaced => "a newer stream took this membership over",
        Why::Silent => "the member was not heard for the grace: send heartbeats, and join again",
        Why::Deleted => "an operator deleted the group: join again to begin anew",
    };
    Fault::new(FaultCode::MemberFenced, text)
}

/// The member has not taken what it was told.
pub(super) fn not_reading() -> Fault {
    let text = "the member does not read what its group tells it: join again, and read";
    Fault::new(FaultCode::Busy, text).retry_after(PLACE_RETRY)
}

/// Why an offset was not committed.
pub(super) fn refused((partition, refusal): (PartitionId, CommitRefusal)) -> (TopicPartition, Fault) {
    let name = format!("partition {} of topic {}", partition.index, partition.topic);
    let fault = match refusal {
        CommitRefusal::Stale { epoch } => {
            let text = format!("{name}: the epoch {epoch} of its assignment is over, or another member's");
            Fault::new(FaultCode::StaleEpoch, text)
        }
        CommitRefusal::Behind { committed } => {
            let text = format!(
                "{name}: the group has committed offset {committed} already: to read again, `sealstream group seek`"
            );
            Fault::new(FaultCode::CommitBehind, text).offset(committed)
        }
        CommitRefusal::BeyondEnd { end } => {
            let text = format!("{name} ends at offset {end}: commit what was read");
            Fault::new(FaultCode::OutOfRange, text).offset(end)
        }
        CommitRefusal::NoPlace => {
            Fault::new(FaultCode::InvalidRequest, format!("{name}: a commit needs an offset"))
        }
        CommitRefusal::NotAMember => {
            Fault::new(FaultCode::MemberFenced, format!("{name}: the member is not in the group any more"))
        }
        CommitRefusal::Log(Some(error)) => of_log(&error, format!("{name}: not committed: {error}")),
        CommitRefusal::Log(None) => {
            Fault::new(FaultCode::Storage, format!("{name}: not committed, as the others of this commit"))
        }
    };
    (place(partition), fault)
}
