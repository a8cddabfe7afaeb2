//! What goes on within a session of a producer: batches out, answers in, and everything that time makes due.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealstream_protocol::message::Message;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::driver::{Driver, End};
use super::lane::{Lane, Verdict};
use super::link::Link;
use super::ticket::Settlement;
use crate::connection::Place;
use crate::error::{GoAway, SessionError};
use crate::wire::WireError;
use crate::wire::farewell::DRAIN_TIME;

impl Driver {
    /// Holds a session until it ends.
    pub(super) async fn drive(&mut self, link: &mut Link) -> End {
        let shared = self.shared.clone();
        loop {
            let wake = match self.pump(link, Instant::now()) {
                Ok(wake) => wake,
                Err(end) => return end,
            };
            let ended = tokio::select! {
                () = shared.stop.cancelled() => Some(End::Stopped),
                read = link.reader.next() => self.read(link, read),
                flushed = link.writer.flush(), if link.broken.is_none() && link.writer.needs_flush() => {
                    // The broker may have said why before it stopped reading: its word is awaited for a while.
                    link.broken = flushed.err().map(|error| (Arc::new(error), Instant::now() + DRAIN_TIME));
                    None
                }
                _ = self.news.changed() => None,
                Some(lane) = self.inbox.recv() => {
                    self.adopt(lane);
                    None
                }
                () = sleep_until(wake) => None,
            };
            self.shared.settle(&mut self.settlements);
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Everything that is due: expires, sends, moves, pings. Says when to look again.
    fn pump(&mut self, link: &mut Link, now: Instant) -> Result<Instant, End> {
        if self.expire(now) {
            let after = self.shared.accumulator().plan.delivery_timeout;
            return Err(End::Lost(SessionError::Silent { target: link.target.clone(), after }));
        }
        let stalled = self.send(link, now);
        self.shared.settle(&mut self.settlements);
        self.move_away(now);
        if self.lanes.is_empty() && self.place != Place::Home {
            return Err(End::Deserted);
        }
        if let Some(goes_away) = link.draining
            && link.is_settled()
        {
            return Err(End::GoneAway(goes_away));
        }
        let refresh = link.refresh(&self.shared.topic, self.shared.topic_id, now);
        let mut wake = link.pulse(now).map_err(End::Lost)?;
        wake = refresh.filter(|at| *at > now).map_or(wake, |at| wake.min(at));
        if let Some((error, until)) = &link.broken {
            if *until <= now {
                let (target, source) = (link.target.clone(), error.clone());
                return Err(End::Lost(SessionError::Broken { target, source }));
            }
            wake = wake.min(*until);
        }
        wake = wake.min(self.expire_at());
        if !stalled {
            let accumulator = self.shared.accumulator();
            let due = |lane: &Lane| {
                let due = accumulator.due(lane.partition()).filter(|_| lane.has_room());
                [due, lane.resume_at()].into_iter().flatten().min()
            };
            wake = self.lanes.values().filter_map(due).min().map_or(wake, |due| wake.min(due));
        }
        Ok(wake)
    }

    /// Queues what may be sent, one batch a partition in turn. Says whether it stopped for want of room in the
    /// session, which an answer or a flush gives back.
    fn send(&mut self, link: &mut Link, now: Instant) -> bool {
        let count = self.lanes.len();
        let mut idle = 0;
        while idle < count {
            if !link.takes_more() {
                return true;
            }
            let Some(lane) = next_lane(&mut self.lanes, self.turn) else { return false };
            let partition = lane.partition();
            let mut batch = lane.next_to_send(now, &mut self.settlements);
            if batch.is_none() && lane.has_room() {
                let full = self.shared.accumulator().take(partition, now);
                if let Some(full) = full {
                    let builder = lane.accept(full);
                    self.shared.accumulator().recycle(builder);
                    batch = lane.next_to_send(now, &mut self.settlements);
                }
            }
            match batch {
                Some(batch) if !link.has_window(batch.len()) => return true,
                Some(batch) => {
                    let request = link.send(partition, batch);
                    lane.sent(request);
                    idle = 0;
                }
                None => idle += 1,
            }
            self.turn = partition + 1;
        }
        false
    }

    /// Hears what was read, and all that came with it.
    fn read(&mut self, link: &mut Link, read: Result<Option<Message>, WireError>) -> Option<End> {
        let mut read = read;
        loop {
            match read {
                Ok(Some(message)) => {
                    if let Some(end) = self.hear(link, message) {
                        return Some(end);
                    }
                }
                Ok(None) => return Some(End::Lost(SessionError::Closed { target: link.target.clone() })),
                Err(WireError::Malformed(error)) => return Some(End::Violated(error.to_string())),
                Err(error) => {
                    let source = Arc::new(error);
                    return Some(End::Lost(SessionError::Broken { target: link.target.clone(), source }));
                }
            }
            read = match link.reader.buffered() {
                Ok(None) => return None,
                more => more,
            };
        }
    }

    fn hear(&mut self, link: &mut Link, message: Message) -> Option<End> {
        let now = Instant::now();
        let (request, verdict) = match message {
            Message::Ack(ack) => {
                self.retries.succeeded();
                let answered = self.lane(link, ack.request);
                (ack.request, answered.map(|(lane, out)| lane.acked(ack.request, ack.base_offset, out)))
            }
            Message::ProduceRefused(refused) => {
                debug!(request = refused.request, fault = %refused.fault, "a batch was refused");
                let answered = self.lane(link, refused.request);
                let verdict =
                    answered.map(|(lane, out)| lane.refused(refused.request, refused.fault, now, out));
                (refused.request, verdict)
            }
            Message::Ping(ping) => {
                link.pong(ping.nonce);
                return None;
            }
            Message::Pong(_) => return None,
            Message::TopicOpened(opened) => {
                let Some(partitions) = link.refreshed(&opened, self.shared.topic_id, now) else {
                    return Some(End::Violated("a TopicOpened that nobody asked for".to_owned()));
                };
                self.grow(partitions);
                return None;
            }
            // The topic is gone, which the next batch is told; or the broker answers this once only.
            Message::OpenRefused(refused) => {
                debug!(fault = %refused.fault, "the number of partitions was not told again");
                return None;
            }
            Message::GoAway(fault) => {
                link.draining = Some(GoAway::from(&fault));
                return None;
            }
            Message::Error(fault) => {
                return Some(End::Lost(SessionError::Ended {
                    target: link.target.clone(),
                    fault: fault.into(),
                }));
            }
            other => {
                return Some(End::Violated(format!("a {} frame in a Produce session", other.kind().name())));
            }
        };
        match verdict {
            Some(Verdict::Done) => None,
            Some(Verdict::Fatal(error)) => Some(End::Fatal(error)),
            Some(Verdict::Unknown) | None => {
                Some(End::Violated(format!("an answer to request {request}, which awaits none")))
            }
        }
    }

    /// The partition that a request was for.
    fn lane(&mut self, link: &mut Link, request: u64) -> Option<(&mut Lane, &mut Vec<Settlement>)> {
        let partition = link.answered(request)?.partition;
        Some((self.lanes.get_mut(&partition)?, &mut self.settlements))
    }
}

/// The first partition from this one on, in a circle.
fn next_lane(lanes: &mut BTreeMap<u32, Lane>, from: u32) -> Option<&mut Lane> {
    let partition = *lanes.range(from..).next().or_else(|| lanes.iter().next())?.0;
    lanes.get_mut(&partition)
}
