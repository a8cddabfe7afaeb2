//! The checker finds what goes wrong with groups: each fault is planted in the log under a broker that knows nothing of it, and whose
//! next life begins with what that log kept.

use std::sync::Arc;

use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
use sealstream_broker::log::{Committed, Op, Outcome, Shard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::LONG;
use super::life::{BRIEF, Before, MOVED, SHARED, briefly, bury, conclude, produce};
use super::member::{Group, Member};
use super::operator::Operator;
use super::world::World;
use crate::checker::{GroupViolation, Violation, check};
use crate::planted::{Bug, CommitFuture, Planted};
use crate::record::History;
use crate::workload::{Notes, soon};

/// What is planted. Whatever is not carried out is acknowledged all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupBug {
    /// No record of the shared group is written.
    LoseRecords,
    /// None but the first.
    LoseLaterRecords,
    /// No commit of the shared group is carried out but those of the first record.
    LoseCommits,
    /// Each of its commits goes one further.
    CommitTooFar,
    /// The record of the deleted group stays.
    KeepDeleted,
    /// A seek is not carried out.
    LoseSeek,
}

impl GroupBug {
    /// Commits as a shard with this fault does.
    pub(crate) fn commit(self, shard: &dyn Shard, ops: Vec<Op>) -> CommitFuture {
        let mut kept = Vec::new();
        let mut outcomes = Vec::new();
        for op in ops {
            match self.tamper(op) {
                Ok(op) => {
                    kept.push(op);
                    outcomes.push(None);
                }
                Err(pretended) => outcomes.push(Some(pretended)),
            }
        }
        let committed = (!kept.is_empty()).then(|| shard.commit(kept));
        Box::pin(async move {
            let durable = Box::pin(std::future::ready(Ok(())));
            let nothing = Committed { outcomes: vec![], durable, write: None };
            let committed = match committed {
                Some(committed) => committed.await?,
                None => nothing,
            };
            let mut real = committed.outcomes.into_iter();
            let outcomes = outcomes.into_iter().map(|pretended| pretended.or_else(|| real.next()).unwrap());
            Ok(Committed { outcomes: outcomes.collect(), durable: committed.durable, write: committed.write })
        })
    }

