//! Bytes whose loss, repetition, swap or stray into another stream shows.
//!
//! The bytes of a stream are one pseudo-random block over and over, entered at a place that the stream's seed chooses.
//! The block's length is a prime, so that no buffer size divides it and a buffer lost or doubled shifts all that follows.
//! Writing borrows the block and checking is a comparison of slices: both are as fast in a debug build as in any other.

use std::io;
use std::sync::LazyLock;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest prime below 2^20.
const BLOCK_LEN: usize = 1_048_573;

/// What is written and read at a time: four TLS records.
const CHUNK: usize = 64 * 1024;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // xorshift64 (Marsaglia, 2003): eight bytes a step.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = Vec::with_capacity(BLOCK_LEN + 8);
    while block.len() < BLOCK_LEN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block.truncate(BLOCK_LEN);
    block
});

/// A place in the bytes of one stream direction.
#[derive(Clone, Debug)]
pub struct Pattern {
    at: usize,
    passed: u64,
}

impl Pattern {
    /// The beginning of the bytes that `seed` stands for.
    pub fn new(seed: u32) -> Self {
        // Another prime spreads neighbouring seeds over the block.
        Self { at: seed as usize * 75_011 % BLOCK_LEN, passed: 0 }
    }

    /// The bytes passed so far.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Up to `max` of the bytes that come next, without passing them.
    pub fn peek(&self, max: usize) -> &'static [u8] {
        &BLOCK[self.at..BLOCK_LEN.min(self.at + max)]
    }

    /// Passes over `count` bytes that were written.
    pub fn pass(&mut self, count: usize) {
        self.at = (self.at + count) % BLOCK_LEN;
        self.passed += count as u64;
    }

    /// Passes over bytes that were read, which must be the next ones.
    pub fn check(&mut self, mut read: &[u8]) {
        while !read.is_empty() {
            let expected = self.peek(read.len());
            let (now, rest) = read.split_at(expected.len());
            assert!(now == expected, "wrong bytes after the first {}", self.passed);
            self.pass(now.len());
            read = rest;
        }
    }

    /// Writes the next `count` bytes, and flushes.
    pub async fn write(&mut self, to: &mut (impl AsyncWrite + Unpin), count: u64) -> io::Result<()> {
        let end = self.passed + count;
        while self.passed < end {
            let max = usize::try_from(end - self.passed).unwrap_or(CHUNK).min(CHUNK);
            let written = to.write(self.peek(max)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.pass(written);
        }
        to.flush().await
    }

    /// Reads and checks the next `count` bytes; an end before them is [`io::ErrorKind::UnexpectedEof`].
    pub async fn read(&mut self, from: &mut (impl AsyncRead + Unpin), count: u64) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        let end = self.passed + count;
        while self.passed < end {
            let max = usize::try_from(end - self.passed).unwrap_or(CHUNK).min(CHUNK);
            let read = from.read(&mut buffer[..max]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.check(&buffer[..read]);
        }
        Ok(())
    }

    /// Reads and checks up to the clean end.
    pub async fn read_to_end(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer).await? {
                0 => return Ok(()),
                read => self.check(&buffer[..read]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_buffer_shows() {
        let mut written = Pattern::new(1);
        written.pass(4096);
        let mut read = Pattern::new(1);
        assert!(std::panic::catch_unwind(move || read.check(written.peek(16))).is_err());
    }

    #[test]
    fn bytes_of_another_stream_show() {
        let stray = Pattern::new(2);
        let mut read = Pattern::new(3);
        assert!(std::panic::catch_unwind(move || read.check(stray.peek(16))).is_err());
    }
}
