//! What is done when a reader finds damage below the durable end: the partition takes nothing more, and says so.

use std::sync::Arc;

use super::super::damage::Damage;
use super::super::shared::{reading, writing};
use super::Writer;
use crate::log::engine::PartitionId;

impl Writer {
    /// A reader found damage at `offset`, twice. It counts if that is still part of the log, and nothing was cut or replaced since before
    /// the second look.
    pub(super) fn on_damaged(&mut self, id: PartitionId, rewritten: u64, offset: u64, reason: &str) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let end = *partition.publish.borrow();
        let stands = {
            let view = reading(&partition.shared.view);
            view.rewritten == rewritten && (view.start..end).contains(&offset) && !view.read_only
        };
        if !stands {
            return;
        }
        tracing::error!(
            topic = &*self.env.shared.topic_of(id),
            partition = %id,
            offset,
            reason,
            "the log is corrupt below its durable end: the partition is read-only; `sealstream log verify` says how far it is sound: restore it from a \
             copy, or delete the topic"
        );
        writing(&partition.shared.view).read_only = true;
        partition.damaged_since = true;
        // Not what is in memory alone: a power cut may take that.
        let end = partition.known_durable();
        let (disk, reserve) = (Arc::clone(&self.env.disk), Arc::clone(&self.env.reserve));
        let dir = partition.shared.dir.clone();
        self.env.workers.submit(move || {
            if let Err(error) = reserve.with(|| Damage { end }.save(&*disk, &dir)) {
                tracing::warn!(partition = %id, %error, "cannot note the damage: the next start may not see it, and the next reader will");
            }
        });
    }
}
