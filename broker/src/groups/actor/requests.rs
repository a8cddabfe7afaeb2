//! What members and operators ask for, and what comes of it.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::durable::until_durable;
use super::{Actor, Committing, Refused};
use crate::groups::change::StreamId;
use crate::groups::commits::CommitRefusal;
use crate::groups::error::GroupError;
use crate::groups::record::group_key;
use crate::groups::seat::{Event, Joining, Seat, Why};
use crate::groups::{EVENTS, Place, Report};
use crate::log::{Op, PartitionId};

impl Actor {
    pub(super) async fn join(&mut self, joining: Joining) -> Result<Seat, GroupError> {
        // It may be told of them, though it was its own earlier stream that made them.
        self.await_commits().await;
        let before = self.group.clone();
        let (member, asked) = (joining.member, joining.topics.clone());
        let topics = Arc::clone(&self.topics.borrow());
        let joined = self.group.join(Instant::now(), joining, &*topics);
        let (stream, change) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                // A group that nobody came into is none.
                self.ended = self.version == 0;
                return Err(error);
            }
        };
        let (events, told) = mpsc::channel(EVENTS);
        let (present, absent) = oneshot::channel::<Infallible>();
        let commands = self.own.upgrade().ok_or(GroupError::Stopping)?;
        let replaced = self.seats.insert(member, (stream, events));
        if let Err(error) = self.make_durable(&before, &change).await {
            self.seats.remove(&member);
            self.seats.extend(replaced.map(|seat| (member, seat)));
            self.ended = self.version == 0;
            return Err(error);
        }
        self.lost.push(Box::pin(async move {
            let _ = absent.await; // it only ends
            (member, stream)
        }));
        if let Some((old, seat)) = replaced {
            // It may be full, or gone: then it ends with its channel.
            let _ = seat.try_send(Event::End(Why::Replaced));
            tracing::debug!(group = self.name, %member, stream = old, "a newer stream took a member over");
        }
        self.tell(&change);
        let missing = asked.into_iter().filter(|name| topics.get(name).is_none()).collect();
        Ok(Seat { commands, member, stream, events: told, missing, _present: present })
    }

    pub(super) async fn leave(&mut self, member: Uuid, stream: StreamId) -> Result<(), GroupError> {
        if self.group.on(member, stream).is_none() {
            return Err(GroupError::NotAMember);
        }
        let before = self.group.clone();
        let topics = Arc::clone(&self.topics.borrow());
        let wall = self.shared.clock.now();
        let change = self.group.leave(Instant::now(), wall, member, stream, &*topics);
        self.carry_out(before, change).await
    }

    pub(super) fn commit(
        &mut self,
        (member, stream): (Uuid, StreamId),
        reports: &[Report],
        reply: oneshot::Sender<Refused>,
    ) {
        let ends = self.shared.ends();
        let verdict = self.group.commit(Instant::now(), member, stream, reports, &ends);
        if verdict.taken.is_empty() {
            let _ = reply.send(verdict.refused); // nobody has to wait for it
            return;
        }
        for (partition, _) in &verdict.taken {
            self.doubts.entry(*partition).or_default().0 += 1;
        }
        let ops = verdict.taken.iter().map(|(partition, place)| self.offset_op(*partition, *place)).collect();
        let commit = self.shard.commit(ops);
        let (taken, refused) = (verdict.taken, verdict.refused);
        self.committing.push(Box::pin(async move {
            Committing { taken, refused, reply, result: until_durable(commit.await).await.map(drop) }
        }));
    }

    pub(super) fn answer(&mut self, committing: Committing) {
        let Committing { taken, mut refused, reply, result } = committing;
        for (partition, _) in &taken {
            self.settle_doubt(*partition, result.is_err());
        }
        if let Err(error) = result {
            tracing::warn!(group = self.name, %error, "a commit of offsets failed");
            let mut error = Some(error);
            for (partition, _) in taken {
                refused.push((partition, CommitRefusal::Log(error.take())));
            }
        }
        let _ = reply.send(refused); // its session may be gone
    }

    /// A commit of a partition has its answer. Once none is under way, and one has failed, what counts is what the log has: not
    /// before, for a later one that succeeds stands in the log above what the failed one left there.
    fn settle_doubt(&mut self, partition: PartitionId, failed: bool) {
        let doubt = self.doubts.entry(partition).or_default();
        doubt.0 = doubt.0.saturating_sub(1);
        doubt.1 |= failed;
        if let (0, failed) = *doubt {
            self.doubts.remove(&partition);
            if failed {
                let kept = self.shard.committed_offset(&self.name, partition);
                self.group.restore(partition, kept.map(|(offset, log_epoch)| Place { offset, log_epoch }));
            }
        }
    }

    /// Waits for the commits that are under way, of which a session has a bounded number.
    pub(super) async fn await_commits(&mut self) {
        while let Some(committing) = self.committing.next().await {
            self.answer(committing);
        }
        // A disk that stalls is nobody's silence.
        self.group.look(Instant::now());
    }

    pub(super) fn claim(
        &mut self,
        member: Uuid,
        identity: &str,
        partition: PartitionId,
        epoch: u32,
    ) -> Result<CancellationToken, GroupError> {
        match self.group.member(&member) {
            None => return Err(GroupError::StaleEpoch(epoch)),
            Some(found) if *found.identity != *identity => return Err(GroupError::OtherIdentity),
            Some(_) => {}
        }
        let owned = self.group.owner(partition);
        if owned.is_none_or(|owned| owned.member != member || owned.epoch != epoch) {
            return Err(GroupError::StaleEpoch(epoch));
        }
        let tenure =
            self.tenures.entry(partition).or_insert_with(|| (member, epoch, CancellationToken::new()));
        Ok(tenure.2.clone())
    }

    pub(super) async fn delete(&mut self, force: bool) -> Result<(), GroupError> {
        let members = self.group.members.len();
        if members > 0 && !force {
            return Err(GroupError::InUse(format!(
                "the group has {members} members: stop them, or force it"
            )));
        }
        self.erase().await
    }

    /// Forgets the group, and lets go of whoever is in it.
    pub(super) async fn erase(&mut self) -> Result<(), GroupError> {
        let record = Op::PutMeta { key: group_key(&self.name), expected: self.version, value: None };
        let offsets = Op::ForgetOffsets { group: self.name.clone(), partition: None };
        self.write(vec![record, offsets]).await?;
        // Whoever hears that it is gone finds it no more.
        self.shared.forget(&self.name, &self.own);
        for (_, seat) in self.seats.drain().map(|(_, seat)| seat) {
            let _ = seat.try_send(Event::End(Why::Deleted)); // full or gone: it ends with its channel
        }
        for (_, _, tenure) in self.tenures.drain().map(|(_, tenure)| tenure) {
            tenure.cancel();
        }
        self.ended = true;
        Ok(())
    }
}
