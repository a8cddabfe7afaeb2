//! A file system in memory that loses whatever was not synced, seeded: the same calls with the same seed give the same losses.
//!
//! ```text
//! SimulatedDisk (the machine) ── mount() ──► Disk, for one life of a process
//!     inject(fault)   the nth operation fails, or cuts the power in the middle
//!     kill()          the process ends: its mounts and files fail from now on, the page cache stays
//!     crash()         the power is cut and comes back: a chosen part of what was not synced is lost
//! ```
//!
//! What it models: 4 KiB pages in a cache over stable storage, with write-back at any time; tearing at sectors of 512
//! bytes; lengths, names, renames and removals that come through or not, independently; a failed fsync that marks its pages
//! clean, so that the cache shows, and the next fsync passes over, what the storage never got; a failed sync of a directory
//! that leaves names to the next one; a full disk that writes a part first. It is harsher than any one file system, for none of its mercies is promised.

mod content;
mod fault;
mod mount;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Disk;
pub use content::Loss;
pub use fault::{Fault, Injection, Operation};
use fault::{Faults, Verdict};
use mount::Mount;
use tree::Tree;

/// One in so many writes is followed by a write-back of some of the file's pages.
const WRITE_BACK_ODDS: u32 = 8;

/// A machine with one disk. Clones are the same machine.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    tree: Tree,
    faults: Faults,
    /// How often a process was started: a mount of an earlier one is dead.
    life: u64,
    running: Running,
    /// In bytes, if bounded.
    capacity: Option<u64>,
    locks: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    Yes,
    Killed,
    NoPower,
}

impl SimulatedDisk {
    /// An empty disk; `seed` decides what gets lost.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed),
            tree: Tree::default(),
            faults: Faults::default(),
            life: 0,
            running: Running::Yes,
            capacity: None,
            locks: Vec::new(),
        })))
    }

    /// The disk as the current process sees it. Dead after [`Self::kill`] and [`Self::crash`]: every call fails.
    pub fn mount(&self) -> Arc<dyn Disk> {
        let life = self.state().life;
        Arc::new(Mount::new(self.clone(), life))
    }

    /// Plans a fault. Several may be planned; the first that matches an operation strikes.
    pub fn inject(&self, injection: Injection) {
        self.state().faults.plan(injection);
    }

    /// Forgets planned faults that have not struck.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// How many operations there have been, failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().faults.operations()
    }

    /// How many operations were failed on purpose, by a fault or for want of room.
    pub fn struck(&self) -> u64 {
        self.state().faults.struck()
    }

    /// Those of them that had no room indeed: what was allocated before is never among them.
    pub fn struck_for_room(&self) -> u64 {
        self.state().faults.full()
    }

    /// Whether a fault has ended the process: nothing works until [`Self::restart`].
    pub fn is_down(&self) -> bool {
        self.state().running != Running::Yes
    }

    /// Ends the process, as SIGKILL does, and makes ready for the next one: all that was written is there.
    pub fn kill(&self) {
        self.state().restart(None);
    }

    /// Cuts the power and restores it: of what was not synced, a part chosen by the seed is there.
    pub fn crash(&self) {
        self.crash_losing(Loss::Some);
    }

    /// The same, choosing how much of what was not synced is lost.
    pub fn crash_losing(&self, loss: Loss) {
        self.state().restart(Some(loss));
    }

    /// Makes ready for the next process after an injected [`Fault::Kill`] or [`Fault::PowerCut`], with the losses that it implies; without
    /// one it is a [`Self::kill`]. Whether the power had gone.
    pub fn restart(&self) -> bool {
        let mut state = self.state();
        let power_cut = state.running == Running::NoPower;
        state.restart(power_cut.then_some(Loss::Some));
        power_cut
    }

    /// Bounds the disk, in bytes; `None` lifts the bound. What is there already stays.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// What the files take, preallocation included.
    pub fn used(&self) -> u64 {
        self.state().tree.used()
    }

    /// Lets go of every clean page, as a machine short of memory does: after a failed fsync the truth comes out.
    pub fn drop_caches(&self) {
        self.state().tree.drop_caches();
    }

    /// Flips bits of one byte on stable storage and in the cache, as a failing disk does. The file must be that long.
    pub fn corrupt(&self, path: &Path, position: u64, flip: u8) -> io::Result<()> {
        let mut state = self.state();
        let node = state.tree.find(path)?;
        state.tree.file(node)?.corrupt(position, flip)
    }

    /// Every file, with its length, in the order of paths: for tests that look for what is left behind.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.state().tree.files()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedDisk")
    }
}

impl State {
    /// The next process starts; after a power cut with so much lost.
    fn restart(&mut self, loss: Option<Loss>) {
        if let Some(loss) = loss {
            self.tree.lose(loss, &mut self.random);
        }
        self.faults.clear();
        self.locks.clear();
        self.life += 1;
        self.running = Running::Yes;
    }

    /// Whether the process of this life is the current one, and runs.
    fn lives(&self, life: u64) -> bool {
        life == self.life && self.running == Running::Yes
    }

    /// Counts an operation and decides its fate: a fault to act out, or none.
    fn begin(&mut self, life: u64, operation: Operation, path: &Path) -> io::Result<Option<Fault>> {
        if !self.lives(life) {
            return Err(dead());
        }
        let Verdict::Strike(fault) = self.faults.next(operation, path) else { return Ok(None) };
        match fault {
            Fault::Kill => self.running = Running::Killed,
            Fault::PowerCut => self.running = Running::NoPower,
            Fault::Io | Fault::NoSpace => {}
        }
        Ok(Some(fault))
    }

    /// The same for an operation on names, which takes place or not: one that ends the process may have taken place.
    fn begin_naming(&mut self, life: u64, operation: Operation, path: &Path) -> io::Result<Naming> {
        match self.begin(life, operation, path)? {
            None => Ok(Naming { takes_place: true, then: None }),
            Some(fault) => {
                let takes_place = fault.ends_the_process() && self.random.random();
                Ok(Naming { takes_place, then: Some(fault) })
            }
        }
    }

    /// How many more bytes there is room for.
    fn room(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.tree.used()))
    }
}

/// What becomes of an operation on names.
struct Naming {
    takes_place: bool,
    then: Option<Fault>,
}

impl Naming {
    fn finish<T>(self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match (self.takes_place, self.then) {
            (true, None) => act(),
            (true, Some(fault)) => act().and(Err(fault.error())),
            (false, fault) => Err(fault.unwrap_or(Fault::Io).error()),
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the simulated process has ended")
}
