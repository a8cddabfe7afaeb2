//! What is made durable, and told then.

use tokio::time::Instant;

use super::Actor;
use crate::groups::Place;
use crate::groups::change::Change;
use crate::groups::error::GroupError;
use crate::groups::group::Group;
use crate::groups::record::{MAX_RECORD, encode, group_key};
use crate::groups::seat::Event;
use crate::log::{CommitError, OffsetCommit, Op, Outcome, PartitionId, Refusal};

impl Actor {
    pub(super) fn offset_op(&self, partition: PartitionId, place: Place) -> Op {
        let Place { offset, log_epoch } = place;
        Op::CommitOffset(OffsetCommit { group: self.name.clone(), partition, offset, log_epoch })
    }

    /// Makes a change durable and tells it; takes it back if that fails.
    pub(super) async fn carry_out(&mut self, before: Group, change: Change) -> Result<(), GroupError> {
        self.make_durable(&before, &change).await?;
        if !change.granted.is_empty() || !change.fresh.is_empty() {
            // They were ordered before the change, and are durable with it: a new owner begins behind them.
            self.await_commits().await;
        }
        self.tell(&change);
        Ok(())
    }

    pub(super) async fn make_durable(&mut self, before: &Group, change: &Change) -> Result<(), GroupError> {
        if !change.is_durable_matter() {
            return Ok(());
        }
        let written = self.write_change(change).await;
        if written.is_err() {
            self.group = before.clone();
        }
        // A disk that stalls is nobody's silence.
        self.group.look(Instant::now());
        written
    }

    async fn write_change(&mut self, change: &Change) -> Result<(), GroupError> {
        let mut ops = Vec::with_capacity(1 + change.commits.len() + change.forgets.len());
        if change.dirty {
            let value = encode(&self.group);
            if value.len() > MAX_RECORD {
                return Err(GroupError::TooLarge(value.len()));
            }
            ops.push(Op::PutMeta { key: group_key(&self.name), expected: self.version, value: Some(value) });
        }
        ops.extend(change.commits.iter().map(|(partition, place)| self.offset_op(*partition, *place)));
        ops.extend(
            change
                .forgets
                .iter()
                .map(|partition| Op::ForgetOffsets { group: self.name.clone(), partition: Some(*partition) }),
        );
        self.write(ops).await
    }

    /// Commits, and waits until it is durable. The record, if it is among them, comes first.
    pub(super) async fn write(&mut self, mut ops: Vec<Op>) -> Result<(), GroupError> {
        // Twice: after a failure of which it was not known what it left, the record may have another version.
        for _ in 0..2 {
            match until_durable(self.shard.commit(ops.clone()).await).await {
                Ok(outcomes) => {
                    if let Some(Outcome::MetaPut { version }) = outcomes.first() {
                        self.version = *version;
                    }
                    return Ok(());
                }
                Err(CommitError::Refused { refusal: Refusal::VersionMismatch { version }, .. }) => {
                    if let Some(Op::PutMeta { expected, .. }) = ops.first_mut() {
                        *expected = version;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(GroupError::Log(CommitError::Busy))
    }

    /// Tells a change that is durable: first to whoever reads what is not its own any more.
    pub(super) fn tell(&mut self, change: &Change) {
        if change.moves_partitions() {
            self.rebalances.add(1);
        }
        let group = &self.group;
        self.tenures.retain(|partition, (member, epoch, tenure)| {
            let holds =
                group.owner(*partition).is_some_and(|owned| owned.member == *member && owned.epoch == *epoch);
            if !holds {
                tenure.cancel();
            }
            holds
        });
        let now = Instant::now();
        for (member, stream, event) in change.events(&self.group, now) {
            let Some((_, seat)) = self.seats.get(&member).filter(|(current, _)| *current == stream) else {
                continue;
            };
            let ends = matches!(event, Event::End(_));
            let taken = seat.try_send(event).is_ok();
            if !taken {
                tracing::info!(group = self.name, %member, "a member does not take what it is told: its stream is cut");
                self.group.detach(now, member, stream);
            }
            if ends || !taken {
                self.seats.remove(&member);
            }
        }
    }
}

/// The outcomes of a commit, once it is durable.
pub(super) async fn until_durable(
    committed: Result<crate::log::Committed, CommitError>,
) -> Result<Vec<Outcome>, CommitError> {
    let committed = committed?;
    committed.durable.await.map_err(|error| CommitError::Storage(error.reason))?;
    Ok(committed.outcomes)
}
