//! Memory as it is on a machine that has run for long. Linux.
//!
//! A virtual machine may give memory that is free back to its host (*free page reporting*), and each page of it that is
//! used again has to be found anew by the host, while the writer waits: on one such machine a GiB of the page cache cost 2.6 s of a
//! processor rather than 0.12 s, a gigabyte after the measurements had begun and not before. On a machine that has run for long there is hardly
//! any free memory: files fill it, and what is needed is taken from those that were not used for the longest time.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// How much is read at once.
const BLOCK: usize = 4 << 20;

/// 512 MiB are left when it is filled: the kernel does not have to let go of a page for each that is needed.
const LEFT: u64 = 512 << 20;

/// 1 GiB: once more than that is free, it is filled again. So much is what the machine above keeps of what is freed.
const MOST_FREE: u64 = 1 << 30;

/// A file that fills the memory for as long as this lives. Its pages are the first to make room.
#[derive(Debug)]
pub struct Filled {
    file: NamedTempFile,
}

impl Filled {
    /// Fills what is free by reading a file in `dir` that has a length and takes no room on the disk. Takes some seconds, or a
    /// minute where the host has to find the memory.
    pub fn new(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let file = NamedTempFile::new_in(dir)?;
        file.as_file().set_len(bytes_of("MemAvailable:").saturating_sub(LEFT))?;
        let filled = Self { file };
        filled.read()?;
        Ok(filled)
    }

    /// Fills again what was freed meanwhile, if that is much.
    pub fn renew(&self) -> io::Result<()> {
        if bytes_of("MemFree:") > MOST_FREE { self.read() } else { Ok(()) }
    }

    fn read(&self) -> io::Result<()> {
        let mut file = File::open(self.file.path())?;
        let mut block = vec![0; BLOCK];
        while file.read(&mut block)? > 0 {}
        Ok(())
    }
}

/// A field of what the system tells of its memory, in bytes; zero where it does not.
fn bytes_of(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
