//! Memory as it is on a machine that has run for long. Linux.
//!
//! A virtual machine may give memory that is free back to its host (*free page reporting*), and each page of it that is
//! used again has to be found anew by the host, while the writer waits: on one such machine a GiB of the page cache cost 2.6 s of a
//! processor rather than 0.12 s, a gigabyte after the measurements had begun and not before. On a machine that has run for long there is hardly
//! any free memory: files fill it, and what is needed is taken from those that were not used for the longest time.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// How much is read at once.
const BLOCK: usize = 4 << 20;

/// 512 MiB are left when it is filled: the kernel does not have to let go of a page for each that is needed.
const LEFT: u64 = 512 << 20;

/// 1 GiB: once more than that is free, it is filled again. So much is what the machine above keeps of what is freed.
const MOST_FREE: u64 = 1 << 30;

/// Files that fill the memory for as long as this lives. Their pages are the first to make room.
#[derive(Debug)]
pub struct Filled {
    dir: PathBuf,
    files: Vec<NamedTempFile>,
}

impl Filled {
    /// Fills what is free. Takes some seconds, or a minute where the host has to find the memory.
    pub fn new(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut filled = Self { dir: dir.to_owned(), files: Vec::new() };
        filled.renew()?;
        Ok(filled)
    }

    /// Fills what was freed meanwhile, if that is much: by reading one more file that has a length and takes no room on the disk.
    pub fn renew(&mut self) -> io::Result<()> {
        let free = free()?;
        if free <= MOST_FREE {
            return Ok(());
        }
        let file = NamedTempFile::new_in(&self.dir)?;
        file.as_file().set_len(free - LEFT)?;
        let mut reader = File::open(file.path())?;
        let mut block = vec![0; BLOCK];
        while reader.read(&mut block)? > 0 {}
        self.files.push(file);
        Ok(())
    }
}

/// The memory that holds nothing, in bytes; zero where the system does not tell.
fn free() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kibibytes.unwrap_or_default() * 1024)
}
