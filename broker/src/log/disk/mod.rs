//! Everything that the log does with files, behind one trait: the real file system, and a simulated one that loses
//! whatever was not synced.
//!
//! ```text
//! Disk      create, open, rename, remove, list, sync_dir, lock     names
//! DiskFile  write_at, read_at, allocate, truncate, sync_data       bytes
//! ```
//!
//! What a caller may rely on after a power cut, and nothing else:
//! - bytes and length of a file as of its last successful [`DiskFile::sync_data`];
//! - names in a directory as of its last successful [`Disk::sync_dir`]; a new directory's own name is in its parent;
//! - a rename is atomic: afterwards the old name or the new one stands, never neither.
//!
//! Anything later may be there whole, in part (sectors of 512 bytes, in any order), or not at all. A process that is
//! killed loses nothing: what was written is in the page cache.
//!
//! Calls block. None may be made from an async task, but for [`DiskFile::read_at_hand`].

mod real;
#[cfg(any(test, feature = "test-util"))]
pub mod simulated;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use real::RealDisk;
#[cfg(any(test, feature = "test-util"))]
pub use simulated::SimulatedDisk;

/// A file system. Paths are used as given; on the real disk relative ones start at the working directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a file that must not exist yet, open for reading and writing. Its name is durable after [`Disk::sync_dir`]
    /// of its directory.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists, for reading only: works on a read-only file system.
    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file or directory another name in the same directory, replacing the file that had it. Atomic; durable
    /// after [`Disk::sync_dir`]. Across directories: [`io::ErrorKind::InvalidInput`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, in any directory of the same file system. Where that cannot be, as on the simulated disk:
    /// [`io::ErrorKind::Unsupported`] or [`io::ErrorKind::CrossesDevices`].
    fn hard_link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file. Handles that are open go on reading it, and the space is freed when the last one is dropped.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// What a directory holds, in the order of names.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes a directory and those above it that are missing, and makes the new names durable. Succeeds if it is there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: all that were made, changed and removed before.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that the file `path` stands for, made if missing, and writes this process's id into it. Held
    /// until the [`DiskLock`] is dropped or the process ends, however it ends.
    fn lock(&self, path: &Path) -> Result<DiskLock, LockError>;

    /// Removes a directory and all in it, one entry after the other: a crash may leave a part. Removing what is not there
    /// succeeds.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let entries = match self.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                self.remove_dir_all(&path)?;
            } else {
                self.remove_file(&path)?;
            }
        }
        self.remove_dir(dir)
    }

    /// The whole content of a small file; one longer than `max` bytes is refused with
    /// [`io::ErrorKind::InvalidData`] before anything is read.
    fn read(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        let file = self.open_read_only(path)?;
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        if len > max {
            let text = format!("{} is {len} bytes long, more than the {max} allowed", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut bytes = vec![0; len];
        let read = read_full(&*file, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Replaces the content of a small file, atomically and durably: after a crash it is the old or the new one, whole.
    /// Goes through `path` with `.new` appended, which a crash may leave behind and the next call replaces.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        match self.remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.create(&fresh)?;
        file.write_at(0, &[content])?;
        file.sync_data()?;
        self.rename(&fresh, path)?;
        self.sync_dir(parent(path))
    }
}

/// An open file. Positions and lengths are in bytes. Methods may be called from several threads at once.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes `parts` one behind the other from `position`, all of them, in one system call where the machine lets it:
    /// header and payload need no buffer in common. After an error any part of it may have been written.
    fn write_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// Reads into `buf` from `position`; returns how many bytes, which is less than asked for only at the end.
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Reads what is in the machine's memory already, without waiting for the disk; returns how many bytes, which may be fewer than
    /// asked for for any reason, 0 where nothing is known. The one call that may be made from an async task.
    fn read_at_hand(&self, _position: u64, _buf: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    /// Reserves room up to `len`, extending the file with zeros if it is shorter; never shortens it. Later writes below
    /// `len` cannot run out of space where the file system can promise that.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file to `len`, or extends it with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes all that was written, and the length, durable. After an error nothing is known of what was written since the last
    /// success: **the page cache lies**, and a later success does not cover it. Never retry; cut and roll.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes sure that what is read next is what the storage has: syncs, and lets go of the cached pages. A process that was told of
    /// a failed sync and ended leaves pages behind that look written and are not, and that no later sync covers. As far
    /// as the kernel goes along: pages that another process holds may stay.
    fn reread(&self) -> io::Result<()>;

    /// The length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Reads until `buf` is full or the file ends; returns how many bytes.
pub fn read_full(file: &dyn DiskFile, position: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buf.len() {
        match file.read_at(position + read as u64, &mut buf[read..])? {
            0 => break,
            some => read += some,
        }
    }
    Ok(read)
}

/// The directory that holds `path`: `.` for a bare name, as the file system sees it.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Something in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name, without the directory. Names that are not Unicode are left out of a listing: the log makes none.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

/// Holding it means that no other process or engine has the lock.
pub struct DiskLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl DiskLock {
    /// Wraps what releases the lock when dropped; for implementations of [`Disk`].
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskLock")
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("in use by another running broker{}", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held {
        /// The process, if it could be read.
        pid: Option<u32>,
    },
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}
