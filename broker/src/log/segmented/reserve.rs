//! Room on the disk that is kept for when there is no other: so that deletions, trims and commits, which make room or save
//! progress, go on when appends cannot.
//!
//! ```text
//!          metadata finds the disk full                 there is room for all of it again
//! held ───────────────────────────────────► in use ───────────────────────────────────────► held
//!      the file `reserve` is removed              │  tried after every removal, and at most once a second
//!                                                 └─ otherwise, when something is asked for
//! ```
//!
//! While it is in use no append is taken: what it has left is for what cannot wait. An append that finds the disk full is
//! refused, and does not touch it. The engine owns it; whoever writes metadata, checkpoints or their like does it [`with`](Reserve::with)
//! the reserve. On a file system that cannot promise room to a file it is a number without a meaning.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::shared::locked;
use crate::log::disk::{Disk, parent};

/// How often it is tried to make it again, at most, though nothing was removed: an operator's room is noticed by the next request.
const RETRY: Duration = Duration::from_secs(1);

/// How often an operation is tried again: once for the reserve that it freed itself, once for one that somebody else freed meanwhile.
const ATTEMPTS: usize = 2;

/// The reserve of a data directory.
#[derive(Debug)]
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// 0: there is none.
    bytes: u64,
    in_use: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: bool,
    /// How often room was given back by it.
    released: u64,
    tried: Option<Instant>,
}

impl Reserve {
    /// Makes the reserve at `path`, if it is not there; on a full disk it is in use from the start. Blocks.
    pub(super) fn open(disk: Arc<dyn Disk>, path: PathBuf, bytes: u64) -> io::Result<Self> {
        let state = Mutex::new(State { held: false, released: 0, tried: None });
        let reserve = Self { disk, path, bytes, in_use: AtomicBool::new(false), state };
        if bytes == 0 {
            reserve.remove()?;
            return Ok(reserve);
        }
        let there = match reserve.disk.open(&reserve.path) {
            Ok(file) => file.len()? == bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let made = if there { Ok(()) } else { reserve.make() };
        match made {
            Ok(()) => locked(&reserve.state).held = true,
            Err(error) if is_full(&error) => {
                tracing::warn!(
                    bytes,
                    "no room for the reserve of the disk (log.reserve): no batch is taken until there is; free some space there, delete topics, or \
                     shorten their retention"
                );
                reserve.in_use.store(true, Ordering::Release);
            }
            Err(error) => return Err(error),
        }
        Ok(reserve)
    }

    /// Whether it was needed, and appends are to be refused.
    pub(super) fn in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire)
    }

    /// Does something that must not fail for want of room: if there is none, the reserve is given up for it. `action` must be such that it can
    /// be done again after it failed.
    pub(super) fn with<T>(&self, mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        for _ in 0..ATTEMPTS {
            let before = locked(&self.state).released;
            match action() {
                Err(error) if is_full(&error) && self.release(before) => {}
                done => return done,
            }
        }
        action()
    }

    /// Whether now is the time to try making it again: then whoever asks is to [`restore`](Self::restore) it.
    pub(super) fn restore_is_due(&self) -> bool {
        if !self.in_use() {
            return false;
        }
        let mut state = locked(&self.state);
        let due = state.tried.is_none_or(|tried| tried.elapsed() >= RETRY);
        if due {
            state.tried = Some(Instant::now());
        }
        due
    }

    /// Makes it again if it is in use and there is room. Blocks.
    pub(super) fn restore(&self) {
        if !self.in_use() {
            return;
        }
        // Held meanwhile: what takes room on trial is given back before somebody else is told that there is none.
        let mut state = locked(&self.state);
        if state.held {
            return;
        }
        match self.make() {
            Ok(()) => {
                state.held = true;
                self.in_use.store(false, Ordering::Release);
                tracing::info!(bytes = self.bytes, "there is room on the disk again: batches are taken");
            }
            Err(error) => {
                state.released += 1;
                if !is_full(&error) {
                    tracing::warn!(%error, "the reserve of the disk cannot be made again yet");
                }
            }
        }
    }

    /// Gives it up, if nobody did since there had been `before` releases; whether there may be room now.
    fn release(&self, before: u64) -> bool {
        if self.bytes == 0 {
            return false;
        }
        let mut state = locked(&self.state);
        if !state.held {
            return state.released != before;
        }
        self.in_use.store(true, Ordering::Release);
        state.held = false;
        state.tried = Some(Instant::now());
        match self.remove() {
            Ok(()) => {
                state.released += 1;
                tracing::error!(
                    bytes = self.bytes,
                    "the disk that holds the log is full: deletions and commits go on with the room kept for them (log.reserve), no batch is taken; \
                     free some space there, delete topics, or shorten their retention"
                );
                true
            }
            Err(error) => {
                tracing::error!(%error, "the disk is full, and the room kept for that cannot be freed");
                false
            }
        }
    }

    fn make(&self) -> io::Result<()> {
        self.remove()?;
        let file = self.disk.create(&self.path)?;
        let made = file.allocate(self.bytes).and_then(|()| file.sync_data());
        drop(file);
        let made = made.and_then(|()| self.disk.sync_dir(parent(&self.path)));
        if made.is_err()
            && let Err(error) = self.remove()
        {
            tracing::warn!(%error, "a part of the reserve cannot be removed");
        }
        made
    }

    fn remove(&self) -> io::Result<()> {
        match self.disk.remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether there was no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
