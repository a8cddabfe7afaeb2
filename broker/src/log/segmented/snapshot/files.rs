//! Files on their way into a copy: by a second name, or byte by byte; durable either way.

use std::io;
use std::path::Path;

use crate::log::disk::{Disk, DiskFile, read_full};

/// How much is copied at once, in bytes.
const BLOCK: u64 = 1 << 20;

/// Puts files into a copy, and counts.
pub(super) struct Files<'a> {
    disk: &'a dyn Disk,
    progress: &'a mut dyn FnMut(u64),
    pub(super) linked: u64,
    pub(super) copied: u64,
    /// The file system gives no second names, or the copy lies on another: asked once.
    no_links: bool,
}

impl<'a> Files<'a> {
    pub(super) fn new(disk: &'a dyn Disk, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { disk, progress, linked: 0, copied: 0, no_links: false }
    }

    /// Gives a file that does not change any more a second name, or copies it.
    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.no_links {
            match self.disk.hard_link(from, to) {
                Ok(()) => {
                    let file = self.disk.open_read_only(to)?;
                    file.sync_data()?;
                    let len = file.len()?;
                    self.linked += len;
                    (self.progress)(len);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(_) => self.no_links = true,
            }
        }
        let file = self.disk.open_read_only(from)?;
        let len = file.len()?;
        self.copy(&*file, len, to)
    }

    /// Copies the first `len` bytes of a file.
    pub(super) fn copy(&mut self, from: &dyn DiskFile, len: u64, to: &Path) -> io::Result<()> {
        let file = self.disk.create(to)?;
        let mut block = vec![0; usize::try_from(BLOCK.min(len)).unwrap_or_default()];
        let mut at = 0;
        while at < len {
            let wanted = usize::try_from(BLOCK.min(len - at)).unwrap_or_default();
            let read = read_full(from, at, &mut block[..wanted])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(at, &[&block[..read]])?;
            at += read as u64;
            (self.progress)(read as u64);
        }
        self.copied += len;
        file.sync_data()
    }
}
