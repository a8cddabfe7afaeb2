//! What goes on within a session of a consumer: subscriptions out, entries in, and everything that time makes due.

use std::sync::Arc;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::consume::{Data, Subscribed};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::cursor::Cursor;
use super::driver::{Driver, End};
use super::link::{Link, Pending, Subscription};
use super::shared::Chunk;
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
                    self.cursors.push(cursor);
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
        self.move_away(now);
        if self.cursors.is_empty() && link.pending.is_none() {
            return Err(End::Deserted);
        }
        if link.goes_away.is_none() {
            for cursor in &mut self.cursors {
                if cursor.wants_subscription(now) {
                    link.subscribe(cursor, &self.shared.terms);
                }
            }
        }
        let mut wake = link.pulse(now).map_err(End::Lost)?;
        if let Some((error, until)) = link.broken.as_ref().filter(|_| link.pending.is_none()) {
            if *until <= now {
                let (target, source) = (link.target.clone(), error.clone());
                return Err(End::Lost(SessionError::Broken { target, source }));
            }
            wake = wake.min(*until);
        }
        let resumes = self.cursors.iter().filter(|cursor| cursor.subscription.is_none());
        let resume = resumes.filter_map(|cursor| cursor.resume_at).min();
        Ok(resume.filter(|_| link.goes_away.is_none()).map_or(wake, |at| wake.min(at)))
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
            Message::SubscriptionEnded(ended) => {
                let known = link.subscription(ended.subscription);
                link.forget(ended.subscription);
                match known {
                    None => Some(unknown(ended.subscription)),
                    Some(Subscription::TakenBack) => None,
                    Some(Subscription::Of(partition)) => {
                        debug!(partition, fault = ?ended.fault, "the subscription ended");
                        let cursor =
                            self.cursors.iter_mut().find(|cursor| cursor.partition() == partition)?;
                        cursor.ended(ended.fault, Instant::now(), &self.shared.terms).err().map(End::Fatal)
                    }
                }
            }
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
        let shared = self.shared.clone();
        let (index, cursor) = match self.cursor(link, subscribed.subscription) {
            Ok(found) => found?,
            Err(end) => return Some(end),
        };
        if let Err(detail) = cursor.subscribed(subscribed, &shared.terms) {
            return Some(End::Violated(detail));
        }
        self.drop_if_done(link, index);
        None
    }

    fn data(&mut self, link: &mut Link, data: Data) -> Option<End> {
        let bytes = data.entries.len();
        let shared = self.shared.clone();
        let (index, cursor) = match self.cursor(link, data.subscription) {
            Ok(found) => found?,
            Err(end) => return Some(end),
        };
        let taken = cursor.take(data.entries, &shared.terms);
        if !taken.batches.is_empty() {
            self.retries.succeeded();
            link.pending = Some(Pending { batches: taken.batches, bytes, error: taken.error });
            self.drop_if_done(link, index);
            return None;
        }
        taken.error.map(End::Fatal)
    }

    /// The partition of a subscription; `None` if it was taken back, an end if there never was one.
    fn cursor(&mut self, link: &Link, subscription: u32) -> Result<Option<(usize, &mut Cursor)>, End> {
        let mut cursors = self.cursors.iter_mut().enumerate();
        match link.subscription(subscription) {
            Some(Subscription::Of(partition)) => {
                Ok(cursors.find(|(_, cursor)| cursor.partition() == partition))
            }
            Some(Subscription::TakenBack) => Ok(None),
            None => Err(unknown(subscription)),
        }
    }

    fn drop_if_done(&mut self, link: &mut Link, index: usize) {
        if self.cursors[index].is_done() {
            link.unsubscribe(&self.cursors[index]);
            self.cursors.swap_remove(index);
        }
    }
}

fn unknown(subscription: u32) -> End {
    End::Violated(format!("a frame of subscription {subscription}, which there is not"))
}

fn lost(link: &Link, error: WireError) -> End {
    match error {
        WireError::Malformed(error) => End::Violated(error.to_string()),
        error => End::Lost(SessionError::Broken { target: link.target.clone(), source: Arc::new(error) }),
    }
}
