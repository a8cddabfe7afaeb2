//! A Consume session and the subscriptions in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::consume::Unsubscribe;
use sealstream_protocol::message::hello::Pong;
use tokio::time::Instant;

use super::cursor::Cursor;
use super::error::ConsumeError;
use super::reading::Reading;
use super::record::ConsumedBatch;
use super::shared::After;
use crate::error::{GoAway, SessionError};
use crate::signs::Signs;
use crate::wire::{FrameReader, FrameWriter, Session, WireError};

/// What was read and waits for room on its way to the program.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) reading: Arc<Reading>,
    pub(super) batches: Vec<ConsumedBatch>,
    pub(super) bytes: usize,
    pub(super) after: After,
    /// What came behind it and is the end of all.
    pub(super) fatal: Option<ConsumeError>,
}

/// What a frame of a subscription is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    /// The reading of this number.
    Of(u64),
    /// Nothing any more.
    TakenBack,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
    pub(super) target: String,
    pub(super) opened: Instant,
    signs: Signs,
    subscriptions: HashMap<u32, Subscription>,
    next_subscription: u32,
    /// Nothing more is read while this waits.
    pub(super) pending: Option<Pending>,
    /// Writing failed: why, and until when the broker's own word on it is awaited.
    pub(super) broken: Option<(Arc<WireError>, Instant)>,
    /// The broker will end the session.
    pub(super) goes_away: Option<GoAway>,
}

impl Link {
    pub(super) fn new(session: Session, target: String) -> Self {
        Self {
            signs: Signs::of(&session),
            reader: session.reader,
            writer: session.writer,
            target,
            opened: Instant::now(),
            subscriptions: HashMap::new(),
            next_subscription: 0,
            pending: None,
            broken: None,
            goes_away: None,
        }
    }

    /// Subscribes to what a partition wants next.
    pub(super) fn subscribe(&mut self, cursor: &mut Cursor) {
        let subscription = self.next_subscription;
        self.next_subscription = self.next_subscription.wrapping_add(1);
        self.subscriptions.insert(subscription, Subscription::Of(cursor.id()));
        self.writer.feed(&Message::Subscribe(cursor.subscribe(subscription)));
    }

    /// Takes a subscription back; what still comes of it is ignored.
    pub(super) fn unsubscribe(&mut self, cursor: &Cursor) {
        if let Some(subscription) = cursor.subscription {
            self.subscriptions.insert(subscription, Subscription::TakenBack);
            self.writer.feed(&Message::Unsubscribe(Unsubscribe { subscription }));
        }
    }

    /// What a subscription is, if there is one of that number.
    pub(super) fn subscription(&self, subscription: u32) -> Option<Subscription> {
        self.subscriptions.get(&subscription).copied()
    }

    /// The subscription is over.
    pub(super) fn forget(&mut self, subscription: u32) {
        self.subscriptions.remove(&subscription);
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self, nonce: u64) {
        self.writer.feed(&Message::Pong(Pong { nonce }));
    }

    /// Keeps the session alive: when to look again, or that the broker is gone.
    pub(super) fn pulse(&mut self, now: Instant) -> Result<Instant, SessionError> {
        // While the program does not take what was read, the broker cannot be heard, and is not to blame.
        if self.pending.is_some() {
            self.signs.excuse(&self.reader, now);
        }
        self.signs.was_heard(&self.reader, now);
        self.signs.keep(&mut self.writer, &self.target, now)
    }

    /// Ends the session cleanly, or at the deadline.
    pub(super) async fn finish(self, deadline: Duration) {
        if let Err(error) = crate::wire::finish(self.reader, self.writer, deadline).await {
            tracing::debug!(target = self.target, %error, "the session did not end cleanly");
        }
    }
}
