//! A Group session: joined, kept alive, ended.

use std::sync::Arc;
use std::time::Duration;

use sealstream_protocol::message::Message;
use sealstream_protocol::message::group::{JoinGroup, Joined};
use sealstream_protocol::message::hello::{Pong, SessionKind};
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::backoff::Retries;
use crate::connection::{Connections, MAX_HOPS, Place, parse_redirect};
use crate::error::{GoAway, SessionError};
use crate::signs::Signs;
use crate::wire::{FrameReader, FrameWriter, Session, WireError};

/// Bytes that may wait for the transport before heartbeats are left out: who does not read them needs no more of them.
pub(super) const MAX_QUEUED: usize = 256 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
    pub(super) target: String,
    pub(super) opened: Instant,
    signs: Signs,
    /// Writing failed: why, and until when the broker's own word on it is awaited.
    pub(super) broken: Option<(Arc<WireError>, Instant)>,
    /// The broker will end the session.
    pub(super) goes_away: Option<GoAway>,
}

/// Opens a session and joins, at `place` or wherever that sends us, trying again within the retry policy. Says where.
pub(super) async fn join(
    connections: &Connections,
    join: &JoinGroup,
    place: &mut Place,
    retries: &mut Retries,
) -> Result<(Link, Joined), SessionError> {
    let mut hops = 0;
    loop {
        let target = connections.target(place);
        let opened = Instant::now();
        let error = match connections.open_once(place, SessionKind::Group).await {
            Ok(session) => match greet(session, join, &target, connections.settings.request_timeout).await {
                Ok(joined) => return Ok(joined),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if let Some(url) = error.elsewhere()
            && hops < MAX_HOPS
        {
            hops += 1;
            debug!(url, hops, "the group is at another broker");
            *place = parse_redirect(&target, url)?;
            continue;
        }
        if connections.tries_anew(place, opened, &error, retries).await {
            continue;
        }
        if *place != Place::Home && error.is_retryable() {
            // Home knows better where the group is now; the way there is paused for as any other.
            *place = Place::Home;
        } else if !error.is_retryable() {
            return Err(error);
        }
        connections.pause(retries, error).await?;
    }
}

/// Says who joins, and waits for the answer.
async fn greet(
    mut session: Session,
    join: &JoinGroup,
    target: &str,
    deadline: Duration,
) -> Result<(Link, Joined), SessionError> {
    let target = target.to_owned();
    session.writer.feed(&Message::JoinGroup(join.clone()));
    let lost = |source| SessionError::Broken { target: target.clone(), source: Arc::new(source) };
    let answer = timeout(deadline, async {
        // A broker that has ended the session may have said why before.
        let written = session.writer.flush().await;
        loop {
            match session.reader.next().await {
                Ok(Some(Message::Ping(ping))) => {
                    session.writer.feed(&Message::Pong(Pong { nonce: ping.nonce }));
                    session.writer.flush().await?;
                }
                Ok(Some(Message::Pong(_))) => {}
                Ok(None) if written.is_err() => return written.map(|()| None),
                answer => return answer,
            }
        }
    });
    match answer.await {
        Err(_) => Err(SessionError::Silent { target, after: deadline }),
        Ok(Err(source)) => Err(lost(source)),
        Ok(Ok(None)) => Err(SessionError::Closed { target }),
        Ok(Ok(Some(Message::Joined(joined)))) => Ok((Link::new(session, target), joined)),
        Ok(Ok(Some(Message::Error(fault) | Message::GoAway(fault)))) => {
            Err(SessionError::Ended { target, fault: fault.into() })
        }
        Ok(Ok(Some(other))) => {
            let detail = format!("it answered JoinGroup with a {} frame", other.kind().name());
            Err(SessionError::Protocol { target, detail })
        }
    }
}

impl Link {
    fn new(session: Session, target: String) -> Self {
        Self {
            signs: Signs::of(&session),
            reader: session.reader,
            writer: session.writer,
            target,
            opened: Instant::now(),
            broken: None,
            goes_away: None,
        }
    }

    /// Gives the session up after so much silence, if not sooner.
    pub(super) fn expect_life(&mut self, patience: Duration, now: Instant) {
        self.signs.expect_within(patience, now);
    }

    /// Whether something was heard since the last call.
    pub(super) fn was_heard(&mut self, now: Instant) -> bool {
        self.signs.was_heard(&self.reader, now)
    }

    /// Keeps the session alive: when to look again, or that the broker is gone.
    pub(super) fn pulse(&mut self, now: Instant) -> Result<Instant, SessionError> {
        self.signs.keep(&mut self.writer, &self.target, now)
    }

    /// Ends the session cleanly, or at the deadline.
    pub(super) async fn finish(self, deadline: Duration) {
        if let Err(error) = crate::wire::finish(self.reader, self.writer, deadline).await {
            debug!(target = self.target, %error, "the session did not end cleanly");
        }
    }
}
