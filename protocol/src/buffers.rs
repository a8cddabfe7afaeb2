//! Buffers of large frames and reads, which serve again.
//!
//! A buffer of a megabyte that is freed goes back to the kernel, and the next one comes from it page by page, each cleared: more work
//! than checking what is in it. So whoever goes through many of them **takes** one here, fills it, and **lends** it out: when
//! the last slice of what was lent is dropped, on whatever thread, the buffer is free to be taken again.
//!
//! ```text
//!         take(len)                lend(buffer)                   the last slice is dropped
//!  free ─────────────► the taker's ─────────────► lent, as Bytes ──────────────────────────► free, or gone:
//!                        └─ dropped: gone                                                     the oldest beyond the limit
//! ```
//!
//! Bounded are the free ones, in bytes. What is taken or lent is its taker's to bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};

/// 64 KiB: smaller ones the allocator keeps by itself.
const MIN_KEPT: usize = 64 << 10;

/// Room in steps of a sixteenth of the next power of two, so that batches that differ a little use each other's buffers: at most an
/// eighth more than was asked for.
const STEPS: usize = 16;

/// Buffers that serve again. A clone is another handle to the same.
///
/// ```
/// use sealstream_protocol::Buffers;
///
/// let buffers = Buffers::new(4 << 20);
/// let mut buffer = buffers.take(1 << 20);
/// buffer.extend_from_slice(b"a large frame");
/// let frame = buffers.lend(buffer);
/// assert_eq!(&frame[2..7], b"large");
/// drop(frame);
/// assert!(buffers.free_bytes() >= 1 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct Buffers {
    shelf: Arc<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    limit: usize,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// The one that was free first is in front. Each has the length that its last user left it with.
    buffers: VecDeque<BytesMut>,
    bytes: usize,
}

/// A buffer that is lent out.
#[derive(Debug)]
struct Lent {
    buffer: BytesMut,
    /// If that is gone, so will the buffer be.
    home: Weak<Shelf>,
}

impl Buffers {
    /// Keeps at most `limit` bytes of free buffers; with 0 none serves again.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { shelf: Arc::new(Shelf { limit, free: Mutex::default() }) }
    }

    /// An empty buffer with room for `len` bytes: a free one, or a new one. From 64 KiB on its room may be an eighth larger.
    #[must_use]
    pub fn take(&self, len: usize) -> BytesMut {
        let mut buffer = self.shelf.find(len).unwrap_or_else(|| BytesMut::with_capacity(room(len)));
        buffer.clear();
        buffer
    }

    /// A buffer of `len` bytes that mean nothing: zeros, or what its last user left. For whoever overwrites them, and cuts off what he did
    /// not.
    #[must_use]
    pub fn take_filled(&self, len: usize) -> BytesMut {
        let mut buffer = self.shelf.find(len).unwrap_or_else(|| BytesMut::zeroed(room(len)));
        buffer.resize(len, 0);
        buffer
    }

    /// What `buffer` holds; it is free again once the last slice of that is dropped. Meant for one that was taken here; any other is kept
    /// as well if its room is one that would be made here.
    #[must_use]
    pub fn lend(&self, buffer: BytesMut) -> Bytes {
        if buffer.capacity() < MIN_KEPT {
            return buffer.freeze();
        }
        Bytes::from_owner(Lent { buffer, home: Arc::downgrade(&self.shelf) })
    }

    /// The bytes of all free buffers.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.shelf.free().bytes
    }
}

/// How much room is made for `len` bytes.
fn room(len: usize) -> usize {
    if len < MIN_KEPT { len } else { len.next_multiple_of(len.next_power_of_two() / STEPS) }
}

