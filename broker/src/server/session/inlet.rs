//! Where a session's frames come in: its reader, and what the frame that is arriving has of the broker's memory.

use sealstream_client::wire::{Advance, FrameReader, WireError};
use tokio::time::Instant;

use super::End;
use crate::server::arriving::{Arrivals, FREE, Pace};
use crate::server::lane::Charge;

/// A session's reading side.
#[derive(Debug)]
pub(crate) struct Inlet {
    reader: FrameReader,
    arrivals: Arrivals,
    /// Of the frame that is arriving, or of the one that [`next`](super::heart::Heart::next) gave last.
    charge: Charge,
    /// Of a frame that has a charge.
    pace: Pace,
    /// Whether the last step gave a frame.
    delivered: bool,
    /// Since when the frame that is arriving has asked for the room that it waits for.
    asking: Option<Instant>,
}

impl Inlet {
    pub(super) fn new(mut reader: FrameReader, arrivals: Arrivals) -> Self {
        reader.set_buffers(arrivals.buffers().clone());
        let pace = Pace::new(0, Instant::now());
        Self { reader, arrivals, charge: Charge::default(), pace, delivered: false, asking: None }
    }

    /// What the frame that came last has of the broker's memory. Left here, it is given back when the next one is asked for.
    pub(crate) fn take_charge(&mut self) -> Charge {
        std::mem::take(&mut self.charge)
    }

    /// Nothing has come for a while.
    pub(super) fn rest(&mut self) {
        self.reader.rest();
    }

    /// One step towards the next frame. Cancellation safe.
    pub(super) async fn advance(&mut self) -> Result<Advance, End> {
        if std::mem::take(&mut self.delivered) {
            self.charge = Charge::default();
        }
        let room = FREE + self.charge.bytes();
        let advanced = tokio::select! {
            biased;
            advanced = self.reader.advance(room) => advanced,
            fault = self.arrivals.overdue(&self.charge, &self.pace) => {
                self.forget();
                return Err(End::Failed(fault));
            }
        };
        match advanced {
            Ok(advance) => {
                self.delivered = matches!(advance, Advance::Message(_));
                if !self.charge.is_nothing() {
                    self.pace.note(self.reader.received(), Instant::now());
                }
                Ok(advance)
            }
            Err(WireError::Malformed(error)) => Err(End::Failed((&error).into())),
            Err(error) => Err(End::Broken(error)),
        }
    }

    /// A room of `wanted` bytes for the frame that fills what it had. Cancellation safe.
    pub(super) async fn widen(&mut self, wanted: usize) -> Result<(), End> {
        let room = FREE + self.charge.bytes();
        let more = u32::try_from(wanted.saturating_sub(room)).unwrap_or(u32::MAX);
        let since = *self.asking.get_or_insert_with(Instant::now);
        match self.arrivals.charge(&mut self.charge, more, since).await {
            Ok(()) => {
                self.asking = None;
                self.pace = Pace::new(self.reader.received(), Instant::now());
                Ok(())
            }
            Err(fault) => {
                self.forget();
                Err(End::Failed(fault))
            }
        }
    }

    /// For the goodbye: whatever has arrived of a frame is thrown away.
    pub(super) fn into_reader(mut self) -> FrameReader {
        self.forget();
        self.reader
    }

    /// First the memory, then what it was charged as.
    fn forget(&mut self) {
        self.reader.forget();
        self.charge = Charge::default();
    }
}
