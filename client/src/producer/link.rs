//! A Produce session with its topic opened, and what it owes answers to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealstream_protocol::Limits;
use sealstream_protocol::limits::MAX_PARTITIONS;
use sealstream_protocol::message::hello::{Pong, SessionKind};
use sealstream_protocol::message::produce::{OpenTopic, TopicOpened};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::error::OpenProducerError;
use crate::backoff::Retries;
use crate::connection::{Connections, MAX_HOPS, Place, parse_redirect};
use crate::error::GoAway;
use crate::error::{SessionError, elsewhere};
use crate::signs::Signs;
use crate::wire::{FrameReader, FrameWriter, Session, WireError};

/// The one topic of a producer's session.
const HANDLE: u32 = 1;

/// Bytes queued for the transport before no more are: with a batch of the default 256 KiB on the way a second is ready,
/// and larger ones go one by one.
const WRITE_AHEAD: usize = 256 * 1024;

/// 5 min: how often a session asks how many partitions its topic has. Adding some is rare, and announced to nobody.
pub const REFRESH: Duration = Duration::from_mins(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
    pub(super) target: String,
    pub(super) opened: Instant,
    /// What the broker accepts.
    pub(super) limits: Limits,
    signs: Signs,
    /// When it is asked how many partitions there are; `None` while the answer is awaited, and where there is none to be had.
    refresh_at: Option<Instant>,
    /// Bytes that may be unanswered before the broker stops reading.
    window: usize,
    unanswered: usize,
    requests: HashMap<u64, Request>,
    next_request: u64,
    /// The broker wants no new batches.
    pub(super) draining: Option<GoAway>,
    /// Writing failed: why, and until when the broker's own word on it is awaited.
    pub(super) broken: Option<(Arc<WireError>, Instant)>,
}

/// A batch that the broker owes an answer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) partition: u32,
    bytes: usize,
}

impl Link {
    /// Opens a session and the topic in it, trying again within the retry policy and following the brokers. `id` is
    /// the topic's, once it is known.
    pub(super) async fn open(
        connections: &Connections,
        topic: &str,
        id: Option<Uuid>,
        place: &Place,
        retries: &mut Retries,
    ) -> Result<(Self, TopicOpened), OpenProducerError> {
        let mut place = place.clone();
        let mut hops = 0;
        loop {
            let session = connections.open(&place, SessionKind::Produce, retries).await?;
            let opened = Instant::now();
            let error = match Self::open_topic(connections, &place, session, topic, id).await {
                Ok(opened) => return Ok(opened),
                Err(OpenProducerError::Refused { fault, .. })
                    if elsewhere(&fault).is_some() && hops < MAX_HOPS =>
                {
                    hops += 1;
                    let url = elsewhere(&fault).unwrap_or_default();
                    place = parse_redirect(&connections.target(&place), url)?;
                    continue;
                }
                Err(error) => error,
            };
            if let OpenProducerError::Session(lost) = &error
                && connections.tries_anew(&place, opened, lost, retries).await
            {
                continue;
            }
            if !error.is_retryable() {
                return Err(error);
            }
            let cause = match error {
                OpenProducerError::Session(cause) => cause,
                OpenProducerError::Refused { fault, .. } => {
                    SessionError::Ended { target: connections.target(&place), fault: fault.into() }
                }
                OpenProducerError::Option(_) => return Err(error),
            };
            connections.pause(retries, cause).await?;
        }
    }

    async fn open_topic(
        connections: &Connections,
        place: &Place,
        mut session: Session,
        topic: &str,
        id: Option<Uuid>,
    ) -> Result<(Self, TopicOpened), OpenProducerError> {
        let target = connections.target(place);
        let after = connections.settings.request_timeout;
        let answer = timeout(after, ask(&mut session, topic, id)).await;
        let broken = |source| SessionError::Broken { target: target.clone(), source: Arc::new(source) };
        match answer.map_err(|_| SessionError::Silent { target: target.clone(), after })?.map_err(broken)? {
            Some(Message::TopicOpened(opened))
                if opened.handle == HANDLE && (1..=MAX_PARTITIONS).contains(&opened.partitions) =>
            {
                Ok((Self::new(session, target), opened))
            }
            Some(Message::OpenRefused(refused)) => {
                Err(OpenProducerError::Refused { topic: topic.to_owned(), fault: refused.fault })
            }
            Some(Message::Error(fault) | Message::GoAway(fault)) => {
                Err(SessionError::Ended { target, fault: fault.into() }.into())
            }
            Some(_) => {
                let detail = "it did not answer the opening of a topic as it should".to_owned();
                Err(SessionError::Protocol { target, detail }.into())
            }
            None => Err(SessionError::Closed { target }.into()),
        }
    }