    /// The operation that is carried out, or the outcome of one that is not.
    fn tamper(self, op: Op) -> Result<Op, Outcome> {
        let is_of = |name: &str, group: Group| name == group.name;
        match op {
            Op::PutMeta { key, expected, value } => {
                let of = |group: Group| key.strip_prefix("group/").is_some_and(|name| is_of(name, group));
                let is_lost = match self {
                    Self::LoseRecords => of(SHARED) && value.is_some(),
                    Self::LoseLaterRecords => of(SHARED) && value.is_some() && expected > 0,
                    Self::KeepDeleted => of(BRIEF) && value.is_none(),
                    _ => false,
                };
                let pretended = Outcome::MetaPut { version: expected + 1 };
                if is_lost { Err(pretended) } else { Ok(Op::PutMeta { key, expected, value }) }
            }
            Op::CommitOffset(mut commit) => {
                let is_lost = match self {
                    Self::LoseCommits => is_of(&commit.group, SHARED) && commit.offset > 1,
                    Self::LoseSeek => is_of(&commit.group, MOVED) && commit.offset == 0,
                    _ => false,
                };
                if self == Self::CommitTooFar && is_of(&commit.group, SHARED) {
                    commit.offset += 1;
                }
                if is_lost { Err(Outcome::OffsetCommitted) } else { Ok(Op::CommitOffset(commit)) }
            }
            op @ (Op::ForgetOffsets { .. } | Op::Append { .. }) => Ok(op),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_without_a_fault_have_a_history_without_one() {
    assert_eq!(faults_of(Bug::None, 1).await, []);
    assert_eq!(faults_of(Bug::None, 2).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_of_one_epoch_and_a_group_that_is_gone_are_found() {
    // Whoever comes first begins with the first epochs again.
    let found = faults_of(Bug::OfGroup(GroupBug::LoseRecords), 2).await;
    assert_found(&found, SHARED, |violation| matches!(violation, GroupViolation::TwoOwners { .. }));
    assert_found(&found, SHARED, |violation| matches!(violation, GroupViolation::Gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_comes_again_and_a_commit_under_it_are_found() {
    // The first owner has again what it had released to another.
    let found = faults_of(Bug::OfGroup(GroupBug::LoseLaterRecords), 1).await;
    assert_found(&found, SHARED, |violation| matches!(violation, GroupViolation::EpochWentBack { .. }));
    assert_found(&found, SHARED, |violation| matches!(violation, GroupViolation::StaleCommit { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_of_a_group_is_found() {
    let found = faults_of(Bug::OfGroup(GroupBug::LoseCommits), 1).await;
    assert_found(&found, SHARED, |violation| matches!(violation, GroupViolation::WentBack { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_goes_too_far_and_what_it_leaves_out_are_found() {
    let found = faults_of(Bug::OfGroup(GroupBug::CommitTooFar), 1).await;
    assert_found(&found, SHARED, |violation| matches!(violation, GroupViolation::Invented { .. }));
    assert_found(&found, SHARED, |violation| matches!(violation, GroupViolation::Undelivered { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_comes_back_from_its_deletion_is_found() {
    let found = faults_of(Bug::OfGroup(GroupBug::KeepDeleted), 1).await;
    assert_found(&found, BRIEF, |violation| matches!(violation, GroupViolation::Undead));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_seek_is_found() {
    let found = faults_of(Bug::OfGroup(GroupBug::LoseSeek), 1).await;
    assert_found(&found, MOVED, |violation| matches!(violation, GroupViolation::Invented { .. }));
}

#[track_caller]
fn assert_found(found: &[Violation], of: Group, wanted: fn(&GroupViolation) -> bool) {
    let is_it = |fault: &Violation| match fault {
        Violation::Group { group, violation } => *group == of.number && wanted(violation),
        _ => false,
    };
    assert!(found.iter().any(is_it), "{found:?}");
}

/// Two lives, the first over a log with a fault; `first_back` is there alone when the second begins.
async fn faults_of(bug: Bug, first_back: u32) -> Vec<Violation> {
    let store = MemoryStore::new(2);
    let clock = Arc::new(ManualClock::at(1_000_000));
    let engine = || MemoryEngine::over(&store, clock.clone());
    let (notes, mut history) = (Notes::default(), History::default());
    let never = CancellationToken::new();
    let faulty = Arc::new(Planted { inner: engine(), bug });
    let world = World::begin(0, faulty, LONG, &notes, never.clone()).await.unwrap();
    Box::pin(live(&world)).await;
    world.running.abort();
    bury(&mut history);

    let world = World::begin(1, Arc::new(engine()), LONG, &notes, never).await.unwrap();
    Operator::of(&world).list(&[SHARED]).await.unwrap();
    produce(&world, 250, 1).await;
    let mut member = Member::new(&world, first_back, SHARED);
    let streams = soon(member.stay(|member| member.given > 0 && member.is_quiet())).await.unwrap();
    member.lose(streams);
    Box::pin(conclude(&world, Before { topic_was_made: true, third_comes_back: false }, &mut history)).await;
    world.running.abort();
    history.operations = notes.take();
    check(&history)
}

/// One after the other: a member that has everything, a second that gets a part of it; a group that is deleted, and one that is moved.
async fn live(world: &Arc<World>) {
    let operator = Operator::of(world);
    operator.make_topic().await.unwrap();
    produce(world, 100, 3).await;
    let over = watch::channel(false).0;
    let (mut first, mut second) = (Member::new(world, 1, SHARED), Member::new(world, 2, SHARED));
    let streams = soon(first.stay(|member| member.given > 0 && member.is_quiet())).await.unwrap();
    first.lose(streams);
    let ended = over.subscribe();
    let releasing = Box::pin(first.stay(move |member| *ended.borrow() && member.is_quiet()));
    let taking = Box::pin(async {
        let streams = second.stay(|member| member.has() > 0 && member.is_quiet()).await;
        over.send_replace(true);
        streams
    });
    let (left, right) = soon(async { tokio::join!(releasing, taking) }).await;
    drop((left, right));
    briefly(Arc::clone(world)).await.unwrap();
    let mut member = Member::new(world, 5, MOVED);
    let streams = soon(member.stay(|member| member.given == 9 && member.is_quiet())).await.unwrap();
    member.leave(streams).await.unwrap();
    operator.seek(MOVED, 0).await.unwrap();
    operator.list(&[SHARED, BRIEF, MOVED]).await.unwrap();
    produce(world, 200, 1).await;
}
