//! Two lives of a broker with groups: one that may fail at any moment, and one that is checked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::member::{Group, Member};
use super::operator::Operator;
use super::world::{PARTITIONS, World};
use crate::record::{History, now};
use crate::workload::soon;

/// Three members: one is lost and comes back, one is replaced by its own newer stream and leaves, one is lost for good.
pub(super) const SHARED: Group = Group { number: 1, name: "shared" };

/// Made, and deleted.
pub(super) const BRIEF: Group = Group { number: 2, name: "brief" };

/// One member; an operator moves it back in between.
pub(super) const MOVED: Group = Group { number: 3, name: "moved" };

/// Made again under the name of the deleted one: another group.
pub(super) const AGAIN: Group = Group { number: 4, name: BRIEF.name };

/// Records of each partition while the members work, and after they have gone.
const RECORDS: [u32; 2] = [3, 1];

/// How far the members of the shared group have come: each waits for the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Empty,
    First,
    Second,
}

/// What the tasks of a life tell each other.
#[derive(Clone)]
struct Signs {
    stage: watch::Sender<Stage>,
    produced: watch::Sender<bool>,
}

impl Signs {
    fn is_produced(&self) -> bool {
        *self.produced.borrow()
    }

    async fn reach(&self, world: &World, wanted: Stage) -> Option<()> {
        let mut stage = self.stage.subscribe();
        let reached = async { stage.wait_for(|stage| *stage >= wanted).await.ok().map(drop) };
        world.unless_lost(reached).await
    }
}

/// The first life: until all have done their part, or something has failed on purpose and nothing goes on. Whether the topic was
/// made.
pub(super) async fn live(world: &Arc<World>) -> bool {
    if Operator::of(world).make_topic().await.is_none() {
        return false;
    }
    let signs = Signs { stage: watch::channel(Stage::Empty).0, produced: watch::channel(false).0 };
    let mut members = JoinSet::new();
    members.spawn(first(Arc::clone(world), signs.clone()));
    members.spawn(second(Arc::clone(world), signs.clone()));
    members.spawn(third(Arc::clone(world), signs.clone()));
    members.spawn(briefly(Arc::clone(world)));
    members.spawn(moved(Arc::clone(world), signs.clone()));
    produce(world, 100, RECORDS[0]).await;
    signs.produced.send_replace(true);
    soon(members.join_all()).await;
    produce(world, 200, RECORDS[1]).await;
    true
}

pub(super) async fn produce(world: &Arc<World>, client: u32, count: u32) {
    let mut producers = JoinSet::new();
    for partition in 0..PARTITIONS {
        let operator = Operator::of(world);
        producers.spawn(async move { operator.produce(client + partition, partition, count).await });
    }
    soon(producers.join_all()).await;
}

/// Is lost when it has read something, and comes back.
async fn first(world: Arc<World>, signs: Signs) -> Option<()> {
    let mut member = Member::new(&world, 1, SHARED);
    let told = signs.stage.clone();
    let streams = member
        .stay(move |member| {
            told.send_if_modified(|stage| {
                std::mem::replace(stage, (*stage).max(Stage::First)) == Stage::Empty
            });
            member.given >= 2
        })
        .await?;
    member.lose(streams);
    Operator::of(&world).look(SHARED).await?;
    let streams = member.stay(|member| signs.is_produced() && member.is_quiet()).await?;
    member.lose(streams);
    Some(())
}

/// Comes on a second stream while it has one, and leaves in the end.
async fn second(world: Arc<World>, signs: Signs) -> Option<()> {
    signs.reach(&world, Stage::First).await?;
    let mut member = Member::new(&world, 2, SHARED);
    let streams = member.stay(|member| member.given >= 1 || signs.is_produced() && member.is_quiet()).await?;
    signs.stage.send_replace(Stage::Second);
    let mut streams = member.replace(streams).await?;
    let mut done = |member: &Member| signs.is_produced() && member.is_quiet();
    member.work(&mut streams, &mut done).await?;
    member.leave(streams).await
}