    fn new(session: Session, target: String) -> Self {
        let welcome = &session.welcome;
        Self {
            signs: Signs::of(&session),
            limits: Limits::new(welcome.max_frame, welcome.max_decompressed_batch),
            window: welcome.window as usize,
            reader: session.reader,
            writer: session.writer,
            target,
            opened: Instant::now(),
            refresh_at: Some(Instant::now() + REFRESH),
            unanswered: 0,
            requests: HashMap::new(),
            next_request: 0,
            draining: None,
            broken: None,
        }
    }

    /// Asks how many partitions the topic has, if it is time to; when that is next.
    pub(super) fn refresh(&mut self, topic: &str, id: Uuid, now: Instant) -> Option<Instant> {
        if self.refresh_at.is_some_and(|at| at <= now) && self.takes_more() {
            self.refresh_at = None;
            let ask = OpenTopic { handle: HANDLE, name: topic.to_owned(), id: Some(id) };
            self.writer.feed(&Message::OpenTopic(ask));
        }
        self.refresh_at
    }

    /// Takes the answer to that; how many there are, if this is one.
    pub(super) fn refreshed(&mut self, answer: &TopicOpened, id: Uuid, now: Instant) -> Option<u32> {
        let asked = self.refresh_at.is_none();
        let sound =
            (answer.handle, answer.id) == (HANDLE, id) && (1..=MAX_PARTITIONS).contains(&answer.partitions);
        if !asked || !sound {
            return None;
        }
        self.refresh_at = Some(now + REFRESH);
        Some(answer.partitions)
    }

    /// Whether a further batch may be queued now.
    pub(super) fn takes_more(&self) -> bool {
        self.broken.is_none() && self.draining.is_none() && self.writer.pending() < WRITE_AHEAD
    }

    /// Whether the broker's window has room for a batch of so many bytes; for one at least it always has.
    pub(super) fn has_window(&self, bytes: usize) -> bool {
        self.unanswered == 0 || self.unanswered + bytes <= self.window
    }

    /// Queues a batch and gives the request that its answer will name.
    pub(super) fn send(&mut self, partition: u32, batch: Bytes) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.unanswered += batch.len();
        self.requests.insert(request, Request { partition, bytes: batch.len() });
        self.writer.feed_produce(request, HANDLE, partition, batch);
        request
    }

    /// What an answer to `request` is about; each is answered once.
    pub(super) fn answered(&mut self, request: u64) -> Option<Request> {
        let answered = self.requests.remove(&request)?;
        self.unanswered -= answered.bytes;
        Some(answered)
    }

    /// Whether every batch was answered.
    pub(super) fn is_settled(&self) -> bool {
        self.requests.is_empty()
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self, nonce: u64) {
        self.writer.feed(&Message::Pong(Pong { nonce }));
    }

    /// Keeps the session alive: when to look again, or that the broker is gone.
    pub(super) fn pulse(&mut self, now: Instant) -> Result<Instant, SessionError> {
        self.signs.was_heard(&self.reader, now);
        self.signs.keep(&mut self.writer, &self.target, now)
    }

    /// Ends the session cleanly, or at the deadline.
    pub(super) async fn finish(self, deadline: Duration) {
        if let Err(error) = crate::wire::finish(self.reader, self.writer, deadline).await {
            tracing::debug!(target = self.target, %error, "the session did not end cleanly");
        }
    }

    /// Tells the broker what it did wrong and ends the session.
    pub(super) async fn fail(self, detail: &str) {
        let fault = Fault::new(FaultCode::UnexpectedFrame, detail);
        if let Err(error) = crate::wire::fail(self.reader, self.writer, fault).await {
            tracing::debug!(target = self.target, %error, "the broker did not take our complaint");
        }
    }
}

async fn ask(session: &mut Session, topic: &str, id: Option<Uuid>) -> Result<Option<Message>, WireError> {
    session.writer.feed(&Message::OpenTopic(OpenTopic { handle: HANDLE, name: topic.to_owned(), id }));
    session.writer.flush().await?;
    loop {
        match session.reader.next().await? {
            Some(Message::Ping(ping)) => {
                session.writer.feed(&Message::Pong(Pong { nonce: ping.nonce }));
                session.writer.flush().await?;
            }
            answer => return Ok(answer),
        }
    }
}
