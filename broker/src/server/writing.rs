//! The writing side of Admin and Consume sessions: what was handed over, in its order.

use bytes::Bytes;
use sealstream_client::wire::{FrameWriter, WireError};
use sealstream_protocol::message::Message;
use tokio::sync::mpsc;

use super::admission;
use super::lane::Charge;
use super::session::heart::Heart;

/// 64 KiB of small frames leave in one write.
const COALESCED: usize = 64 << 10;

/// Something to be written. Small: room for 32 of them is there while a session lasts.
#[derive(Debug)]
pub(super) enum Item {
    /// A frame.
    Frame(Box<Message>),
    /// What a subscription is sent.
    Entries(Box<Entries>),
}

impl Item {
    /// A frame.
    pub(super) fn frame(message: Message) -> Self {
        Self::Frame(Box::new(message))
    }
}

/// Entries of a subscription.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) subscription: u32,
    pub(super) chunks: Vec<Bytes>,
    /// Given back once the transport has taken them.
    pub(super) permits: Permits,
}

/// What entries hold from before they are read until the transport has taken them.
#[derive(Debug)]
pub(super) struct Permits {
    /// Of the session's window.
    pub(super) window: admission::Bytes,
    /// Of the broker's budget, or in its lane; nothing for a small turn outside of it.
    pub(super) budget: Charge,
    /// The session's one place for such a turn.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) outside: Option<admission::Place>,
}

impl Permits {
    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: u32) {
        self.window.shrink_to(bytes);
        self.budget.shrink_to(bytes);
    }
}

/// Owns the writing half while a session lasts.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    writer: &'a mut FrameWriter,
    heart: &'a Heart,
    held: Vec<Permits>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(writer: &'a mut FrameWriter, heart: &'a Heart) -> Self {
        Self { writer, heart, held: Vec::new() }
    }

    /// Writes what comes until nothing more can come. One thing is on its way at a time, but small ones together: the
    /// rest waits where it is counted.
    pub(super) async fn write(mut self, mut items: mpsc::Receiver<Item>) -> Result<(), WireError> {
        // The Welcome.
        self.flush().await?;
        while let Some(item) = items.recv().await {
            self.feed(item);
            while self.writer.pending() < COALESCED
                && let Ok(item) = items.try_recv()
            {
                self.feed(item);
            }
            self.flush().await?;
        }
        Ok(())
    }

    fn feed(&mut self, item: Item) {
        match item {
            Item::Frame(message) => self.writer.feed(&message),
            Item::Entries(entries) => {
                let Entries { subscription, chunks, permits } = *entries;
                self.writer.feed_data(subscription, chunks);
                self.held.push(permits);
            }
        }
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.writer.flush().await?;
        self.held.clear();
        self.heart.sent();
        Ok(())
    }
}
