//! Random operations on an engine over a simulated disk that fails, loses power and comes back, against a model that knows what
//! the engine has promised.
//!
//! ```text
//! round (one seed, one disk)  ── lives: start, check all, operate, end       cleanly, killed, or without power
//! Model    what was sent, what the engine said of it, and so what must be there, what may be, and what must not
//! ```
//!
//! After each end, whatever it was:
//! - what was acknowledged is there, at the offset that was told, in order, byte for byte (of a partition whose topic promises memory
//!   only: unless the power went), and so is what a reader has seen;
//! - nothing is there that was refused, nothing twice, nothing half: commits that were not acknowledged are there whole or not;
//! - producers go on where the log says, and whoever saw a record that is gone is told where histories part;
//! - nothing is called corrupt, and the engine opens.
//!
//! An engine's own threads make the timing, so that a seed gives the same operations but not always the same losses.

mod check;
mod commits;
mod ops;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_transport::BoxFuture;

use super::life::{OWNER, soon};
use crate::log::clock::ManualClock;
use crate::log::disk::Disk;
use crate::log::disk::simulated::{Fault, Injection, Loss, Operation, SimulatedDisk};
use crate::log::engine::{
    Durability, DurabilityError, LogEngine, PartitionId, PartitionOptions, Shard, ShardId,
};
use state::Model;

/// How many rounds there are unless `SEALSTREAM_ROUNDS` says otherwise.
const ROUNDS: u64 = 12;

/// How many operations of a failed round are printed.
const TRACE: usize = 80;

/// Starts engines over a simulated disk.
pub trait Rig: Send + Sync {
    /// Starts an engine, or tells why it could not. `seed` is the round's: options may depend on it.
    fn start(
        &self,
        seed: u64,
        disk: Arc<dyn Disk>,
        clock: Arc<ManualClock>,
    ) -> BoxFuture<'_, Result<Arc<dyn LogEngine>, String>>;
}

/// Runs as many rounds as `SEALSTREAM_ROUNDS` says, the first with the seed in `SEALSTREAM_SEED`, if there is one. Seeds are printed.
pub async fn survive(rig: &dyn Rig) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SEALSTREAM_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    for seed in (0..number("SEALSTREAM_ROUNDS").unwrap_or(ROUNDS)).map(|round| first.wrapping_add(round)) {
        println!("SEALSTREAM_SEED={seed}");
        round(rig, seed).await;
    }
}

/// One disk, from its first file to its last crash.
pub async fn round(rig: &dyn Rig, seed: u64) {
    let mut driver = Driver::new(rig, seed);
    let mut since = Since::nothing();
    let lives = driver.random.random_range(2..7);
    for life in 0..lives {
        driver.say(|| format!("--- life {life} after {since:?}"));
        if driver.random.random_ratio(1, 4) {
            driver.false_start(&mut since).await;
        }
        driver.start().await;
        driver.check(since).await;
        driver.operate().await;
        since = driver.end().await;
    }
    driver.start().await;
    driver.check(since).await;
}

/// What has happened since the engine last ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since {
    loss: Severity,
    /// It was sealed, and perhaps no engine has opened it since.
    perhaps_clean: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// The same process: something failed.
    Failure,
    Clean,
    Kill,
    Power,
}

impl Since {
    fn nothing() -> Self {
        Self { loss: Severity::Clean, perhaps_clean: true }
    }

    fn worsen(&mut self, loss: Severity) {
        self.loss = self.loss.max(loss);
    }
}

/// A commit whose durability is awaited.
struct Waiting {
    commit: u64,
    durable: BoxFuture<'static, Result<(), DurabilityError>>,
}

struct Running {
    engine: Arc<dyn LogEngine>,
    shard: Arc<dyn Shard>,
}

