//! What the metadata log of a shard says, record by record.

use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

use super::super::checkpoint::Mark;
use super::super::epochs::EpochHistory;
use crate::log::engine::{OffsetCommit, PartitionId};

/// A partition as the shard's metadata has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct PartitionState {
    /// Tells this partition from one that had its id before and was deleted.
    pub(in super::super) incarnation: u64,
    /// The first offset that can be read. Segments wholly below are gone, or about to go.
    pub(in super::super) start: u64,
    /// The log epochs.
    pub(in super::super) epochs: EpochHistory,
    /// The owner epoch in which the partition was last open.
    pub(in super::super) owner: u64,
    /// Where the log ended when it was closed, and the append time of its last entry; `None` while it is open.
    pub(in super::super) sealed: Option<(Mark, i64)>,
}

/// A change of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum MetaRecord {
    /// A key has this value.
    Put { key: String, version: u64, value: Bytes },
    /// A key has no value; `version` was given to nobody else.
    Remove { key: String, version: u64 },
    /// A group's progress.
    Offset(OffsetCommit),
    /// A group's progress in a partition, or in all of them, is forgotten.
    Forget(String, Option<PartitionId>),
    /// A partition is there.
    Partition(PartitionId, PartitionState),
    /// A partition is no longer there, but some of its files may be.
    Deleting(PartitionId),
    /// A deleted partition's files are gone.
    Deleted(PartitionId),
    /// Who owns the shard.
    Owner(u64),
    /// So many versions were given.
    Versions(u64),
    /// What this record of the journal holds for the metadata has been taken over.
    Replayed { generation: u64, sequence: u64 },
}

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const OFFSET: u8 = 3;
const PARTITION: u8 = 4;
const DELETING: u8 = 5;
const DELETED: u8 = 6;
const OWNER: u8 = 7;
const VERSIONS: u8 = 8;
const REPLAYED: u8 = 9;
const FORGET: u8 = 10;
const FORGET_ALL: u8 = 11;

impl MetaRecord {
    pub(in super::super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { key, version, value } => {
                out.put_u8(PUT);
                put_text(out, key);
                out.put_u64_le(*version);
                out.put_u32_le(length(value.len()));
                out.put_slice(value);
            }
            Self::Remove { key, version } => {
                out.put_u8(REMOVE);
                put_text(out, key);
                out.put_u64_le(*version);
            }
            Self::Offset(commit) => {
                out.put_u8(OFFSET);
                put_text(out, &commit.group);
                put_partition(out, commit.partition);
                out.put_u64_le(commit.offset);
                out.put_u32_le(commit.log_epoch);
            }
            Self::Forget(group, Some(id)) => {
                out.put_u8(FORGET);
                put_text(out, group);
                put_partition(out, *id);
            }
            Self::Forget(group, None) => {
                out.put_u8(FORGET_ALL);
                put_text(out, group);
            }
            Self::Partition(id, state) => {
                out.put_u8(PARTITION);
                put_partition(out, *id);
                put_state(out, state);
            }
            Self::Deleting(id) => put_tagged_partition(out, DELETING, *id),
            Self::Deleted(id) => put_tagged_partition(out, DELETED, *id),
            Self::Owner(epoch) => {
                out.put_u8(OWNER);
                out.put_u64_le(*epoch);
            }
            Self::Versions(given) => {
                out.put_u8(VERSIONS);
                out.put_u64_le(*given);
            }
            Self::Replayed { generation, sequence } => {
                out.put_u8(REPLAYED);
                out.put_u64_le(*generation);
                out.put_u64_le(*sequence);
            }
        }
    }

    pub(in super::super) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(match bytes.try_get_u8().ok()? {
            PUT => {
                let (key, version) = (text(bytes)?, long(bytes)?);
                let len = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
                Self::Put { key, version, value: Bytes::copy_from_slice(take(bytes, len)?) }
            }
            REMOVE => Self::Remove { key: text(bytes)?, version: long(bytes)? },
            OFFSET => Self::Offset(OffsetCommit {
                group: text(bytes)?,
                partition: partition(bytes)?,
                offset: long(bytes)?,
                log_epoch: bytes.try_get_u32_le().ok()?,
            }),
            FORGET => Self::Forget(text(bytes)?, Some(partition(bytes)?)),
            FORGET_ALL => Self::Forget(text(bytes)?, None),
            PARTITION => Self::Partition(partition(bytes)?, state(bytes)?),
            DELETING => Self::Deleting(partition(bytes)?),
            DELETED => Self::Deleted(partition(bytes)?),
            OWNER => Self::Owner(long(bytes)?),
            VERSIONS => Self::Versions(long(bytes)?),
            REPLAYED => Self::Replayed { generation: long(bytes)?, sequence: long(bytes)? },
            _ => return None,
        })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u32_le(length(text.len()));
    out.put_slice(text.as_bytes());
}

