//! What is done for topics while nobody asks: deletions that were left over, and retention.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Topics;
use super::catalogue::Topic;
use crate::log::{CommitError, PartitionId, ReadError};

/// Keeps house at the start, and then again and again until told to stop.
pub(crate) async fn keep_house(topics: Arc<Topics>, interval: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            ticks.tick().await;
            topics.finish_deletions().await;
            topics.retain().await;
        }
    };
    stop.run_until_cancelled(work).await;
}

impl Topics {
    /// Lets go of what the retention of each topic does not cover.
    pub(crate) async fn retain(&self) {
        let snapshot = self.snapshot();
        for topic in snapshot.topics() {
            if topic.retention_ms == 0 && topic.retention_bytes == 0 {
                continue;
            }
            for id in topic.partition_ids() {
                match self.trim(topic, id).await {
                    Ok(()) => {}
                    // Deleted meanwhile.
                    Err(_) if !self.is_there(topic) => break,
                    Err(error) => {
                        tracing::warn!(topic = topic.name, partition = id.index, %error, "retention failed");
                    }
                }
            }
        }
    }

    async fn trim(&self, topic: &Topic, id: PartitionId) -> Result<(), RetentionError> {
        let shard = self.shards.of(&id);
        let before = match topic.retention_ms {
            0 => 0,
            keep => {
                let oldest = self.clock.now().saturating_sub_unsigned(keep);
                shard.offset_at(id, oldest).await?
            }
        };
        let max_bytes = (topic.retention_bytes > 0).then_some(topic.retention_bytes);
        shard.trim(id, before, max_bytes).await?;
        Ok(())
    }
}

/// Why a partition was not trimmed.
#[derive(Debug, thiserror::Error)]
enum RetentionError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Trim(#[from] CommitError),
}
