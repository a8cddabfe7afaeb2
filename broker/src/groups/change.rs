//! What an input to a group brings about: what must be durable, and then who is told what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::group::Group;
use super::seat::{Event, Granted, Why};
use super::{Place, Shape};
use crate::log::PartitionId;

/// Tells a member's stream from its earlier ones.
pub(super) type StreamId = u64;

/// What an input brings about. Collected while the group changes, and told when it is durable.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Whether the group's record is another.
    pub(super) dirty: bool,
    /// Offsets that are committed with it.
    pub(super) commits: Vec<(PartitionId, Place)>,
    /// Offsets that are forgotten with it.
    pub(super) forgets: Vec<PartitionId>,
    /// Streams that end.
    pub(super) ended: Vec<(Uuid, StreamId, Why)>,
    /// Members that are told everything anew.
    pub(super) fresh: BTreeSet<Uuid>,
    pub(super) granted: BTreeMap<Uuid, Vec<PartitionId>>,
    pub(super) revoking: BTreeMap<Uuid, Vec<(PartitionId, u32)>>,
    pub(super) gone: BTreeMap<Uuid, Vec<(PartitionId, u32)>>,
}

impl Change {
    /// Whether there is something to make durable.
    pub(super) fn is_durable_matter(&self) -> bool {
        self.dirty || !self.commits.is_empty() || !self.forgets.is_empty()
    }

    /// Whether a partition comes to a member, or goes.
    pub(super) fn moves_partitions(&self) -> bool {
        !self.granted.is_empty() || !self.revoking.is_empty() || !self.gone.is_empty()
    }

    /// Everything that is told, and to which stream, in its order.
    pub(super) fn events(&self, group: &Group, now: Instant) -> Vec<(Uuid, StreamId, Event)> {
        let mut events = Vec::new();
        for (member, stream, why) in &self.ended {
            events.push((*member, *stream, Event::End(*why)));
        }
        let told: BTreeSet<&Uuid> = self
            .fresh
            .iter()
            .chain(self.gone.keys())
            .chain(self.revoking.keys())
            .chain(self.granted.keys())
            .collect();
        for id in told {
            let Some(stream) = group.member(id).and_then(|member| member.stream) else { continue };
            let mut tell = |event| events.push((*id, stream, event));
            if self.fresh.contains(id) {
                everything(group, *id, now, tell);
                continue;
            }
            if let Some(gone) = self.gone.get(id) {
                tell(Event::Revoke { within: Duration::ZERO, partitions: gone.clone() });
            }
            if let Some(revoking) = self.revoking.get(id) {
                tell(Event::Revoke { within: group.rules().release, partitions: revoking.clone() });
            }
            if let Some(granted) = self.granted.get(id) {
                let grants = granted.iter().filter_map(|partition| grant(group, *id, *partition)).collect();
                tell(Event::Assign(grants));
            }
        }
        events
    }
}

/// All that a member has, then what is being taken from it, by the time that is left.
fn everything(group: &Group, id: Uuid, now: Instant, mut tell: impl FnMut(Event)) {
    let (mut grants, mut revoking) = (Vec::new(), BTreeMap::<Instant, Vec<_>>::new());
    for (partition, owned) in group.owned().filter(|(_, owned)| owned.member == id) {
        grants.extend(grant(group, id, *partition));
        if let Some(deadline) = owned.revoked {
            revoking.entry(deadline).or_default().push((*partition, owned.epoch));
        }
    }
    tell(Event::Assign(grants));
    for (deadline, partitions) in revoking {
        // A millisecond at least: none would say that they are gone.
        let within = (deadline - now).max(Duration::from_millis(1));
        tell(Event::Revoke { within, partitions });
    }
}

fn grant(group: &Group, id: Uuid, partition: PartitionId) -> Option<Granted> {
    let owned = group.owner(partition).filter(|owned| owned.member == id)?;
    let name = group.topic_name(partition.topic)?;
    let committed = group.committed(partition);
    Some(Granted { name, partition, epoch: owned.epoch, committed })
}

/// All partitions of a topic.
pub(super) fn partitions_of(shape: Shape) -> impl Iterator<Item = PartitionId> {
    (0..shape.partitions).map(move |index| PartitionId { topic: shape.id, index })
}
