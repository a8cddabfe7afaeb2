//! What goes on within a session of a consumer: subscriptions out, entries in, and everything that time makes due.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::consume::{Data, Subscribed, SubscriptionEnded};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::cursor::Cursor;
use super::driver::{Driver, End};
use super::link::{Link, Pending, Subscription};
use super::shared::Chunk;
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
                            way.send(Ok(Chunk { batches: pending.batches, permit }));
                            pending.error.map(End::Fatal).or_else(|| self.read_buffered(link))
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
                link.subscribe(cursor, &self.shared.terms);
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
        if let Err(detail) = cursor.subscribed(subscribed, &self.shared.terms) {
            return Some(End::Violated(detail));
        }
        let partition = cursor.partition();
        self.drop_if_done(link, partition);
        None
    }

    fn ended(&mut self, link: &mut Link, ended: SubscriptionEnded) -> Option<End> {
        let cursor = cursor(&mut self.cursors, link, ended.subscription);
        link.forget(ended.subscription);
        match cursor {
            Ok(cursor) => {
                let cursor = cursor?;
                debug!(partition = cursor.partition(), fault = ?ended.fault, "the subscription ended");
                self.look_at = Instant::now();
                cursor.ended(ended.fault, self.look_at, &self.shared.terms).err().map(End::Fatal)
            }
            Err(end) => Some(end),
        }
    }

    fn data(&mut self, link: &mut Link, data: Data) -> Option<End> {
        let bytes = data.entries.len();
        let cursor = match cursor(&mut self.cursors, link, data.subscription) {
            Ok(cursor) => cursor?,
            Err(end) => return Some(end),
        };
        let partition = cursor.partition();
        let Some(taken) = cursor.take(data.entries, &self.shared.terms) else {
            return Some(End::Violated("Data before Subscribed".to_owned()));
        };
        if taken.batches.is_empty() {
            return taken.error.map(End::Fatal);
        }
        self.retries.succeeded();
        link.pending = Some(Pending { batches: taken.batches, bytes, error: taken.error });
        self.drop_if_done(link, partition);
        None
    }

    fn drop_if_done(&mut self, link: &mut Link, partition: u32) {
        if let Entry::Occupied(cursor) = self.cursors.entry(partition)
            && cursor.get().is_done()
        {
            link.unsubscribe(&cursor.remove());
        }
    }
}

/// The partition of a subscription; `None` if it was taken back, an end if there never was one.
fn cursor<'c>(
    cursors: &'c mut BTreeMap<u32, Cursor>,
    link: &Link,
    subscription: u32,
) -> Result<Option<&'c mut Cursor>, End> {
    match link.subscription(subscription) {
        Some(Subscription::Of(partition)) => Ok(cursors.get_mut(&partition)),
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
