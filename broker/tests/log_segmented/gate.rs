//! A disk whose syncs wait until they are let go.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sealstream_broker::log::disk::{DirEntry, Disk, DiskFile, DiskLock, LockError};

/// Holds syncs of files whose path contains a text.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    path: Option<String>,
    waiting: usize,
    last: Option<ThreadName>,
    /// How long each sync takes at least.
    time: Duration,
}

/// The name of a thread.
type ThreadName = String;

impl Gate {
    /// From here on syncs of files whose path contains `path` wait.
    pub(crate) fn hold(&self, path: &str) {
        self.held.lock().unwrap().path = Some(path.to_owned());
    }

    /// Lets all go.
    pub(crate) fn release(&self) {
        self.held.lock().unwrap().path = None;
        self.changed.notify_all();
    }

    /// Waits until a sync waits.
    pub(crate) fn reached(&self) {
        let held = self.held.lock().unwrap();
        drop(self.changed.wait_while(held, |held| held.waiting == 0).unwrap());
    }

    /// From here on each sync takes so long at least.
    pub(crate) fn slow_down(&self, time: Duration) {
        self.held.lock().unwrap().time = time;
    }

    /// The thread that asked for the last sync.
    pub(crate) fn last(&self) -> ThreadName {
        self.held.lock().unwrap().last.clone().expect("something was synced")
    }

    fn pass(&self, path: &Path) {
        let mut held = self.held.lock().unwrap();
        held.last = std::thread::current().name().map(str::to_owned);
        let text = path.to_string_lossy();
        held.waiting += 1;
        self.changed.notify_all();
        held = self
            .changed
            .wait_while(held, |held| held.path.as_ref().is_some_and(|part| text.contains(part)))
            .unwrap();
        held.waiting -= 1;
        let time = held.time;
        drop(held);
        std::thread::sleep(time);
    }
}

/// A disk with a gate before its syncs.
#[derive(Debug)]
pub(crate) struct GatedDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) gate: Arc<Gate>,
}

impl GatedDisk {
    fn gated(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(GatedFile { path: path.to_owned(), gate: Arc::clone(&self.gate), file })
    }
}

impl Disk for GatedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(path, self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(path, self.disk.open(path)?))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read_only(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, LockError> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct GatedFile {
    path: std::path::PathBuf,
    gate: Arc<Gate>,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for GatedFile {
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(position, parts)
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(position, buf)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass(&self.path);
        self.file.sync_data()
    }

    fn reread(&self) -> io::Result<()> {
        self.file.reread()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
