//! The note that a partition's log is damaged where no start would look: below its checkpoint. While it is there a start reads the
//! whole log.
//!
//! ```text
//!  0  magic "SLX1"                      8  synced up to this offset u64
//!  4  CRC-32C u32 of bytes 8..
//! ```
//!
//! Integers are little-endian.

use std::io;

use bytes::{Buf, BufMut};

use super::layout::PartitionDir;
use crate::log::disk::Disk;

const MAGIC: [u8; 4] = *b"SLX1";

const LEN: usize = 16;

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// What was synced when the damage was found; 0 if the note cannot be read.
    pub(super) end: u64,
}

impl Damage {
    /// Writes the note, durably.
    pub(super) fn save(self, disk: &dyn Disk, dir: &PartitionDir) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.put_slice(&MAGIC);
        bytes.put_u32_le(crc32c::crc32c(&self.end.to_le_bytes()));
        bytes.put_u64_le(self.end);
        disk.replace(&dir.damage(), &bytes)
    }

    /// The note, if there is one.
    pub(super) fn load(disk: &dyn Disk, dir: &PartitionDir) -> io::Result<Option<Self>> {
        match disk.read(&dir.damage(), LEN) {
            Ok(bytes) => Ok(Some(decode(&bytes).unwrap_or(Self { end: 0 }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Longer than it should be: that it is there is what counts.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(Self { end: 0 })),
            Err(error) => Err(error),
        }
    }

    /// Removes the note, as the log is sound. A crash may bring it back, and costs the next start a look at everything.
    pub(super) fn forget(disk: &dyn Disk, dir: &PartitionDir) -> io::Result<()> {
        disk.remove_file(&dir.damage())
    }
}

fn decode(bytes: &[u8]) -> Option<Damage> {
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    if rest.try_get_u32_le().ok()? != crc32c::crc32c(rest) {
        return None;
    }
    Some(Damage { end: rest.try_get_u64_le().ok()? })
}