struct Driver<'a> {
    rig: &'a dyn Rig,
    seed: u64,
    random: StdRng,
    machine: SimulatedDisk,
    clock: Arc<ManualClock>,
    model: Model,
    running: Option<Running>,
    waiting: Vec<Waiting>,
    /// How many faults had struck when the model last agreed with the engine.
    struck: u64,
    /// Those of them for want of room.
    full: u64,
    /// How many had struck when the engine was started.
    struck_before: u64,
    /// An error is excused only if more have struck.
    excused_above: u64,
    /// The process has ended: that nothing more becomes durable needs no other excuse.
    ended: bool,
    /// Nobody knows whether a partition is open.
    limbo: bool,
    /// Nobody knows whether a commit took effect.
    indefinite: bool,
    trace: VecDeque<String>,
}

impl<'a> Driver<'a> {
    fn new(rig: &'a dyn Rig, seed: u64) -> Self {
        Self {
            rig,
            seed,
            random: StdRng::seed_from_u64(seed),
            machine: SimulatedDisk::new(seed),
            clock: Arc::new(ManualClock::at(1_000_000)),
            model: Model::default(),
            running: None,
            waiting: Vec::new(),
            struck: 0,
            full: 0,
            struck_before: 0,
            excused_above: 0,
            ended: false,
            limbo: false,
            indefinite: false,
            trace: VecDeque::new(),
        }
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>6} {}", self.machine.operations(), what()));
    }

    fn shard(&self) -> Arc<dyn Shard> {
        Arc::clone(&self.running.as_ref().expect("an engine runs").shard)
    }

    /// An error is right only if something was made to fail.
    fn excuse(&mut self, what: &str, error: &dyn std::fmt::Display) {
        self.say(|| format!("{what}: {error}"));
        assert!(
            self.machine.struck() > self.excused_above,
            "{what}: {error}, though nothing was made to fail"
        );
    }

    /// Whether nothing has failed since the model last agreed with the engine.
    fn steady(&self) -> bool {
        self.machine.struck() == self.struck && !self.indefinite
    }

    async fn try_start(&mut self) -> Result<(), String> {
        self.excused_above = self.machine.struck();
        let engine = soon(self.rig.start(self.seed, self.machine.mount(), Arc::clone(&self.clock))).await?;
        let shard =
            soon(engine.open_shard(ShardId::METADATA, OWNER)).await.map_err(|error| error.to_string())?;
        if self.model.partitions.is_empty() {
            self.model.choose_partitions(engine.shards());
        }
        for partition in 0..self.model.partitions.len() {
            let (id, durability) =
                (self.model.partitions[partition].id, self.model.partitions[partition].durability);
            open(&*shard, id, durability).await?;
        }
        self.running = Some(Running { engine, shard });
        Ok(())
    }

    async fn start(&mut self) {
        if let Err(error) = self.try_start().await {
            panic!("the engine does not start: {error}");
        }
        (self.struck, self.full) = (self.machine.struck(), self.machine.struck_for_room());
        self.struck_before = self.struck;
        (self.ended, self.limbo, self.indefinite) = (false, false, false);
    }

    /// Starts under faults; whatever comes of it is thrown away.
    async fn false_start(&mut self, since: &mut Since) {
        let plan = self.fault(60);
        self.say(|| format!("false start under {plan:?}"));
        self.machine.inject(plan);
        if let Err(error) = self.try_start().await {
            self.excuse("false start", &error);
        }
        self.running = None;
        since.worsen(self.go_down());
    }

    /// The process has ended, or ends now; how badly.
    fn go_down(&mut self) -> Severity {
        self.machine.clear_faults();
        self.machine.set_capacity(None);
        let power_cut = if self.machine.is_down() {
            let only_once = self.machine.struck() == self.struck + 1;
            // A failure just before may have taken what promises to survive a kill only.
            self.machine.restart() || !only_once
        } else {
            let power_cut = self.random.random_ratio(2, 3);
            match (power_cut, self.random.random()) {
                (false, _) => self.machine.kill(),
                (true, false) => self.machine.crash(),
                (true, true) => self.machine.crash_losing(Loss::Everything),
            }
            power_cut || self.machine.struck() > self.struck
        };
        self.ended = true;
        if power_cut { Severity::Power } else { Severity::Kill }
    }

    async fn operate(&mut self) {
        self.plan_faults();
        for _ in 0..self.random.random_range(5..80_u32) {
            self.step().await;
            if self.limbo {
                break;
            }
            if !self.steady() && !self.machine.is_down() {
                self.recover().await;
            }
            if self.machine.is_down() {
                break;
            }
        }
    }

    fn plan_faults(&mut self) {
        for _ in 0..[0, 1, 1, 2][self.random.random_range(0..4)] {
            let plan = self.fault(300);
            self.say(|| format!("plan {plan:?}"));
            self.machine.inject(plan);
        }
        if self.random.random_ratio(1, 6) {
            let room = self.machine.used() + self.random.random_range(0..400_000);
            self.say(|| format!("the disk is full at {room} bytes"));
            self.machine.set_capacity(Some(room));
        }
    }

    fn fault(&mut self, within: u64) -> Injection {
        let random = &mut self.random;
        let after = random.random_range(0..within);
        match random.random_range(0..10_u32) {
            0..4 => Injection::new(Fault::PowerCut).after(after),
            4 => Injection::new(Fault::Kill).after(after),
            5 | 6 => Injection::new(Fault::Io).on(Operation::SyncData).after(after / 8),
            7 => Injection::new(Fault::Io).on(Operation::Write).after(after / 4),
            8 => Injection::new(Fault::NoSpace).on(Operation::Write).after(after / 4),
            _ => Injection::new(Fault::Io).after(after),
        }
    }

    /// After a failure that the engine survives: what it says now is what holds.
    async fn recover(&mut self) {
        self.say(|| "something failed".into());
        self.machine.clear_faults();
        self.machine.set_capacity(None);
        self.await_all().await;
        self.settle().await;
        if self.machine.is_down() {
            return;
        }
        self.check(Since { loss: Severity::Failure, perhaps_clean: false }).await;
        self.indefinite = false;
        let (struck, full) =
            (self.machine.struck() - self.struck, self.machine.struck_for_room() - self.full);
        (self.struck, self.full) = (self.struck + struck, self.full + full);
        if struck > 0 && struck == full {
            // Nothing is broken, and there is room again.
            self.excused_above = self.struck;
        }
    }

    async fn end(&mut self) -> Since {
        let down = self.machine.is_down();
        if !down && !self.limbo && self.random.random_ratio(1, 3) {
            return self.close().await;
        }
        if !down && !self.limbo && self.random.random() {
            self.await_all().await;
        }
        let loss = self.go_down();
        self.say(|| format!("{loss:?}"));
        // An acknowledgement that was under way counts.
        self.await_all().await;
        self.running = None;
        Since { loss, perhaps_clean: false }
    }

    async fn close(&mut self) -> Since {
        self.machine.clear_faults();
        self.machine.set_capacity(None);
        let Some(Running { engine, shard }) = self.running.take() else { unreachable!("an engine runs") };
        self.say(|| "close".into());
        let closed = soon(engine.close()).await;
        self.await_all().await;
        drop((engine, shard));
        if let Err(error) = closed {
            self.excuse("close", &error);
            return Since { loss: self.go_down(), perhaps_clean: true };
        }
        // What is sealed is safe from anything.
        if self.random.random() {
            self.machine.crash();
        } else {
            self.machine.kill();
        }
        Since { loss: Severity::Clean, perhaps_clean: true }
    }

    async fn await_all(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.await_one(waiting).await;
        }
    }

    async fn await_one(&mut self, waiting: Waiting) {
        let Waiting { commit, durable } = waiting;
        match soon(durable).await {
            Ok(()) => self.model.acknowledged(commit),
            Err(error) => {
                if !self.ended {
                    self.excuse(&format!("durability of {commit}"), &error);
                }
                self.model.failed(commit);
            }
        }
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let trace = self.trace.make_contiguous().join("\n");
            println!("{trace}\nSEALSTREAM_SEED={} fails", self.seed);
        }
    }
}

async fn open(shard: &dyn Shard, id: PartitionId, durability: Durability) -> Result<(), String> {
    let opened = soon(shard.open_partition(id, PartitionOptions::new(durability))).await;
    opened.map(|_| ()).map_err(|error| error.to_string())
}