impl Shelf {
    /// A lock that a panic has not made useless: at worst a buffer is lost.
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one of its size that was used last: the processor's caches may still have it.
    fn find(&self, len: usize) -> Option<BytesMut> {
        let room = room(len);
        if room < MIN_KEPT {
            return None;
        }
        let mut free = self.free();
        let at = free.buffers.iter().rposition(|buffer| buffer.capacity() == room)?;
        free.bytes -= room;
        free.buffers.remove(at)
    }

    fn put_back(&self, buffer: BytesMut) {
        let capacity = buffer.capacity();
        if capacity > self.limit || capacity != room(capacity) {
            return;
        }
        // Freed after the lock is.
        let mut gone = Vec::new();
        let mut free = self.free();
        free.bytes += capacity;
        free.buffers.push_back(buffer);
        while free.bytes > self.limit {
            let Some(oldest) = free.buffers.pop_front() else { break };
            free.bytes -= oldest.capacity();
            gone.push(oldest);
        }
        drop(free);
        drop(gone);
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.put_back(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn lent(buffers: &Buffers, len: usize) -> Bytes {
        let mut buffer = buffers.take(len);
        assert!(buffer.is_empty() && (len..=len + len / 8).contains(&buffer.capacity()), "{len}");
        buffer.resize(len, 7);
        buffers.lend(buffer)
    }

    #[test]
    fn a_buffer_serves_again_once_the_last_slice_of_it_is_dropped() {
        let buffers = Buffers::new(4 * MIB);
        let frame = lent(&buffers, MIB);
        let (place, slice) = (frame.as_ptr(), frame.slice(10..20));
        drop(frame);
        assert_eq!(buffers.free_bytes(), 0);
        assert_ne!(buffers.take(MIB).as_ptr(), place, "it is still in use");
        std::thread::spawn(move || drop(slice)).join().unwrap();
        assert_eq!(buffers.free_bytes(), MIB);
        assert_eq!(buffers.take(MIB - 1000).as_ptr(), place);
        assert_eq!(buffers.free_bytes(), 0);
    }

    #[test]
    fn one_that_is_filled_has_the_length_that_was_asked_for() {
        let buffers = Buffers::new(4 * MIB);
        for len in [MIB, MIB - 5000, MIB, 10] {
            let filled = buffers.take_filled(len);
            assert_eq!(filled.len(), len);
            drop(buffers.lend(filled));
        }
        assert_eq!(buffers.free_bytes(), MIB);
    }

    #[test]
    fn no_more_is_kept_than_the_limit_and_the_oldest_goes_first() {
        let buffers = Buffers::new(3 * MIB);
        let frames: Vec<_> = [MIB, 2 * MIB, MIB].map(|len| lent(&buffers, len)).into();
        let places: Vec<_> = frames.iter().map(|frame| frame.as_ptr()).collect();
        for frame in frames {
            drop(frame);
            assert!(buffers.free_bytes() <= 3 * MIB);
        }
        assert_eq!(buffers.free_bytes(), 3 * MIB);
        assert_eq!(buffers.take(2 * MIB).as_ptr(), places[1]);
        assert_eq!(buffers.take(MIB).as_ptr(), places[2]);
        drop(lent(&buffers, 4 * MIB));
        drop(lent(&buffers, MIN_KEPT - 1));
        drop(buffers.lend(BytesMut::with_capacity(MIB + 1)));
        assert_eq!(buffers.free_bytes(), 0, "none of these is kept");
    }

    #[test]
    fn what_is_lent_outlives_its_home() {
        let buffers = Buffers::new(MIB);
        let frame = lent(&buffers, MIB);
        drop(buffers);
        assert_eq!(frame.len(), MIB);
    }

    #[test]
    fn room_comes_in_steps_of_an_eighth_at_most() {
        for len in [MIN_KEPT, MIN_KEPT + 1, 100_000, MIB - 1, MIB, MIB + 1, 5_000_000, 16 * MIB] {
            let room = room(len);
            assert!(room >= len && room <= len + len / 8, "{len}: {room}");
            assert_eq!(super::room(room), room);
        }
    }
}
