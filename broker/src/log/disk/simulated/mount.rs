//! The simulated disk as one process sees it: its mount, its open files and its locks, all of which end with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;

use super::fault::Operation;
use super::tree::NodeId;
use super::{Running, SimulatedDisk, State, WRITE_BACK_ODDS, dead};
use crate::log::disk::{DirEntry, Disk, DiskFile, DiskLock, LockError};

#[derive(Debug)]
pub(super) struct Mount {
    machine: SimulatedDisk,
    life: u64,
}

impl Mount {
    pub(super) fn new(machine: SimulatedDisk, life: u64) -> Self {
        Self { machine, life }
    }

    fn handle(&self, path: &Path, node: NodeId, writable: bool, state: &mut State) -> Arc<dyn DiskFile> {
        let open = state.tree.hold(node);
        let (machine, life, path) = (self.machine.clone(), self.life, path.to_owned());
        Arc::new(Handle { machine, life, path, node, writable, _open: open })
    }

    fn naming<T>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.machine.state();
        let naming = state.begin_naming(self.life, operation, path)?;
        naming.finish(|| act(&mut state))
    }

    fn open_as(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.naming(Operation::Open, path, |state| {
            let node = state.tree.find(path)?;
            state.tree.file(node)?;
            Ok(self.handle(path, node, writable, state))
        })
    }
}

impl Disk for Mount {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.naming(Operation::Create, path, |state| {
            let node = state.tree.create_file(path)?;
            Ok(self.handle(path, node, true, state))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_as(path, true)
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open_as(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.naming(Operation::Rename, from, |state| state.tree.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.naming(Operation::Remove, path, |state| state.tree.remove(path, false))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.naming(Operation::Remove, path, |state| state.tree.remove(path, true))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.naming(Operation::List, dir, |state| state.tree.list(dir))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.naming(Operation::CreateDir, dir, |state| state.tree.create_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.machine.state();
        let state = &mut *state;
        match state.begin(self.life, Operation::SyncDir, dir)? {
            None => state.tree.sync_dir(dir),
            Some(fault) => {
                if !fault.ends_the_process() {
                    state.tree.fail_sync_dir(dir, &mut state.random)?;
                }
                Err(fault.error())
            }
        }
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, LockError> {
        let path = path.to_owned();
        self.naming(Operation::Lock, &path, |state| match state.tree.find(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => state.tree.create_file(&path),
            found => found,
        })?;
        let mut state = self.machine.state();
        if state.locks.contains(&path) {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        state.locks.push(path.clone());
        Ok(DiskLock::new(Lock { machine: self.machine.clone(), life: self.life, path }))
    }
}

/// Releases its lock when dropped, unless the process that took it has ended, which released it.
struct Lock {
    machine: SimulatedDisk,
    life: u64,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.machine.state();
        if state.life == self.life {
            state.locks.retain(|path| *path != self.path);
        }
    }
}

#[derive(Debug)]
struct Handle {
    machine: SimulatedDisk,
    life: u64,
    path: PathBuf,
    node: NodeId,
    writable: bool,
    /// Keeps the content after the file was removed.
    _open: Arc<()>,
}

impl Handle {
    fn change(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl DiskFile for Handle {
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.change()?;
        let mut state = self.machine.state();
        let state = &mut *state;
        let fault = state.begin(self.life, Operation::Write, &self.path)?;
        let bytes = parts.concat();
        let room = state.room();
        let file = state.tree.file(self.node)?;
        let fits = file.fitting(position, bytes.len(), room);
        let len = if fault.is_some() { state.random.random_range(0..=fits) } else { fits };
        file.write(position, &bytes[..len]);
        if state.random.random_ratio(1, WRITE_BACK_ODDS) {
            file.write_back(&mut state.random);
        }
        match fault {
            Some(fault) => Err(fault.error()),
            None if len < bytes.len() => Err(state.faults.no_room()),
            None => Ok(()),
        }
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.machine.state();
        match state.begin(self.life, Operation::Read, &self.path)? {
            Some(fault) => Err(fault.error()),
            None => Ok(state.tree.file(self.node)?.read(position, buf)),
        }
    }

    /// By its position all of it is in memory, the first half, or nothing. Nothing while faults are planned: those are for reads that count.
    fn read_at_hand(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.machine.state();
        if !state.lives(self.life) || state.faults.are_planned() {
            return Ok(0);
        }
        let len = match position % 3 {
            0 => buf.len(),
            1 => buf.len() / 2,
            _ => 0,
        };
        Ok(state.tree.file(self.node)?.read(position, &mut buf[..len]))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change()?;
        let mut state = self.machine.state();
        if let Some(fault) = state.begin(self.life, Operation::Allocate, &self.path)? {
            return Err(fault.error());
        }
        let room = state.room();
        let file = state.tree.file(self.node)?;
        if len.saturating_sub(file.reserved()) > room {
            return Err(state.faults.no_room());
        }
        file.allocate(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change()?;
        let mut state = self.machine.state();
        if let Some(fault) = state.begin(self.life, Operation::Truncate, &self.path)? {
            return Err(fault.error());
        }
        state.tree.file(self.node)?.truncate(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.machine.state();
        let state = &mut *state;
        let fault = state.begin(self.life, Operation::SyncData, &self.path)?;
        let file = state.tree.file(self.node)?;
        match fault {
            None => {
                file.sync();
                Ok(())
            }
            Some(fault) => {
                if !fault.ends_the_process() {
                    file.fail_sync(&mut state.random);
                }
                Err(fault.error())
            }
        }
    }

    fn reread(&self) -> io::Result<()> {
        self.sync_data()?;
        self.machine.state().tree.file(self.node)?.drop_caches();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.machine.state();
        if self.life != state.life || state.running != Running::Yes {
            return Err(dead());
        }
        Ok(state.tree.file(self.node)?.len())
    }
}
