//! Buffers of batches that are used again: fresh memory costs a page fault every 4 KiB, a buffer that was used a moment ago
//! may still be in a cache.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that come back when the last reference to their batch is gone, from whatever thread. Cheap to clone; clones share
/// the buffers.
///
/// ```
/// use sealstream_protocol::batch::{BatchBuilder, BufferPool, Codec};
///
/// let pool = BufferPool::new(4, 1 << 20);
/// let mut builder = BatchBuilder::new(Codec::None).pooled(pool.clone());
/// builder.push(0, None, b"value", &[])?;
/// let batch = builder.build(uuid::Uuid::from_u128(7), 0);
/// assert_eq!(pool.spare(), 0);
/// drop(batch);
/// assert_eq!(pool.spare(), 1);
/// # Ok::<(), sealstream_protocol::batch::RecordTooLarge>(())
/// ```
#[derive(Clone, Debug)]
pub struct BufferPool {
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    most: usize,
    largest: usize,
}

impl BufferPool {
    /// Keeps at most so many buffers, and none with room for more than so many bytes; others are freed.
    pub fn new(most: usize, largest: usize) -> Self {
        Self { spare: Arc::default(), most, largest }
    }

    /// Whether a buffer is one that may be kept.
    pub(super) fn takes(&self, buffer: &Vec<u8>) -> bool {
        buffer.capacity() <= self.largest
    }

    /// How many buffers wait to be used again.
    pub fn spare(&self) -> usize {
        self.lock().len()
    }

    /// Frees all but so many of the buffers that wait to be used again.
    pub fn shrink_to(&self, most: usize) {
        let freed = {
            let mut spare = self.lock();
            let kept = spare.len().min(most);
            spare.split_off(kept)
        };
        // Out of the lock: giving memory back takes its time.
        drop(freed);
    }

    /// The buffer that came back last, empty, if there is one.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        self.lock().pop()
    }

    /// What is in `buffer`, which comes back once nobody refers to it.
    pub(super) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, pool: self.clone() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer on its way.
struct Lent {
    buffer: Vec<u8>,
    pool: BufferPool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut spare = self.pool.lock();
        if spare.len() < self.pool.most && self.pool.takes(&buffer) {
            buffer.clear();
            spare.push(buffer);
        }
    }
}
