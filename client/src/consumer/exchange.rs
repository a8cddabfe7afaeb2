//! What goes on within a session of a consumer: subscriptions out, entries in, and everything that time makes due.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::consume::{Data, Subscribed, SubscriptionEnded};
use tokio::time::{Instant, sleep_until};
use tracing::field::Empty;
use tracing::{debug, debug_span};

use super::cursor::Cursor;
use super::driver::{Driver, End};
use super::error::ConsumeError;
use super::link::{Link, Pending, Subscription};
use super::record::ConsumedBatch;
use super::shared::{After, Chunk, OnFailure};
use crate::backoff::FOR_EVER;
use crate::error::{GoAway, SessionError};
use crate::wire::WireError;
use crate::wire::farewell::DRAIN_TIME;

impl Driver {
    /// Holds a session until it ends.
    pub(super) async fn drive(&mut self, link: &mut Link) -> End {
        let shared = self.shared.clone();
        let sender = self.sender.clone();
        loop {
            let wake = match self.pump(link, Instant::now()) {
                Ok(wake) => wake,
                Err(end) => return end,
            };
            let waiting = link.pending.as_ref().map(|pending| pending.bytes);
            let ended = tokio::select! {
                () = shared.stop.cancelled() => Some(End::Stopped),
                read = link.reader.next(), if waiting.is_none() => self.read(link, read),
                room = shared.room(waiting.unwrap_or_default(), &sender), if waiting.is_some() => {
                    match (room, link.pending.take()) {
                        (Some((permit, way)), Some(pending)) => {
                            let Pending { reading, batches, after, fatal, .. } = pending;
                            way.send(Ok(Chunk { reading, batches, permit, after }));
                            fatal.map(End::Fatal).or_else(|| self.read_buffered(link))
                        }
                        _ => Some(End::Stopped),
                    }
                }
                flushed = link.writer.flush(), if link.broken.is_none() && link.writer.needs_flush() => {
                    // What was read is handed over first, and the broker's own word on it is awaited for a while.
                    link.broken = flushed.err().map(|error| (Arc::new(error), Instant::now() + DRAIN_TIME));
                    None
                }
                Some(cursor) = self.inbox.recv() => {
                    self.adopt(cursor);
                    None
                }
                Ok(()) = self.taken_back.changed() => {
                    self.take_back(link);
                    None
                }
                () = sleep_until(wake) => None,
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Everything that is due: subscribes, moves, pings. Says when to look again.
    fn pump(&mut self, link: &mut Link, now: Instant) -> Result<Instant, End> {
        if self.look_at <= now {
            self.move_away(now);
            self.subscribe(link, now);
        }
        if self.cursors.is_empty() && link.pending.is_none() {
            return Err(End::Deserted);
        }
        let mut wake = link.pulse(now).map_err(End::Lost)?;
        if let Some((error, until)) = link.broken.as_ref().filter(|_| link.pending.is_none()) {
            if *until <= now {
                let (target, source) = (link.target.clone(), error.clone());
                return Err(End::Lost(SessionError::Broken { target, source }));
            }
            wake = wake.min(*until);
        }
        Ok(wake.min(self.look_at))
    }

    /// Subscribes to what is not subscribed to and may be.
    fn subscribe(&mut self, link: &mut Link, now: Instant) {
        self.look_at = now + FOR_EVER;
        if link.goes_away.is_some() {
            return;
        }
        for cursor in self.cursors.values_mut().filter(|cursor| cursor.subscription.is_none()) {
            if cursor.wants_subscription(now) {
                link.subscribe(cursor);
            } else if let Some(resume_at) = cursor.resume_at {
                self.look_at = self.look_at.min(resume_at);
            }
        }
    }

    /// Hears what was read, and all that came with it, until there is something to hand over.
    fn read(&mut self, link: &mut Link, read: Result<Option<Message>, WireError>) -> Option<End> {
        match read {
            Ok(Some(message)) => self.hear(link, message).or_else(|| self.read_buffered(link)),
            Ok(None) => Some(match link.goes_away {
                Some(goes_away) => End::GoneAway(goes_away),
                None => End::Lost(SessionError::Closed { target: link.target.clone() }),
            }),
            Err(error) => Some(lost(link, error)),
        }
    }

    fn read_buffered(&mut self, link: &mut Link) -> Option<End> {
        while link.pending.is_none() {
            match link.reader.buffered() {
                Ok(Some(message)) => {
                    if let Some(end) = self.hear(link, message) {
                        return Some(end);
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(lost(link, error)),
            }
        }
        None
    }

    fn hear(&mut self, link: &mut Link, message: Message) -> Option<End> {
        match message {
            Message::Data(data) => self.data(link, data),
            Message::Subscribed(subscribed) => self.subscribed(link, &subscribed),
            Message::SubscriptionEnded(ended) => self.ended(link, ended),
            Message::Ping(ping) => {
                link.pong(ping.nonce);
                None
            }
            Message::Pong(_) => None,
            Message::GoAway(fault) => {
                link.goes_away = Some(GoAway::from(&fault));
                None
            }
            Message::Error(fault) => {
                Some(End::Lost(SessionError::Ended { target: link.target.clone(), fault: fault.into() }))
            }
            other => Some(End::Violated(format!("a {} frame in a Consume session", other.kind().name()))),
        }
    }

    fn subscribed(&mut self, link: &mut Link, subscribed: &Subscribed) -> Option<End> {
        let cursor = match cursor(&mut self.cursors, link, subscribed.subscription) {
            Ok(cursor) => cursor?,
            Err(end) => return Some(end),
        };
        if let Err(detail) = cursor.subscribed(subscribed) {
            return Some(End::Violated(detail));
        }
        let reading = cursor.id();
        self.drop_if_done(link, reading);
        None
    }

    fn ended(&mut self, link: &mut Link, ended: SubscriptionEnded) -> Option<End> {
        let cursor = cursor(&mut self.cursors, link, ended.subscription);
        link.forget(ended.subscription);
        let cursor = match cursor {
            Ok(cursor) => cursor?,
            Err(end) => return Some(end),
        };
        debug!(partition = cursor.partition(), fault = ?ended.fault, "the subscription ended");
        self.look_at = Instant::now();
        let error = cursor.ended(ended.fault, self.look_at).err()?;
        let reading = cursor.id();
        self.failed(link, reading, error)
    }

    fn data(&mut self, link: &mut Link, data: Data) -> Option<End> {
        let bytes = data.entries.len();
        let cursor = match cursor(&mut self.cursors, link, data.subscription) {
            Ok(cursor) => cursor?,
            Err(end) => return Some(end),
        };
        let id = cursor.id();
        let (topic, partition) = (&*cursor.reading.terms.topic, cursor.partition());
        let span = debug_span!("consume_batch", topic, partition, bytes, offset = Empty, records = Empty);
        let _in_span = span.enter();
        let Some(taken) = cursor.take(data.entries) else {
            return Some(End::Violated("Data before Subscribed".to_owned()));
        };
        if let Some(first) = taken.batches.first() {
            if !span.is_disabled() {
                span.record("offset", first.first_offset());
                span.record("records", taken.batches.iter().map(ConsumedBatch::record_count).sum::<u64>());
            }
            self.retries.succeeded();
            let reading = cursor.reading.clone();
            let batches = taken.batches;
            link.pending = Some(Pending { reading, batches, bytes, after: After::More, fatal: None });
        }
        if let Some(error) = taken.error {
            return self.failed(link, id, error);
        }
        self.drop_if_done(link, id);
        None
    }

    /// A reading is over for the reason given, which is told behind everything that was read.
    fn failed(&mut self, link: &mut Link, reading: u64, error: ConsumeError) -> Option<End> {
        match (self.shared.on_failure, &mut link.pending) {
            (OnFailure::EndAll, Some(pending)) => {
                pending.fatal = Some(error);
                None
            }
            (OnFailure::EndAll, None) => Some(End::Fatal(error)),
            (OnFailure::EndOne, _) => {
                self.drop_reading(link, reading, After::Failed(error));
                None
            }
        }
    }

    fn drop_if_done(&mut self, link: &mut Link, reading: u64) {
        if self.cursors.get(&reading).is_some_and(Cursor::is_done) {
            self.drop_reading(link, reading, After::End);
        }
    }

    /// Reads a partition no further; what is behind its records is told.
    fn drop_reading(&mut self, link: &mut Link, reading: u64, after: After) {
        let Some(cursor) = self.cursors.remove(&reading) else { return };
        link.unsubscribe(&cursor);
        match &mut link.pending {
            Some(pending) => pending.after = after,
            none => {
                let reading = cursor.reading.clone();
                *none = Some(Pending { reading, batches: Vec::new(), bytes: 0, after, fatal: None });
            }
        }
    }

    /// Reads no further what was taken back. What came in its place is taken in first: a session that has nothing to do
    /// ends.
    fn take_back(&mut self, link: &mut Link) {
        while let Ok(cursor) = self.inbox.try_recv() {
            self.adopt(cursor);
        }
        let over = self.cursors.extract_if(.., |_, cursor| cursor.reading.is_taken_back());
        for (_, cursor) in over {
            link.unsubscribe(&cursor);
        }
    }
}

/// The place of a subscription's reading; `None` if it was taken back, an end if there never was one.
fn cursor<'c>(
    cursors: &'c mut BTreeMap<u64, Cursor>,
    link: &Link,
    subscription: u32,
) -> Result<Option<&'c mut Cursor>, End> {
    match link.subscription(subscription) {
        Some(Subscription::Of(reading)) => Ok(cursors.get_mut(&reading)),
        Some(Subscription::TakenBack) => Ok(None),
        None => Err(End::Violated(format!("a frame of subscription {subscription}, which there is not"))),
    }
}

fn lost(link: &Link, error: WireError) -> End {
    match error {
        WireError::Malformed(error) => End::Violated(error.to_string()),
        error => End::Lost(SessionError::Broken { target: link.target.clone(), source: Arc::new(error) }),
    }
}