fn put_partition(out: &mut Vec<u8>, id: PartitionId) {
    out.put_slice(id.topic.as_bytes());
    out.put_u32_le(id.index);
}

fn put_tagged_partition(out: &mut Vec<u8>, kind: u8, id: PartitionId) {
    out.put_u8(kind);
    put_partition(out, id);
}

fn put_state(out: &mut Vec<u8>, state: &PartitionState) {
    out.put_u64_le(state.incarnation);
    out.put_u64_le(state.start);
    state.epochs.encode(out);
    out.put_u64_le(state.owner);
    out.put_u8(u8::from(state.sealed.is_some()));
    if let Some((mark, last_time)) = &state.sealed {
        mark.encode(out);
        out.put_i64_le(*last_time);
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("keys, values and names are bounded far below 4 GiB")
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn long(bytes: &mut &[u8]) -> Option<u64> {
    bytes.try_get_u64_le().ok()
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    Some(std::str::from_utf8(take(bytes, len)?).ok()?.to_owned())
}

fn partition(bytes: &mut &[u8]) -> Option<PartitionId> {
    let topic = Uuid::from_slice(take(bytes, 16)?).ok()?;
    Some(PartitionId { topic, index: bytes.try_get_u32_le().ok()? })
}

fn state(bytes: &mut &[u8]) -> Option<PartitionState> {
    let incarnation = long(bytes)?;
    let start = long(bytes)?;
    let epochs = EpochHistory::decode(bytes)?;
    let owner = long(bytes)?;
    let sealed = match bytes.try_get_u8().ok()? {
        0 => None,
        1 => Some((Mark::decode(bytes)?, bytes.try_get_i64_le().ok()?)),
        _ => return None,
    };
    Some(PartitionState { incarnation, start, epochs, owner, sealed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_comes_back_as_it_went_out_and_none_from_a_part_of_it() {
        let id = PartitionId { topic: Uuid::from_u128(5), index: 6 };
        let sealed = Some((Mark { offset: 1, base: 2, position: 3 }, -4));
        let state =
            PartitionState { incarnation: 2, start: 9, epochs: EpochHistory::default(), owner: 8, sealed };
        let offset = OffsetCommit { group: "g".into(), partition: id, offset: 3, log_epoch: 4 };
        let records = [
            MetaRecord::Put { key: "k".into(), version: 1, value: Bytes::from_static(b"value") },
            MetaRecord::Remove { key: "k".into(), version: 2 },
            MetaRecord::Offset(offset),
            MetaRecord::Forget("g".into(), Some(id)),
            MetaRecord::Forget("g".into(), None),
            MetaRecord::Partition(id, state),
            MetaRecord::Partition(id, PartitionState::default()),
            MetaRecord::Deleting(id),
            MetaRecord::Deleted(id),
            MetaRecord::Owner(3),
            MetaRecord::Versions(7),
            MetaRecord::Replayed { generation: 1, sequence: 2 },
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let mut rest = &bytes[..];
            assert_eq!(MetaRecord::decode(&mut rest).as_ref(), Some(&record));
            assert!(rest.is_empty());
            for len in 0..bytes.len() {
                assert_eq!(MetaRecord::decode(&mut &bytes[..len]), None);
            }
        }
    }
}
