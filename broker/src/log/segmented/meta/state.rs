//! The metadata of a shard as its log adds up to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::record::{MetaRecord, PartitionState};
use crate::log::engine::{OffsetCommit, PartitionId, Versioned};

/// The metadata of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct MetaState {
    values: BTreeMap<String, Versioned>,
    offsets: BTreeMap<String, HashMap<PartitionId, (u64, u32)>>,
    partitions: HashMap<PartitionId, PartitionState>,
    deleting: BTreeSet<PartitionId>,
    owner: u64,
    /// The highest version ever given: a value that is removed and put again never has one that it had before.
    versions: u64,
    replayed: (u64, u64),
}

impl MetaState {
    /// Takes a change over.
    pub(in super::super) fn apply(&mut self, record: &MetaRecord) {
        match record {
            MetaRecord::Put { key, version, value } => {
                self.versions = self.versions.max(*version);
                self.values.insert(key.clone(), Versioned { version: *version, value: value.clone() });
            }
            MetaRecord::Remove { key, version } => {
                self.versions = self.versions.max(*version);
                self.values.remove(key);
            }
            MetaRecord::Offset(commit) => {
                let group = self.offsets.entry(commit.group.clone()).or_default();
                group.insert(commit.partition, (commit.offset, commit.log_epoch));
            }
            MetaRecord::Forget(group, None) => {
                self.offsets.remove(group);
            }
            MetaRecord::Forget(group, Some(id)) => {
                if let Some(offsets) = self.offsets.get_mut(group) {
                    offsets.remove(id);
                    if offsets.is_empty() {
                        self.offsets.remove(group);
                    }
                }
            }
            MetaRecord::Partition(id, state) => {
                self.partitions.insert(*id, state.clone());
            }
            MetaRecord::Deleting(id) => {
                self.partitions.remove(id);
                self.deleting.insert(*id);
                self.offsets.retain(|_, group| {
                    group.remove(id);
                    !group.is_empty()
                });
            }
            MetaRecord::Deleted(id) => {
                self.deleting.remove(id);
            }
            MetaRecord::Owner(epoch) => self.owner = *epoch,
            MetaRecord::Versions(given) => self.versions = self.versions.max(*given),
            MetaRecord::Replayed { generation, sequence } => self.replayed = (*generation, *sequence),
        }
    }

    /// Records that add up to this state.
    pub(in super::super) fn records(&self) -> impl Iterator<Item = MetaRecord> + '_ {
        let (generation, sequence) = self.replayed;
        let head = [
            MetaRecord::Owner(self.owner),
            MetaRecord::Versions(self.versions),
            MetaRecord::Replayed { generation, sequence },
        ];
        let values = self.values.iter().map(|(key, value)| MetaRecord::Put {
            key: key.clone(),
            version: value.version,
            value: value.value.clone(),
        });
        let offsets = self.offsets.iter().flat_map(|(group, partitions)| {
            partitions.iter().map(|(partition, (offset, log_epoch))| {
                let (partition, offset, log_epoch) = (*partition, *offset, *log_epoch);
                MetaRecord::Offset(OffsetCommit { group: group.clone(), partition, offset, log_epoch })
            })
        });
        let partitions = self.partitions.iter().map(|(id, state)| MetaRecord::Partition(*id, state.clone()));
        let deleting = self.deleting.iter().map(|id| MetaRecord::Deleting(*id));
        head.into_iter().chain(values).chain(offsets).chain(partitions).chain(deleting)
    }

    pub(in super::super) fn value(&self, key: &str) -> Option<&Versioned> {
        self.values.get(key)
    }

    pub(in super::super) fn values_with_prefix(&self, prefix: &str) -> Vec<(String, Versioned)> {
        self.values
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(in super::super) fn offset(&self, group: &str, partition: PartitionId) -> Option<(u64, u32)> {
        self.offsets.get(group)?.get(&partition).copied()
    }

    pub(in super::super) fn offsets(&self, group: &str) -> Vec<(PartitionId, (u64, u32))> {
        let offsets = self.offsets.get(group).into_iter().flatten();
        let mut offsets: Vec<_> = offsets.map(|(id, progress)| (*id, *progress)).collect();
        offsets.sort_unstable_by_key(|(id, _)| *id);
        offsets
    }

    pub(in super::super) fn partition(&self, id: PartitionId) -> Option<&PartitionState> {
        self.partitions.get(&id)
    }

    pub(in super::super) fn partitions(&self) -> impl Iterator<Item = (PartitionId, &PartitionState)> {
        self.partitions.iter().map(|(id, state)| (*id, state))
    }

    pub(in super::super) fn deleting(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.deleting.iter().copied()
    }

    pub(in super::super) fn owner(&self) -> u64 {
        self.owner
    }

    pub(in super::super) fn versions(&self) -> u64 {
        self.versions
    }

    /// The last record of the journal whose metadata was taken over.
    pub(in super::super) fn replayed(&self) -> (u64, u64) {
        self.replayed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_records_of_a_state_add_up_to_it() {
        let id = PartitionId { topic: Uuid::from_u128(5), index: 6 };
        let gone = PartitionId { index: 7, ..id };
        let put = |key: &str, version| MetaRecord::Put { key: key.into(), version, value: Bytes::new() };
        let offset = |partition| {
            MetaRecord::Offset(OffsetCommit { group: "g".into(), partition, offset: 3, log_epoch: 4 })
        };
        let forgotten = |group: &str, partition| {
            MetaRecord::Offset(OffsetCommit { group: group.into(), partition, offset: 3, log_epoch: 4 })
        };
        let mut state = MetaState::default();
        for record in [
            MetaRecord::Owner(4),
            MetaRecord::Replayed { generation: 3, sequence: 2 },
            put("a/1", 1),
            put("a/2", 2),
            put("b", 3),
            MetaRecord::Remove { key: "a/2".into(), version: 4 },
            MetaRecord::Partition(id, PartitionState::default()),
            MetaRecord::Partition(gone, PartitionState::default()),
            offset(id),
            offset(gone),
            MetaRecord::Deleting(gone),
            forgotten("h", id),
            forgotten("i", id),
            MetaRecord::Forget("h".into(), None),
            MetaRecord::Forget("i".into(), Some(id)),
            MetaRecord::Forget("g".into(), Some(gone)),
        ] {
            state.apply(&record);
        }
        assert_eq!(state.offset("g", gone), None);
        assert_eq!(state.partition(gone), None);
        assert_eq!(state.offsets("g"), [(id, (3, 4))]);
        assert_eq!(state.offsets.len(), 1, "a group without progress is not kept");
        assert_eq!(state.values_with_prefix("a/").len(), 1);
        let mut again = MetaState::default();
        state.records().for_each(|record| again.apply(&record));
        assert_eq!(again, state);
        assert_eq!((again.owner(), again.versions(), again.replayed()), (4, 4, (3, 2)));
    }
}
