//! The machine's file system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::{DirEntry, Disk, DiskFile, DiskLock, LockError, parent};

/// How many parts go into one vectored write; POSIX promises room for 16 (`_XOPEN_IOV_MAX`).
const MAX_PARTS: usize = 16;

/// How many bytes of a lock file are looked at for the holder's id: a u32 has at most ten digits.
const MAX_PID_TEXT: u64 = 16;

/// Records are for whom the rules let read them, not for whoever has an account on the machine.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// The machine's file system. What it makes, only its owner can read.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if parent(from) != parent(to) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a rename stays within one directory"));
        }
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let above = parent(dir);
        if dir.is_dir() {
            // Made by a process that was killed before it could sync the name, perhaps. A parent that we may not read
            // was made by somebody else, who answers for it.
            return match self.sync_dir(above) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                done => done,
            };
        }
        if above != dir {
            self.create_dir_all(above)?;
        }
        match DirBuilder::new().mode(DIR_MODE).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync_dir(above),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, LockError> {
        // Not truncated: until the lock is ours, the id in it is the holder's.
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: holder(&file) }),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(DiskLock::new(file))
    }
}

/// The process id that a lock file names; `None` in the instant between taking the lock and writing it.
fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(MAX_PID_TEXT).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, mut position: u64, parts: &[&[u8]]) -> io::Result<()> {
        for some in parts.chunks(MAX_PARTS) {
            let mut slices = [IoSlice::new(&[]); MAX_PARTS];
            for (slice, part) in slices.iter_mut().zip(some) {
                *slice = IoSlice::new(part);
            }
            let mut rest = &mut slices[..some.len()];
            IoSlice::advance_slices(&mut rest, 0); // drops empty parts at the front: the loop ends when none is left
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.0, rest, position) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        position += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buf.len() {
            match self.0.read_at(&mut buf[read..], position + read as u64) {
                Ok(0) => break,
                Ok(some) => read += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    #[cfg(target_os = "linux")]
    fn read_at_hand(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        match rustix::io::preadv2(&self.0, &mut [IoSliceMut::new(buf)], position, ReadWriteFlags::NOWAIT) {
            // Not in memory, or this file system cannot tell.
            Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(0),
            read => Ok(read?),
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        // The length grows with the reservation (no KEEP_SIZE): an append below it changes no length, and what was
        // reserved but not written reads as zeros, which no entry begins with.
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // No such promise on this file system: a sparse file serves, and space may run out later.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                if self.len()? < len {
                    self.0.set_len(len)?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn reread(&self) -> io::Result<()> {
        self.0.sync_data()?;
        match rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed) {
            // No cache to let go of.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::disk::read_full;

    #[test]
    fn parts_land_one_behind_the_other_however_many() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("f")).unwrap();
        let parts: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; usize::from(n)]).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        file.write_at(3, &slices).unwrap();
        let mut content = vec![0; 2_000];
        let read = read_full(&*file, 0, &mut content).unwrap();
        assert_eq!(content[..read], [vec![0; 3], parts.concat()].concat());
    }

    #[test]
    fn what_is_at_hand_is_what_was_written_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("f")).unwrap();
        let written: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        file.write_at(0, &[&written]).unwrap();
        let mut read = vec![0; 200_000];
        let len = file.read_at_hand(5, &mut read).unwrap();
        assert_eq!(read[..len], written[5..5 + len]);
        // Not every file system tells what it has in memory.
        assert!(len == 0 || len == written.len() - 5, "just written, but {len} of it");
        assert_eq!(file.read_at_hand(1 << 20, &mut read).unwrap(), 0);
    }

    #[test]
    fn what_is_made_only_its_owner_can_read() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        RealDisk.create_dir_all(&deep).unwrap();
        RealDisk.create(&deep.join("f")).unwrap();
        RealDisk.replace(&deep.join("g"), b"g").unwrap();
        drop(RealDisk.lock(&deep.join("lock")).unwrap());
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        let modes = ["a", "a/b", "a/b/f", "a/b/g", "a/b/lock"].map(mode);
        assert_eq!(modes, [0o700, 0o700, 0o600, 0o600, 0o600]);
    }

    #[test]
    fn what_is_allocated_reads_as_zeros_and_is_never_shortened() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("f")).unwrap();
        file.write_at(0, &[b"data"]).unwrap();
        file.allocate(8_192).unwrap();
        assert_eq!(file.len().unwrap(), 8_192);
        file.allocate(16).unwrap();
        assert_eq!(file.len().unwrap(), 8_192);
        let mut content = vec![1; 8_192];
        assert_eq!(file.read_at(0, &mut content).unwrap(), 8_192);
        assert_eq!(&content[..4], b"data");
        assert!(content[4..].iter().all(|&byte| byte == 0));
        file.sync_data().unwrap();
    }

    #[test]
    fn a_second_lock_is_refused_with_the_holders_pid_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = RealDisk.lock(&path).unwrap();
        let error = RealDisk.lock(&path).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: Some(pid) } if pid == std::process::id()));
        assert!(error.to_string().contains("in use by another running broker (pid "));
        drop(first);
        RealDisk.lock(&path).unwrap();
    }

    #[test]
    fn replacing_leaves_the_new_content_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        RealDisk.replace(&path, b"one").unwrap();
        fs::write(dir.path().join("value.new"), b"left behind by a crash").unwrap();
        RealDisk.replace(&path, b"two").unwrap();
        assert_eq!(RealDisk.read(&path, 3).unwrap(), b"two");
        assert_eq!(RealDisk.read(&path, 2).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [DirEntry { name: "value".into(), is_dir: false }]);
    }

    #[test]
    fn a_tree_is_made_and_removed_whole_and_removing_it_again_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        RealDisk.create_dir_all(&deep).unwrap();
        RealDisk.create_dir_all(&deep).unwrap();
        RealDisk.create(&deep.join("f")).unwrap();
        assert_eq!(RealDisk.create(&deep.join("f")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        RealDisk.remove_dir_all(&dir.path().join("a")).unwrap();
        RealDisk.remove_dir_all(&dir.path().join("a")).unwrap();
        assert!(RealDisk.list(dir.path()).unwrap().is_empty());
    }
}
