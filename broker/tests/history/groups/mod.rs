//! Consumer groups of a whole broker over a disk that fails at one point, and then at the next, until none is left.
//!
//! ```text
//! members, operator, producers ── frames, in memory ──► Broker: sessions, groups ──► SegmentedEngine ──► SimulatedDisk
//!     └──► Notes ──► History ──► check()
//! ```
//!
//! In its first life the broker is given the work of [`life::live`], while one operation of its disk fails: with an error, with no room,
//! with the end of the process, with the end of the power. After it a part of the pages and names that were not synced is lost,
//! chosen by the seed. The second life begins with what is left: every member comes back and the groups come to the end.
//! Then the history of both has no fault, and what the second life has shown survives the loss of all that is not synced.
//!
//! Which operation is the one that fails depends on how sessions and disk interleave: not by the seed alone. Each history is checked
//! for itself, so that this costs nothing but exact repetition.

mod life;
mod member;
mod operator;
mod planted;
mod world;

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::disk::simulated::{Fault, Injection, Loss, SimulatedDisk};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::planted::GroupBug;

use self::life::{Before, bury, conclude, live, look_again};
use self::world::World;
use crate::checker::{Violation, check};
use crate::disk::{number, open_engine};
use crate::record::{Action, History, Operation};
use crate::workload::{Notes, soon};

/// The work of one life takes about 150 operations; whoever needs ten times as many is stuck.
const POINTS: u64 = 1_500;

/// Lives of the disk for each point, with another seed each; with `SEALSTREAM_ROUNDS` a tenth of that.
const ROUNDS: u64 = 1;

/// Lives at a time: they wait more than they compute.
const AT_A_TIME: u64 = 8;

/// A grace that nobody misses.
const LONG: Duration = Duration::from_secs(20);

/// A grace that ends within a test. Members beat far more often than they are asked to.
const SHORT: Duration = Duration::from_millis(200);

/// How long what goes on after an error may take before it is given up as lost with it.
const AFTER_AN_ERROR: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_keep_their_promises_over_an_error_at_any_point() {
    at_every_point(Fault::Io).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_keep_their_promises_over_a_full_disk_at_any_point() {
    at_every_point(Fault::NoSpace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_keep_their_promises_over_a_kill_at_any_point() {
    at_every_point(Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_keep_their_promises_over_a_power_cut_at_any_point() {
    at_every_point(Fault::PowerCut).await;
}

async fn at_every_point(fault: Fault) {
    let first = number("SEALSTREAM_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    for seed in first..first + number("SEALSTREAM_ROUNDS").map_or(ROUNDS, |rounds| rounds.div_ceil(10)) {
        println!("SEALSTREAM_SEED={seed}");
        let mut point = 0;
        let mut goes_on = true;
        while goes_on {
            let mut lives = JoinSet::new();
            for point in point..point + AT_A_TIME {
                lives.spawn(strikes(fault, point, seed));
            }
            goes_on = lives.join_all().await.contains(&true);
            point += AT_A_TIME;
            assert!(point < POINTS, "the members never come to an end");
        }
        println!("{point} points");
        assert!(point > 100, "only {point} operations: the groups have done nothing");
    }
}

/// Runs groups while the operation `point` fails, and again after the crash that follows. Whether there was such an operation.
async fn strikes(fault: Fault, point: u64, seed: u64) -> bool {
    let machine = SimulatedDisk::new(seed.wrapping_add(point));
    machine.inject(Injection::new(fault).after(point));
    let (notes, mut history) = (Notes::default(), History::default());
    let mut before = Before { topic_was_made: false, third_comes_back: point.is_multiple_of(2) };
    let lost = CancellationToken::new();
    let watching = watch_over(&machine, &lost);
    if let Ok(engine) = open_engine(&machine, 2).await
        && let Ok(world) = World::begin(0, engine, LONG, &notes, lost.clone()).await
    {
        let living = async {
            before.topic_was_made = live(&world).await;
            if point.is_multiple_of(3) {
                // An error is as good as a crash.
                let _ = soon(world.running.shutdown(Duration::from_secs(1))).await;
            }
        };
        tokio::select! {
            () = living => {}
            () = watching => unreachable!("it watches for ever"),
        }
        world.running.abort();
    }
    let struck = machine.struck() > 0;
    machine.clear_faults();
    if machine.is_down() {
        machine.restart();
    } else if point.is_multiple_of(2) {
        machine.crash();
    } else {
        machine.kill();
    }
    bury(&mut history);
    let grace = if before.third_comes_back { LONG } else { SHORT };
    let world = begin(1, &machine, grace, &notes).await;
    conclude(&world, before, &mut history).await;
    world.running.abort();
    // What was shown is durable.
    machine.crash_losing(Loss::Everything);
    bury(&mut history);
    let world = begin(2, &machine, LONG, &notes).await;
    let log = history.log.clone();
    look_again(&world, &mut history).await;
    assert_eq!(history.log, log, "{fault:?} at {point}, SEALSTREAM_SEED={seed}");
    history.operations = notes.take();
    hold(&history, fault, point, seed);
    struck
}

fn hold(history: &History, fault: Fault, point: u64, seed: u64) {
    let violations = check(history);
    for violation in &violations {
        if let Violation::Group { group: wrong, .. } = violation {
            let of = |operation: &&Operation| matches!(operation.action, Action::Group(group, _) if group == *wrong);
            let mut operations: Vec<&Operation> = history.operations.iter().filter(of).collect();
            operations.sort_by_key(|operation| operation.begun);
            println!("{fault:?} at {point}: {violation:?}, deaths at {:?}", history.deaths);
            for operation in operations {
                println!("  {operation:?}");
            }
        }
    }
    assert_eq!(violations, [], "{fault:?} at {point}, SEALSTREAM_SEED={seed}");
}

/// A life in which nothing fails.
async fn begin(life: u32, machine: &SimulatedDisk, grace: Duration, notes: &Notes) -> Arc<World> {
    let engine = open_engine(machine, 2).await.expect("the engine starts after the crash");
    let world = World::begin(life, engine, grace, notes, CancellationToken::new()).await;
    world.expect("the broker starts after the crash")
}

/// Calls lost what is not to be waited for after a failure.
async fn watch_over(machine: &SimulatedDisk, lost: &CancellationToken) {
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    while machine.struck() == 0 {
        looks.tick().await;
    }
    if !machine.is_down() {
        tokio::time::sleep(AFTER_AN_ERROR).await;
    }
    lost.cancel();
    std::future::pending::<()>().await;
}