/// Is lost, and comes back in another life at the earliest.
async fn third(world: Arc<World>, signs: Signs) -> Option<()> {
    signs.reach(&world, Stage::Second).await?;
    let mut member = Member::new(&world, 3, SHARED);
    let streams = member.stay(|member| signs.is_produced() && member.is_quiet()).await?;
    member.lose(streams);
    Some(())
}

/// A group that is made, used and deleted.
pub(super) async fn briefly(world: Arc<World>) -> Option<()> {
    let (operator, mut member) = (Operator::of(&world), Member::new(&world, 4, BRIEF));
    let streams = member.stay(|member| member.given >= 1 && member.is_quiet()).await?;
    operator.list(&[BRIEF]).await?;
    member.leave(streams).await?;
    operator.delete(BRIEF).await?;
    operator.list(&[BRIEF]).await.map(drop)
}

/// A group that an operator moves back when its member has left, who comes again and goes on from there.
async fn moved(world: Arc<World>, signs: Signs) -> Option<()> {
    let (operator, mut member) = (Operator::of(&world), Member::new(&world, 5, MOVED));
    let streams = member.stay(|member| signs.is_produced() && member.is_quiet()).await?;
    member.leave(streams).await?;
    operator.look(MOVED).await?;
    operator.seek(MOVED, 0).await?;
    operator.look(MOVED).await?;
    operator.list(&[SHARED, MOVED]).await?;
    let given = member.given;
    let streams = member.stay(|member| member.given > given && member.is_quiet()).await?;
    member.leave(streams).await
}

/// What the second life is to begin with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) topic_was_made: bool,
    /// Whether the third member comes back; otherwise its grace ends.
    pub(super) third_comes_back: bool,
}

/// The second life: looks at what there is, has every member come back and the groups come to the end, and looks again.
pub(super) async fn conclude(world: &Arc<World>, before: Before, history: &mut History) {
    let operator = Operator::of(world);
    let there = operator.list(&[SHARED, BRIEF, MOVED]).await.expect("the broker answers");
    for group in [SHARED, BRIEF, MOVED] {
        operator.look(group).await.expect("the broker answers");
    }
    assert!(operator.has_topic().await || !before.topic_was_made, "the topic is gone");
    operator.make_topic().await.expect("a topic can be made");
    let over = watch::channel(false).0;
    let mut members = JoinSet::new();
    let mut comes = vec![(2, SHARED), (1, SHARED), (5, MOVED)];
    comes.extend(before.third_comes_back.then_some((3, SHARED)));
    for (number, group) in comes {
        members.spawn(come_back(Arc::clone(world), number, group, over.subscribe()));
    }
    if !there.contains(&BRIEF) {
        members.spawn(come_back(Arc::clone(world), 4, AGAIN, over.subscribe()));
    }
    produce(world, 300, 1).await;
    for group in [SHARED, MOVED] {
        soon(reach_the_end(&operator, group)).await;
        history.finished.insert(group.number);
    }
    over.send_replace(true);
    soon(members.join_all()).await;
    look_again(world, history).await;
}

/// Looks at everything once more: the log and the groups.
pub(super) async fn look_again(world: &Arc<World>, history: &mut History) {
    let operator = Operator::of(world);
    for group in [SHARED, MOVED] {
        operator.look(group).await.expect("the broker answers");
    }
    operator.list(&[SHARED, MOVED]).await.expect("the broker answers");
    history.log = operator.read_log().await;
}

async fn come_back(world: Arc<World>, number: u32, group: Group, over: watch::Receiver<bool>) {
    let mut member = Member::new(&world, number, group);
    let streams = member.stay(|member| *over.borrow() && member.is_quiet()).await;
    member.leave(streams.expect("nothing fails in this life")).await;
}

async fn reach_the_end(operator: &Operator, group: Group) {
    loop {
        let seen = operator.look(group).await.expect("the broker answers");
        let partitions = seen.map(|description| description.partitions).unwrap_or_default();
        if partitions.len() == PARTITIONS as usize && partitions.iter().all(|at| at.end > 0 && at.lag() == 0)
        {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// A life is over: what was under way in it never happens any more.
pub(super) fn bury(history: &mut History) {
    history.deaths.push(now());
}
