//! The open shards of the engine, and which of them has what.

use std::sync::Arc;

use crate::log::{LogEngine, OpenShardError, PartitionId, Shard, ShardId};

/// One broker owns its data directory by the engine's lock, from start to end: there is no earlier owner to fence, and
/// the epoch of ownership never moves.
const OWNER_EPOCH: u64 = 1;

/// All shards of an engine, open.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    shards: Arc<[Arc<dyn Shard>]>,
}

impl Shards {
    /// Opens and recovers every shard, one after the other: recovery is bound by the disk.
    pub(crate) async fn open(engine: &dyn LogEngine) -> Result<Self, OpenShardError> {
        let mut shards = Vec::new();
        for id in 0..engine.shards() {
            shards.push(engine.open_shard(ShardId(id), OWNER_EPOCH).await?);
        }
        Ok(Self { shards: shards.into() })
    }

    /// The shard that holds a partition.
    pub(crate) fn of(&self, partition: &PartitionId) -> &Arc<dyn Shard> {
        let count = u32::try_from(self.shards.len()).expect("the engine counts its shards in a u32");
        self.get(ShardId::of_partition(partition, count))
    }

    /// The shard that holds a group.
    pub(crate) fn of_group(&self, name: &str) -> &Arc<dyn Shard> {
        let count = u32::try_from(self.shards.len()).expect("the engine counts its shards in a u32");
        self.get(ShardId::of_group(name, count))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Shard>> {
        self.shards.iter()
    }

    /// The shard that holds topic metadata.
    pub(crate) fn metadata(&self) -> &Arc<dyn Shard> {
        self.get(ShardId::METADATA)
    }

    fn get(&self, id: ShardId) -> &Arc<dyn Shard> {
        let index = usize::try_from(id.0).expect("a u32 fits a usize");
        self.shards.get(index).expect("an engine has a shard at least, and shards are numbered from 0")
    }
}
