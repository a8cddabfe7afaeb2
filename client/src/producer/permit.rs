//! Room in the window, taken before there is a record.

use std::sync::Arc;

use super::Handle;
use super::delivery::Delivery;
use super::error::SendError;
use super::record::Record;

/// Room in the window for one record, from [`Producer::reserve`](super::Producer::reserve). Dropping it gives it back.
///
/// ```no_run
/// # async fn example(producer: sealstream_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn take_from_queue() -> String { String::new() }
/// use sealstream_client::Record;
///
/// // Nothing is taken from the queue before there is room for it here.
/// let permit = producer.reserve(64 * 1024).await?;
/// let value = take_from_queue().await;
/// let delivery = permit.send(Record::new(&value))?;
/// # drop(delivery);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped gives its room back"]
pub struct SendPermit {
    handle: Arc<Handle>,
    size: usize,
    /// Its room is not given back by another way.
    held: bool,
}

impl SendPermit {
    pub(super) fn new(handle: Arc<Handle>, size: usize) -> Self {
        Self { handle, size, held: true }
    }

    /// How large a record it is for, in bytes as [`Record::size`] counts them.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds a record to its batch, without waiting. Fails if the record is larger than was reserved, can never be sent, or
    /// the producer is closed by now.
    pub fn send(mut self, record: Record<'_>) -> Result<Delivery, SendError> {
        if record.size() > self.size {
            return Err(SendError::ExceedsPermit { size: record.size(), reserved: self.size });
        }
        // It goes over to the record under one lock, so that nobody else gets it.
        self.held = false;
        self.handle.shared.send_reserved(&record, self.size)
    }
}

impl Drop for SendPermit {
    fn drop(&mut self) {
        if self.held {
            self.handle.shared.release(self.size);
        }
    }
}
